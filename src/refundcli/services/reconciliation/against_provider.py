"""Compare the books with a provider that has look-ups, and apply what is proven."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, Provider, RefundState
from refundcli.services.chunks import chunked
from refundcli.services.dispatch.leases import is_live
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.invoices.pages import invoice_pages
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import CannotBeHeld, PaymentSnapshot, UnreadablePayment
from refundcli.services.ports.providers import ProviderRecords
from refundcli.services.ports.reads import InvoiceFilter
from refundcli.services.preflight.comparison import credit_differences
from refundcli.services.preflight.difference import Difference, DifferenceKind
from refundcli.services.provider_updates.sync_payment import PaymentSync, match_snapshots, note_credit, sync_payment
from refundcli.services.reconciliation.last_comparison import Agreement, ComparisonScope, record_comparison

_AT_ONCE = 100
# By default, a refund that was accepted longer ago than this is overdue.
PENDING_DAYS = 5
# The error code of an unreachable provider.
_UNREACHABLE = "provider-unreachable"

OnDifference = Callable[[Difference, bool], None]
Advance = Callable[[int], None]


@dataclass(slots=True)
class ComparisonSummary:
    """The outcome of a comparison: `by_kind` and `money` of the differences, `repaired` of those that were applied.

    `compared` counts payments of the books. `not_in_books` counts report lines about none of them, `being_sent` the
    refunds that a running process is sending now (R15). Not compared: `unreadable` payments, `unreviewed` provider
    updates, `unconfirmed` refunds, whose outcome is unknown or which have been pending for too long, and
    `unread_lists`, the lists that could not be read, with the reason. `not_asked`: how many payments each other
    provider has in the books, which only its report compares. `settled`: refunds whose outcome was unknown
    before, as they are now.
    """

    compared: int = 0
    by_kind: Counter[DifferenceKind] = field(default_factory=Counter)
    money: dict[tuple[DifferenceKind, str], Money] = field(default_factory=dict)
    repaired: int = 0
    changed: int = 0
    unreadable: int = 0
    unreviewed: int = 0
    unconfirmed: int = 0
    not_in_books: int = 0
    being_sent: int = 0
    unread_lists: dict[str, str] = field(default_factory=dict)
    not_asked: Mapping[Provider, int] = field(default_factory=dict)
    settled: list[Refund] = field(default_factory=list)

    @property
    def not_compared(self) -> int:
        return self.unreadable + self.unreviewed + self.unconfirmed + len(self.unread_lists)

    @property
    def remaining(self) -> int:
        """Differences that were not applied."""
        return self.differences - self.repaired

    @property
    def result(self) -> Agreement:
        """Agreement only after a complete comparison (R15)."""
        if self.not_compared:
            return Agreement.INCOMPLETE
        if self.differences:
            return Agreement.DIFFERS
        return Agreement.AGREES if self.compared else Agreement.NOTHING

    @property
    def differences(self) -> int:
        return self.by_kind.total()

    def count_unsettled(self, refunds: Sequence[Refund], *, now: datetime, overdue_before: datetime) -> None:
        self.unconfirmed = sum(is_unconfirmed(refund, now, overdue_before) for refund in refunds)
        self.being_sent = sum(is_being_sent(refund, now) for refund in refunds)

    def record(self, tx: Writing, provider: Provider, *, account: str, report: str = "", since: str = "") -> None:
        """Store the result and the scope. `report`: the report's name; `since`: the first day, as `2026-10-01`."""
        scope = ComparisonScope(account, self.compared, tx.payments.count(provider), report, since)
        record_comparison(tx, provider, scope, self.result, remaining=self.remaining, not_compared=self.not_compared)

    def add(self, difference: Difference, *, repaired: bool) -> None:
        self.by_kind[difference.kind] += 1
        self.repaired += repaired
        if difference.amount:
            kind_and_currency = (difference.kind, difference.amount.currency.code)
            sum_so_far = self.money.get(kind_and_currency)
            self.money[kind_and_currency] = sum_so_far + difference.amount if sum_so_far else difference.amount


@dataclass(slots=True)
class _ProviderInvoices:
    """Invoices in the books that are also at the provider: whether any exist, and the references of credited ones."""

    exist: bool = False
    credited: set[str] = field(default_factory=set)

    def add(self, invoice: Invoice, provider: Provider) -> None:
        if invoice.managed_by is provider:
            self.exist = True
            if invoice.credited:
                self.credited.add(invoice.invoice_reference)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of the books with `records`. Calls `on_difference` for each difference and fills `summary`."""

    books: Books
    records: ProviderRecords
    clock: Clock
    credit_note_format: str
    on_difference: OnDifference
    advance: Advance = lambda count: None
    pending_days: int = PENDING_DAYS
    summary: ComparisonSummary = field(default_factory=ComparisonSummary)

    def of_invoice(self, invoice_number: str) -> ComparisonSummary:
        """One invoice, payment by payment. Raises InvoiceNotFound, ProviderUnreachable."""
        summary = self.summary
        invoice = self.books.read(lambda tx: invoice_named(tx, invoice_number))
        for payment in invoice.payments:
            if payment.provider is self.records.name and payment.reference:
                snapshot = self.records.payment(payment.reference, of_invoice=invoice.invoice_reference)
                self._sync_one(summary, invoice.number, payment.id, snapshot)
        current_invoice = self.books.read(lambda tx: invoice_named(tx, invoice_number))
        summary.unreviewed = sum(
            event.needs_a_person for payment in current_invoice.payments for event in payment.unreviewed
        )
        overdue_before = self.clock.now() - timedelta(days=self.pending_days)
        summary.count_unsettled(current_invoice.refunds, now=self.clock.now(), overdue_before=overdue_before)
        return summary

    def of_everything(self, *, since: date | None) -> ComparisonSummary:
        """Every payment since then, in the books and at the provider, and all credits to customers' balances.

        Raises ProviderUnreachable; `summary` counts what was compared by then.
        """
        summary, listed_references, provider_invoices = self.summary, set[str](), _ProviderInvoices()
        for chunk in chunked(self.records.payments(since=since), _AT_ONCE):
            listed_references.update(reference for payment in chunk for reference in payment.references)
            self._sync_all(summary, [snapshot for snapshot in chunk if isinstance(snapshot, PaymentSnapshot)])
            unreadable_payments = [payment for payment in chunk if isinstance(payment, UnreadablePayment)]
            self._report_unreadable(summary, unreadable_payments)
            self.advance(len(chunk))
        for invoice, payment in self._unlisted(listed_references, since, provider_invoices):
            self._look_up(summary, invoice, payment)
            self.advance(1)
        if provider_invoices.exist:
            self._compare_credits(summary, provider_invoices)
        summary.unreviewed = self.books.read(lambda tx: tx.events.unreviewed_count(self.records.name))
        count_unsettled(summary, self.books, self.records.name, now=self.clock.now(), pending_days=self.pending_days)
        self.books.write(
            lambda tx: summary.record(
                tx, self.records.name, account=self.records.account, since=since.isoformat() if since else ""
            )
        )
        return summary

    def _compare_credits(self, summary: ComparisonSummary, provider_invoices: _ProviderInvoices) -> None:
        """Compare the credits to customers' balances, which the list of payments does not contain."""
        try:
            credit_by_reference = self.records.credits()
        except RefundcliError as problem:
            if problem.code != _UNREACHABLE:
                raise
            summary.unread_lists["credit notes"] = problem.message
            return
        for references in chunked(sorted({*credit_by_reference, *provider_invoices.credited}), _AT_ONCE):
            for reference, invoice in self._stored_invoices(references).items():
                if credit_by_reference.get(reference, zero(invoice.currency)) != invoice.credited:
                    self._look_up_credit(summary, invoice)

    def _stored_invoices(self, references: Sequence[str]) -> dict[str, Invoice]:
        return self.books.read(lambda tx: tx.invoices.by_reference(references))

    def _look_up_credit(self, summary: ComparisonSummary, invoice: Invoice) -> None:
        """Look up the invoice's total credit: the list may have changed while it was read."""
        try:
            credited_amount = self.records.credited(invoice.invoice_reference)
        except CannotBeHeld as problem:
            invoice_fields = (self.records.name, invoice.number, invoice.invoice_reference)
            summary.unreadable += 1
            difference = Difference(DifferenceKind.STATUS, *invoice_fields, "credit notes", "", problem.message)
            self._report(summary, difference, repaired=False)
            return

        def write(tx: Writing) -> PaymentSync:
            current_invoice = invoice_named(tx, invoice.number)
            differences = credit_differences(current_invoice, self.records.name, credited_amount)
            if credited_amount is None or not differences:
                return PaymentSync()
            changed = note_credit(
                tx, current_invoice, credited_amount, update_source=f"asked {self.records.name.label}"
            )
            remaining_differences = credit_differences(
                invoice_named(tx, invoice.number), self.records.name, credited_amount
            )
            return PaymentSync(differences, remaining_differences, changed)

        self._report_sync(summary, self.books.write(write))

    def _look_up(self, summary: ComparisonSummary, invoice: Invoice, payment: Payment) -> None:
        try:
            snapshot = self.records.payment(payment.reference, of_invoice=invoice.invoice_reference)
        except CannotBeHeld as problem:
            self._report_unreadable(
                summary, [UnreadablePayment(self.records.name, payment.references, problem.message)]
            )
        else:
            self._sync_one(summary, invoice.number, payment.id, snapshot)

    def _sync_all(self, summary: ComparisonSummary, snapshots: Sequence[PaymentSnapshot]) -> None:
        def write(tx: Writing) -> list[tuple[PaymentSnapshot, PaymentSync | None]]:
            matches = list(match_snapshots(tx, self.records.name, snapshots))
            return [
                (snapshot, self._sync(tx, invoice, payment, snapshot) if invoice and payment else None)
                for snapshot, invoice, payment in matches
            ]

        for snapshot, sync in self.books.write(write):
            summary.compared += sync is not None
            if sync is None and not snapshot.captured:
                continue  # authorised or processing: no money was captured that an invoice should have
            if sync is None:
                self._report(summary, _unknown_payment(snapshot), repaired=False)
            else:
                self._report_sync(summary, sync)

    def _report_unreadable(self, summary: ComparisonSummary, payments: Sequence[UnreadablePayment]) -> None:
        """Report payments that cannot be read; change nothing."""
        references = [reference for payment in payments for reference in payment.references]
        invoices_by_reference = (
            self.books.read(lambda tx: tx.invoices.of_payments(self.records.name, references)) if payments else {}
        )
        for payment in payments:
            summary.unreadable += 1
            numbers = [
                invoices_by_reference[reference].number
                for reference in payment.references
                if reference in invoices_by_reference
            ]
            first_reference, first_number = payment.references[0], next(iter(numbers), "")
            difference = Difference(
                DifferenceKind.STATUS, payment.provider, first_number, first_reference, "payment", "", payment.why
            )
            self._report(summary, difference, repaired=False)

    def _sync_one(
        self, summary: ComparisonSummary, invoice_number: str, payment_id: int, snapshot: PaymentSnapshot | None
    ) -> None:
        def write(tx: Writing) -> PaymentSync:
            invoice = invoice_named(tx, invoice_number)
            payment = next(p for p in invoice.payments if p.id == payment_id)
            return self._sync(tx, invoice, payment, snapshot)

        summary.compared += 1
        self._report_sync(summary, self.books.write(write))

    def _sync(self, tx: Writing, invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot | None) -> PaymentSync:
        return sync_payment(
            tx, invoice, payment, snapshot, clock=self.clock, credit_note_format=self.credit_note_format
        )

    def _report_sync(self, summary: ComparisonSummary, sync: PaymentSync) -> None:
        summary.changed += sync.changed
        summary.settled += sync.settled
        remaining_differences = set(sync.remaining)
        for difference in sync.differences:
            self._report(summary, difference, repaired=difference not in remaining_differences)
        # An applied update may leave no difference in the sums and still need a person (R7).
        reported_references = {difference.reference for difference in sync.differences}
        for difference in sync.remaining:
            if difference.reference not in reported_references:
                self._report(summary, difference, repaired=False)

    def _report(self, summary: ComparisonSummary, difference: Difference, *, repaired: bool) -> None:
        summary.add(difference, repaired=repaired)
        self.on_difference(difference, repaired)

    def _unlisted(
        self, listed_references: set[str], since: date | None, provider_invoices: _ProviderInvoices
    ) -> Iterable[tuple[Invoice, Payment]]:
        """Payments in the books that the provider did not list; each is looked up before it is reported as missing."""
        for page in invoice_pages(self.books, InvoiceFilter(provider=self.records.name)):
            for invoice in page:
                provider_invoices.add(invoice, self.records.name)
                for payment in invoice.payments:
                    is_at_provider = payment.provider is self.records.name and payment.reference
                    is_recent = since is None or (payment.paid_on or invoice.issued_on) >= since
                    if is_at_provider and is_recent and listed_references.isdisjoint(payment.references):
                        yield invoice, payment


def count_unsettled(
    summary: ComparisonSummary, books: Books, provider: Provider, *, now: datetime, pending_days: int
) -> None:
    """Count the provider's refunds that have no outcome to compare (R15).

    A pending one is overdue after `pending_days`.
    """
    states = (*WITHOUT_OUTCOME, RefundState.PENDING)
    refunds = books.read(lambda tx: tx.refunds.in_states(*states))
    provider_refunds = [refund for refund in refunds if refund.provider is provider]
    summary.count_unsettled(provider_refunds, now=now, overdue_before=now - timedelta(days=pending_days))


def payments_not_asked(reading: Reading, asked: Provider, invoice_number: str | None) -> dict[Provider, int]:
    """How many payments each other provider without look-ups has: of the invoice, or in the books without a number."""
    if invoice_number:
        payments = invoice_named(reading, invoice_number).payments
        count_by_provider = Counter(payment.provider for payment in payments if payment.provider and payment.reference)
    else:
        count_by_provider = Counter({provider: reading.payments.count(provider) for provider in Provider})
    return {
        provider: count
        for provider, count in sorted(count_by_provider.items())
        if count and provider is not asked and provider not in CAN_LOOK_UP
    }


def is_unconfirmed(refund: Refund, now: datetime, overdue_before: datetime) -> bool:
    """Is its outcome unknown and no process sending it, or has it been pending since before `overdue_before`?"""
    if refund.state is RefundState.PENDING:
        return refund.created_at < overdue_before
    if refund.state is RefundState.AWAITING_APPROVAL:
        return True
    return bool(refund.state.unfinished and refund.sending and not is_live(refund.sending, now))


def is_being_sent(refund: Refund, now: datetime) -> bool:
    """Is a running process sending it? Then its outcome is known in seconds."""
    return bool(refund.state.unfinished and refund.sending and is_live(refund.sending, now))


def _unknown_payment(snapshot: PaymentSnapshot) -> Difference:
    reference = snapshot.references[0]
    return Difference(
        DifferenceKind.MISSING_HERE,
        snapshot.provider,
        "",
        reference,
        "payment",
        "",
        str(snapshot.captured),
        snapshot.captured,
    )
