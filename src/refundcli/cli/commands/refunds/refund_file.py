"""`refund` with a file: send the checked refunds through the providers, several at once."""

import json
import sys
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import typer

from refundcli.cli.commands.refunds import request
from refundcli.cli.commands.refunds.file_run import (
    BulkOptions,
    checked_file,
    confirm,
    note_afterwards,
    note_rejected_rows,
    show_checked,
)
from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.domain.bulk_run import PARTLY_REFUNDED, BulkRun, ItemState, RunItem, RunKind, RunState
from refundcli.domain.errors import RefundcliError, before_sending
from refundcli.domain.statuses import Provider
from refundcli.files.bulk.rejected_rows import RejectedFile
from refundcli.output import json as json_output
from refundcli.output.errors import show_error
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import resumed_dry_run, run_report
from refundcli.output.serializers.errors import error
from refundcli.output.views.bulk import show_refunded, show_unfinished_runs
from refundcli.services.bulk.check_report import BulkReport
from refundcli.services.bulk.refund_rows import RefundRowRequests, begin_staged
from refundcli.services.bulk.refund_run import run_refunds
from refundcli.services.bulk.report import RowCounts, RunLimits, RunReport, Stopped, row_counts
from refundcli.services.bulk.runs import resume_command, unfinished_run_named
from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun, unfinished_run
from refundcli.services.dispatch.outcome_errors import MAY_BE_RUN_AGAIN
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Reading
from refundcli.system.interrupts import stop_on_signal

_KIND = RunKind.REFUND
_PAGE = 1000
_SHOWN = 50


def refund_file(app: App, options: BulkOptions) -> None:
    """Exit 8 when an outcome is unknown, else 9 when rows were refused (FILE.rejected.csv) or are unfinished."""
    options.check()
    app.services.read_events_again()
    if options.resume:
        _resume_run(app, options)
        return
    requested_rows = RefundRowRequests(app.settings.operator.name)

    def connect(report: BulkReport) -> bool:
        providers = dict.fromkeys(Provider(provider) for _, provider in report.sums if provider)
        with before_sending():
            return request.announce_live(app, [app.services.providers.of(provider) for provider in providers])

    with checked_file(app, options, requested_rows, connect=connect) as confirmed_file:
        if confirmed_file is None:
            return
        if not confirmed_file.report.requested and not confirmed_file.rules.run_id:
            rejected_path = confirmed_file.rejected.publish()
            show_checked(
                app,
                confirmed_file.source.name,
                _KIND,
                confirmed_file.report,
                rejected_file=rejected_path,
                dry_run=False,
            )
            return
        new_run = replace(confirmed_file.run, rows=confirmed_file.report.rows)
        run = begin_staged(
            new_run, confirmed_file.shelf, checked_run_id=confirmed_file.rules.run_id, books=app.services.books
        )
        report = _do(app, options, run, confirmed_file.report.requested)
        _show(app, confirmed_file.source.name, run, report, confirmed_file.report, confirmed_file.rejected)


def _resume_run(app: App, options: BulkOptions) -> None:
    """Continue a run whose rows are in the store.

    In live mode the number of its rows is confirmed again: all its rows, so that several workers can use the same
    --confirm.
    """
    run = app.services.books.read(lambda tx: unfinished_run_named(tx, options.resume, _KIND))
    now = app.services.clock.now()
    open_run = app.services.books.read(lambda tx: unfinished_run(tx, run, now=now))
    if options.dry_run:
        _show_dry_run(app, open_run)
        return
    if request.announce_live_accounts(app, app.services.books.read(lambda tx: tx.accounts.known())):
        confirm(app, run.rows, options, is_live=True, resumed_run_id=run.id)
    rows_left = sum(
        row_count
        for row_state, row_count in open_run.counts.items()
        if row_state not in (ItemState.DONE, ItemState.REFUSED)
    )
    columns = tuple(json.loads(run.options)["columns"])
    with RejectedFile(Path(f"{run.id}.rejected.csv"), columns, keyed=True) as rejection_file:
        report = _do(app, options, run, rows_left)
        _show(app, run.id, run, report, None, rejection_file)


def _show_dry_run(app: App, open_run: UnfinishedRun) -> None:
    """What would be resumed."""
    if app.for_people:
        show_unfinished_runs([open_run], app.out)
    else:
        app.show_object(resumed_dry_run(open_run))


@dataclass(frozen=True, slots=True)
class _Rejections:
    """The rows that any worker of the run refused: how many by code, the first new ones in the file, and its path.

    Partly refunded rows are all in `first`, and not in the file. `problem`: why the file could not be written.
    """

    codes: Counter[str] = field(default_factory=Counter)
    first: list[BadRow] = field(default_factory=list)
    path: Path | None = None
    problem: RefundcliError | None = None


def _publish_rejections(
    app: App, run: BulkRun, rejection_file: RejectedFile, *, lines_in_file: Container[int]
) -> _Rejections:
    """Write refused rows to the file of rejected rows, which has those of `lines_in_file` already.

    Returns a failure to write, so that refunds are shown.
    """
    rejections = _Rejections()
    try:
        for run_row in _refused(app, run):
            rejections.codes[run_row.code] += 1
            if run_row.line not in lines_in_file:
                bad_row = _rejection(run_row)
                if run_row.code == PARTLY_REFUNDED:
                    # Importing the row again would be refused, so it is shown with its next step instead.
                    rejections.first.append(bad_row)
                    continue
                rejection_file.add(bad_row)
                rejections.first.extend([bad_row] if len(rejections.first) < _SHOWN else [])
        return replace(rejections, path=rejection_file.publish())
    except RefundcliError as problem:
        return replace(rejections, problem=problem)


def _refused(app: App, run: BulkRun) -> Iterator[RunItem]:
    last_row_number = 0
    while page := app.services.books.read(partial(_refused_page, run.id, last_row_number)):
        last_row_number = page[-1].n
        yield from page


def _refused_page(run_id: str, after_row_number: int, reading: Reading) -> list[RunItem]:
    return reading.runs.items(run_id, ItemState.REFUSED, after=after_row_number, limit=_PAGE)


def _do(app: App, options: BulkOptions, run: BulkRun, row_count: int) -> RunReport:
    services = app.services
    limits = RunLimits(in_flight=services.settings.refunds.in_flight, max_errors=options.max_errors)
    with (
        progress(app.err, "Refunding", total=row_count, enabled=app.wants_progress) as advance,
        stop_on_signal(app.note_stopping) as stop,
    ):
        return run_refunds(
            run,
            books=services.books,
            providers=services.providers,
            clock=services.clock,
            policy=services.policy,
            limits=limits,
            on_row_end=lambda run_row, refunds: advance(1, refused=int(_is_refused(run_row))),
            stop_request=stop,
            on_waiting=partial(_tell_waiting, app),
        )


def _is_refused(run_row: RunItem) -> bool:
    return run_row.state is ItemState.REFUSED and run_row.code != PARTLY_REFUNDED


def _tell_waiting(app: App, holders: Sequence[RunHolder]) -> None:
    for holder in holders:
        app.note(f"{_leased(holder)}; waiting for them to finish. Press Ctrl-C to stop waiting.")


def _leased(holder: RunHolder) -> str:
    row_words = "1 row is" if holder.rows == 1 else f"{holder.rows:,} rows are"
    until_words = f" until {holder.until:%H:%M:%S} UTC" if holder.until else ""
    return f"{row_words} being processed by {holder.label}{until_words}"


def _rejection(run_row: RunItem) -> BadRow:
    problem = Problem(run_row.line, "invoice", run_row.invoice, run_row.code, run_row.message, run_row.hint)
    return BadRow(run_row.line, (problem,), tuple(json.loads(run_row.cells)), run_row.request_key)


def _show(
    app: App,
    file_or_run: str,
    run: BulkRun,
    report: RunReport,
    check_report: BulkReport | None,
    rejection_file: RejectedFile,
) -> None:
    """Show the run and exit with its code. `check_report`: the check of its file, if that was read now."""
    rejections = _publish_rejections(
        app, run, rejection_file, lines_in_file=check_report.refused_by_run if check_report else ()
    )
    counts = row_counts(run.rows, report, check_report)
    count_by_code = (check_report.codes_outside if check_report else Counter[str]()) + (
        rejections.codes if report.standing else report.codes
    )
    rejected_path = str(rejections.path) if rejections.path else None
    # Those of the run are in its rejections.
    partly_refunded = (
        [row for row in check_report.partly if row.line not in check_report.partly_by_run] if check_report else []
    )
    bad_rows = [*(check_report.refused if check_report else ()), *partly_refunded, *rejections.first]
    if app.for_people:
        show_refunded(report, counts, count_by_code, run.id, app.out, bad_rows=bad_rows)
    else:
        app.show_object(
            run_report(
                file_or_run,
                run,
                report,
                counts,
                count_by_code=count_by_code,
                bad_rows=bad_rows,
                rejected_file=rejected_path,
            )
        )
    if counts.refunded or counts.accepted:
        note_afterwards(app, run, is_record=False)
    _note_next_step(app, run, report)
    refused_by_code = count_by_code - Counter({PARTLY_REFUNDED: count_by_code[PARTLY_REFUNDED]})
    are_correct = refused_by_code.keys() <= MAY_BE_RUN_AGAIN
    note_rejected_rows(app, _KIND, refused_by_code.total(), counts.rows, rejected_path, are_correct=are_correct)
    _end(app, report, counts, rejections.problem)


def _note_next_step(app: App, run: BulkRun, report: RunReport) -> None:
    """Why it stopped, who holds rows, and the next step. JSON has all of this."""
    if app.wants_json:
        return
    if report.stopped:
        app.err.say(("! ", "yellow"), f"Stopped: {report.stopped}.")
    for holder in report.holders:
        app.err.say(("! ", "yellow"), f"{_leased(holder)}.")
    if report.state is not RunState.FINISHED:
        app.err.say(f"Next: {resume_command(run)}     (no row is processed twice)", indent=3)


def _end(app: App, report: RunReport, counts: RowCounts, file_problem: RefundcliError | None) -> None:
    """Show what went wrong, and exit with the most serious code."""
    for unwritten_outcome in report.not_written:
        _show_problem(app, unwritten_outcome)
    if report.bug:
        raise report.bug
    exit_code = _exit_code(report, counts)
    problem = report.trouble or file_problem
    if problem and not (report.not_written and problem is report.trouble):
        _show_problem(app, problem)
    if exit_code:
        raise typer.Exit(exit_code)


def _show_problem(app: App, problem: RefundcliError) -> None:
    if app.wants_json:
        json_output.dump(error(problem), sys.stderr)
    else:
        show_error(problem, app.err)


def _exit_code(report: RunReport, counts: RowCounts) -> int:
    """The most serious first: an unknown outcome, then what stopped the run, then refused or unfinished rows (I11)."""
    if report.not_written or report.unknown or counts.unknown:
        return ExitCode.OUTCOME_UNKNOWN
    if report.stopped is Stopped.ASKED:
        return ExitCode.INTERRUPTED
    if report.trouble:
        return OF_FAMILY[report.trouble.family]
    return (
        ExitCode.PARTLY if counts.refused or counts.partly or report.state is not RunState.FINISHED else ExitCode.DONE
    )
