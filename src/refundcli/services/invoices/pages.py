"""Long lists in pages: each is one short read, so that a reader of a million rows does not block writers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import CreditNote
from refundcli.services.ports.reads import CreditNoteFilter, InvoiceFilter

if TYPE_CHECKING:
    from refundcli.services.ports.books import BooksToRead

PAGE = 1_000


def invoice_pages(books: "BooksToRead", criteria: InvoiceFilter) -> Iterator[list[Invoice]]:
    """All matching invoices, ignoring the limit; no page is empty."""
    criteria = replace(criteria, limit=PAGE)
    while page := _invoices(books, criteria):
        yield page
        if len(page) < PAGE:
            return
        criteria = replace(criteria, after=page[-1].number)


def credit_note_pages(books: "BooksToRead", criteria: CreditNoteFilter) -> Iterator[list[CreditNote]]:
    """As `invoice_pages`. Notes issued meanwhile come at the end."""
    criteria = replace(criteria, limit=PAGE)
    while page := _credit_notes(books, criteria):
        yield page
        if len(page) < PAGE:
            return
        criteria = replace(criteria, after=page[-1])


def _invoices(books: "BooksToRead", criteria: InvoiceFilter) -> list[Invoice]:
    return books.read(lambda tx: tx.invoices.matching(criteria))


def _credit_notes(books: "BooksToRead", criteria: CreditNoteFilter) -> list[CreditNote]:
    return books.read(lambda tx: tx.credit_notes.matching(criteria))
