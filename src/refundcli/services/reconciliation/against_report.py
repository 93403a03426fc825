"""Compare the books with a report of a provider without look-ups, and apply what it proves.

Both may be long: the report is on disk by payment, the books are read in batches, and only differences are examined
further.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from refundcli.domain.dispute import DisputeStage
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.chunks import chunked
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    CaptureUpdate,
    DisputeUpdate,
    Doubt,
    EventSource,
    EventState,
    RefundUpdate,
)
from refundcli.services.ports.records import PaymentLine, RefundLine, SucceededRefund
from refundcli.services.ports.vocabulary import CaptureChange, Effect
from refundcli.services.preflight.comparison import Difference, DifferenceKind, apart
from refundcli.services.preflight.unreviewed import store_doubt
from refundcli.services.provider_updates.apply_update import apply_update
from refundcli.services.provider_updates.outcome import UpdateOutcome
from refundcli.services.reconciliation.against_provider import (
    PENDING_DAYS,
    Advance,
    ComparisonSummary,
    OnDifference,
    count_unsettled,
)
from refundcli.services.reconciliation.report_refunds import (
    MADE,
    NOT_MADE,
    RANK,
    is_expected,
    is_new,
    is_new_for_record,
    newest,
    refund_difference,
    refund_in_books,
    sent_again,
)
from refundcli.services.reconciliation.report_rows import Report, ReportRow, RowPart
from refundcli.services.reconciliation.report_sums import (
    by_reference,
    capture_change,
    captured_again,
    captured_total,
    other_amount,
    refund_amount,
    refund_state,
    row_key,
    sum_of,
)
from refundcli.services.reconciliation.report_updates import RowUpdate, dispute_in_books, was_unknown

_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 200
# Payments are settled and refunds sent some days late: more recent ones may be in the next report.
_SETTLED_AFTER = timedelta(days=5)
_TAKEN_OR_FAILED = (CaptureChange.ADDED, CaptureChange.FAILED)


@dataclass
class ReportComparison:
    """A comparison of the books with one report. `account` is the report's merchant account."""

    books: Books
    report: Report
    provider: Provider
    account: str
    clock: Clock
    credit_note_format: str
    on_difference: OnDifference
    pending_days: int = PENDING_DAYS
    summary: ComparisonSummary = field(default_factory=ComparisonSummary)

    def of_report(self, advance: Advance) -> None:
        """Compare the report's rows with the books."""
        for payment_groups in chunked(self.report.by_payment(), _AT_ONCE):
            self._compare(payment_groups)
            advance(len(payment_groups))

    def of_books(self, advance: Advance) -> ComparisonSummary:
        """Find what should be in the report and is missing; after `of_report`."""
        for payment_lines in chunked(self._expected_payments(advance), _AT_ONCE):
            self._report_missing_payments(payment_lines)
        for refunds in self._expected_refunds():
            self._report_missing_refunds(refunds)
        if not self.report.account_rows:
            # The report has no rows of this account, so nothing was compared, even if the books are empty (R15).
            report_content = "no row of this merchant account" if self.report.other_account_rows else "no rows at all"
            difference_fields = ("", self.account, "report", self.account, report_content)
            self._report_difference(
                Difference(DifferenceKind.MISSING_THERE, self.provider, *difference_fields), repaired=False
            )
        self.summary.unreviewed = self.books.read(lambda tx: tx.unreviewed_count(self.provider))
        count_unsettled(self.summary, self.books, self.provider, now=self.clock.now(), pending_days=self.pending_days)
        if self.report.rows:
            self.books.write(
                lambda tx: self.summary.record(tx, self.provider, account=self.account, report=self.report.name)
            )
        return self.summary

    # --- rows of the report ----------------------------------------------------------------------------------

    def _compare(self, payment_groups: Sequence[tuple[str, list[ReportRow]]]) -> None:
        references = [payment_reference for payment_reference, _ in payment_groups]
        lines_by_reference = self.books.read(lambda tx: tx.payment_lines(self.provider, references))
        updates: list[RowUpdate] = []
        for payment_reference, rows in payment_groups:
            payment_line = lines_by_reference.get(payment_reference)
            if payment_line is None:
                # Other systems may use the same merchant account: their rows are only counted (R15).
                self.summary.not_in_books += len(rows)
                continue
            self.summary.compared += 1
            updates += self._of_payment(payment_line, rows)
        for batch in chunked(updates, _WRITTEN_AT_ONCE):
            self._apply_updates(batch)

    def _of_payment(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        for row in rows:
            if row.needs_review:
                yield self._unreviewed(payment_line, row, row.needs_review)
        clear_rows = [row for row in rows if not row.needs_review]
        capture_rows = [row for row in clear_rows if row.effect is Effect.CAPTURE]
        # With an unreadable capture the sum is unknown.
        if capture_rows and not any(row.needs_review and row.effect is Effect.CAPTURE for row in rows):
            self._captured(payment_line, capture_rows)
        if len(capture_rows) < len(clear_rows):
            yield from self._refunds(payment_line, [row for row in clear_rows if row.effect is Effect.REFUND])
            yield from self._disputes(payment_line, [row for row in clear_rows if row.effect is Effect.DISPUTE])
        missing_captures = [row for row in capture_rows if capture_change(row) not in (None, CaptureChange.ADDED)]
        if missing_captures:
            yield from self._captures(
                payment_line, [*missing_captures, *captured_again(capture_rows, missing_captures)]
            )

    def _unreviewed(self, payment_line: PaymentLine, row: ReportRow, why: str) -> RowUpdate:
        """A row of an unlisted type, or a contradictory one, is shown and never applied (R13)."""
        row_text = f"line {row.line}: {why}"
        reference = row.modification_reference or payment_line.reference
        difference_fields = (payment_line.invoice, reference, "report line", "", row_text, row.amount)
        difference = Difference(DifferenceKind.STATUS, self.provider, *difference_fields)
        return RowUpdate(self._doubt(payment_line.reference, row, why), self._evidence(row), difference, row)

    def _doubt(self, payment_reference: str, row: ReportRow, why: str) -> Doubt:
        reference = row.modification_reference or payment_reference
        return Doubt(self.provider, (payment_reference,), row.word, reference, why, self.account, row.amount)

    def _evidence(self, row: ReportRow) -> str:
        return f"report {self.report.name} line {row.line}"

    def _captures(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        """Failed and repeated captures. Applying them shows whether the books have them already."""
        for row in sorted(rows, key=lambda row: (row.booked_at, row.line)):
            change = capture_change(row)
            if row.amount is None or change is None or row.part in (RowPart.WHOLE, RowPart.INSTALMENT):
                continue
            reference = row.modification_reference or payment_line.reference
            update = CaptureUpdate(
                self.provider,
                reference,
                (payment_line.reference,),
                change,
                row.amount,
                row.word,
                row.booked_at,
                self.account,
            )
            difference = self._differs(DifferenceKind.AMOUNT, payment_line, "captured", payment_line.captured, row.word)
            yield RowUpdate(update, self._evidence(row), difference, row)

    def _captured(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> None:
        currency = payment_line.captured.currency
        foreign_amount = next((row.amount for row in rows if row.amount and row.amount.currency != currency), None)
        if foreign_amount:
            self._report_difference(
                self._differs(DifferenceKind.CURRENCY, payment_line, "captured", payment_line.captured, foreign_amount),
                repaired=False,
            )
            return
        added_rows, failed_rows = (
            [row for row in rows if capture_change(row) is change] for change in _TAKEN_OR_FAILED
        )
        if added_rows:
            reported_total: Money | str = captured_total(added_rows, currency) - sum_of(failed_rows, currency)
        else:
            return
        # A failed capture that explains the gap is reported on its own when it is applied.
        if reported_total not in (payment_line.captured, payment_line.captured - sum_of(failed_rows, currency)):
            self._report_difference(
                self._differs(DifferenceKind.AMOUNT, payment_line, "captured", payment_line.captured, reported_total),
                repaired=False,
            )

    def _refunds(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        for reference, refund_rows in by_reference(rows).items():
            odd_row = other_amount(refund_rows)
            if odd_row:
                yield self._unreviewed(payment_line, odd_row, f"the rows of {reference} have different amounts")
                continue
            last_row = max(refund_rows, key=lambda row: RANK.index(refund_state(row)))
            last_row = replace(last_row, amount=refund_amount(last_row, refund_rows))
            refund = refund_in_books(payment_line, reference, last_row.merchant_reference)
            if refund and refund.is_record and refund.amount == last_row.amount:
                yield from self._of_record(payment_line, reference, refund_rows, refund)
                continue
            row_update = self._refund(payment_line, reference, last_row, refund)
            if row_update:
                yield row_update
            later_success = sent_again(refund_rows, refund)
            if later_success and later_success.amount:
                # It follows the failure: the freed amount is reserved until a person decides (R14).
                update = self._refund_update(payment_line, reference, later_success, later_success.amount, refund)
                difference_fields = (
                    payment_line.invoice,
                    reference,
                    "refund",
                    RefundState.FAILED,
                    RefundState.SUCCEEDED,
                    later_success.amount,
                )
                difference = Difference(
                    DifferenceKind.STATUS, self.provider, *difference_fields, refund.id if refund else ""
                )
                yield RowUpdate(update, self._evidence(later_success), difference, later_success)
            elif not row_update and refund and refund.is_unadopted and last_row.amount:
                unadopted_fields = (
                    payment_line.invoice,
                    reference,
                    "refund",
                    "no credit note",
                    str(last_row.amount),
                    last_row.amount,
                    refund.id,
                )
                self._report_difference(
                    Difference(DifferenceKind.UNADOPTED, self.provider, *unadopted_fields), repaired=False
                )

    def _refund(
        self, payment_line: PaymentLine, reference: str, row: ReportRow, refund: RefundLine | None
    ) -> RowUpdate | None:
        state = refund_state(row)
        if row.amount is None or (refund is not None and refund.amount == row.amount and not is_new(refund, state)):
            return None
        update = self._refund_update(payment_line, reference, row, row.amount, refund)
        difference = refund_difference(payment_line, refund, update)
        return RowUpdate(update, self._evidence(row), difference, row, is_expected(refund, state))

    def _of_record(
        self, payment_line: PaymentLine, reference: str, refund_rows: Sequence[ReportRow], record: RefundLine
    ) -> Iterator[RowUpdate]:
        """The outcome of a refund recorded by hand; its success first, because the later of the two wins."""
        success_row, failure_row = (newest(refund_rows, states) for states in (MADE, NOT_MADE))
        for row in (success_row, failure_row):
            amount = row and refund_amount(row, refund_rows)
            if row and amount and is_new_for_record(record, row, success_row):
                update = self._refund_update(payment_line, reference, row, amount, record)
                difference = refund_difference(payment_line, record, update)
                # A success of the recorded refund is no difference.
                is_no_difference = row is success_row and record.failed_at is None
                yield RowUpdate(update, self._evidence(row), difference, row, is_no_difference)

    def _refund_update(
        self, payment_line: PaymentLine, reference: str, row: ReportRow, amount: Money, refund: RefundLine | None
    ) -> RefundUpdate:
        state = refund_state(row)
        return RefundUpdate(
            provider=self.provider,
            reference=reference,
            payment_references=(payment_line.reference,),
            amount=amount,
            state=state,
            status=row.word,
            account=self.account,
            refund_id=refund.id if refund else "",
            failure="" if state.is_accepted else f"{self.provider.label}: {row.word} ({self.report.name})",
            may_be_retried=bool(row.meaning and row.meaning.may_be_retried),
            created_at=row.booked_at,
            reported_at=row.booked_at,
        )

    def _disputes(self, payment_line: PaymentLine, rows: Sequence[ReportRow]) -> Iterator[RowUpdate]:
        """Each dispute, in the order of its events. Applying them shows whether the books have them already."""
        for row in sorted(rows, key=lambda row: (row.booked_at, row.line)):
            if row.meaning is None:
                continue
            update = DisputeUpdate(
                provider=self.provider,
                reference=row.modification_reference,
                payment_references=(payment_line.reference,),
                state=row.meaning.dispute,
                stage=row.meaning.stage or DisputeStage.CHARGEBACK,
                status=row.word,
                at=row.booked_at,
                amount=row.amount,
                account=self.account,
            )
            difference = self._differs(
                DifferenceKind.DISPUTE, payment_line, "dispute", "none", row.meaning.dispute or row.word
            )
            yield RowUpdate(update, self._evidence(row), difference, row)

    def _apply_updates(self, updates: Sequence[RowUpdate]) -> None:
        def write(tx: Writing) -> list[tuple[RowUpdate, UpdateOutcome]]:
            effect_by_word = tx.decided_words(self.provider)
            return [(row_update, self._outcome_of(tx, row_update, effect_by_word)) for row_update in updates]

        for row_update, outcome in self.books.write(write):
            self.summary.changed += outcome.changed
            if outcome.changed and outcome.refund and was_unknown(row_update, outcome.refund):
                self.summary.settled.append(outcome.refund)
            is_repaired = outcome.changed and outcome.state is EventState.APPLIED
            is_confirmed = outcome.state is EventState.NOTED or (
                outcome.state is EventState.APPLIED
                and not outcome.changed
                and not isinstance(row_update.update, RefundUpdate)
            )
            if not is_confirmed and not (is_repaired and row_update.is_expected):
                self._report_difference(row_update.difference, repaired=is_repaired)

    def _outcome_of(self, tx: Writing, row_update: RowUpdate, effect_by_word: Mapping[str, str]) -> UpdateOutcome:
        """Apply the row's update. One that cannot be applied is stored as unreviewed and blocks the payment (R13)."""
        if isinstance(row_update.update, Doubt):
            if row_update.row.meaning is None and row_update.row.word in effect_by_word:
                return UpdateOutcome(EventState.NOTED, effect_by_word[row_update.row.word])
            return UpdateOutcome(self._store(tx, row_update, row_update.update.why))
        dispute_before = (
            dispute_in_books(tx, row_update.update) if isinstance(row_update.update, DisputeUpdate) else None
        )
        outcome = apply_update(
            tx,
            row_update.update,
            update_source=row_update.evidence,
            clock=self.clock,
            credit_note_format=self.credit_note_format,
        )
        if isinstance(row_update.update, DisputeUpdate):
            row_update.difference = replace(
                row_update.difference, here=dispute_before.state if dispute_before else "none"
            )
            # The first update fills in the import's placeholder; if both agree, there is no difference.
            row_update.is_expected = dispute_before is not None and dispute_before == dispute_in_books(
                tx, row_update.update
            )
        if outcome.state is EventState.APPLIED:
            return outcome
        return replace(outcome, state=self._store(tx, row_update, outcome.note))

    def _store(self, tx: Writing, row_update: RowUpdate, why: str) -> EventState:
        """Store it as unreviewed. Returns its state, which differs if it was acknowledged before."""
        row, reference = row_update.row, row_update.difference.reference
        doubt = self._doubt(row.payment_reference or reference, row, why)
        why = f"{why} ({row_update.evidence})"
        return store_doubt(tx, doubt, row.booked_at, why, source=EventSource.REPORT, occurrence=row_key(row))

    # --- missing rows ----------------------------------------------------------------------------------------

    def _expected_payments(self, advance: Advance) -> Iterator[PaymentLine]:
        """Payments well within the period of the report."""
        covered_period = self._covered()
        if covered_period is None:
            return
        first_day, last_day = (moment.date() for moment in covered_period)
        last_payment_id = 0
        while page := self._page(last_payment_id):
            yield from (
                payment_line
                for payment_line in page
                if payment_line.paid_on and first_day <= payment_line.paid_on <= last_day
            )
            last_payment_id = page[-1].id
            advance(len(page))

    def _covered(self) -> tuple[datetime, datetime] | None:
        """The period that the report must contain; None if it has no rows about payments."""
        if self.report.first is None or self.report.last is None:
            return None
        return self.report.first + timedelta(days=1), self.report.last - _SETTLED_AFTER

    def _expected_refunds(self) -> Iterator[list[SucceededRefund]]:
        """Pages of refunds that succeeded well within the period of the report."""
        covered_period, last_refund_id = self._covered(), ""
        while covered_period and (page := self._refund_page(covered_period, last_refund_id)):
            yield page
            last_refund_id = page[-1].id

    def _refund_page(self, covered_period: tuple[datetime, datetime], last_refund_id: str) -> list[SucceededRefund]:
        return self.books.read(
            lambda tx: tx.refunds_succeeded(self.provider, *covered_period, after=last_refund_id, limit=_AT_ONCE)
        )

    def _report_missing_refunds(self, refunds: Sequence[SucceededRefund]) -> None:
        """A row names its refund by the provider's reference or by ours."""
        references_by_payment = self.report.names_of(sorted({refund.payment for refund in refunds}))
        for refund in refunds:
            if references_by_payment.get(refund.payment, set()).isdisjoint((refund.provider_reference, refund.id)):
                difference_fields = (
                    refund.invoice,
                    refund.provider_reference,
                    "refund",
                    f"{refund.amount} succeeded",
                    "",
                )
                kind = DifferenceKind.MISSING_THERE
                self._report_difference(
                    Difference(kind, self.provider, *difference_fields, refund.amount, refund.id), repaired=False
                )

    def _page(self, last_payment_id: int) -> list[PaymentLine]:
        return self.books.read(lambda tx: tx.payment_lines_after(self.provider, last_payment_id, limit=_AT_ONCE))

    def _report_missing_payments(self, payment_lines: Sequence[PaymentLine]) -> None:
        reported_references = self.report.has([payment_line.reference for payment_line in payment_lines])
        for payment_line in payment_lines:
            if payment_line.reference not in reported_references and payment_line.captured:
                self._report_difference(
                    self._differs(DifferenceKind.MISSING_THERE, payment_line, "payment", payment_line.captured, ""),
                    repaired=False,
                )

    # --- differences -----------------------------------------------------------------------------------------

    def _differs(
        self, kind: DifferenceKind, payment_line: PaymentLine, object_name: str, in_books: object, at_provider: object
    ) -> Difference:
        amount = apart(payment_line.captured, at_provider) if isinstance(at_provider, Money) else payment_line.captured
        return Difference(
            kind,
            self.provider,
            payment_line.invoice,
            payment_line.reference,
            object_name,
            str(in_books),
            str(at_provider),
            amount,
        )

    def _report_difference(self, difference: Difference, *, repaired: bool) -> None:
        self.summary.add(difference, repaired=repaired)
        self.on_difference(difference, repaired)
