"""An operator who acts on fakes: the use cases of a refund, wired as bootstrap wires them, but in memory."""

from dataclasses import dataclass, field
from typing import Any

import built
from fakes import FakeBooks, FakeClock, FakeProvider, FakeProviders, money, paid_invoice
from refundcli.domain.invoice import Invoice
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import OutOfBand, Refund
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.closings.close import Closed, ClosingRequest
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.recovery.resume import Resumed
from refundcli.services.refunds.issue import RefundRequest
from refundcli.services.refunds.record import MarkRequest, RecordRefunds


@dataclass
class Operator:
    """`policy` waits without waiting: its sleep moves the clock."""

    invoices: "tuple[Invoice, ...]" = ()
    clock: FakeClock = field(default_factory=FakeClock)
    books: FakeBooks = field(default_factory=FakeBooks)
    providers: FakeProviders = field(default_factory=FakeProviders)

    def __post_init__(self) -> None:
        for invoice in self.invoices or (paid_invoice(),):
            self.books.facts.put(invoice)
        self.stripe.clock = self.providers.adyen.clock = self.clock

    @property
    def stripe(self) -> FakeProvider:
        return self.providers.stripe

    @property
    def policy(self) -> SendingPolicy:
        return SendingPolicy(
            call_seconds=35,
            credit_note_format="CN-{year}-{seq:06}",
            sleep=lambda seconds: self.clock.advance(seconds=seconds),
        )

    @property
    def _ports(self) -> tuple[Any, ...]:
        return self.books.port, self.providers.port, self.clock, self.policy

    def refund(self, amount: str = "", *, key: str = "k", number: str = "INV-1", **fields: Any) -> list[Refund]:
        """Refund through the provider: `amount` as `40 EUR`, empty for all that remains.

        `meanwhile`: what happens between the check, which is confirmed, and the reservation.
        """
        meanwhile = fields.pop("meanwhile", lambda: None)
        request = RefundRequest(
            number=number,
            amount=money(amount) if amount else None,
            amount_text=amount,
            reason=fields.pop("reason", RefundReason.OTHER),
            request_key=key,
            operator="Ada",
            **fields,
        )
        service = built.issue_refunds(*self._ports)
        checked = service.check(request)
        meanwhile()
        return service.issue(checked)

    def record(self, amount: str = "", *, key: str = "r", number: str = "INV-1", **fields: Any) -> list[Refund]:
        """Mark as refunded: only recorded."""
        request = MarkRequest(
            number=number,
            amount=money(amount) if amount else None,
            amount_text=amount,
            reason=fields.pop("reason", RefundReason.OTHER),
            request_key=key,
            operator="Ada",
            out_of_band=fields.pop("out_of_band", OutOfBand()),
            **fields,
        )
        records = RecordRefunds(self.books.port, self.clock, self.policy.credit_note_format)
        return records.record(request, confirmed=records.preview(request).total)

    def close(self, target: InvoiceStatus, *, number: str = "INV-1") -> Closed:
        """Void it or write it off."""
        return built.close_invoices(*self._ports).close(ClosingRequest(number, target, "", "Ada"))

    def resume(self) -> list[Resumed]:
        """Settle what has no outcome yet."""
        service = built.resume(*self._ports)
        return service.settle(service.unfinished())
