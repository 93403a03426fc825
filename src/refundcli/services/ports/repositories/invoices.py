"""Invoices, payments, their shares and disputes."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.ports.provider_updates import (
    CaptureUpdate,
)
from refundcli.services.ports.reads import FailedCapture, FoundInvoices, InvoiceFilter, InvoiceSearch
from refundcli.services.ports.records import Capture, NewPayment, PaymentLine


class InvoiceLookup(Protocol):
    """What the rules of a refund read."""

    def get(self, number: str) -> Invoice | None: ...
    def numbers_near(self, number: str) -> list[str]: ...


class InvoiceReads(InvoiceLookup, Protocol):
    def matching(self, filters: InvoiceFilter) -> list[Invoice]:
        """In the filters' order; without their refunds and closings."""
        ...

    def count_after(self, filters: InvoiceFilter) -> int:
        """How many match after the filters' `after`, at most MOST_COUNTED."""
        ...

    def ids(self, filters: InvoiceFilter) -> list[int]:
        """Of all that match, in the filters' order, ignoring the limit."""
        ...

    def by_id(self, ids: Sequence[int]) -> list[Invoice]:
        """In the order of the ids; without their refunds and closings."""
        ...

    def by_number(self, numbers: Sequence[str]) -> dict[str, Invoice]: ...
    def with_facts(self, numbers: Sequence[str]) -> dict[str, tuple[Invoice, int]]:
        """By number, each with the hash that `facts` returns."""
        ...

    def facts(self, numbers: Sequence[str]) -> dict[str, int]:
        """By invoice, a hash of all facts that the rules use; comparable within one process."""
        ...

    def numbers_behind(self, reference: str) -> list[str]:
        """Invoices that a provider's id, the id of a refund or closing, or a credit note's number belongs to."""
        ...

    def numbers_in_any_case(self, number: str) -> list[str]:
        """Numbers that are equal to this one but for upper and lower case."""
        ...

    def count(self, filters: InvoiceFilter) -> int:
        """How many match, ignoring the limit; only for filters by payment."""
        ...

    def losses(self) -> list[Invoice]:
        """Invoices with a loss that nobody has acknowledged (I13)."""
        ...

    def of_payments(self, provider: Provider, references: Sequence[str]) -> dict[str, Invoice]:
        """By reference of the payment, its invoice; of a shared payment the invoice with the first share."""
        ...

    def by_reference(self, references: Sequence[str]) -> dict[str, Invoice]:
        """Invoices in the books, by the provider's id."""
        ...


class InvoiceSearches(Protocol):
    def find(self, search: InvoiceSearch, limit: int) -> FoundInvoices:
        """The best invoices first, at most `limit`."""
        ...

    def ids(self, search: InvoiceSearch) -> FoundInvoices:
        """All that fit, in no order."""
        ...


class Invoices(InvoiceReads, Protocol):
    def acknowledge_loss(self, invoice: Invoice, *, memo: str) -> None:
        """Record that a person acknowledged the invoice's loss (I13)."""
        ...

    def change_status(self, invoice: Invoice, status: InvoiceStatus, *, memo: str, evidence: str = "") -> None: ...
    def change_number(self, old_number: str, new_number: str) -> None:
        """Give its number to an invoice that was stored under its id at the provider."""
        ...


class PaymentNames(Protocol):
    """What the rules of a refund read."""

    def known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        """By reference, the number of the invoice and the payment that it names; the first share where it is shared."""
        ...


class PaymentReads(PaymentNames, Protocol):
    def failed_captures(self) -> list[FailedCapture]:
        """Those of invoices that are neither void nor uncollectible, newest first."""
        ...

    def captures(self, payment: Payment) -> dict[str, Capture]:
        """The stored captures of the payment, by reference."""
        ...

    def lines(self, provider: Provider, references: Sequence[str]) -> dict[str, PaymentLine]:
        """Payments of a provider by reference, with their refunds."""
        ...

    def count(self, provider: Provider) -> int:
        """The number of the provider's payments; a shared payment counts once."""
        ...

    def any_since(self, provider: Provider, since: date) -> bool:
        """Is any of the provider's payments from this day or later, or without a day?"""
        ...

    def lines_after(self, provider: Provider, after: int, *, limit: int) -> list[PaymentLine]:
        """A page of the provider's payments, without their refunds."""
        ...


class Payments(PaymentReads, Protocol):
    def reserve(self, payment: Payment, amount: Money) -> bool:
        """Reserve an amount for a refund; False if it exceeds what is left. One guarded statement (I1)."""
        ...

    def record_capture(self, invoice: Invoice, payment: Payment, update: CaptureUpdate, *, update_source: str) -> bool:
        """Write the state of one capture of a payment; False if a later report of it is stored."""
        ...

    def note_captured(
        self, invoice: Invoice, payment: Payment, *, captured: Money, processing: bool, update_source: str
    ) -> bool:
        """Write the amount captured of the whole payment. An invoice without captured money becomes open again."""
        ...

    def note_unsupported(self, payment: Payment, reason: str) -> None:
        """Store why the payment cannot be refunded from here; empty if it can."""
        ...

    def note_credited(self, payment: Payment, credited_amount: Money, *, update_source: str) -> None:
        """Store how much of it was credited to the customer's balance at the provider."""
        ...


class Shares(Protocol):
    def add(
        self,
        invoice: Invoice,
        first_share: Payment,
        new_share: NewPayment,
        *,
        reported: Sequence[NewPayment],
        update_source: str,
    ) -> None:
        """Add a share of the payment for this further invoice, which may have it already without its id.

        `reported`: all payments of the invoice as the provider reports them.
        """
        ...

    def join(self, home_payment: Payment, joined_payment: Payment, *, update_source: str) -> None:
        """Join two payments that are one at the provider: both become shares of the first one."""
        ...

    def note(self, invoice: Invoice, payment: Payment, allocated: Money) -> None:
        """Lower this invoice's share of the payment to what the provider reports."""
        ...


class DisputeReads(Protocol):
    def payment_of(self, provider: Provider, account: str, reference: str) -> tuple[Invoice, Payment] | None:
        """The payment of the stored dispute with this reference."""
        ...


class Disputes(DisputeReads, Protocol):
    def record(self, invoice: Invoice, payment: Payment, record: DisputeRecord, *, update_source: str) -> None:
        """Write a new dispute (id 0) or its new state; the payment's state and lost amount follow from all disputes."""
        ...
