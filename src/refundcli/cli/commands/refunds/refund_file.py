"""`refund` with a file: what became of each row, and the exit code."""

import sys

import typer

from refundcli.cli.commands.refunds.file_run import (
    TerminalPresenter,
    note_afterwards,
    note_rejected_rows,
    show_checked,
)
from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.domain.bulk_run import RunState
from refundcli.domain.errors import RefundcliError
from refundcli.output import json as json_output
from refundcli.output.errors import show_error
from refundcli.output.serializers.bulk import resumed_dry_run, run_report
from refundcli.output.serializers.errors import error
from refundcli.output.views.bulk import lease_words, show_refunded, show_unfinished_runs
from refundcli.services.bulk.check_report import FileChecked
from refundcli.services.bulk.ports import BulkRequest
from refundcli.services.bulk.report import RefundedFile, Stopped
from refundcli.services.bulk.runs import resume_command
from refundcli.services.bulk.unfinished_runs import UnfinishedRun


def refund_file(app: App, request: BulkRequest, presenter: TerminalPresenter) -> None:
    """Exit 8 when an outcome is unknown, else 9 when rows were refused (FILE.rejected.csv) or are unfinished."""
    app.services.read_events_again()
    run_refunds = app.services.run_refunds
    outcome = run_refunds.resume(request, presenter) if request.resume else run_refunds.run(request, presenter)
    if isinstance(outcome, FileChecked):
        show_checked(app, outcome)
    elif isinstance(outcome, UnfinishedRun):
        _show_dry_run(app, outcome)
    else:
        _show(app, outcome)


def _show_dry_run(app: App, open_run: UnfinishedRun) -> None:
    """What would be resumed."""
    if app.for_people:
        show_unfinished_runs([open_run], app.out)
    else:
        app.show_object(resumed_dry_run(open_run))


def _show(app: App, outcome: RefundedFile) -> None:
    counts, run, report = outcome.counts, outcome.run, outcome.report
    if app.for_people:
        show_refunded(outcome, app.out)
    else:
        app.show_object(run_report(outcome))
    if counts.refunded or counts.accepted:
        note_afterwards(app, run, is_record=False)
    if not app.wants_json:
        _note_next_step(app, outcome)
    note_rejected_rows(
        app,
        run.kind,
        outcome.refused_by_code.total(),
        counts.rows,
        outcome.rejected_path,
        are_correct=outcome.may_be_run_again,
    )
    for unwritten_outcome in report.not_written:
        _show_problem(app, unwritten_outcome)
    if report.bug:
        raise report.bug
    problem = report.trouble or outcome.file_problem
    if problem and not (report.not_written and problem is report.trouble):
        _show_problem(app, problem)
    exit_code = _exit_code(outcome)
    if exit_code:
        raise typer.Exit(exit_code)


def _note_next_step(app: App, outcome: RefundedFile) -> None:
    """Why it stopped, who holds rows, and the next step. JSON has all of this."""
    report = outcome.report
    if report.stopped:
        app.err.say(("! ", "yellow"), f"Stopped: {report.stopped}.")
    for holder in report.holders:
        app.err.say(("! ", "yellow"), f"{lease_words(holder)}.")
    if report.state is not RunState.FINISHED:
        app.err.say(f"Next: {resume_command(outcome.run)}     (no row is processed twice)", indent=3)


def _show_problem(app: App, problem: RefundcliError) -> None:
    if app.wants_json:
        json_output.dump(error(problem), sys.stderr)
    else:
        show_error(problem, app.err)


def _exit_code(outcome: RefundedFile) -> int:
    """The most serious first: an unknown outcome, then what stopped the run, then refused or unfinished rows (I11)."""
    report, counts = outcome.report, outcome.counts
    if report.not_written or report.unknown or counts.unknown:
        return ExitCode.OUTCOME_UNKNOWN
    if report.stopped is Stopped.ASKED:
        return ExitCode.INTERRUPTED
    if report.trouble:
        return OF_FAMILY[report.trouble.family]
    return (
        ExitCode.PARTLY if counts.refused or counts.partly or report.state is not RunState.FINISHED else ExitCode.DONE
    )
