"""invoice import: check the file, write it, show the outcome."""

import sys

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.domain.statuses import Provider
from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
from refundcli.files.invoices.file import InvoiceFile
from refundcli.files.source import open_source
from refundcli.output.progress import progress
from refundcli.output.serializers.imports import imported_file
from refundcli.output.views.imports import show_bad_rows, show_conflicts, show_import
from refundcli.services.imports.from_file import (
    CheckedInvoices,
    ImportRefused,
    ImportSummary,
    check_invoices,
    write_invoices,
)
from refundcli.store.imports.staging import InvoiceSpool


def import_file(app: App, file: str, *, skip_invalid: bool) -> None:
    """Raises FileProblem where the file cannot be read, and ImportRefused where a row is bad."""
    books = app.services.books
    with open_source(file, sys.stdin.buffer) as source:
        invoices = InvoiceFile(source)
        # The first import creates the store.
        books.write(lambda tx: None)
        rejected_target = path_for_rejected(source, invoices.columns)
        with InvoiceSpool() as spool, RejectedFile(rejected_target, invoices.columns) as rejection_file:
            reject = rejection_file.add if skip_invalid else _only_counted
            with progress(app.err, "Checking", enabled=app.wants_progress) as advance:
                checked_invoices = check_invoices(
                    invoices.batches(), spool=spool, books=books, advance=advance, reject=reject
                )
            if checked_invoices.bad_rows and not skip_invalid:
                _refuse(app, source.name, checked_invoices)
            # Before the first write, so that no rejected row is lost.
            rejected_path = rejection_file.publish()
            try:
                with progress(
                    app.err, "Writing", total=checked_invoices.good_rows, enabled=app.wants_progress
                ) as advance:
                    summary = write_invoices(spool, checked_invoices, source=source.label, books=books, advance=advance)
            except KeyboardInterrupt:
                app.err.say("Stopped. Invoices imported so far are kept; import the same file again to get the rest.")
                raise
    _show(app, source.name, checked_invoices, summary, str(rejected_path) if rejected_path else None)
    for provider in Provider:
        # An import asks no provider, so Stripe's events are only matched again, not fetched.
        app.services.updates.apply_events.known(provider, asks=provider is Provider.ADYEN)
    app.note_unmatched_events()
    app.note_new_store()
    if checked_invoices.bad_rows:
        raise typer.Exit(ExitCode.PARTLY)


def _only_counted(row: object) -> None:
    """Without --skip-invalid no rows are rejected: the import is all or nothing."""


def _refuse(app: App, file_name: str, checked_invoices: CheckedInvoices) -> None:
    if not app.wants_json:
        show_bad_rows(checked_invoices, app.err)
    raise ImportRefused(file_name, checked_invoices)


def _show(
    app: App, file_name: str, checked_invoices: CheckedInvoices, summary: ImportSummary, rejected_file: str | None
) -> None:
    if app.wants_json:
        app.show_object(imported_file(file_name, checked_invoices, summary, rejected_file))
        return
    if app.for_people:
        show_import(file_name, summary, app.out)
    else:
        shape = imported_file(file_name, checked_invoices, summary, rejected_file)
        app.show_object({key: value for key, value in shape.items() if not isinstance(value, list)})
    if not app.quiet:
        if not app.for_people:
            show_import(file_name, summary, app.err)
        show_conflicts(summary, app.err)
    if rejected_file:
        show_bad_rows(checked_invoices, app.err)
        app.err.say(
            ("! ", "yellow"),
            (f"Rows left out: {checked_invoices.bad_rows} of {checked_invoices.rows}, saved to {rejected_file}"),
        )
        app.err.say(f"Correct the rows in that file, then: refundcli invoice import {rejected_file}", indent=3)
