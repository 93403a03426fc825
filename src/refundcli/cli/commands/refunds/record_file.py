"""`mark-refunded` with a file: record the checked rows, resume a run, undo one."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import typer

from refundcli.cli.commands.refunds.file_run import (
    BulkOptions,
    CheckedFile,
    checked_file,
    note_afterwards,
    note_rejected_rows,
)
from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.prompts import ask_yes_no, check_confirm, require_a_way_to_ask
from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.errors import OutcomeUnknown, RefundcliError, Refused, UsageProblem
from refundcli.domain.reasons import RefundReason
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import recorded_file
from refundcli.output.serializers.bulk import undo as undo_shape
from refundcli.output.views.bulk import show_recorded, show_undo
from refundcli.services.bulk.check_report import BulkReport
from refundcli.services.bulk.record_run import (
    MOST_AT_ONCE,
    NotAllRows,
    RecordRowRequests,
    RecordRun,
    TooManyErrors,
    TooManyForOne,
    how_to_resume,
)
from refundcli.services.bulk.runs import begin, end, resume_command, unfinished_run_named
from refundcli.services.bulk.undo_records import Undone, preview_undo, undo
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


class MemoNeeded(UsageProblem):
    code = "memo-needed"

    def __init__(self) -> None:
        super().__init__("--undo needs a reason: --memo.", hint='Add --memo "wrong file, see ticket 4711"')


def record_file(app: App, options: BulkOptions) -> None:
    """Exit 9 when some rows were refused: those are in FILE.rejected.csv, the others are recorded."""
    options.check()
    requested_rows = RecordRowRequests(app.services.clock, app.settings.operator.name)
    options = _of_run(app, options) if options.resume else options
    with checked_file(app, options, requested_rows) as confirmed_file:
        if confirmed_file:
            _record(app, options, requested_rows, confirmed_file)


def _record(app: App, options: BulkOptions, requested_rows: RecordRowRequests, confirmed_file: CheckedFile) -> None:
    report, run_id = confirmed_file.report, ""
    if options.atomic and confirmed_file.report.refused_count:
        raise NotAllRows(confirmed_file.report)
    if options.atomic and confirmed_file.report.requested > MOST_AT_ONCE:
        raise TooManyForOne(confirmed_file.report.requested)
    # A run that was killed after its last row only needs its end recorded.
    if confirmed_file.report.requested or confirmed_file.rules.run_id:
        new_run = replace(confirmed_file.run, rows=confirmed_file.report.rows)
        begun_run = begin(new_run, checked_run_id=confirmed_file.rules.run_id, books=app.services.books)
        run_id, report = begun_run.id, _do(app, options, requested_rows, confirmed_file, begun_run)
    rejected_path = confirmed_file.rejected.publish()
    _show(
        app,
        confirmed_file,
        _whole(confirmed_file.report, report) if run_id else report,
        run_id,
        str(rejected_path) if rejected_path else None,
    )


def _do(
    app: App, options: BulkOptions, requested_rows: RecordRowRequests, confirmed_file: CheckedFile, run: BulkRun
) -> BulkReport:
    """Record the rows. If it is stopped, the recorded ones are shown and the run can be resumed."""
    services = app.services
    rules = replace(confirmed_file.rules, run_id=run.id)
    checked_at, number_format = confirmed_file.report.checked_at, services.policy.credit_note_format
    recording = RecordRun(run, requested_rows, rules, checked_at, services.books, number_format, app.note_stopping)
    try:
        with progress(
            app.err, "Recording", total=confirmed_file.report.requested, enabled=app.wants_progress
        ) as advance:
            if options.atomic:
                return recording.record_atomically(confirmed_file.shelf, on_rows_done=advance)
            report = recording.record(
                confirmed_file.shelf,
                max_errors=options.max_errors,
                on_rows_done=advance,
                on_row_rejected=confirmed_file.rejected.add,
            )
    except TooManyErrors as problem:
        end(run, RunState.STOPPED, books=services.books, note=problem.code)
        confirmed_file.rejected.publish()
        raise
    except NotAllRows:
        end(run, RunState.FINISHED, books=services.books, note="refused: all or nothing")
        raise
    except (KeyboardInterrupt, Interrupted, RefundcliError) as problem:
        _show_stopped(app, confirmed_file, recording.report, run, problem)
        raise
    end(run, RunState.FINISHED, books=services.books)
    return report


def _show_stopped(
    app: App, confirmed_file: CheckedFile, record_report: BulkReport, run: BulkRun, cause: BaseException
) -> None:
    """After Ctrl-C or a failure of the store: show what was recorded, and how to record the rest."""
    rows_left: int | None = confirmed_file.report.requested - record_report.rows
    end_note = cause.code if isinstance(cause, RefundcliError) else "interrupted"
    with suppress(RefundcliError):
        end(run, RunState.STOPPED if rows_left else RunState.FINISHED, books=app.services.books, note=end_note)
        confirmed_file.rejected.publish()
    if isinstance(cause, OutcomeUnknown):
        # The fate of the last commit is unknown.
        rows_left = None
    report, next_step = _whole(confirmed_file.report, record_report), resume_command(run) if rows_left != 0 else None
    if app.for_people:
        show_recorded(report, run.id, app.out)
    else:
        file_name = confirmed_file.source.name
        app.show_object(
            recorded_file(
                file_name, report, run_id=run.id, rejected_file=None, waiting_rows=rows_left, next_command=next_step
            )
        )
    if not app.wants_json and next_step:
        rows_left_words = (
            "The number of rows still to record is not known"
            if rows_left is None
            else f"Rows still to record: {rows_left:,} of {report.rows:,}"
        )
        app.err.say(f"Stopped. Recorded rows stay recorded. {rows_left_words}. Next: {how_to_resume(run)}")


def _whole(check_report: BulkReport, record_report: BulkReport) -> BulkReport:
    """The report of the whole file: the check, and the rows recorded after it."""
    return replace(
        record_report,
        rows=check_report.rows,
        done_before=check_report.done_before + record_report.done_before,
        codes=check_report.codes + record_report.codes,
        refused=[*check_report.refused, *record_report.refused],
    )


def _show(app: App, confirmed_file: CheckedFile, report: BulkReport, run_id: str, rejected_file: str | None) -> None:
    kind, file_name = RunKind.MARK_REFUNDED, confirmed_file.source.name
    if not app.for_people:
        app.show_object(
            recorded_file(
                file_name, report, run_id=run_id or None, rejected_file=rejected_file, waiting_rows=0, next_command=None
            )
        )
    else:
        show_recorded(report, run_id, app.out)
    note_rejected_rows(app, kind, report.refused_count, report.rows, rejected_file)
    if run_id and report.requested:
        note_afterwards(app, confirmed_file.run, is_record=True)
    if run_id and app.for_people and not app.quiet:
        app.err.bullet(f"Made in error? refundcli mark-refunded --undo {run_id} --memo TEXT")
    if report.refused_count:
        raise typer.Exit(ExitCode.PARTLY)


def _of_run(app: App, options: BulkOptions) -> BulkOptions:
    """The options of the run to resume: its own file, and the reason and duplicates it was started with."""
    kind = RunKind.MARK_REFUNDED
    run = app.services.books.read(lambda tx: unfinished_run_named(tx, options.resume, kind))
    row_options = json.loads(run.options)
    if not Path(run.source).is_file():
        raise FileNeeded(run)
    if row_options["plan"]:
        return replace(options, apply=run.source)
    reason = RefundReason(row_options["reason"]) if row_options["reason"] else None
    return replace(options, from_=run.source, reason=reason, allow_duplicate=row_options["allow_duplicate"])


def undo_records(app: App, run_or_record_id: str, *, memo: str, yes: bool, confirm: str, dry_run: bool) -> None:
    """Undo a run of records made in error, or one record; with `dry_run`, show what would be undone.

    Exit 9 where some stay: they are refunds that the provider has made.
    """
    books = app.services.books
    preview = preview_undo(run_or_record_id, books=books)
    if not memo.strip():
        raise MemoNeeded
    how_to_answer = "Add --yes, or --confirm with the number of records."
    require_a_way_to_ask(app, is_answered=yes or bool(confirm) or dry_run, how_to_answer=how_to_answer)
    if dry_run:
        _show_undo(app, run_or_record_id, preview, dry_run=True)
        return
    if not app.wants_json:
        show_undo(run_or_record_id, preview, app.err, is_done=False)
    if confirm:
        check_confirm(confirm, str(preview.records))
    elif not yes:
        ask_yes_no(app, "Undo them?" if preview.records > 1 else "Undo it?", undone_action="undone")
    with progress(app.err, "Undoing", total=preview.records, enabled=app.wants_progress) as advance:
        undone = undo(
            run_or_record_id, memo=memo, books=books, on_records_undone=advance, on_interrupt=app.note_stopping
        )
    _show_undo(app, run_or_record_id, undone, dry_run=False)


def _show_undo(app: App, run_or_record_id: str, undone: Undone, *, dry_run: bool) -> None:
    if app.for_people:
        if dry_run:
            app.out.say("Dry run: every rule was checked; nothing was changed.")
        show_undo(run_or_record_id, undone, app.out, is_done=not dry_run, dry_run=dry_run)
    else:
        app.show_object(undo_shape(run_or_record_id, undone, dry_run=dry_run))
    if undone.unchanged:
        raise typer.Exit(ExitCode.PARTLY)
