"""Documents of credit notes: what they are made of, and what makes them."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol

from refundcli.domain.refund import CreditNote
from refundcli.domain.tax.note_content import NoteContent
from refundcli.domain.tax.seller import Seller


class DocumentFormat(StrEnum):
    """`FACTURX`: a PDF with the XML in it."""

    PDF = "pdf"
    FACTURX = "facturx"
    XML = "xml"

    @property
    def suffix(self) -> str:
        return ".xml" if self is DocumentFormat.XML else ".pdf"


@dataclass(frozen=True, slots=True)
class IssuedNote:
    """A numbered credit note with what it copied; without a copy, with the invoice as it is now.

    `way`: how the money was returned by other means than a provider, in the operator's words.
    """

    note: CreditNote
    content: NoteContent
    seller: Seller
    seller_id: int
    is_through_provider: bool
    way: str
    refunded_on: date | None

    @property
    def number(self) -> str:
        return self.note.number or ""


class DocumentMaker(Protocol):
    def document(self, issued: IssuedNote) -> bytes:
        """Raises a RefundcliError if it cannot be made."""
        ...
