"""A payment provider as the use cases see it: refunds, closings, and what it knows of payments and invoices."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, TypeAlias

from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import WireRequest
from refundcli.domain.statuses import InvoiceStatus, Provider, RefundState
from refundcli.services.ports.provider_updates import (
    PaymentSnapshot,
    RefundUpdate,
    UnreadablePayment,
)
from refundcli.services.ports.records import NewInvoice

# The last check before the first byte of a request: does this process still hold the lease?
MaySend: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What the provider is to be asked for, in the books' words."""

    refund_id: str
    invoice_number: str
    payment_reference: str
    amount: Money
    reason: RefundReason
    full: bool = False


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """What came back from one call, before anyone decides what it means.

    `signal` is the provider's answer in the words of `services.outcomes`; `state` is set when it told one.
    `pending_reason` says why the provider has not finished it, `expires_at` until when the customer may act.
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


class Answer(Protocol):
    """What every answer tells, whatever was asked for."""

    @property
    def signal(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def retry_after(self) -> float | None: ...
    @property
    def replayed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ClosingAnswer:
    """What came back when an invoice was to be closed, as `RefundAnswer` for a refund."""

    signal: str
    message: str = ""
    retry_after: float | None = None
    replayed: bool = False


class PaymentProvider(Protocol):
    name: Provider
    livemode: bool
    account: str
    base_url: str

    def prepare(self, order: RefundOrder) -> WireRequest:
        """The exact request, without sending it. Raises where the provider cannot take the amount."""
        ...

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        """One HTTP call, or none while the provider is rate limiting. Provider and network errors are answers.

        `may_send` is asked once the connection is open; if it returns False, nothing is sent.
        """
        ...

    def find_refund(self, request: WireRequest, refund_id: str) -> RefundAnswer | None:
        """Look a sent refund up; None when the provider has none."""
        ...

    def ended_approval(self, request: WireRequest, status: str) -> RefundAnswer | None:
        """Look up the approval that a refund waits for; `status` is the refund's status at the provider.

        None while it may still be approved, or cannot be looked up.
        """
        ...


class InvoiceCloser(Protocol):
    """A provider that keeps invoices, and voids them or writes them off when it is asked to."""

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
    """How fast a provider may be asked (services/dispatch/rate_limit.py)."""

    @property
    def pause_left(self) -> float:
        """Seconds for which the provider does not want to be asked."""
        ...

    def time_for(self, requests: int) -> float:
        """Seconds that so many requests take."""
        ...


class Providers(Protocol):
    def of(self, provider: Provider) -> PaymentProvider: ...
    def records(self, provider: Provider) -> "ProviderRecords":
        """What the provider keeps, where it can be asked. Raises SettingsProblem."""
        ...

    def closer(self, provider: Provider) -> InvoiceCloser:
        """Who closes the invoices that the provider keeps. Raises SettingsProblem."""
        ...

    def pace(self, provider: Provider) -> RequestPace:
        """What every request to it keeps to."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderInvoice:
    """An invoice as the provider keeps it, with the truth about each of its payments; `reference` is its id there.

    `credited` went to the customer's balance by its credit notes.
    """

    reference: str
    invoice: NewInvoice
    payments: tuple[PaymentSnapshot, ...]
    credited: Money


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An invoice at the provider that the books cannot hold, and why: a credit, say, has a negative total."""

    reference: str
    number: str
    why: str


class ProviderRecords(Protocol):
    """What a provider keeps and tells when asked. Only reads.

    Every method may raise ProviderUnreachable; those that are asked for one thing also CannotBeHeld.
    """

    name: Provider
    livemode: bool
    account: str

    def payment(self, reference: str, *, of_invoice: str = "") -> PaymentSnapshot | None:
        """The payment with every refund and dispute of it; None when the provider has none of that id.

        `of_invoice`: the provider's id of its invoice, where it keeps one; its credit notes are asked for too.
        """
        ...

    def payments(self, *, since: date | None) -> Iterator[PaymentSnapshot | UnreadablePayment]:
        """Every payment made since then, newest first, many in one request (Stripe: its charges with their refunds)."""
        ...

    def refund(self, reference: str) -> RefundUpdate | None: ...
    def refunds(self, *, since: date | None) -> Iterator[RefundUpdate]:
        """Every refund made since then, newest first."""
        ...

    def credited(self, invoice_reference: str) -> Money | None:
        """What credit notes of the invoice gave to the customer's balance; None where there is no such invoice."""
        ...

    def credits(self) -> Mapping[str, Money | None]:
        """By each invoice with credit notes, what all of them gave to the customer's balance; None if they do not say.

        Complete: voided notes are listed too, so an invoice that is not in it has no credit.
        """
        ...

    def invoices(self, *, since: date | None, after: str) -> Iterator[ProviderInvoice | LeftOut]:
        """Every invoice made since then, newest first; `after` is the reference of one to go on after."""
        ...

    def invoice(self, name: str) -> ProviderInvoice | None:
        """One invoice, by its reference at the provider or by its number."""
        ...
