"""`void` and `uncollectible` with a file: check it, have it confirmed, close its invoices, show what became of them."""

import shlex
import sys
from pathlib import Path

import typer

from refundcli.cli.commands.refunds.close import connect
from refundcli.cli.commands.refunds.one_or_file import OneOrMany
from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.cli.prompts import ask_to_type, check_confirm, require_a_way_to_ask
from refundcli.domain.errors import RefundcliError, before_sending
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.output.progress import progress
from refundcli.services.closings.close_file import ClosingsReport
from refundcli.system.interrupts import Interrupted


def close_file(
    app: App, number: str, path: str, target: InvoiceStatus, *, memo: str, yes: bool, confirm: str, dry_run: bool
) -> None:
    """Exit 8 where an outcome is unknown, else 9 where rows were refused (FILE.rejected.csv) or are left.

    Raises OneOrMany, ConfirmationRequired, NotConfirmed, and the problems of the file.
    """
    from refundcli.files.bulk.closings import ClosingsFile
    from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
    from refundcli.files.source import open_source
    from refundcli.output.views.closing import show_closings_check, show_closings_done

    if number:
        raise OneOrMany(target)
    is_answered = yes or dry_run or bool(confirm)
    require_a_way_to_ask(app, is_answered=is_answered, how_to_answer="Add --confirm with the number of rows, or --yes.")
    service = app.services.closings_of_file(target)
    with open_source(path, sys.stdin.buffer) as source:
        file = ClosingsFile(source)
        report = service.check(file.rows())
        if not app.wants_json:
            show_closings_check(source.name, target, report, app.err)
        if not dry_run and report.to_close:
            with before_sending():
                connect(app, Provider.STRIPE if report.at_provider else None, dry_run=False)
            _confirm(app, len(report.to_close), yes=yes, confirm=confirm, is_sent=bool(report.at_provider))
            with progress(app.err, "Closing", total=len(report.to_close), enabled=app.wants_progress) as advance:
                service.close(report, memo, advance)
        rejected_path = None
        if not dry_run:
            with RejectedFile(path_for_rejected(source, file.columns), file.columns) as rejected:
                for row in sorted(report.refused, key=lambda row: row.line):
                    rejected.add(row)
                rejected_path = rejected.publish()
    if app.for_people:
        show_closings_done(target, report, app.out, dry_run=dry_run)
    else:
        from refundcli.output.serializers.bulk import closings_file

        app.show_object(closings_file(source.name, target, report, dry_run=dry_run, rejected_path=rejected_path))
    _note_next_step(app, report, source.name, target, rejected_path)
    _end(report)


def _confirm(app: App, row_count: int, *, yes: bool, confirm: str, is_sent: bool) -> None:
    if confirm:
        check_confirm(confirm, str(row_count))
    elif not yes:
        ask_to_type(app, str(row_count), undone_action="sent" if is_sent else "changed")


def _note_next_step(
    app: App, report: ClosingsReport, file_name: str, target: InvoiceStatus, rejected_path: Path | None
) -> None:
    if app.wants_json:
        return
    if rejected_path:
        app.err.say(
            ("! ", "yellow"), f"Rows left out: {len(report.refused):,} of {report.rows:,}, saved to {rejected_path}"
        )
        app.err.say(f"Correct them, then: refundcli {target} --from {shlex.quote(str(rejected_path))}", indent=3)
    for closing_id in report.unknown:
        app.err.say(("! ", "yellow"), f"The outcome of {closing_id} is not known. Next: refundcli resume {closing_id}")
    if report.stopped:
        app.err.say(
            f"Stopped. Rows not started: {report.not_started:,}. Next: refundcli {target} --from "
            f"{shlex.quote(file_name)}   (no invoice is closed twice)"
        )


def _end(report: ClosingsReport) -> None:
    """The most serious first: an unknown outcome, then what stopped it, then refused rows (I11)."""
    if report.unknown:
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)
    if isinstance(report.stopped, Interrupted | KeyboardInterrupt):
        raise report.stopped
    if isinstance(report.stopped, RefundcliError):
        raise typer.Exit(OF_FAMILY[report.stopped.family])
    if report.refused:
        raise typer.Exit(ExitCode.PARTLY)
