"""Compare the books with a provider that has look-ups, and apply what is proven."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import chain
from typing import TypeAlias

from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, add_to, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, Provider, RefundState
from refundcli.services.chunks import chunked
from refundcli.services.dispatch.leases import is_live
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.invoices.pages import invoice_pages
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import CannotBeHeld, PaymentSnapshot, UnreadablePayment
from refundcli.services.ports.providers import ProviderRecords, Providers
from refundcli.services.ports.reads import InvoiceFilter
from refundcli.services.preflight.comparison import credit_differences
from refundcli.services.preflight.difference import Difference, DifferenceKind
from refundcli.services.provider_updates.outcome import Match, reloaded
from refundcli.services.provider_updates.sync_payment import PaymentSync, SyncPayments, match_snapshots, note_credit
from refundcli.services.reconciliation.last_comparison import Agreement, ComparisonScope, record_comparison

_AT_ONCE = 100
# By default, a refund that was accepted longer ago than this is overdue.
PENDING_DAYS = 5
# The error code of an unreachable provider.
_UNREACHABLE = "provider-unreachable"

OnDifference: TypeAlias = Callable[[Difference, bool], None]
Advance: TypeAlias = Callable[[int], None]


@dataclass(slots=True)
class ComparisonSummary:
    """The outcome of a comparison: `by_kind` and `money` of the differences, `repaired` of those that were applied.

    Each difference is also passed to `on_difference`, with whether it was applied.

    `compared` counts payments of the books. `not_in_books` counts report lines about none of them, `being_sent` the
    refunds that a running process is sending now (R15). Not compared: `unreadable` payments, `unreviewed` provider
    updates, `unconfirmed` refunds, whose outcome is unknown or which have been pending for too long, and
    `unread_lists`, the lists that could not be read, with the reason. `not_asked`: how many payments each other
    provider has in the books, which only its report compares. `settled`: refunds whose outcome was unknown
    before, as they are now.
    """

    on_difference: OnDifference = lambda difference, is_applied: None
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

    def report(self, difference: Difference, *, repaired: bool = False) -> None:
        self.by_kind[difference.kind] += 1
        self.repaired += repaired
        if difference.amount:
            add_to(self.money, (difference.kind, difference.amount.currency.code), difference.amount)
        self.on_difference(difference, repaired)


@dataclass(frozen=True, slots=True)
class ReconcileProvider:
    """Compares the books with providers, and applies what is proven; fills a `summary`.

    A refund that was accepted longer than `pending_days` ago is overdue.
    """

    books: Books
    providers: Providers
    payments: SyncPayments
    clock: Clock
    pending_days: int = PENDING_DAYS

    def invoice(self, provider: Provider, invoice_number: str, summary: ComparisonSummary) -> None:
        """Compare one invoice, payment by payment. Raises InvoiceNotFound, ProviderUnreachable."""
        _Comparison(self, self.providers.records(provider), summary).of_invoice(invoice_number)

    def everything(
        self,
        provider: Provider,
        summary: ComparisonSummary,
        *,
        since: date | None = None,
        advance: Advance = lambda count: None,
    ) -> None:
        """Compare every payment since then, in the books and at the provider, and all credits to customers' balances.

        Raises ProviderUnreachable; `summary` counts what was compared by then.
        """
        comparison = _Comparison(self, self.providers.records(provider), summary)
        comparison.of_everything(since, advance)

    def not_asked(self, asked: Provider, invoice_number: str | None) -> dict[Provider, int]:
        """How many payments each other provider without look-ups has: of the invoice, or in the books without one."""
        others = [p for p in sorted(Provider) if p is not asked and p not in CAN_LOOK_UP]
        if invoice_number:
            payments = self.books.read(lambda tx: invoice_named(tx, invoice_number)).payments
            counts = Counter(payment.provider for payment in payments if payment.provider and payment.reference)
        else:
            counts = self.books.read(lambda tx: Counter({p: tx.payments.count(p) for p in others}))
        return {provider: counts[provider] for provider in others if counts[provider]}

    def conclude(
        self,
        provider: Provider,
        summary: ComparisonSummary,
        *,
        account: str,
        report: str = "",
        since: str = "",
        is_recorded: bool = True,
    ) -> None:
        """Count what could not be compared, and store the result (R15).

        `report`: the report's name; `since`: the first day, as `2026-10-01`. Without `is_recorded` nothing is stored.
        """
        states = (*WITHOUT_OUTCOME, RefundState.PENDING)
        refunds = self.books.read(lambda tx: tx.refunds.in_states(*states))
        self.count_unsettled([refund for refund in refunds if refund.provider is provider], summary)
        summary.unreviewed = self.books.read(lambda tx: tx.events.unreviewed_count(provider))

        def record(tx: Writing) -> None:
            scope = ComparisonScope(account, summary.compared, tx.payments.count(provider), report, since)
            left, not_compared = summary.remaining, summary.not_compared
            record_comparison(tx, provider, scope, summary.result, remaining=left, not_compared=not_compared)

        if is_recorded:
            self.books.write(record)

    def count_unsettled(self, refunds: Sequence[Refund], summary: ComparisonSummary) -> None:
        """Count the refunds that have no outcome to compare (R15)."""
        now = self.clock.now()
        overdue_before = now - timedelta(days=self.pending_days)
        summary.unconfirmed = sum(_is_unconfirmed(refund, now, overdue_before) for refund in refunds)
        summary.being_sent = sum(_is_being_sent(refund, now) for refund in refunds)


@dataclass(slots=True)
class _Comparison:
    """One comparison. Of the invoices that are also at the provider: are there any, and which were credited?"""

    ports: ReconcileProvider
    records: ProviderRecords
    summary: ComparisonSummary
    has_invoices: bool = False
    credited_references: set[str] = field(default_factory=set)

    def of_invoice(self, invoice_number: str) -> None:
        invoice = self.ports.books.read(lambda tx: invoice_named(tx, invoice_number))
        for payment in invoice.payments:
            if payment.provider is self.records.name and payment.reference:
                snapshot = self.records.payment(payment.reference, of_invoice=invoice.invoice_reference)
                self._sync_one(invoice, payment, snapshot)
        invoice = self.ports.books.read(lambda tx: invoice_named(tx, invoice_number))
        self.summary.unreviewed = sum(
            event.needs_a_person for payment in invoice.payments for event in payment.unreviewed
        )
        self.ports.count_unsettled(invoice.refunds, self.summary)

    def of_everything(self, since: date | None, advance: Advance) -> None:
        listed_references = set[str]()
        for chunk in chunked(self.records.payments(since=since), _AT_ONCE):
            listed_references.update(reference for payment in chunk for reference in payment.references)
            self._sync_all([snapshot for snapshot in chunk if isinstance(snapshot, PaymentSnapshot)])
            for payment in chunk:
                if isinstance(payment, UnreadablePayment):
                    self._report_unreadable(payment.references, payment.why)
            advance(len(chunk))
        for invoice, unlisted_payment in self._unlisted(listed_references, since):
            self._look_up(invoice, unlisted_payment)
            advance(1)
        if self.has_invoices:
            self._compare_credits()
        since_day = since.isoformat() if since else ""
        self.ports.conclude(self.records.name, self.summary, account=self.records.account, since=since_day)

    def _compare_credits(self) -> None:
        """Compare the credits to customers' balances, which the list of payments does not contain."""
        try:
            credit_by_reference = self.records.credits()
        except RefundcliError as problem:
            if problem.code != _UNREACHABLE:
                raise
            self.summary.unread_lists["credit notes"] = problem.message
            return
        for references in chunked(sorted({*credit_by_reference, *self.credited_references}), _AT_ONCE):
            for reference, invoice in self._stored_invoices(references).items():
                if credit_by_reference.get(reference, zero(invoice.currency)) != invoice.credited:
                    self._look_up_credit(invoice)

    def _stored_invoices(self, references: Sequence[str]) -> dict[str, Invoice]:
        return self.ports.books.read(lambda tx: tx.invoices.by_reference(references))

    def _look_up_credit(self, invoice: Invoice) -> None:
        """Look up the invoice's total credit: the list may have changed while it was read."""
        provider = self.records.name
        try:
            credited_amount = self.records.credited(invoice.invoice_reference)
        except CannotBeHeld as problem:
            self._report_status(invoice.number, invoice.invoice_reference, "credit notes", problem.message)
            return

        def write(tx: Writing) -> PaymentSync:
            current_invoice = invoice_named(tx, invoice.number)
            differences = credit_differences(current_invoice, provider, credited_amount)
            if credited_amount is None or not differences:
                return PaymentSync()
            changed = note_credit(tx, current_invoice, credited_amount, update_source=f"asked {provider.label}")
            remaining_differences = credit_differences(invoice_named(tx, invoice.number), provider, credited_amount)
            return PaymentSync(differences, remaining_differences, changed)

        self._report_sync(self.ports.books.write(write))

    def _look_up(self, invoice: Invoice, payment: Payment) -> None:
        try:
            snapshot = self.records.payment(payment.reference, of_invoice=invoice.invoice_reference)
        except CannotBeHeld as problem:
            self._report_unreadable(payment.references, problem.message)
        else:
            self._sync_one(invoice, payment, snapshot)

    def _sync_all(self, snapshots: Sequence[PaymentSnapshot]) -> None:
        def write(tx: Writing) -> list[tuple[PaymentSnapshot, PaymentSync | None]]:
            return [
                (snapshot, self.ports.payments.sync(tx, *match, snapshot) if match else None)
                for snapshot, match in match_snapshots(tx, self.records.name, snapshots)
            ]

        for snapshot, sync in self.ports.books.write(write):
            if sync:
                self.summary.compared += 1
                self._report_sync(sync)
            elif snapshot.captured:  # otherwise authorised or processing: no money that an invoice should have
                reference, captured = snapshot.references[0], snapshot.captured
                self._report(DifferenceKind.MISSING_HERE, "", reference, "payment", str(captured), captured)

    def _report_unreadable(self, references: Sequence[str], why: str) -> None:
        """Report a payment that cannot be read; change nothing."""
        invoices = self.ports.books.read(lambda tx: tx.invoices.of_payments(self.records.name, references))
        number = next((invoices[reference].number for reference in references if reference in invoices), "")
        self._report_status(number, references[0], "payment", why)

    def _report_status(self, invoice_number: str, reference: str, object_name: str, why: str) -> None:
        self.summary.unreadable += 1
        self._report(DifferenceKind.STATUS, invoice_number, reference, object_name, why)

    def _report(
        self, kind: DifferenceKind, number: str, reference: str, what: str, there: str, amount: Money | None = None
    ) -> None:
        self.summary.report(Difference(kind, self.records.name, number, reference, what, "", there, amount))

    def _sync_one(self, invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot | None) -> None:
        self.summary.compared += 1
        self._report_sync(
            self.ports.books.write(lambda tx: self.ports.payments.sync(tx, *reloaded(tx, invoice, payment), snapshot))
        )

    def _report_sync(self, sync: PaymentSync) -> None:
        self.summary.changed += sync.changed
        self.summary.settled += sync.settled
        remaining_differences = set(sync.remaining)
        for difference in sync.differences:
            self.summary.report(difference, repaired=difference not in remaining_differences)
        # An applied update may leave no difference in the sums and still need a person (R7).
        reported_references = {difference.reference for difference in sync.differences}
        for difference in sync.remaining:
            if difference.reference not in reported_references:
                self.summary.report(difference)

    def _unlisted(self, listed_references: set[str], since: date | None) -> Iterable[Match]:
        """Payments in the books that the provider did not list; each is looked up before it is reported as missing."""
        provider = self.records.name
        for invoice in chain.from_iterable(invoice_pages(self.ports.books, InvoiceFilter(provider=provider))):
            if invoice.managed_by is provider:
                self.has_invoices = True
                self.credited_references |= {invoice.invoice_reference} if invoice.credited else set()
            for payment in invoice.payments:
                is_at_provider = payment.provider is provider and payment.reference
                is_recent = since is None or (payment.paid_on or invoice.issued_on) >= since
                if is_at_provider and is_recent and listed_references.isdisjoint(payment.references):
                    yield invoice, payment


def _is_unconfirmed(refund: Refund, now: datetime, overdue_before: datetime) -> bool:
    """Is its outcome unknown and no process sending it, or has it been pending since before `overdue_before`?"""
    if refund.state is RefundState.PENDING:
        return refund.created_at < overdue_before
    if refund.state is RefundState.AWAITING_APPROVAL:
        return True
    return bool(refund.state.unfinished and refund.sending and not is_live(refund.sending, now))


def _is_being_sent(refund: Refund, now: datetime) -> bool:
    """Is a running process sending it? Then its outcome is known in seconds."""
    return bool(refund.state.unfinished and refund.sending and is_live(refund.sending, now))
