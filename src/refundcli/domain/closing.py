"""A closing: voids or writes off an invoice that a provider has too, and is requested at most once (R9)."""

from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.refund import Sending
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider

CLOSING_PREFIX = "cl_"


@dataclass(frozen=True, slots=True)
class Closing:
    """`target`: the new status of the invoice, void or uncollectible, first at the provider and then here.

    `failure_code`: the signal of the answer that made it fail, if it was sent just now; it is not stored.
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
        """The invoice's id at the provider, as it was requested: an import may change the one in the books."""
        return self.sending.request.endpoint.rsplit("/", 2)[1]

    @property
    def past_tense(self) -> str:
        return "voided" if self.target is InvoiceStatus.VOID else "written off"
