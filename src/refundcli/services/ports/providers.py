"""A payment provider as the use cases see it: refunds, closings, payments and invoices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import TraceNumber, WireRequest
from refundcli.domain.statuses import ClosingState, InvoiceStatus, Provider, RefundState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from refundcli.services.ports.provider_updates import PaymentSnapshot, RefundUpdate, UnreadablePayment
    from refundcli.services.ports.records import NewInvoice

# The last check before the first byte of a request is sent: does this process still hold the lease?
MaySend: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """A refund to request from the provider, in terms of the books."""

    refund_id: str
    invoice_number: str
    payment_reference: str
    amount: Money
    reason: RefundReason
    full: bool = False


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """The answer to one call, not interpreted yet.

    `signal` is the answer in terms of `services/dispatch/outcomes.py`; `state` is set if the provider reported one.
    `pending_reason`: why the provider has not finished it; `expires_at`: until when the customer may act.
    """

    signal: str
    state: RefundState | None = None
    reference: str = ""
    status: str = ""
    message: str = ""
    retry_after: float | None = None
    replayed: bool = False
    pending_reason: str = ""
    expires_at: datetime | None = None
    trace: TraceNumber | None = None


@dataclass(frozen=True, slots=True)
class ClosingAnswer:
    """The answer to closing an invoice, as `RefundAnswer` for a refund.

    `evidence`: what proves it, where it is not the answer to the request.
    """

    signal: str
    message: str = ""
    retry_after: float | None = None
    replayed: bool = False
    state: ClosingState | None = None
    evidence: str = ""


Answer: TypeAlias = RefundAnswer | ClosingAnswer


class PaymentProvider(Protocol):
    name: Provider
    livemode: bool
    account: str
    base_url: str

    def prepare(self, order: RefundOrder) -> WireRequest:
        """The exact request, without sending it. Raises if the provider does not accept the amount."""
        ...

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """One HTTP call, or none while the provider is rate limiting. Provider and network errors are answers.

        `may_send` is called once the connection is open; if it returns False, nothing is sent.
        """
        ...

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        """Look up a sent refund; None if the provider has none."""
        ...

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        """Look up the ended approval of a refund; `status` is the refund's status at the provider.

        None while it may still be approved, or if it cannot be looked up.
        """
        ...


class InvoiceCloser(Protocol):
    """A provider with invoices that can be voided or marked uncollectible."""

    name: Provider
    livemode: bool
    account: str
    base_url: str

    def prepare(self, reference: str, status: InvoiceStatus) -> WireRequest:
        """The exact request, without sending it."""
        ...

    def close(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> ClosingAnswer:
        """One HTTP call, or none while the provider is rate limiting. Provider and network errors are answers.

        `may_send` as for a refund.
        """
        ...


class RequestPace(Protocol):
    """The request rate of a provider (services/dispatch/rate_limit.py)."""

    @property
    def pause_left(self) -> float:
        """Seconds until the provider's rate limit ends."""
        ...

    def time_for(self, requests: int) -> float:
        """Seconds that this number of requests takes."""
        ...


class Providers(Protocol):
    def of(self, provider: Provider) -> PaymentProvider: ...
    def records(self, provider: Provider) -> ProviderRecords:
        """The records of a provider with look-ups. Raises SettingsProblem."""
        ...

    def closer(self, provider: Provider) -> InvoiceCloser:
        """The closer of the provider's invoices. Raises SettingsProblem."""
        ...

    def pace(self, provider: Provider) -> RequestPace:
        """The pace of all requests to it."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderInvoice:
    """An invoice at the provider, with a snapshot of each payment; `reference` is its id there.

    `credited`: what its credit notes gave to the customer's balance.
    """

    reference: str
    invoice: NewInvoice
    payments: tuple[PaymentSnapshot, ...]
    credited: Money

    @property
    def owed(self) -> Money:
        """What is unpaid of its total; at least zero."""
        paid_minor = sum(payment.captured for payment in self.invoice.payments)
        return Money(max(self.invoice.total - paid_minor, 0), self.credited.currency)


@dataclass(frozen=True, slots=True)
class SkippedInvoice:
    """An invoice at the provider that the books cannot store, and why: for example, its total is negative."""

    reference: str
    number: str
    why: str


class ProviderRecords(Protocol):
    """Look-ups at a provider. Only reads.

    Every method may raise ProviderUnreachable; those for one object also CannotBeHeld.
    """

    name: Provider
    livemode: bool
    account: str

    def payment(self, reference: str, *, of_invoice: str = "") -> PaymentSnapshot | None:
        """The payment with all its refunds and disputes; None if the provider has none with this id.

        `of_invoice`: the provider's id of its invoice, if any; its credit notes are looked up too.
        """
        ...

    def payments(self, *, since: date | None) -> Iterator[PaymentSnapshot | UnreadablePayment]:
        """Every payment made since then, newest first, many in one request (Stripe: charges with their refunds)."""
        ...

    def refund(self, reference: str) -> RefundUpdate | None: ...
    def refunds(self, *, since: date | None) -> Iterator[RefundUpdate]:
        """Every refund made since then, newest first."""
        ...

    def credited(self, invoice_reference: str) -> Money | None:
        """What credit notes of the invoice gave to the customer's balance; None without such an invoice."""
        ...

    def credits(self) -> Mapping[str, Money | None]:
        """By invoice with credit notes, what they gave to the customer's balance; None if the notes do not say.

        Complete: voided notes are included, so an invoice that is not listed has no credit.
        """
        ...

    def invoices(self, *, since: date | None, after: str) -> Iterator[ProviderInvoice | SkippedInvoice]:
        """Every invoice created since then, newest first, after the invoice with the reference `after`."""
        ...

    def invoice(self, name: str) -> ProviderInvoice | None:
        """One invoice, by its reference at the provider or by its number."""
        ...
