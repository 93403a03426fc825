"""Compare the books with a provider that can be asked, and take in what is proven."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.chunks import chunked
from refundcli.services.dispatch.leases import is_live
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.invoices.pages import invoice_pages
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import CannotBeHeld, PaymentTruth, UnreadablePayment
from refundcli.services.ports.providers import ProviderRecords
from refundcli.services.ports.records import InvoiceFilter
from refundcli.services.preflight.comparison import Difference, DifferenceKind, credit_differences
from refundcli.services.provider_updates.sync_payment import TakenIn, note_credit, payments_told, take_in
from refundcli.services.reconciliation.last_comparison import Agreement, ComparisonScope, record_comparison

_AT_ONCE = 100
# By default, a refund that was accepted longer ago than this is overdue.
PENDING_DAYS = 5
# The code of a provider that could not be asked.
_UNREACHABLE = "provider-unreachable"

Tell = Callable[[Difference, bool], None]
Advance = Callable[[int], None]


@dataclass(slots=True)
class Reconciled:
    """The outcome of a comparison: `by_kind` and `money` of the differences, `repaired` of those that were applied.

    `compared` counts payments of the books. `not_in_books` counts lines of a report about none of them, `being_sent`
    the refunds that a living process is sending now (R15). What could not be compared: `unreadable` payments,
    `unreviewed` provider updates, `unconfirmed` refunds, whose outcome is unknown or which have been pending for too
    long, and `unread_lists`, what the provider did not list, by why. `settled`: refunds whose outcome was unknown
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
    settled: list[Refund] = field(default_factory=list)

    @property
    def not_compared(self) -> int:
        return self.unreadable + self.unreviewed + self.unconfirmed + len(self.unread_lists)

    @property
    def left(self) -> int:
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

    def count_unsettled(self, refunds: Sequence[Refund], *, now: datetime, overdue: datetime) -> None:
        self.unconfirmed = sum(is_unconfirmed(refund, now, overdue) for refund in refunds)
        self.being_sent = sum(is_being_sent(refund, now) for refund in refunds)

    def record(self, tx: Writing, provider: Provider, *, account: str, report: str = "", since: str = "") -> None:
        """Store how it ended, and what it was about."""
        scope = ComparisonScope(account, self.compared, tx.payment_count(provider), report, since)
        record_comparison(tx, provider, scope, self.result, left=self.left, not_compared=self.not_compared)

    def add(self, difference: Difference, *, repaired: bool) -> None:
        self.by_kind[difference.kind] += 1
        self.repaired += repaired
        if difference.amount:
            slot = (difference.kind, difference.amount.currency.code)
            known = self.money.get(slot)
            self.money[slot] = known + difference.amount if known else difference.amount


@dataclass(slots=True)
class _KeptInvoices:
    """Of the invoices in the books: does the provider keep any, and to which was something credited, by reference."""

    exist: bool = False
    credited: set[str] = field(default_factory=set)

    def add(self, invoice: Invoice, provider: Provider) -> None:
        if invoice.managed_by is provider:
            self.exist = True
            if invoice.credited:
                self.credited.add(invoice.invoice_reference)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison under way: whom it asks, what it writes with, whom it tells of each difference, and the result."""

    books: Books
    records: ProviderRecords
    clock: Clock
    number_format: str
    tell: Tell
    advance: Advance = lambda count: None
    pending_days: int = PENDING_DAYS
    done: Reconciled = field(default_factory=Reconciled)

    def of_invoice(self, number: str) -> Reconciled:
        """One invoice, payment by payment. Raises InvoiceNotFound, ProviderUnreachable."""
        done = self.done
        invoice = self.books.read(lambda tx: invoice_named(tx, number))
        for payment in invoice.payments:
            if payment.provider is self.records.name and payment.reference:
                truth = self.records.payment(payment.reference, of_invoice=invoice.invoice_reference)
                self._take_in_one(done, invoice.number, payment.id, truth)
        now = self.books.read(lambda tx: invoice_named(tx, number))
        done.unreviewed = sum(each.needs_a_person for payment in now.payments for each in payment.unreviewed)
        overdue = self.clock.now() - timedelta(days=self.pending_days)
        done.count_unsettled(now.refunds, now=self.clock.now(), overdue=overdue)
        return done

    def of_everything(self, *, since: date | None) -> Reconciled:
        """Every payment made since then, here and there, and all credit notes to customers' balances.

        Raises ProviderUnreachable; what was compared stays done, and is counted in `done`.
        """
        done, seen, kept = self.done, set[str](), _KeptInvoices()
        for chunk in chunked(self.records.payments(since=since), _AT_ONCE):
            seen.update(each for truth in chunk for each in truth.references)
            self._take_in(done, [each for each in chunk if isinstance(each, PaymentTruth)])
            self._tell_unreadable(done, [each for each in chunk if isinstance(each, UnreadablePayment)])
            self.advance(len(chunk))
        for invoice, payment in self._not_seen(seen, since, kept):
            self._ask_for(done, invoice, payment)
            self.advance(1)
        if kept.exist:
            self._compare_credits(done, kept)
        done.unreviewed = self.books.read(lambda tx: tx.unreviewed_count(self.records.name))
        count_unsettled(done, self.books, self.records.name, now=self.clock.now(), days=self.pending_days)
        self.books.write(
            lambda tx: done.record(
                tx, self.records.name, account=self.records.account, since=since.isoformat() if since else ""
            )
        )
        return done

    def _compare_credits(self, done: Reconciled, kept: _KeptInvoices) -> None:
        """What credit notes gave to customers' balances, which the list of payments does not tell."""
        try:
            credits = self.records.credits()
        except RefundcliError as problem:
            if problem.code != _UNREACHABLE:
                raise
            done.unread_lists["credit notes"] = problem.message
            return
        for references in chunked(sorted({*credits, *kept.credited}), _AT_ONCE):
            for reference, invoice in self._kept_here(references).items():
                if credits.get(reference, zero(invoice.currency)) != invoice.credited:
                    self._ask_for_credit(done, invoice)

    def _kept_here(self, references: Sequence[str]) -> dict[str, Invoice]:
        return self.books.read(lambda tx: tx.invoices_by_reference(references))

    def _ask_for_credit(self, done: Reconciled, invoice: Invoice) -> None:
        """The invoice itself says what was credited in all: the list may have changed while it was read."""
        try:
            credited = self.records.credited(invoice.invoice_reference)
        except CannotBeHeld as problem:
            at = (self.records.name, invoice.number, invoice.invoice_reference)
            done.unreadable += 1
            difference = Difference(DifferenceKind.STATUS, *at, "credit notes", "", problem.message)
            self._found(done, difference, repaired=False)
            return

        def write(tx: Writing) -> TakenIn:
            now = invoice_named(tx, invoice.number)
            found = credit_differences(now, self.records.name, credited)
            if credited is None or not found:
                return TakenIn()
            changed = note_credit(tx, now, credited, evidence=f"asked {self.records.name.label}")
            left = credit_differences(invoice_named(tx, invoice.number), self.records.name, credited)
            return TakenIn(found, left, changed)

        self._tell_all(done, self.books.write(write))

    def _ask_for(self, done: Reconciled, invoice: Invoice, payment: Payment) -> None:
        try:
            truth = self.records.payment(payment.reference, of_invoice=invoice.invoice_reference)
        except CannotBeHeld as problem:
            self._tell_unreadable(done, [UnreadablePayment(self.records.name, payment.references, problem.message)])
        else:
            self._take_in_one(done, invoice.number, payment.id, truth)

    def _take_in(self, done: Reconciled, truths: Sequence[PaymentTruth]) -> None:
        def write(tx: Writing) -> list[tuple[PaymentTruth, TakenIn | None]]:
            told = list(payments_told(tx, self.records.name, truths))
            return [
                (truth, self._taken_in(tx, invoice, payment, truth) if invoice and payment else None)
                for truth, invoice, payment in told
            ]

        for truth, taken in self.books.write(write):
            done.compared += taken is not None
            if taken is None and not truth.captured:
                continue  # authorised, or under way: no money was taken that an invoice should tell of
            if taken is None:
                self._found(done, _unknown_payment(truth), repaired=False)
            else:
                self._tell_all(done, taken)

    def _tell_unreadable(self, done: Reconciled, payments: Sequence[UnreadablePayment]) -> None:
        """What is there may be more than can be read of it: it is told, and nothing is changed."""
        references = [reference for payment in payments for reference in payment.references]
        owners = self.books.read(lambda tx: tx.invoices_of_payments(self.records.name, references)) if payments else {}
        for payment in payments:
            done.unreadable += 1
            numbers = [owners[reference].number for reference in payment.references if reference in owners]
            name, number = payment.references[0], next(iter(numbers), "")
            difference = Difference(DifferenceKind.STATUS, payment.provider, number, name, "payment", "", payment.why)
            self._found(done, difference, repaired=False)

    def _take_in_one(self, done: Reconciled, number: str, payment_id: int, truth: PaymentTruth | None) -> None:
        def write(tx: Writing) -> TakenIn:
            invoice = invoice_named(tx, number)
            payment = next(p for p in invoice.payments if p.id == payment_id)
            return self._taken_in(tx, invoice, payment, truth)

        done.compared += 1
        self._tell_all(done, self.books.write(write))

    def _taken_in(self, tx: Writing, invoice: Invoice, payment: Payment, truth: PaymentTruth | None) -> TakenIn:
        return take_in(tx, invoice, payment, truth, clock=self.clock, number_format=self.number_format)

    def _tell_all(self, done: Reconciled, taken: TakenIn) -> None:
        done.changed += taken.changed
        done.settled += taken.settled
        left = set(taken.left)
        for difference in taken.found:
            self._found(done, difference, repaired=difference not in left)
        # What was taken in may be no difference in the sums, and still wait for a person (R7).
        told = {difference.reference for difference in taken.found}
        for difference in taken.left:
            if difference.reference not in told:
                self._found(done, difference, repaired=False)

    def _found(self, done: Reconciled, difference: Difference, *, repaired: bool) -> None:
        done.add(difference, repaired=repaired)
        self.tell(difference, repaired)

    def _not_seen(self, seen: set[str], since: date | None, kept: _KeptInvoices) -> Iterable[tuple[Invoice, Payment]]:
        """Payments here that the list there did not hold; each is asked for by itself before it is called missing."""
        for page in invoice_pages(self.books, InvoiceFilter(provider=self.records.name)):
            for invoice in page:
                kept.add(invoice, self.records.name)
                for payment in invoice.payments:
                    known = payment.provider is self.records.name and payment.reference
                    young = since is None or (payment.paid_on or invoice.issued_on) >= since
                    if known and young and seen.isdisjoint(payment.references):
                        yield invoice, payment


def count_unsettled(done: Reconciled, books: Books, provider: Provider, *, now: datetime, days: int) -> None:
    """Count the provider's refunds that have no outcome to compare (R15); after `days` a pending one is overdue."""
    states = (RefundState.READY, RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL, RefundState.PENDING)
    refunds = books.read(lambda tx: tx.refunds_in(*states))
    theirs = [refund for refund in refunds if refund.provider is provider]
    done.count_unsettled(theirs, now=now, overdue=now - timedelta(days=days))


def is_unconfirmed(refund: Refund, now: datetime, overdue: datetime) -> bool:
    """Is its outcome unknown and no process sending it, or has it been pending since before `overdue`?"""
    if refund.state is RefundState.PENDING:
        return refund.created_at < overdue
    if refund.state is RefundState.AWAITING_APPROVAL:
        return True
    return bool(refund.state.unfinished and refund.sending and not is_live(refund.sending, now))


def is_being_sent(refund: Refund, now: datetime) -> bool:
    """Is a living process sending it? Then its outcome is a matter of seconds."""
    return bool(refund.state.unfinished and refund.sending and is_live(refund.sending, now))


def _unknown_payment(truth: PaymentTruth) -> Difference:
    reference = truth.references[0]
    return Difference(
        DifferenceKind.MISSING_HERE,
        truth.provider,
        "",
        reference,
        "payment",
        "",
        str(truth.captured),
        truth.captured,
    )
