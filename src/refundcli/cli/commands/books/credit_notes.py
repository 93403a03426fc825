"""credit-notes: list, show and export them."""

import shlex
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import day_option
from refundcli.domain.errors import SettingsProblem, UsageProblem
from refundcli.services.ports.documents import DocumentFormat

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.refund import CreditNote
    from refundcli.services.documents.export import ExportRequest

group = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="List, show and export credit notes."
)


@group.command(
    "list",
    epilog="Examples:  refundcli credit-notes list --since 2026-10-01 --until 2026-10-31   ·   "
    "refundcli credit-notes list -o csv",
)
def list_(
    ctx: typer.Context,
    invoice: Annotated[str, typer.Option("--invoice", metavar="NUMBER", help="Only this invoice's.")] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="REASON", help="Only with this reason.")] = "",
    since: Annotated[date | None, day_option("--since", help="Issued on this day or later.")] = None,
    until: Annotated[date | None, day_option("--until", help="Issued on this day or before.")] = None,
) -> None:
    """List credit notes by date of issue. Voided credit notes keep their numbers."""
    from refundcli.domain.reasons import parse_reason
    from refundcli.services.invoices.lookup import invoice_behind
    from refundcli.services.invoices.pages import credit_note_pages
    from refundcli.services.ports.reads import CreditNoteFilter

    app: App = ctx.obj
    if invoice:
        invoice = app.services.reader.read(lambda tx: invoice_behind(tx, invoice)).number
    filters = CreditNoteFilter(
        invoice=invoice,
        reason=parse_reason(reason) if reason else None,
        since=since,
        until=until,
    )
    _show_pages(app, credit_note_pages(app.services.reader, filters))


def _show_pages(app: "App", pages: "Iterable[list[CreditNote]]") -> None:
    from refundcli.cli.context import while_read
    from refundcli.output.serializers.invoices import credit_note
    from refundcli.output.views.credit_notes import COLUMNS, note_row, show_notes

    notes = chain.from_iterable(pages)
    if app.wants_json:
        app.show_long_list(map(credit_note, notes))
    elif not app.for_people:
        text_columns = ("number", "status", "invoice", "customer", "reason")
        app.show_rows(COLUMNS, while_read(map(note_row, notes)), text_columns=text_columns)
    else:
        page: list[CreditNote] = []
        for page in while_read(pages):
            show_notes(page, app.out)
        if not page:
            app.note("No credit notes.")


@group.command(
    epilog="Examples:  refundcli credit-notes show CN-2026-000017   ·   "
    "refundcli credit-notes show CN-2026-000017 -o json"
)
def show(
    ctx: typer.Context, number: Annotated[str, typer.Argument(metavar="NOTE", help="The credit note's number.")]
) -> None:
    """Show one credit note with its refund."""
    from refundcli.output.serializers.invoices import credit_note_details
    from refundcli.output.views.credit_notes import show_note
    from refundcli.services.invoices.lookup import credit_note_named

    app: App = ctx.obj
    note, refund = app.services.reader.read(lambda tx: credit_note_named(tx, number))
    if app.for_people:
        show_note(note, refund, app.out, zone=app.settings.operator.zone)
    else:
        app.show_object(credit_note_details(note, refund))


class DocumentsMissing(SettingsProblem):
    code = "documents-missing"

    def __init__(self) -> None:
        super().__init__("Documents need libraries that are not installed.", hint="pip install 'refundcli[documents]'")


class ExportOfWhat(UsageProblem):
    code = "export-of-what"

    def __init__(self) -> None:
        super().__init__(
            "Name credit notes, or days, or a run.", hint="refundcli credit-notes export --since 2026-10-01 --to FOLDER"
        )


class Language(StrEnum):
    EN = "en"
    DE = "de"
    SV = "sv"


@group.command(
    epilog="Examples:  refundcli credit-notes export CN-2026-000017   ·   "
    "refundcli credit-notes export --since 2026-10-01 --format xml --to out"
)
def export(
    ctx: typer.Context,
    numbers: Annotated[list[str] | None, typer.Argument(metavar="NUMBER…", help="Credit notes' numbers.")] = None,
    since: Annotated[date | None, day_option("--since", help="Issued on this day or later.")] = None,
    until: Annotated[date | None, day_option("--until", help="Issued on this day or before.")] = None,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Of this run's refunds.")] = "",
    form: Annotated[
        DocumentFormat, typer.Option("--format", help="A page to read, a page with its XML (EN 16931), or the XML.")
    ] = DocumentFormat.PDF,
    language: Annotated[Language | None, typer.Option("--language", help="By default that of the settings.")] = None,
    to: Annotated[
        Path, typer.Option("--to", metavar="PATH", help="A folder; or the file, of a single credit note.")
    ] = Path(),
) -> None:
    """Write the documents of credit notes: PDF/A-3, electronic invoices of type 381, or both in one file."""
    from refundcli.services.documents.export import ExportRequest
    from refundcli.services.ports.reads import CreditNoteFilter

    if not (numbers or since or until or run):
        raise ExportOfWhat
    app: App = ctx.obj
    options = {"--since": since, "--until": until, "--run": run or None}
    chosen = [*(numbers or ()), *(f"{name} {value}" for name, value in options.items() if value)]
    request = ExportRequest(
        criteria=CreditNoteFilter(since=since, until=until, run=run),
        numbers=tuple(numbers or ()),
        format=form,
        target=to,
        command=shlex.join(["refundcli", "credit-notes", "export", *" ".join(chosen).split()]),
        words=f"with {' '.join(chosen)}",
    )
    _export(app, request, language or app.settings.credit_notes.language)


def _export(app: "App", request: "ExportRequest", language: str) -> None:
    from refundcli.output.progress import progress
    from refundcli.output.serializers.invoices import exported_documents
    from refundcli.services.documents.export import ExportDocuments

    try:
        from refundcli.output.documents.pdf import Documents
    except ImportError as missing:
        raise DocumentsMissing from missing
    with (
        Documents(request.format, language, app.settings.credit_notes.fonts or "") as documents,
        progress(app.err, "Writing documents", enabled=app.wants_progress) as advance,
    ):
        exported = ExportDocuments(app.services.reader, documents).export(request, lambda: advance(1))
    words = "1 document" if exported.documents == 1 else f"{exported.documents:,} documents"
    app.show_done(f"Wrote {words}: {exported.path}", exported_documents(exported, request.format))
    if exported.confirmations:
        app.note(
            f"{exported.confirmations:,} titled Refund confirmation: [seller] is not set, or the invoice has no tax."
        )
