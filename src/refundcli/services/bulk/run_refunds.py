"""`refund` with a file: check it, have it confirmed, send its refunds, and resume what was stopped."""

import json
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from refundcli.domain.bulk_run import PARTLY_REFUNDED, BulkRun, ItemState, RunItem, RunKind
from refundcli.domain.errors import RefundcliError, before_sending
from refundcli.domain.statuses import Provider
from refundcli.services.bulk.check_file import CheckedFile, CheckFile
from refundcli.services.bulk.check_report import BulkReport, FileChecked
from refundcli.services.bulk.ports import BulkRequest, Presenter, RejectedRows
from refundcli.services.bulk.refund_rows import RefundRowRequests, stage
from refundcli.services.bulk.refund_run import RunWorker
from refundcli.services.bulk.report import RefundedFile, RunLimits, RunReport, row_counts
from refundcli.services.bulk.runs import unfinished_run_named
from refundcli.services.bulk.unfinished_runs import UnfinishedRun, unfinished_run
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Reading
from refundcli.system.interrupts import stop_on_signal

_PAGE = 1000
_SHOWN = 50


@dataclass(frozen=True, slots=True)
class RunRefunds:
    """Sends the refunds of a file, or the rest of a stopped run. `in_flight`: concurrent requests."""

    dispatch: RefundDispatch
    check_file: CheckFile
    in_flight: int

    def run(self, request: BulkRequest, presenter: Presenter) -> RefundedFile | FileChecked:
        """Refund the rows of a file. Every error of a row or of the run is in the outcome."""

        def connect(report: BulkReport) -> bool:
            providers = dict.fromkeys(Provider(provider) for _, provider in report.sums if provider)
            with before_sending():
                return presenter.announce([self.dispatch.providers.of(provider) for provider in providers])

        requested_rows = RefundRowRequests(self.check_file.operator)
        return self.check_file.then(
            request, requested_rows, presenter, lambda file: self._refund(request, file, presenter), connect=connect
        )

    def _refund(self, request: BulkRequest, file: CheckedFile, presenter: Presenter) -> RefundedFile | FileChecked:
        if not file.report.requested and not file.rules.run_id:
            return FileChecked(file.name, request.kind, file.report, file.rejected.publish(), dry_run=False)
        new_run = replace(file.run, rows=file.report.rows)
        run = self.dispatch.books.write(lambda tx: stage(new_run, file.spool, tx, checked_run_id=file.rules.run_id))
        report = self._send(run, request, file.report.requested, presenter)
        return self._outcome(file.name, run, report, file.report, file.rejected)

    def resume(self, request: BulkRequest, presenter: Presenter) -> RefundedFile | UnfinishedRun:
        """Continue a run whose rows are in the store; with `dry_run`, only show it.

        In live mode the number of its rows is confirmed again: all its rows, so that several workers can use the same
        --confirm.
        """
        run = self.dispatch.books.read(lambda tx: unfinished_run_named(tx, request.resume, RunKind.REFUND))
        now = self.dispatch.clock.now()
        open_run = self.dispatch.books.read(lambda tx: unfinished_run(tx, run, now=now))
        if request.dry_run:
            return open_run
        if presenter.announce_stored(self.dispatch.books.read(lambda tx: tx.accounts.known())):
            presenter.confirm(run.rows, RunKind.REFUND, is_live=True, is_resumed=True)
        columns = tuple(json.loads(run.options)["columns"])
        with self.check_file.files.rejected_rows(Path(f"{run.id}.rejected.csv"), columns) as rejected:
            report = self._send(run, request, open_run.rows_left, presenter)
            return self._outcome(run.id, run, report, None, rejected)

    def _send(self, run: BulkRun, request: BulkRequest, row_count: int, presenter: Presenter) -> RunReport:
        with (
            presenter.progress("Refunding", total=row_count) as advance,
            stop_on_signal(presenter.note_stopping) as stop,
        ):
            return RunWorker(
                run,
                dispatch=self.dispatch,
                limits=RunLimits(in_flight=self.in_flight, max_errors=request.max_errors),
                on_row_end=lambda run_row, refunds: advance(1, refused=int(_is_refused(run_row))),
                stop_request=stop,
                on_waiting=presenter.note_waiting,
            ).run()

    def _outcome(
        self, name: str, run: BulkRun, report: RunReport, check_report: BulkReport | None, rejected: RejectedRows
    ) -> RefundedFile:
        """The outcome of every row. `check_report`: the check of its file, if that was read now."""
        rejections = self._publish(run, rejected, lines_in_file=check_report.refused_by_run if check_report else ())
        count_by_code = rejections.codes if report.standing else report.codes
        bad_rows = rejections.first
        if check_report:
            count_by_code = count_by_code + check_report.codes_outside
            # Those of the run are in its rejections.
            partly_outside = [row for row in check_report.partly if row.line not in check_report.partly_by_run]
            bad_rows = [*check_report.refused, *partly_outside, *bad_rows]
        counts = row_counts(run.rows, report, check_report)
        return RefundedFile(name, run, report, counts, count_by_code, bad_rows, rejections.path, rejections.problem)

    def _publish(self, run: BulkRun, rejected: RejectedRows, *, lines_in_file: Container[int]) -> "_Rejections":
        """Write refused rows to the file of rejected rows, which has those of `lines_in_file` already.

        Returns a failure to write, so that refunds are shown.
        """
        rejections = _Rejections()
        try:
            for run_row in self._refused(run):
                rejections.codes[run_row.code] += 1
                if run_row.line not in lines_in_file:
                    bad_row = _bad_row(run_row)
                    if run_row.code == PARTLY_REFUNDED:
                        # Importing the row again would be refused, so it is shown with its next step instead.
                        rejections.first.append(bad_row)
                        continue
                    rejected.add(bad_row)
                    rejections.first.extend([bad_row] if len(rejections.first) < _SHOWN else [])
            rejections.path = rejected.publish()
        except RefundcliError as problem:
            rejections.problem = problem
        return rejections

    def _refused(self, run: BulkRun) -> Iterator[RunItem]:
        last_row_number = 0
        while page := self.dispatch.books.read(partial(_refused_page, run.id, last_row_number)):
            last_row_number = page[-1].n
            yield from page


@dataclass(slots=True)
class _Rejections:
    """The rows that any worker of the run refused: how many by code, the first new ones in the file, and its path.

    Partly refunded rows are all in `first`, and not in the file. `problem`: why the file could not be written.
    """

    codes: Counter[str] = field(default_factory=Counter)
    first: list[BadRow] = field(default_factory=list)
    path: Path | None = None
    problem: RefundcliError | None = None


def _refused_page(run_id: str, after_row_number: int, reading: Reading) -> list[RunItem]:
    return reading.runs.items(run_id, ItemState.REFUSED, after=after_row_number, limit=_PAGE)


def _is_refused(run_row: RunItem) -> bool:
    return run_row.state is ItemState.REFUSED and run_row.code != PARTLY_REFUNDED


def _bad_row(run_row: RunItem) -> BadRow:
    problem = Problem(run_row.line, "invoice", run_row.invoice, run_row.code, run_row.message, run_row.hint)
    return BadRow(run_row.line, (problem,), tuple(json.loads(run_row.cells)), run_row.request_key)
