"""`mark-refunded` with a file, and `--undo`: what was recorded or undone, and the exit code."""

import typer

from refundcli.cli.commands.refunds.file_run import (
    TerminalPresenter,
    note_afterwards,
    note_rejected_rows,
    show_checked,
)
from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.prompts import ask_yes_no, check_confirm, require_a_way_to_ask
from refundcli.domain.bulk_run import RunKind
from refundcli.domain.errors import UsageProblem
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import recorded_file
from refundcli.output.serializers.bulk import undo as undo_shape
from refundcli.output.views.bulk import show_recorded, show_undo
from refundcli.services.bulk.check_report import FileChecked
from refundcli.services.bulk.ports import BulkRequest
from refundcli.services.bulk.undo_records import Undone


class MemoNeeded(UsageProblem):
    code = "memo-needed"

    def __init__(self) -> None:
        super().__init__("--undo needs a reason: --memo.", hint='Add --memo "wrong file, see ticket 4711"')


def record_file(app: App, request: BulkRequest, presenter: TerminalPresenter) -> None:
    """Exit 9 when some rows were refused: those are in FILE.rejected.csv, the others are recorded."""
    outcome = app.services.run_records.run(request, presenter)
    if isinstance(outcome, FileChecked):
        show_checked(app, outcome)
        return
    report, run = outcome.report, outcome.run
    if app.for_people:
        show_recorded(outcome, app.out)
    else:
        app.show_object(recorded_file(outcome))
    note_rejected_rows(app, RunKind.MARK_REFUNDED, report.refused_count, report.rows, outcome.rejected_path)
    if run and report.requested:
        note_afterwards(app, run, is_record=True)
    if run and app.for_people and not app.quiet:
        app.err.bullet(f"Made in error? refundcli mark-refunded --undo {run.id} --memo TEXT")
    if report.refused_count:
        raise typer.Exit(ExitCode.PARTLY)


def undo_records(app: App, run_or_record_id: str, *, memo: str, yes: bool, confirm: str, dry_run: bool) -> None:
    """Undo a run of records made in error, or one record; with `dry_run`, show what would be undone.

    Exit 9 where some stay: they are refunds that the provider has made.
    """
    undo = app.services.undo_records
    preview = undo.preview(run_or_record_id)
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
        undone = undo.undo(run_or_record_id, memo=memo, on_records_undone=advance, on_interrupt=app.note_stopping)
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
