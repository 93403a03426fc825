"""A closing: an invoice that a provider keeps too, voided or written off there, asked for at most once (R9)."""

from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.refund import Sending
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider

CLOSING_PREFIX = "cl_"


@dataclass(frozen=True, slots=True)
class Closing:
    """`wanted` is what the invoice is to become, there first and then here: void or uncollectible.

    `failure_code`: the signal of the answer that it failed by, where it was sent just now; it is not stored.
    """

    id: str
    invoice_id: int
    invoice_number: str
    target: InvoiceStatus
    state: ClosingState
    created_at: datetime
    operator: str
    sending: Sending
    memo: str = ""
    failure: str = ""
    failure_code: str = ""

    @property
    def provider(self) -> Provider:
        return self.sending.request.provider

    @property
    def reference(self) -> str:
        """The invoice's id at the provider, as it was asked for: an import may change what the books call it."""
        return self.sending.request.endpoint.rsplit("/", 2)[1]

    @property
    def past_tense(self) -> str:
        return "voided" if self.target is InvoiceStatus.VOID else "written off"
