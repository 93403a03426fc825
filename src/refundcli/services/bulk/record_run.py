"""Record many external refunds: in chunks, or all or nothing (R2). This module cannot reach a provider."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.currencies import currency
from refundcli.domain.errors import RefundcliError, Refused, UsageProblem
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, parse_amount
from refundcli.domain.refund import OutOfBand, Refund
from refundcli.services.bulk.check_report import BulkReport, TooManyErrors
from refundcli.services.bulk.earlier_rows import EarlierRows, FileRows
from refundcli.services.bulk.ports import Advance, Reject
from refundcli.services.bulk.row_refusals import rejected
from refundcli.services.bulk.row_rules import AlreadyDone, RowRules
from refundcli.services.bulk.rows import BulkRow, CheckedRow, RowSpool
from refundcli.services.bulk.runs import resume_command
from refundcli.services.invoices.allocation import ChangedMeanwhile, Share, total_of
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.records import Record
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.services.refunds.record import MarkRequest, mark_shares, records_of
from refundcli.system.interrupts import held_until_written

# One transaction locks the store until it ends, so it must be short.
MOST_AT_ONCE = 10_000
# Once others have changed the books, each chunk is compared with the check.
_OTHERS_WROTE = -1


class TooManyForOne(UsageProblem):
    code = "too-many-for-atomic"

    def __init__(self, row_count: int) -> None:
        super().__init__(
            (
                f"--atomic locks the store until every row is recorded, so it allows at most {MOST_AT_ONCE:,} "
                f"rows; the file has {row_count:,}."
            ),
            hint="Leave out --atomic: running the same file again resumes a stopped run without repeating any row.",
        )


class NotAllRows(Refused):
    """With --atomic a row is refused, so nothing was recorded."""

    code = "atomic-refused"

    def __init__(self, report: BulkReport) -> None:
        first_refused = report.refused[0]
        super().__init__(
            (
                f"Rows refused: {report.refused_count} of {report.rows}, the first on line {first_refused.line}: "
                f"{first_refused.problems[0].message} Nothing was recorded."
            ),
            hint="Correct them, or leave --atomic out to record the others.",
            context={"refused": report.refused_count, "rows": report.rows},
        )


# A row that was recorded, refused, or done before.
_Done: TypeAlias = CheckedRow | BadRow | None


@dataclass(frozen=True, slots=True)
class RecordRowRequests:
    """Rows that request records."""

    clock: Clock
    operator: str
    kind: RunKind = RunKind.MARK_REFUNDED

    def request(
        self, row: BulkRow, request_key: str, amount: Money | None = None, *, allow_duplicate: bool = False
    ) -> MarkRequest:
        return MarkRequest(
            number=row.invoice,
            amount=amount,
            amount_text=row.amount_text,
            reason=row.reason,
            request_key=request_key,
            operator=self.operator,
            memo=row.memo,
            payment=row.payment,
            out_of_band=OutOfBand(row.method, row.reference, row.refunded_on),
            allow_duplicate=allow_duplicate,
        )

    def content(self, row: BulkRow, request_key: str, invoice: Invoice) -> str:
        return self.request(row, request_key).content

    def shares(self, row: BulkRow, request_key: str, invoice: Invoice, *, allow_duplicate: bool) -> list[Share]:
        """Also raises InvalidAmount: only the invoice knows the currency of the typed amount."""
        amount = parse_amount(row.amount_text, invoice.currency) if row.amount_text else None
        request = self.request(row, request_key, amount, allow_duplicate=allow_duplicate)
        return mark_shares(invoice, request, today=self.clock.today())


@dataclass(slots=True)
class RecordRun:
    """Records the checked rows of one run. `checked_at`: the audit trail's newest entry when the check started."""

    run: BulkRun
    requests: RecordRowRequests
    rules: RowRules
    checked_at: int
    books: Books
    credit_note_format: str
    on_interrupt: Callable[[], None] = field(default=lambda: None)
    # What was committed so far, even if the run is interrupted or the store fails.
    report: BulkReport = field(default_factory=BulkReport)

    def record(
        self, spool: RowSpool, *, max_errors: int | None, on_rows_done: Advance, on_row_rejected: Reject
    ) -> BulkReport:
        """Record in chunks; a row that is refused by now is rejected, and the others continue.

        Raises TooManyErrors, and Interrupted after the current chunk; what was recorded stays.
        """
        report, audit_position = self.report, self.checked_at
        for chunk in spool.chunks():
            with held_until_written(self.on_interrupt):
                outcomes, audit_position = self.books.write(partial(self._record_chunk, chunk, audit_position, spool))
                _count(outcomes, report, on_row_rejected)
            on_rows_done(len(chunk), refused=sum(isinstance(outcome, BadRow) for outcome in outcomes))
            if max_errors is not None and report.refused_count >= max_errors:
                raise TooManyErrors(report.refused_count, max_errors, how_to_resume=how_to_resume(self.run))
        return report

    def record_atomically(self, spool: RowSpool, *, on_rows_done: Advance) -> BulkReport:
        """Record all rows in one transaction. Raises NotAllRows if one is refused; then nothing was recorded."""

        def work(tx: Writing) -> BulkReport:
            report, audit_position = BulkReport(), self.checked_at
            for chunk in spool.chunks():
                outcomes, audit_position = self._record_chunk(chunk, audit_position, spool, tx)
                _count(outcomes, report, lambda row: None)
                on_rows_done(len(chunk))
            if report.refused_count:
                raise NotAllRows(report)
            tx.runs.change(self.run.id, RunState.FINISHED)
            return report

        with held_until_written(self.on_interrupt):
            self.report = self.books.write(work)
        return self.report

    def _record_chunk(
        self, chunk: Sequence[CheckedRow], audit_position: int, spool: RowSpool, tx: Writing
    ) -> tuple[list[_Done], int]:
        """The outcome of each row, and the audit trail's newest entry: the check allowed for this run's own changes.

        `audit_position`: the audit trail's entry up to which no one else wrote, or _OTHERS_WROTE. Refusals come before
        anything is changed; a row that the store itself refuses is rolled back alone.
        """
        changed_by_others = audit_position == _OTHERS_WROTE or tx.audit.changed_since(
            audit_position, apart_from=self.run.id
        )
        recheck = self._recheck(chunk, spool, tx) if changed_by_others else None
        recorded_at, outcomes, records_by_index = self.rules.clock.now(), list[_Done](), dict[int, list[Record]]()
        for row_index, checked_row in enumerate(chunk):
            parts = recheck.parts(checked_row) if recheck else checked_row.parts
            if isinstance(parts, tuple):
                request = self.requests.request(checked_row.row, checked_row.key)
                row_currency = currency(checked_row.currency)
                payment_amounts = (
                    (payment_id, Money(minor_units, row_currency), bool(charged_back))
                    for payment_id, minor_units, charged_back in parts
                )
                records_by_index[row_index] = records_of(
                    request, checked_row.invoice_id, payment_amounts, recorded_at=recorded_at, run_id=self.run.id
                )
            outcomes.append(checked_row if isinstance(parts, tuple) else parts)
        for row_index, refusal in self._write(records_by_index, tx).items():
            outcomes[row_index] = rejected(chunk[row_index].row, chunk[row_index].key, refusal)
        return outcomes, _OTHERS_WROTE if changed_by_others else tx.audit.newest_entry()

    def _write(self, records_by_index: Mapping[int, Sequence[Record]], tx: Writing) -> dict[int, WouldContradict]:
        """Write the records of each row; returns the rows that the store refuses. The others are written."""
        try:
            self._write_at_once([record for row_records in records_by_index.values() for record in row_records], tx)
        except WouldContradict:
            refusal_by_index = {}
            for row_index, row_records in records_by_index.items():
                try:
                    self._write_at_once(row_records, tx)
                except WouldContradict as refusal:
                    refusal_by_index[row_index] = refusal
            return refusal_by_index
        return {}

    def _write_at_once(self, records: Sequence[Record], tx: Writing) -> None:
        """All of them, or none and WouldContradict."""
        with tx.all_or_nothing():
            tx.records.add(records, on=self.rules.clock.today(), credit_note_format=self.credit_note_format)

    def _recheck(self, chunk: Sequence[CheckedRow], spool: RowSpool, tx: Writing) -> "_Recheck":
        """Find the rows whose facts changed since the check; for the others its answer is still valid."""
        facts_by_number = tx.invoices.facts(list(dict.fromkeys(checked_row.row.invoice for checked_row in chunk)))
        refunds_by_key = tx.refunds.by_keys([checked_row.key for checked_row in chunk])
        changed_numbers = {
            checked_row.row.invoice
            for checked_row in chunk
            if facts_by_number.get(checked_row.row.invoice) != checked_row.facts or checked_row.key in refunds_by_key
        }
        return _Recheck(
            self.rules, spool, changed_numbers, tx.invoices.by_number(list(changed_numbers)), refunds_by_key
        )


@dataclass(slots=True)
class _Recheck:
    """Checks every rule again, in order, for rows whose invoices changed since the check."""

    rules: RowRules
    spool: RowSpool
    changed_numbers: Container[str]
    invoices_by_number: Mapping[str, Invoice]
    refunds_by_key: Mapping[str, Sequence[Refund]]
    earlier_rows: EarlierRows = field(default_factory=EarlierRows)

    def parts(self, checked_row: CheckedRow) -> tuple[tuple[int, int, int], ...] | BadRow | None:
        """What the row takes; a rejection if it is refused, None if it was done before."""
        if checked_row.row.invoice not in self.changed_numbers:
            return checked_row.parts
        try:
            invoice = self.earlier_rows.of(self.invoices_by_number.get(checked_row.row.invoice))
            existing_refunds = self.refunds_by_key.get(checked_row.key, ())
            shares = self.rules.shares_of(
                checked_row.row, checked_row.key, invoice, existing_refunds, FileRows(self.spool, self.earlier_rows)
            )
            assert invoice
            if total_of(shares).minor != checked_row.takes:
                raise ChangedMeanwhile(invoice, Money(checked_row.takes, invoice.currency), total_of(shares))
        except AlreadyDone:
            return None
        except RefundcliError as refusal:
            return rejected(checked_row.row, checked_row.key, refusal)
        return self.earlier_rows.take(shares, checked_row.row.reason)


def how_to_resume(run: BulkRun) -> str:
    return f"{resume_command(run)}     (no row is recorded twice)"


def _count(outcomes: Sequence[_Done], report: BulkReport, on_row_rejected: Reject) -> None:
    for outcome in outcomes:
        if outcome is None:
            report.done()
        elif isinstance(outcome, BadRow):
            report.refuse(outcome)
            on_row_rejected(outcome)
        else:
            report.take([("", Money(minor_units, currency(outcome.currency))) for _, minor_units, _ in outcome.parts])
