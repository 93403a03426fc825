"""`mark-refunded` with a file: check it, have it confirmed, record its rows, and resume what was stopped.

This module cannot reach a provider (R2).
"""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.errors import OutcomeUnknown, RefundcliError, Refused
from refundcli.domain.reasons import RefundReason
from refundcli.services.bulk.check_file import CheckedFile, CheckFile
from refundcli.services.bulk.check_report import BulkReport, FileChecked, RecordedFile, TooManyErrors
from refundcli.services.bulk.ports import BulkRequest, Presenter
from refundcli.services.bulk.record_run import MOST_AT_ONCE, NotAllRows, RecordRowRequests, RecordRun, TooManyForOne
from refundcli.services.bulk.runs import begin_in, unfinished_run_named
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.system.interrupts import Interrupted


class FileNeeded(Refused):
    """The rows of a run of records are only in its file, which is missing."""

    code = "file-needed"

    def __init__(self, run: BulkRun) -> None:
        super().__init__(
            f"{run.id} was started from the file {run.source}, which can no longer be read.",
            hint="Give the same file again: refundcli mark-refunded --from FILE   (no row is recorded twice)",
            context={"run": run.id, "file": run.source},
        )


@dataclass(frozen=True, slots=True)
class RunRecords:
    """Records the rows of a file, or the rest of a stopped run."""

    books: Books
    clock: Clock
    check_file: CheckFile
    credit_note_format: str

    def run(self, request: BulkRequest, presenter: Presenter) -> RecordedFile | FileChecked:
        """Record the rows of a file, or the rest of a run. Raises what stopped it, after the presenter showed it."""
        if request.resume:
            request = self._of_run(request)
        requested_rows = RecordRowRequests(self.clock, self.check_file.operator)
        return self.check_file.then(
            request, requested_rows, presenter, lambda file: self._record(request, requested_rows, file, presenter)
        )

    def _of_run(self, request: BulkRequest) -> BulkRequest:
        """The run's own file, with the reason and duplicates that it was started with."""
        run = self.books.read(lambda tx: unfinished_run_named(tx, request.resume, RunKind.MARK_REFUNDED))
        row_options = json.loads(run.options)
        if not Path(run.source).is_file():
            raise FileNeeded(run)
        if row_options["plan"]:
            return replace(request, apply=run.source)
        reason = RefundReason(row_options["reason"]) if row_options["reason"] else None
        return replace(request, from_=run.source, reason=reason, allow_duplicate=row_options["allow_duplicate"])

    def _record(
        self, request: BulkRequest, requested_rows: RecordRowRequests, file: CheckedFile, presenter: Presenter
    ) -> RecordedFile:
        if request.atomic and file.report.refused_count:
            raise NotAllRows(file.report)
        if request.atomic and file.report.requested > MOST_AT_ONCE:
            raise TooManyForOne(file.report.requested)
        # A run that was killed after its last row only needs its end recorded.
        if not (file.report.requested or file.rules.run_id):
            return RecordedFile(file.name, file.report, None, file.rejected.publish())
        run = self.books.write(lambda tx: _begin(tx, file))
        recording = RecordRun(
            run,
            requested_rows,
            replace(file.rules, run_id=run.id),
            file.report.checked_at,
            self.books,
            self.credit_note_format,
            presenter.note_stopping,
        )
        try:
            with presenter.progress("Recording", total=file.report.requested) as advance:
                if request.atomic:
                    recording.record_atomically(file.spool, on_rows_done=advance)
                else:
                    recording.record(
                        file.spool,
                        max_errors=request.max_errors,
                        on_rows_done=advance,
                        on_row_rejected=file.rejected.add,
                    )
        except TooManyErrors as problem:
            self._end(run, RunState.STOPPED, note=problem.code)
            file.rejected.publish()
            raise
        except NotAllRows:
            self._end(run, RunState.FINISHED, note="refused: all or nothing")
            raise
        except (KeyboardInterrupt, Interrupted, RefundcliError) as problem:
            presenter.show_stopped(self._stopped(file, recording.report, run, problem))
            raise
        self._end(run, RunState.FINISHED)
        return RecordedFile(file.name, _whole(file.report, recording.report), run, file.rejected.publish())

    def _stopped(
        self, file: CheckedFile, record_report: BulkReport, run: BulkRun, cause: BaseException
    ) -> RecordedFile:
        """After Ctrl-C or a failure of the store: what was recorded, and how many rows are left."""
        rows_left: int | None = file.report.requested - record_report.rows
        with suppress(RefundcliError):
            end_note = cause.code if isinstance(cause, RefundcliError) else "interrupted"
            self._end(run, RunState.STOPPED if rows_left else RunState.FINISHED, note=end_note)
            file.rejected.publish()
        if isinstance(cause, OutcomeUnknown):
            # The fate of the last commit is unknown.
            rows_left = None
        return RecordedFile(file.name, _whole(file.report, record_report), run, rows_left=rows_left)

    def _end(self, run: BulkRun, state: RunState, *, note: str = "") -> None:
        self.books.write(lambda tx: tx.runs.change(run.id, state, note=note))


def _begin(tx: Writing, file: CheckedFile) -> BulkRun:
    new_run = replace(file.run, rows=file.report.rows)
    run, existed = begin_in(tx, new_run, checked_run_id=file.rules.run_id)
    if existed:
        tx.runs.change(run.id, RunState.RUNNING, note="resumed")
    return run


def _whole(check_report: BulkReport, record_report: BulkReport) -> BulkReport:
    """The report of the whole file: the check, and the rows recorded after it."""
    return replace(
        record_report,
        rows=check_report.rows,
        done_before=check_report.done_before + record_report.done_before,
        codes=check_report.codes + record_report.codes,
        refused=[*check_report.refused, *record_report.refused],
    )
