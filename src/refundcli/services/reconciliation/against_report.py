"""Compare the books with a report of a provider without look-ups, and apply what it proves.

Both may be long: the report is on disk by payment, the books are read in batches, and only differences are examined
further.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from refundcli.domain.statuses import Provider
from refundcli.services.chunks import chunked
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    DisputeUpdate,
    Doubt,
    EventSource,
    EventState,
    RefundUpdate,
)
from refundcli.services.ports.records import PaymentLine, SucceededRefund
from refundcli.services.preflight.difference import Difference, DifferenceKind
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
from refundcli.services.reconciliation.report_payment import PaymentRows
from refundcli.services.reconciliation.report_rows import Report, ReportRow
from refundcli.services.reconciliation.report_sums import row_key
from refundcli.services.reconciliation.report_updates import RowUpdate, dispute_in_books, was_unknown

_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 200
# Payments are settled and refunds sent some days late: more recent ones may be in the next report.
_SETTLED_AFTER = timedelta(days=5)


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

    @property
    def _payment_rows(self) -> PaymentRows:
        report_difference = partial(self._report_difference, repaired=False)
        return PaymentRows(self.provider, self.account, self.report.name, report_difference)

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
        self.summary.unreviewed = self.books.read(lambda tx: tx.events.unreviewed_count(self.provider))
        count_unsettled(self.summary, self.books, self.provider, now=self.clock.now(), pending_days=self.pending_days)
        if self.report.rows:
            self.books.write(
                lambda tx: self.summary.record(tx, self.provider, account=self.account, report=self.report.name)
            )
        return self.summary

    # --- rows of the report ----------------------------------------------------------------------------------

    def _compare(self, payment_groups: Sequence[tuple[str, list[ReportRow]]]) -> None:
        references = [payment_reference for payment_reference, _ in payment_groups]
        lines_by_reference = self.books.read(lambda tx: tx.payments.lines(self.provider, references))
        updates: list[RowUpdate] = []
        for payment_reference, rows in payment_groups:
            payment_line = lines_by_reference.get(payment_reference)
            if payment_line is None:
                # Other systems may use the same merchant account: their rows are only counted (R15).
                self.summary.not_in_books += len(rows)
                continue
            self.summary.compared += 1
            updates += self._payment_rows.updates(payment_line, rows)
        for batch in chunked(updates, _WRITTEN_AT_ONCE):
            self._apply_updates(batch)

    def _apply_updates(self, updates: Sequence[RowUpdate]) -> None:
        def write(tx: Writing) -> list[tuple[RowUpdate, UpdateOutcome]]:
            effect_by_word = tx.words.decided(self.provider)
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
        doubt = self._payment_rows.doubt(row.payment_reference or reference, row, why)
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
            lambda tx: tx.refunds.succeeded(self.provider, *covered_period, after=last_refund_id, limit=_AT_ONCE)
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
        return self.books.read(lambda tx: tx.payments.lines_after(self.provider, last_payment_id, limit=_AT_ONCE))

    def _report_missing_payments(self, payment_lines: Sequence[PaymentLine]) -> None:
        reported_references = self.report.has([payment_line.reference for payment_line in payment_lines])
        for payment_line in payment_lines:
            if payment_line.reference not in reported_references and payment_line.captured:
                self._report_difference(
                    self._payment_rows.differs(
                        DifferenceKind.MISSING_THERE, payment_line, "payment", payment_line.captured, ""
                    ),
                    repaired=False,
                )

    def _report_difference(self, difference: Difference, *, repaired: bool) -> None:
        self.summary.add(difference, repaired=repaired)
        self.on_difference(difference, repaired)
