"""`mark-refunded --from`: check the whole file, show what it comes to, ask once, record it."""

import sys

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.prompts import check_confirm, require_a_way_to_ask, typed
from refundcli.documents.mark_rows import MarkFile
from refundcli.documents.rejected import RejectedFile
from refundcli.documents.source import open_source
from refundcli.output.bulk_screen import bulk_shape, show_done, show_summary
from refundcli.output.progress import progress
from refundcli.services.bulk_marks import BulkMarks, BulkReport, CheckedRows


def mark_file(app: App, file: str, *, dry_run: bool, yes: bool, confirm: str) -> None:
    """Exit 9 when some rows were refused: the others are recorded, and these are in FILE.rejected.csv."""
    require_a_way_to_ask(
        app, answered=yes or bool(confirm) or dry_run, how="Add --yes, or --confirm with the number of rows."
    )
    services = app.services
    with open_source(file, sys.stdin.buffer) as source:
        marks = MarkFile(source, today=services.clock.today())
        bulk = BulkMarks(services.books, services.clock, app.settings.operator.name, services.policy.number_format)
        with RejectedFile(source, marks.columns, keyed=True) as rejected:
            with progress(app.err, "Checking", wanted=not app.quiet) as advance:
                checked = bulk.check(marks.rows, advance=advance, reject=rejected.add)
            if not app.wants_json:
                show_summary(source.name, checked.report, app.err)
            if dry_run:
                _show(app, source.name, checked.report, dry_run=True, rejected_file=None)
                return
            _confirm(app, checked.report.recorded, yes=yes, confirm=confirm)
            # Before anything is recorded: what is left out is never lost.
            rejected_path = rejected.publish()
        report = checked.report
        if report.recorded:
            with RejectedFile(source, marks.columns, keyed=True) as rejected:
                report = _record(app, bulk, marks, checked, rejected)
                rejected_path = rejected.publish()
    _show(app, source.name, report, dry_run=False, rejected_file=str(rejected_path) if rejected_path else None)


def _record(app: App, bulk: BulkMarks, marks: MarkFile, checked: CheckedRows, rejected: RejectedFile) -> BulkReport:
    with progress(app.err, "Recording", total=checked.report.rows, wanted=not app.quiet) as advance:
        return bulk.record(marks.rows, checked, advance=advance, reject=rejected.add)


def _confirm(app: App, rows: int, *, yes: bool, confirm: str) -> None:
    """The number of rows, typed or given; where nothing would be recorded there is nothing to confirm (R5)."""
    if not rows:
        return
    if confirm:
        check_confirm(confirm, str(rows))
    elif not yes:
        typed(app, str(rows))


def _show(app: App, name: str, report: BulkReport, *, dry_run: bool, rejected_file: str | None) -> None:
    if not app.for_people:
        app.show_object(bulk_shape(name, report, dry_run=dry_run, rejected_file=rejected_file))
    elif not dry_run:
        show_done(report, app.out)
    if rejected_file and not app.wants_json:
        app.err.say(("! ", "yellow"), f"{report.refused_count} of {report.rows} rows were left out: {rejected_file}")
        app.err.say(f"Correct them, then: refundcli mark-refunded --from {rejected_file}", indent=3)
    if report.refused_count:
        raise typer.Exit(ExitCode.PARTLY)
