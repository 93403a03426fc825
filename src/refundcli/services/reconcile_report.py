"""Compare the books with a provider's report, and take in what it proves; for a provider that cannot be asked.

Both may be long: the report lies on disk by payment, the books are read in sets, and only what differs is
looked at closer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import Dispute, Provider, RefundState, may_become
from refundcli.services.chunks import chunked
from refundcli.services.differences import Difference, DifferenceKind, apart
from refundcli.services.hear_news import hear
from refundcli.services.ports import Books, Clock, PaymentLine, RefundLine, Writing
from refundcli.services.provider_news import DisputeNews, EventState, News, RefundNews
from refundcli.services.reconcile import Advance, Reconciled, Tell
from refundcli.services.reports import Report, ReportKind, ReportRow
from refundcli.services.status import compared_name

_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 200
# A payment is settled, and a refund sent, some days after it was made: what is younger may be in the next report.
_SETTLED_AFTER = timedelta(days=5)

_CAPTURED = (ReportKind.SENT_FOR_SETTLE, ReportKind.SETTLED)
_REFUNDS: dict[ReportKind, RefundState] = {
    ReportKind.SENT_FOR_REFUND: RefundState.PENDING,
    ReportKind.REFUNDED: RefundState.SUCCEEDED,
    ReportKind.REFUND_FAILED: RefundState.FAILED,
    ReportKind.REFUND_REVERSED: RefundState.REVERSED,
}
_DISPUTES: dict[ReportKind, Dispute] = {
    ReportKind.CHARGEBACK: Dispute.OPEN,
    ReportKind.CHARGEBACK_REVERSED: Dispute.WON,
    ReportKind.SECOND_CHARGEBACK: Dispute.LOST,
}
_RANK = (RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.REVERSED)
_GIVEN = (RefundState.PENDING, RefundState.SUCCEEDED)
_UNDER_WAY = (RefundState.READY, RefundState.SUBMITTED, RefundState.PENDING)


@dataclass(slots=True)
class _Wish:
    """A piece of news that differs from the books, and how it is told; `is_expected`: only if it is not taken in."""

    news: News
    evidence: str
    difference: Difference
    is_expected: bool = False


@dataclass
class ReportComparison:
    """One comparison under way. `account` is whose report it is."""

    books: Books
    report: Report
    provider: Provider
    account: str
    clock: Clock
    number_format: str
    tell: Tell
    done: Reconciled = field(default_factory=Reconciled)

    def of_report(self, advance: Advance) -> None:
        """What the report tells is looked up in the books."""
        for groups in chunked(self.report.by_payment(), _AT_ONCE):
            self._compare(groups)
            advance(len(groups))

    def of_books(self, advance: Advance) -> Reconciled:
        """What is in the books and should be in the report; after the other way round."""
        for chunk in chunked(self._expected_there(advance), _AT_ONCE):
            self._not_there(chunk)
        if self.report.rows:
            self.books.write(lambda tx: tx.set_sync_state(compared_name(self.provider), f"{self.done.differences}"))
        return self.done

    # --- the report, looked up here --------------------------------------------------------------------------

    def _compare(self, groups: Sequence[tuple[str, list[ReportRow]]]) -> None:
        references = [payment for payment, _ in groups]
        lines = self.books.read(lambda tx: tx.payment_lines(self.provider, references))
        wishes: list[_Wish] = []
        for payment, rows in groups:
            self.done.compared += 1
            line = lines.get(payment)
            if line is None:
                self._told(_payment_not_here(self.provider, payment, rows), repaired=False)
            else:
                wishes += self._of_payment(line, rows)
        for batch in chunked(wishes, _WRITTEN_AT_ONCE):
            self._take_in(batch)

    def _of_payment(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        taken = [row for row in rows if row.kind in _CAPTURED]
        if taken:
            self._captured(line, taken)
        if len(taken) < len(rows):
            yield from self._refunds(line, [row for row in rows if row.kind in _REFUNDS])
            yield from self._dispute(line, [row for row in rows if row.kind in _DISPUTES])

    def _captured(self, line: PaymentLine, rows: Sequence[ReportRow]) -> None:
        """A capture is told when it is sent and when it is settled: once is enough."""
        of = line.captured.currency
        if any(row.amount.currency != of for row in rows):
            there = rows[0].amount
            self._told(self._differs(DifferenceKind.CURRENCY, line, "captured", line.captured, there), repaired=False)
            return
        kind = ReportKind.SENT_FOR_SETTLE if rows[0].kind is ReportKind.SENT_FOR_SETTLE else ReportKind.SETTLED
        told = sum((row.amount for row in rows if row.kind is kind), zero(of))
        if told != line.captured:
            self._told(self._differs(DifferenceKind.AMOUNT, line, "captured", line.captured, told), repaired=False)

    def _refunds(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        by_reference: dict[str, list[ReportRow]] = {}
        for row in rows:
            by_reference.setdefault(row.refund_reference, []).append(row)
        for reference, told in by_reference.items():
            last = max(told, key=lambda row: _RANK.index(_REFUNDS[row.kind]))
            known = _known(line, reference, last.merchant_reference)
            again = _made_again(told, known)
            if again and known:
                at = (line.invoice, reference, "refund", known.state, RefundState.SUCCEEDED, again.amount, known.id)
                self._told(Difference(DifferenceKind.STATUS, self.provider, *at), repaired=False)
            wish = self._refund(line, reference, last, known)
            if wish:
                yield wish

    def _refund(self, line: PaymentLine, reference: str, row: ReportRow, known: RefundLine | None) -> _Wish | None:
        state = _REFUNDS[row.kind]
        if known is not None and known.amount == row.amount and not _is_news(known, state):
            return None
        news = RefundNews(
            provider=self.provider,
            reference=reference,
            payment_references=(line.reference,),
            amount=row.amount,
            state=state,
            status=row.kind,
            account=self.account,
            refund_id=known.id if known else "",
            failure="" if state in _GIVEN else f"{self.provider.label}: {row.kind} ({self.report.name})",
            is_late=row.kind is ReportKind.REFUND_FAILED,
            created_at=row.booked_at,
        )
        difference = _refund_differs(line, row, known, news)
        return _Wish(news, f"report {self.report.name} line {row.line}", difference, _is_expected(known, state))

    def _dispute(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        for row in sorted(rows, key=lambda each: (each.booked_at, each.line))[-1:]:
            told = _DISPUTES[row.kind]
            if told is line.dispute or (line.dispute_at and row.booked_at < line.dispute_at):
                return
            # An import told how it ended, and not when: how it began is no news then.
            if told is Dispute.OPEN and line.dispute is not Dispute.NONE and line.dispute_at is None:
                return
            news = DisputeNews(
                self.provider, (line.reference,), told, row.kind, row.booked_at, row.amount, self.account
            )
            difference = self._differs(DifferenceKind.DISPUTE, line, "dispute", line.dispute or "none", told)
            yield _Wish(news, f"report {self.report.name} line {row.line}", difference)

    def _take_in(self, wishes: Sequence[_Wish]) -> None:
        def write(tx: Writing) -> list[tuple[_Wish, bool]]:
            return [(wish, self._heard(tx, wish)) for wish in wishes]

        for wish, repaired in self.books.write(write):
            self.done.changed += repaired
            if not (repaired and wish.is_expected):
                self._told(wish.difference, repaired=repaired)

    def _heard(self, tx: Writing, wish: _Wish) -> bool:
        heard = hear(tx, wish.news, evidence=wish.evidence, clock=self.clock, number_format=self.number_format)
        return heard.changed and heard.state is EventState.APPLIED

    # --- the books, looked up in the report ------------------------------------------------------------------

    def _expected_there(self, advance: Advance) -> Iterator[PaymentLine]:
        """Payments that were made well within the time that the report covers."""
        if self.report.first is None or self.report.last is None:
            return
        first, last = self.report.first.date() + timedelta(days=1), (self.report.last - _SETTLED_AFTER).date()
        after = 0
        while page := self._page(after):
            yield from (line for line in page if line.paid_on and first <= line.paid_on <= last)
            after = page[-1].id
            advance(len(page))

    def _page(self, after: int) -> list[PaymentLine]:
        return self.books.read(lambda tx: tx.payment_lines_after(self.provider, after, limit=_AT_ONCE))

    def _not_there(self, lines: Sequence[PaymentLine]) -> None:
        there = self.report.has([line.reference for line in lines])
        for line in lines:
            if line.reference not in there and line.captured:
                self._told(
                    self._differs(DifferenceKind.MISSING_THERE, line, "payment", line.captured, ""), repaired=False
                )

    # --- telling ---------------------------------------------------------------------------------------------

    def _differs(self, kind: DifferenceKind, line: PaymentLine, what: str, here: object, there: object) -> Difference:
        amount = apart(line.captured, there) if isinstance(there, Money) else line.captured
        return Difference(kind, self.provider, line.invoice, line.reference, what, str(here), str(there), amount)

    def _told(self, difference: Difference, *, repaired: bool) -> None:
        self.done.add(difference, repaired=repaired)
        self.tell(difference, repaired)


def _known(line: PaymentLine, reference: str, merchant_reference: str) -> RefundLine | None:
    by_reference = next((r for r in line.refunds if r.provider_reference == reference), None)
    named = (r for r in line.refunds if r.id == merchant_reference and not r.provider_reference)
    return by_reference or next(named, None)


def _made_again(told: Sequence[ReportRow], known: RefundLine | None) -> ReportRow | None:
    """Adyen may try by itself after a late failure: then the money is gone, although the refund here failed."""
    if known is None or known.state is not RefundState.FAILED or known.came_back_at is None:
        return None
    failures = [row.booked_at for row in told if row.kind is ReportKind.REFUND_FAILED]
    since = max(failures, default=known.came_back_at)
    return next((row for row in told if row.kind is ReportKind.REFUNDED and row.booked_at > since), None)


def _is_news(known: RefundLine, state: RefundState) -> bool:
    """A later word, or money on its way for a refund that is told here as failed and never sent."""
    if known.state is RefundState.FAILED and state in _GIVEN:
        return known.came_back_at is None
    return may_become(known.state, state)


def _is_expected(known: RefundLine | None, state: RefundState) -> bool:
    """That an accepted refund ends well is what the report is for; one that nobody here knew and that came to
    nothing is no difference either."""
    if known is None:
        return state not in _GIVEN
    return known.state in _UNDER_WAY and state in _GIVEN


def _refund_differs(line: PaymentLine, row: ReportRow, known: RefundLine | None, news: RefundNews) -> Difference:
    kind, here, there, amount = DifferenceKind.MISSING_HERE, "", str(row.amount), row.amount
    if known is not None and known.amount.currency != row.amount.currency:
        kind, here = DifferenceKind.CURRENCY, str(known.amount)
    elif known is not None and known.amount != row.amount:
        kind, here, amount = DifferenceKind.AMOUNT, str(known.amount), apart(known.amount, row.amount)
    elif known is not None:
        kind, here, there = DifferenceKind.STATUS, known.state, news.state
    refund_id = known.id if known else ""
    return Difference(kind, news.provider, line.invoice, news.reference, "refund", here, there, amount, refund_id)


def _payment_not_here(provider: Provider, payment: str, rows: Sequence[ReportRow]) -> Difference:
    row = rows[0]
    what = "payment" if row.kind in _CAPTURED else str(row.kind)
    return Difference(DifferenceKind.MISSING_HERE, provider, "", payment, what, "", str(row.amount), row.amount)
