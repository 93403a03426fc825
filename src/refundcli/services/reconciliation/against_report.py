"""Compare the books with a report of a provider without look-ups, and apply what it proves.

Both may be long: the report is on disk by payment, the books are read in batches, and only differences are examined
further.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, Provider
from refundcli.services.chunks import chunked, paged
from refundcli.services.ports.books import Writing
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
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_of
from refundcli.services.reconciliation.against_provider import Advance, ComparisonSummary, ReconcileProvider
from refundcli.services.reconciliation.report_payment import PaymentRows, RowUpdate
from refundcli.services.reconciliation.report_rows import Report, ReportRow

_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 200
# Payments are settled and refunds sent some days late: more recent ones may be in the next report.
_SETTLED_AFTER = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class ReportComparison:
    """A comparison of the books with one report. `account` is the report's merchant account."""

    ports: ReconcileProvider
    report: Report
    provider: Provider
    account: str
    summary: ComparisonSummary

    @property
    def _payment_rows(self) -> PaymentRows:
        return PaymentRows(self.provider, self.account, self.report.name, self.summary.report)

    def of_report(self, advance: Advance) -> None:
        """Compare the report's rows with the books."""
        for payment_groups in chunked(self.report.by_payment(), _AT_ONCE):
            self._compare(payment_groups)
            advance(len(payment_groups))

    def of_books(self, advance: Advance) -> None:
        """Find what should be in the report and is missing; after `of_report`."""
        if self.report.first and self.report.last and self.report.covers_payments:
            # Well within the period of the report.
            self._report_missing(self.report.first + timedelta(days=1), self.report.last - _SETTLED_AFTER, advance)
        if not self.report.account_rows:
            # The report has no rows of this account, so nothing was compared, even if the books are empty (R15).
            report_content = "no row of this merchant account" if self.report.other_account_rows else "no rows at all"
            difference_fields = ("", self.account, "report", self.account, report_content)
            self.summary.report(Difference(DifferenceKind.MISSING_THERE, self.provider, *difference_fields))
        name, has_rows = self.report.name, bool(self.report.rows) and self.report.covers_payments
        self.ports.conclude(self.provider, self.summary, account=self.account, report=name, is_recorded=has_rows)

    # --- rows of the report ----------------------------------------------------------------------------------

    def _compare(self, payment_groups: Sequence[tuple[str, list[ReportRow]]]) -> None:
        references = [payment_reference for payment_reference, _ in payment_groups]
        lines_by_reference = self.ports.books.read(lambda tx: tx.payments.lines(self.provider, references))
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

        for row_update, outcome in self.ports.books.write(write):
            self.summary.changed += outcome.changed
            if outcome.changed and outcome.refund and _was_unknown(row_update, outcome.refund):
                self.summary.settled.append(outcome.refund)
            is_repaired = outcome.changed and outcome.state is EventState.APPLIED
            is_confirmed = outcome.state is EventState.NOTED or (
                outcome.state is EventState.APPLIED
                and not outcome.changed
                and not isinstance(row_update.update, RefundUpdate)
            )
            if not is_confirmed and not (is_repaired and row_update.is_expected):
                self.summary.report(row_update.difference, repaired=is_repaired)

    def _outcome_of(self, tx: Writing, row_update: RowUpdate, effect_by_word: Mapping[str, str]) -> UpdateOutcome:
        """Apply the row's update. One that cannot be applied is stored as unreviewed and blocks the payment (R13)."""
        if isinstance(row_update.update, Doubt):
            if row_update.row.meaning is None and row_update.row.word in effect_by_word:
                return UpdateOutcome(EventState.NOTED, effect_by_word[row_update.row.word])
            return UpdateOutcome(self._store(tx, row_update, row_update.update.why))
        update = row_update.update
        dispute_before = _dispute_in_books(tx, update) if isinstance(update, DisputeUpdate) else None
        outcome = self.ports.payments.updates.apply(tx, update, update_source=row_update.evidence)
        if isinstance(update, DisputeUpdate):
            state_before = dispute_before[0] if dispute_before else "none"
            row_update.difference = replace(row_update.difference, here=state_before)
            # The first update fills in the import's placeholder; if both agree, there is no difference.
            row_update.is_expected = dispute_before is not None and dispute_before == _dispute_in_books(tx, update)
        if outcome.state is EventState.APPLIED:
            return outcome
        return replace(outcome, state=self._store(tx, row_update, outcome.note))

    def _store(self, tx: Writing, row_update: RowUpdate, why: str) -> EventState:
        """Store it as unreviewed. Returns its state, which differs if it was acknowledged before."""
        row, reference = row_update.row, row_update.difference.reference
        doubt = self._payment_rows.doubt(row.payment_reference or reference, row, why)
        why = f"{why} ({row_update.evidence})"
        return store_doubt(tx, doubt, row.booked_at, why, source=EventSource.REPORT, occurrence=row.key)

    # --- missing rows ----------------------------------------------------------------------------------------

    def _report_missing(self, first: datetime, last: datetime, advance: Advance) -> None:
        """Payments and succeeded refunds of this period."""
        books, provider = self.ports.books, self.provider
        payment_pages = paged(
            lambda after: books.read(lambda tx: tx.payments.lines_after(provider, after, limit=_AT_ONCE)),
            0,
            lambda payment_line: payment_line.id,
        )
        for payment_lines in payment_pages:
            self._report_missing_payments(
                [line for line in payment_lines if line.paid_on and first.date() <= line.paid_on <= last.date()]
            )
            advance(len(payment_lines))
        refund_pages = paged(
            lambda after: books.read(
                lambda tx: tx.refunds.succeeded(provider, first, last, after=after, limit=_AT_ONCE)
            ),
            "",
            lambda refund: refund.id,
        )
        for refunds in refund_pages:
            self._report_missing_refunds(refunds)

    def _report_missing_payments(self, payment_lines: Sequence[PaymentLine]) -> None:
        reported_references = self.report.has([payment_line.reference for payment_line in payment_lines])
        for line in payment_lines:
            if line.reference not in reported_references and line.captured:
                self.summary.report(
                    self._payment_rows.differs(DifferenceKind.MISSING_THERE, line, "payment", line.captured, "")
                )

    def _report_missing_refunds(self, refunds: Sequence[SucceededRefund]) -> None:
        """A row names its refund by the provider's reference or by ours."""
        references_by_payment = self.report.names_of(sorted({refund.payment for refund in refunds}))
        for refund in refunds:
            if references_by_payment.get(refund.payment, set()).isdisjoint((refund.provider_reference, refund.id)):
                names = (refund.invoice, refund.provider_reference, "refund", f"{refund.amount} succeeded", "")
                self.summary.report(
                    Difference(DifferenceKind.MISSING_THERE, self.provider, *names, refund.amount, refund.id)
                )


def _was_unknown(row_update: RowUpdate, refund: Refund) -> bool:
    """Was the refund's outcome unknown before this row, and is it known now?"""
    return row_update.difference.here in WITHOUT_OUTCOME and refund.state not in WITHOUT_OUTCOME


def _dispute_in_books(tx: Writing, update: DisputeUpdate) -> tuple[str, Money] | None:
    """The state of the dispute with this reference, else of the import's placeholder for it, and the amount lost to all
    disputes of the payment.
    """
    match = payment_of(tx, update)
    disputes = match[1].disputes if match else ()
    same_reference = (dispute for dispute in disputes if dispute.reference == update.reference)
    placeholders = (dispute for dispute in disputes if dispute.is_placeholder)
    stored_dispute = next(chain(same_reference, placeholders), None)
    return (stored_dispute.state, match[1].lost) if match and stored_dispute else None
