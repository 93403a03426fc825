"""credit-notes: list and show them."""

from collections.abc import Iterable
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Output, day_of

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.refund import CreditNote

group = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="List and show credit notes."
)


@group.command(
    "list", epilog="Examples:  refundcli credit-notes list --since 2026-10-01 --until 2026-10-31   ·   … -o csv"
)
def list_(
    ctx: typer.Context,
    invoice: Annotated[str, typer.Option("--invoice", metavar="NUMBER", help="Only this invoice's.")] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="REASON", help="Only with this reason.")] = "",
    since: Annotated[
        date | None,
        typer.Option("--since", parser=day_of("--since"), metavar="DATE", help="Issued on this day or later."),
    ] = None,
    until: Annotated[
        date | None,
        typer.Option("--until", parser=day_of("--until"), metavar="DATE", help="Issued on this day or before."),
    ] = None,
    output_format: Output = None,
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


@group.command(epilog="Examples:  refundcli credit-notes show CN-2026-000017   ·   … -o json")
def show(
    ctx: typer.Context,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The credit note's number.")],
    output_format: Output = None,
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
