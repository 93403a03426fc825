"""How long one request may take, and what happens around it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund, Sending
from refundcli.services.dispatch import leases
from refundcli.services.ports.books import Writing
from refundcli.system.interrupts import pause


@dataclass(frozen=True, slots=True)
class SendingPolicy:
    """How long one request may take (seconds), how credit notes are numbered, and what is called meanwhile.

    `on_interrupt`: Ctrl-C has to wait for the outcome. `on_waiting`: another process is sending the operation.
    `on_unwritten`: the store is busy, with the provider's reference that is not stored yet. `apply_updates`: applies
    the stored provider updates about an invoice.
    """

    call_seconds: float
    credit_note_format: str
    on_interrupt: Callable[[], None] = field(default=lambda: None)
    on_waiting: Callable[[Refund | Closing], None] = field(default=lambda operation: None)
    on_unwritten: Callable[[Refund | Closing, str], None] = field(default=lambda operation, reference: None)
    sleep: Callable[[float], None] = field(default=pause)
    apply_updates: Callable[[Writing, Invoice], object] = field(default=lambda tx, invoice: None)

    @property
    def sending_seconds(self) -> float:
        """How long sending may take: retries may start for as long as one request takes, then the last one runs."""
        return 2 * self.call_seconds

    def patience(self, sending: Sending, now: datetime) -> float:
        """Seconds in which its request may start, so that it ends before the lease does."""
        return leases.seconds_left(sending, now) - self.call_seconds
