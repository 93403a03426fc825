"""Compare the books with a provider's report, and apply what it proves; for a provider that cannot be asked.

Both may be long: the report lies on disk by payment, the books are read in sets, and only what differs is
looked at closer.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState, may_become
from refundcli.services.chunks import chunked
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    CaptureNews,
    DisputeNews,
    Doubt,
    EventSource,
    EventState,
    RefundNews,
    Update,
)
from refundcli.services.ports.records import PaymentLine, RefundLine, SucceededRefund
from refundcli.services.ports.vocabulary import CaptureChange, Effect
from refundcli.services.preflight.comparison import Difference, DifferenceKind, apart
from refundcli.services.preflight.unreviewed import store_doubt
from refundcli.services.provider_updates.apply_update import hear
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_of_dispute
from refundcli.services.provider_updates.sync_payment import WITHOUT_OUTCOME
from refundcli.services.reconciliation.against_provider import PENDING_DAYS, Advance, Reconciled, Tell, count_unsettled
from refundcli.services.reconciliation.report_rows import Report, ReportRow, RowPart

_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 200
# A payment is settled, and a refund sent, some days after it was made: what is younger may be in the next report.
_SETTLED_AFTER = timedelta(days=5)

_RANK = (RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.REVERSED)
_TAKEN_OR_FAILED = (CaptureChange.ADDED, CaptureChange.FAILED)
_MADE = (RefundState.SUCCEEDED,)
_NOT_MADE = (RefundState.FAILED, RefundState.REVERSED)
_UNDER_WAY = (RefundState.READY, RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL, RefundState.PENDING)


@dataclass(slots=True)
class _Wish:
    """A piece of news that differs from the books, and how it is told; `is_expected`: only if it is not taken in."""

    news: Update
    evidence: str
    difference: Difference
    row: ReportRow
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
    pending_days: int = PENDING_DAYS
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
        for refunds in self._refunds_expected_there():
            self._refunds_not_there(refunds)
        if not self.report.account_rows:
            # It says nothing about this account, so nothing was compared, even if the books are empty (R15).
            found = "no row of this merchant account" if self.report.other_account_rows else "no rows at all"
            at = ("", self.account, "report", self.account, found)
            self._told(Difference(DifferenceKind.MISSING_THERE, self.provider, *at), repaired=False)
        self.done.unreviewed = self.books.read(lambda tx: tx.unreviewed_count(self.provider))
        count_unsettled(self.done, self.books, self.provider, now=self.clock.now(), days=self.pending_days)
        if self.report.rows:
            self.books.write(
                lambda tx: self.done.record(tx, self.provider, account=self.account, report=self.report.name)
            )
        return self.done

    # --- the report, looked up here --------------------------------------------------------------------------

    def _compare(self, groups: Sequence[tuple[str, list[ReportRow]]]) -> None:
        references = [payment for payment, _ in groups]
        lines = self.books.read(lambda tx: tx.payment_lines(self.provider, references))
        wishes: list[_Wish] = []
        for payment, rows in groups:
            line = lines.get(payment)
            if line is None:
                # Other systems may use the same merchant account: what is theirs is counted, no more (R15).
                self.done.not_in_books += len(rows)
                continue
            self.done.compared += 1
            wishes += self._of_payment(line, rows)
        for batch in chunked(wishes, _WRITTEN_AT_ONCE):
            self._take_in(batch)

    def _of_payment(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        for row in rows:
            if row.needs_review:
                yield self._unreviewed(line, row, row.needs_review)
        clear = [row for row in rows if not row.needs_review]
        captures = [row for row in clear if row.effect is Effect.CAPTURE]
        # A capture that cannot be read leaves the sum open.
        if captures and not any(row.needs_review and row.effect is Effect.CAPTURE for row in rows):
            self._captured(line, captures)
        if len(captures) < len(clear):
            yield from self._refunds(line, [row for row in clear if row.effect is Effect.REFUND])
            yield from self._disputes(line, [row for row in clear if row.effect is Effect.DISPUTE])
        missing = [row for row in captures if _changes(row) not in (None, CaptureChange.ADDED)]
        if missing:
            yield from self._captures(line, [*missing, *_captured_again(captures, missing)])

    def _unreviewed(self, line: PaymentLine, row: ReportRow, why: str) -> _Wish:
        """A row of an unlisted type, or one that contradicts itself or another, is shown and never applied (R13)."""
        there = f"line {row.line}: {why}"
        reference = row.modification_reference or line.reference
        at = (line.invoice, reference, "report line", "", there, row.amount)
        difference = Difference(DifferenceKind.STATUS, self.provider, *at)
        return _Wish(self._doubt(line.reference, row, why), self._evidence(row), difference, row)

    def _doubt(self, payment: str, row: ReportRow, why: str) -> Doubt:
        reference = row.modification_reference or payment
        return Doubt(self.provider, (payment,), row.word, reference, why, self.account, row.amount)

    def _evidence(self, row: ReportRow) -> str:
        return f"report {self.report.name} line {row.line}"

    def _captures(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        """What was not taken after all, or taken again. Whether that is known is seen when it is applied."""
        for row in sorted(rows, key=lambda each: (each.booked_at, each.line)):
            change = _changes(row)
            if row.amount is None or change is None or row.part in (RowPart.WHOLE, RowPart.INSTALMENT):
                continue
            reference = row.modification_reference or line.reference
            news = CaptureNews(
                self.provider, reference, (line.reference,), change, row.amount, row.word, row.booked_at, self.account
            )
            difference = self._differs(DifferenceKind.AMOUNT, line, "captured", line.captured, row.word)
            yield _Wish(news, self._evidence(row), difference, row)

    def _captured(self, line: PaymentLine, rows: Sequence[ReportRow]) -> None:
        of = line.captured.currency
        other = next((row.amount for row in rows if row.amount and row.amount.currency != of), None)
        if other:
            self._told(self._differs(DifferenceKind.CURRENCY, line, "captured", line.captured, other), repaired=False)
            return
        added, failed = ([row for row in rows if _changes(row) is change] for change in _TAKEN_OR_FAILED)
        if added:
            reported: Money | str = _taken(added, of) - _sum(failed, of)
        else:
            return
        # A failed capture that explains the gap is reported on its own when it is applied.
        if reported not in (line.captured, line.captured - _sum(failed, of)):
            self._told(self._differs(DifferenceKind.AMOUNT, line, "captured", line.captured, reported), repaired=False)

    def _refunds(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        for reference, told in _by_reference(rows).items():
            odd = _other_amount(told)
            if odd:
                yield self._unreviewed(line, odd, f"the rows of {reference} have different amounts")
                continue
            last = max(told, key=lambda row: _RANK.index(_state(row)))
            last = replace(last, amount=_refund_amount(last, told))
            known = _known(line, reference, last.merchant_reference)
            if known and known.is_record and known.amount == last.amount:
                yield from self._of_record(line, reference, told, known)
                continue
            wish = self._refund(line, reference, last, known)
            if wish:
                yield wish
            again = _made_again(told, known)
            if again and again.amount:
                # It follows the failure: what was free again is held until a person has decided (R14).
                news = self._refund_news(line, reference, again, again.amount, known)
                at = (line.invoice, reference, "refund", RefundState.FAILED, RefundState.SUCCEEDED, again.amount)
                difference = Difference(DifferenceKind.STATUS, self.provider, *at, known.id if known else "")
                yield _Wish(news, self._evidence(again), difference, again)
            elif not wish and known and known.is_unadopted and last.amount:
                of = (line.invoice, reference, "refund", "no credit note", str(last.amount), last.amount, known.id)
                self._told(Difference(DifferenceKind.UNADOPTED, self.provider, *of), repaired=False)

    def _refund(self, line: PaymentLine, reference: str, row: ReportRow, known: RefundLine | None) -> _Wish | None:
        state = _state(row)
        if row.amount is None or (known is not None and known.amount == row.amount and not _is_news(known, state)):
            return None
        news = self._refund_news(line, reference, row, row.amount, known)
        difference = _refund_differs(line, known, news)
        return _Wish(news, self._evidence(row), difference, row, _is_expected(known, state))

    def _of_record(
        self, line: PaymentLine, reference: str, told: Sequence[ReportRow], known: RefundLine
    ) -> Iterator[_Wish]:
        """What became of a refund that was recorded by hand; its success first, for the later of the two holds."""
        made, failed = (_newest(told, states) for states in (_MADE, _NOT_MADE))
        for row in (made, failed):
            amount = row and _refund_amount(row, told)
            if row and amount and _is_news_of_record(known, row, made):
                news = self._refund_news(line, reference, row, amount, known)
                difference = _refund_differs(line, known, news)
                # That the refund which was recorded was made is what the report is for.
                is_expected = row is made and known.failed_at is None
                yield _Wish(news, self._evidence(row), difference, row, is_expected)

    def _refund_news(
        self, line: PaymentLine, reference: str, row: ReportRow, amount: Money, known: RefundLine | None
    ) -> RefundNews:
        state = _state(row)
        return RefundNews(
            provider=self.provider,
            reference=reference,
            payment_references=(line.reference,),
            amount=amount,
            state=state,
            status=row.word,
            account=self.account,
            refund_id=known.id if known else "",
            failure="" if state.is_accepted else f"{self.provider.label}: {row.word} ({self.report.name})",
            may_be_retried=bool(row.meaning and row.meaning.may_be_retried),
            created_at=row.booked_at,
            reported_at=row.booked_at,
        )

    def _disputes(self, line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[_Wish]:
        """Each dispute, in the order of its events. Applying them shows whether the books have them already."""
        for row in sorted(rows, key=lambda each: (each.booked_at, each.line)):
            if row.meaning is None:
                continue
            news = DisputeNews(
                provider=self.provider,
                reference=row.modification_reference,
                payment_references=(line.reference,),
                state=row.meaning.dispute,
                stage=row.meaning.stage or DisputeStage.CHARGEBACK,
                status=row.word,
                at=row.booked_at,
                amount=row.amount,
                account=self.account,
            )
            difference = self._differs(DifferenceKind.DISPUTE, line, "dispute", "none", row.meaning.dispute or row.word)
            yield _Wish(news, self._evidence(row), difference, row)

    def _take_in(self, wishes: Sequence[_Wish]) -> None:
        def write(tx: Writing) -> list[tuple[_Wish, UpdateOutcome]]:
            decided = tx.decided_words(self.provider)
            return [(wish, self._outcome_of(tx, wish, decided)) for wish in wishes]

        for wish, outcome in self.books.write(write):
            self.done.changed += outcome.changed
            if outcome.changed and outcome.refund and _was_unknown(wish, outcome.refund):
                self.done.settled.append(outcome.refund)
            repaired = outcome.changed and outcome.state is EventState.APPLIED
            confirmed = outcome.state is EventState.NOTED or (
                outcome.state is EventState.APPLIED and not outcome.changed and not isinstance(wish.news, RefundNews)
            )
            if not confirmed and not (repaired and wish.is_expected):
                self._told(wish.difference, repaired=repaired)

    def _outcome_of(self, tx: Writing, wish: _Wish, decided: Mapping[str, str]) -> UpdateOutcome:
        """Apply the row's update. One that cannot be applied is stored as unreviewed and blocks the payment (R13)."""
        if isinstance(wish.news, Doubt):
            if wish.row.meaning is None and wish.row.word in decided:
                return UpdateOutcome(EventState.NOTED, decided[wish.row.word])
            return UpdateOutcome(self._store(tx, wish, wish.news.why))
        before = _dispute_here(tx, wish.news) if isinstance(wish.news, DisputeNews) else None
        outcome = hear(tx, wish.news, evidence=wish.evidence, clock=self.clock, number_format=self.number_format)
        if isinstance(wish.news, DisputeNews):
            wish.difference = replace(wish.difference, here=before.state if before else "none")
            # The first report fills in the import's placeholder; if both agree, there is no difference.
            wish.is_expected = before is not None and before == _dispute_here(tx, wish.news)
        if outcome.state is EventState.APPLIED:
            return outcome
        return replace(outcome, state=self._store(tx, wish, outcome.note))

    def _store(self, tx: Writing, wish: _Wish, why: str) -> EventState:
        """Store it as unreviewed. Returns its state, which differs if it was acknowledged before."""
        row, payment = wish.row, wish.difference.reference
        doubt = self._doubt(row.payment_reference or payment, row, why)
        why = f"{why} ({wish.evidence})"
        return store_doubt(tx, doubt, row.booked_at, why, source=EventSource.REPORT, occurrence=row_key(row))

    # --- the books, looked up in the report ------------------------------------------------------------------

    def _expected_there(self, advance: Advance) -> Iterator[PaymentLine]:
        """Payments that were made well within the time that the report covers."""
        covered = self._covered()
        if covered is None:
            return
        first, last = (moment.date() for moment in covered)
        after = 0
        while page := self._page(after):
            yield from (line for line in page if line.paid_on and first <= line.paid_on <= last)
            after = page[-1].id
            advance(len(page))

    def _covered(self) -> tuple[datetime, datetime] | None:
        """The time in which what happened must be in the report; None if it has no rows about payments."""
        if self.report.first is None or self.report.last is None:
            return None
        return self.report.first + timedelta(days=1), self.report.last - _SETTLED_AFTER

    def _refunds_expected_there(self) -> Iterator[list[SucceededRefund]]:
        """Pages of the refunds that succeeded well within the time that the report covers."""
        covered, after = self._covered(), ""
        while covered and (page := self._refund_page(covered, after)):
            yield page
            after = page[-1].id

    def _refund_page(self, covered: tuple[datetime, datetime], after: str) -> list[SucceededRefund]:
        return self.books.read(lambda tx: tx.refunds_succeeded(self.provider, *covered, after=after, limit=_AT_ONCE))

    def _refunds_not_there(self, refunds: Sequence[SucceededRefund]) -> None:
        """A row of the payment names its refund by the provider's reference, or by ours."""
        names = self.report.names_of(sorted({refund.payment for refund in refunds}))
        for refund in refunds:
            if names.get(refund.payment, set()).isdisjoint((refund.provider_reference, refund.id)):
                at = (refund.invoice, refund.provider_reference, "refund", f"{refund.amount} succeeded", "")
                missing = DifferenceKind.MISSING_THERE
                self._told(Difference(missing, self.provider, *at, refund.amount, refund.id), repaired=False)

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


@dataclass(frozen=True, slots=True)
class _DisputeHere:
    """How the dispute that a row is about stands in the books, and what all disputes of the payment took."""

    state: str
    taken: Money


def _was_unknown(wish: _Wish, refund: Refund) -> bool:
    """Was the refund's outcome unknown before this row, and is it known now?"""
    return wish.difference.here in WITHOUT_OUTCOME and refund.state not in WITHOUT_OUTCOME


def _dispute_here(tx: Writing, news: DisputeNews) -> _DisputeHere | None:
    """By its reference, else the placeholder that an import left for it."""
    found = payment_of_dispute(tx, news)
    disputes = found[1].disputes if found else ()
    named = (dispute for dispute in disputes if dispute.reference == news.reference)
    known = next(named, None) or next((dispute for dispute in disputes if dispute.is_placeholder), None)
    return _DisputeHere(known.state, found[1].lost) if found and known else None


def _known(line: PaymentLine, reference: str, merchant_reference: str) -> RefundLine | None:
    by_reference = next((r for r in line.refunds if r.provider_reference == reference), None)
    named = (r for r in line.refunds if r.id == merchant_reference and not r.provider_reference)
    return by_reference or next(named, None)


def _made_again(told: Sequence[ReportRow], known: RefundLine | None) -> ReportRow | None:
    """Adyen may try by itself after a failure: then the money is gone, although the refund here failed, or is about to.

    The newest row that says so; None where the money came back after all.
    """
    failures = [row.booked_at for row in told if _state(row) is RefundState.FAILED]
    failed_here = known.came_back_at if known and known.state is RefundState.FAILED else None
    since = max(failures, default=failed_here)
    if since is None or any(_state(row) is RefundState.REVERSED for row in told):
        return None
    later = [row for row in told if _state(row) is RefundState.SUCCEEDED and row.booked_at > since]
    return max(later, key=lambda row: row.booked_at, default=None)


def _captured_again(rows: Sequence[ReportRow], failed: Sequence[ReportRow]) -> list[ReportRow]:
    """What was taken under the reference of a capture that had failed before."""
    failed_at = {row.modification_reference: row.booked_at for row in failed if row.modification_reference}
    added = (row for row in rows if _changes(row) is CaptureChange.ADDED and row.modification_reference in failed_at)
    return [row for row in added if row.booked_at > failed_at[row.modification_reference]]


def _other_amount(told: Sequence[ReportRow]) -> ReportRow | None:
    """A row that says another amount of a refund on its way, or made, than the row before it."""
    rows = [row for row in told if _state(row).is_accepted and row.part in (RowPart.SENT, RowPart.DONE) and row.amount]
    return next((row for row in rows if row.amount != rows[0].amount), None)


def _is_news(known: RefundLine, state: RefundState) -> bool:
    """A later word, or money on its way for a refund that is told here as failed and never sent."""
    if known.state is RefundState.FAILED and state.is_accepted:
        return known.came_back_at is None
    return may_become(known.state, state)


def _newest(told: Sequence[ReportRow], states: Container[RefundState]) -> ReportRow | None:
    return max((row for row in told if _state(row) in states), key=lambda row: row.booked_at, default=None)


def _is_news_of_record(known: RefundLine, row: ReportRow, made: ReportRow | None) -> bool:
    """A success later than all that is known, or a failure that no later success outweighs (I7).

    Of a record that was undone, only a success after the failure is news: then the money did go back after all.
    """
    if row is made:
        dates = filter(None, (known.succeeded_at, known.failed_at))
        undone = known.state is not RefundState.RECORDED
        return all(row.booked_at > date for date in dates) and not (undone and known.failed_at is None)
    if known.state is not RefundState.RECORDED:
        return False
    successes = filter(None, (known.succeeded_at, made.booked_at if made else None))
    return all(row.booked_at >= date for date in successes)


def _is_expected(known: RefundLine | None, state: RefundState) -> bool:
    """That an accepted refund ends well is what the report is for; one that nobody here knew and that came to
    nothing is no difference either."""
    if known is None:
        return not state.is_accepted
    return known.state in _UNDER_WAY and state.is_accepted


def _refund_differs(line: PaymentLine, known: RefundLine | None, news: RefundNews) -> Difference:
    kind, here, there, amount = DifferenceKind.MISSING_HERE, "", str(news.amount), news.amount
    if known is not None and known.amount.currency != news.amount.currency:
        kind, here = DifferenceKind.CURRENCY, str(known.amount)
    elif known is not None and known.amount != news.amount:
        kind, here, amount = DifferenceKind.AMOUNT, str(known.amount), apart(known.amount, news.amount)
    elif known is not None:
        kind, here, there = DifferenceKind.STATUS, known.state, news.state
    refund_id = known.id if known else ""
    return Difference(kind, news.provider, line.invoice, news.reference, "refund", here, there, amount, refund_id)


def row_key(row: ReportRow) -> str:
    """A key that separates rows of one type about one object, the same in every report."""
    return f"{row.booked_at.isoformat()}:{row.amount or row.problem}"


def _changes(row: ReportRow) -> CaptureChange | None:
    return row.meaning.capture if row.meaning else None


def _state(row: ReportRow) -> RefundState:
    assert row.meaning
    assert row.meaning.refund
    return row.meaning.refund


def _by_reference(rows: Sequence[ReportRow]) -> dict[str, list[ReportRow]]:
    found: dict[str, list[ReportRow]] = {}
    for row in rows:
        found.setdefault(row.modification_reference, []).append(row)
    return found


def _sum(rows: Sequence[ReportRow], of: Currency) -> Money:
    return sum((row.amount for row in rows if row.amount), zero(of))


def _taken(rows: Sequence[ReportRow], of: Currency) -> Money:
    """The sum over captures. A capture is reported when it is sent and when it is settled: it counts once."""
    by_reference = _by_reference(rows)
    # If only some rows name their capture, the rows cannot be grouped.
    groups = [rows] if "" in by_reference else list(by_reference.values())
    return sum((_of_one(group, of) for group in groups), zero(of))


def _of_one(rows: Sequence[ReportRow], of: Currency) -> Money:
    part = {each: _sum([row for row in rows if row.part is each], of) for each in RowPart}
    return max(part[RowPart.SENT], part[RowPart.DONE] + max(part[RowPart.WHOLE], part[RowPart.INSTALMENT]))


def _refund_amount(last: ReportRow, rows: Sequence[ReportRow]) -> Money | None:
    """A refund in instalments has one row for the whole, or one for each of its parts."""
    if last.part is not RowPart.INSTALMENT or last.amount is None:
        return last.amount
    alike = [row for row in rows if row.amount and row.amount.currency == last.amount.currency]
    whole = next((row.amount for row in alike if row.part is RowPart.WHOLE), None)
    return whole or _sum([row for row in alike if row.part is RowPart.INSTALMENT], last.amount.currency)
