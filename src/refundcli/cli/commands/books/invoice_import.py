"""invoice import: check the file, write it, show the outcome."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.file_options import ReadingWishes, formats_of
from refundcli.domain.statuses import Provider
from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
from refundcli.files.formats.mapped import ReadingOptions
from refundcli.files.invoices.file import InvoiceFile
from refundcli.files.invoices.mapped import MappedInvoiceFile, ReadingChoice, open_invoices
from refundcli.files.review_file import review_file
from refundcli.files.source import FileProblem, Source, open_source
from refundcli.output.progress import progress
from refundcli.output.serializers.imports import imported_file
from refundcli.output.serializers.imports import review_file as review_file_shape
from refundcli.output.views.imports import show_bad_rows, show_conflicts, show_import, show_matched
from refundcli.services.imports.from_file import (
    CheckedInvoices,
    ImportRefused,
    ImportSummary,
    check_invoices,
    write_invoices,
)
from refundcli.services.ports.bad_rows import BadRow
from refundcli.store.imports.staging import InvoiceSpool


class NothingToConvert(FileProblem):
    code = "nothing-to-convert"

    def __init__(self, file_name: str) -> None:
        super().__init__(
            file_name, "the file has our columns already", hint=f"To import it: refundcli invoice import {file_name}"
        )


def import_file(app: App, file: str, wishes: ReadingWishes, *, skip_invalid: bool, to_csv: str = "") -> None:
    """Raises FileProblem where the file cannot be read, and ImportRefused where a row is bad."""
    wishes.check()
    with open_source(file, sys.stdin.buffer, any_encoding=True) as source:
        if to_csv:
            _write_for_review(app, source, wishes, to_csv, skip_invalid=skip_invalid)
            return
        books, invoices = app.services.books, _opened(app, source, wishes)
        # The first import creates the store.
        books.write(lambda tx: None)
        with InvoiceSpool() as spool, _rejected_file(source, invoices) as rejection_file:
            reject = rejection_file.add if skip_invalid else _only_counted
            with progress(app.err, "Checking", enabled=app.wants_progress) as advance:
                checked_invoices = check_invoices(
                    invoices.batches(), spool=spool, books=books, advance=advance, reject=reject
                )
            _note_passed_over(app, invoices)
            if checked_invoices.bad_rows and (not skip_invalid or checked_invoices.must_be_corrected):
                _refuse(app, source.name, checked_invoices)
            # Before the first write, so that no rejected row is lost.
            rejected_path = rejection_file.publish()
            label = invoices.label if isinstance(invoices, MappedInvoiceFile) else source.label
            try:
                with progress(
                    app.err, "Writing", total=checked_invoices.good_rows, enabled=app.wants_progress
                ) as advance:
                    summary = write_invoices(spool, checked_invoices, source=label, books=books, advance=advance)
            except KeyboardInterrupt:
                app.err.say("Stopped. Invoices imported so far are kept; import the same file again to get the rest.")
                raise
    _show(app, invoices, checked_invoices, summary, rejected_path, wishes)
    for provider in Provider:
        # An import asks no provider, so Stripe's events are only matched again, not fetched.
        app.services.updates.apply_events.known(provider, asks=provider is Provider.ADYEN)
    app.note_unmatched_events()
    app.note_new_store()
    if checked_invoices.bad_rows:
        raise typer.Exit(ExitCode.PARTLY)


def _opened(app: App, source: Source, wishes: ReadingWishes) -> InvoiceFile | MappedInvoiceFile:
    """The file in its format; a note says how it is read, unless it is our own layout."""
    options = ReadingOptions(wishes.decimal, wishes.date, app.services.books.zone)
    invoices = open_invoices(source, partial(formats_of, app), ReadingChoice(wishes.format, wishes.sheet, options))
    if isinstance(invoices, MappedInvoiceFile):
        app.note(f"Read as {invoices.read_as}.")
    return invoices


def _rejected_file(source: Source, invoices: InvoiceFile | MappedInvoiceFile) -> RejectedFile:
    """For rejected rows, in the layout of their file."""
    path = path_for_rejected(source, invoices.columns)
    if isinstance(invoices, InvoiceFile):
        return RejectedFile(path, invoices.columns)
    return RejectedFile(path, invoices.columns, delimiter=invoices.delimiter, for_spreadsheets=True)


def _note_passed_over(app: App, invoices: InvoiceFile | MappedInvoiceFile) -> None:
    if isinstance(invoices, MappedInvoiceFile) and invoices.passed_over:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in invoices.passed_over.items())
        app.note(f"Rows passed over: {sum(invoices.passed_over.values())} ({reasons}).")


def _write_for_review(app: App, source: Source, wishes: ReadingWishes, path: str, *, skip_invalid: bool) -> None:
    """Write the file's invoices in our columns. Raises ImportRefused where a row is bad, and FileProblem."""
    invoices = _opened(app, source, wishes)
    checked_invoices = CheckedInvoices()
    if isinstance(invoices, InvoiceFile):
        raise NothingToConvert(source.name)
    with _rejected_file(source, invoices) as rejection_file:
        with review_file(path, invoices.own_columns) as write_row:
            for cells in _good_rows(invoices, checked_invoices, rejection_file, rejects=skip_invalid):
                write_row(cells)
            _note_passed_over(app, invoices)
            if checked_invoices.bad_rows and not skip_invalid:
                _refuse(app, source.name, checked_invoices)
        rejected_path = rejection_file.publish()
    app.show_done(
        f"{path}: {checked_invoices.good_rows} invoices to review. Nothing was imported.",
        review_file_shape(path, checked_invoices.good_rows, str(rejected_path) if rejected_path else None),
    )
    app.note(f"To import them: refundcli invoice import {path}")
    if checked_invoices.bad_rows:
        raise typer.Exit(ExitCode.PARTLY)


def _good_rows(
    invoices: MappedInvoiceFile, checked_invoices: CheckedInvoices, rejection_file: RejectedFile, *, rejects: bool
) -> Iterator[list[str]]:
    for row in invoices.own_rows():
        checked_invoices.rows += 1
        if not isinstance(row, BadRow):
            yield row[1]
            continue
        checked_invoices.add(row)
        if rejects:
            rejection_file.add(row)


def _only_counted(row: object) -> None:
    """Without --skip-invalid no rows are rejected: the import is all or nothing."""


def _refuse(app: App, file_name: str, checked_invoices: CheckedInvoices) -> None:
    if not app.wants_json:
        show_bad_rows(checked_invoices, app.err)
    raise ImportRefused(file_name, checked_invoices)


def _show(
    app: App,
    invoices: InvoiceFile | MappedInvoiceFile,
    checked_invoices: CheckedInvoices,
    summary: ImportSummary,
    rejected_path: Path | None,
    wishes: ReadingWishes,
) -> None:
    file_name, rejected_file = invoices.source.name, str(rejected_path) if rejected_path else None
    read_as, passed_over = None, None
    if isinstance(invoices, MappedInvoiceFile):
        read_as, passed_over = str(invoices.read_as), invoices.passed_over
    shape = imported_file(file_name, checked_invoices, summary, rejected_file, read_as=read_as, passed_over=passed_over)
    if app.wants_json:
        app.show_object(shape)
        return
    if app.for_people:
        show_import(file_name, summary, app.out)
    else:
        app.show_object({key: value for key, value in shape.items() if not isinstance(value, (list, dict))})
    if not app.quiet:
        if not app.for_people:
            show_import(file_name, summary, app.err)
        show_conflicts(summary, app.err)
        show_matched(checked_invoices.matched, app.err)
    if rejected_file:
        show_bad_rows(checked_invoices, app.err)
        app.err.say(
            ("! ", "yellow"),
            (f"Rows left out: {checked_invoices.bad_rows} of {checked_invoices.rows}, saved to {rejected_file}"),
        )
        command = f"refundcli invoice import {rejected_file}{wishes.options}"
        app.err.say(f"Correct the rows in that file, then: {command}", indent=3)
