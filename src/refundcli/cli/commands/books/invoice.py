"""invoice: import, pull, list, show, history."""

from collections.abc import Iterable
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.file_options import DateOrder, DecimalMark, FileFormatName, ReadingWishes, SheetName
from refundcli.cli.options import Format, Number, Output, day_of
from refundcli.domain.statuses import InvoiceStatus, Provider

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.invoice import Invoice

group = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Import, pull, list and inspect invoices.",
)


@group.command(
    "import",
    epilog="Examples:  refundcli invoice import invoices.csv   ·   cat invoices.jsonl | refundcli invoice import -"
    "   ·   refundcli invoice import payments.csv --to-csv review.csv",
)
def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, JSON Lines or xlsx; - reads standard input.")],
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the valid rows; write the others to FILE.rejected.csv.")
    ] = False,
    format_name: FileFormatName = "auto",
    decimal: DecimalMark = "",
    date_order: DateOrder = "",
    sheet: SheetName = "",
    to_csv: Annotated[
        str,
        typer.Option("--to-csv", metavar="OUT", help="Import nothing; write the invoices in our columns, for review."),
    ] = "",
    output_format: Output = None,
) -> None:
    """Import invoices. The whole file is checked first; if a row is invalid, nothing is written.

    Exports of Stripe and Adyen, and files of spreadsheets, are recognised by their columns: refundcli formats list
    """
    from refundcli.cli.commands.books.invoice_import import import_file

    choice = ReadingWishes(format_name, decimal, date_order, sheet)
    import_file(ctx.obj, file, choice, skip_invalid=skip_invalid, to_csv=to_csv)


@group.command(epilog="Examples:  refundcli invoice pull stripe   ·   refundcli invoice pull stripe --since 2026-11-01")
def pull(
    ctx: typer.Context,
    provider: Annotated[
        Provider, typer.Argument(metavar="PROVIDER", help="stripe only: Adyen does not keep invoices.")
    ],
    since: Annotated[
        date | None,
        typer.Option(
            "--since", parser=day_of("--since"), metavar="DATE", help="Only invoices created on or after this day."
        ),
    ] = None,
    number: Annotated[
        str | None, typer.Option("--number", metavar="NUMBER", help="Only this one, by its number or in_… ID.")
    ] = None,
    output_format: Output = None,
) -> None:
    """Import invoices from the provider, with their payments, refunds and disputes.

    Refunds already in the store, and any newer status there, are kept. A pull that was stopped resumes where it
    left off.
    """
    from refundcli.cli.commands.books.invoice_pull import pull_invoices

    pull_invoices(ctx.obj, provider, since=since, number=number)


@group.command("list", epilog="Examples:  refundcli invoice list --refundable   ·   refundcli invoice list -o csv")
def list_(
    ctx: typer.Context,
    status: Annotated[InvoiceStatus | None, typer.Option("--status", help="Only invoices with this status.")] = None,
    provider: Annotated[
        Provider | None, typer.Option("--provider", help="Only invoices paid through this provider.")
    ] = None,
    customer: Annotated[str, typer.Option("--customer", metavar="ID", help="Only this customer's.")] = "",
    refundable: Annotated[
        bool, typer.Option("--refundable", help="Only invoices that can currently be refunded or recorded as refunded.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="List all invoices; ignores --limit.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number to show.")] = 50,
    after: Annotated[str, typer.Option("--after", metavar="NUMBER", help="Start after this number.")] = "",
    output_format: Output = None,
) -> None:
    """List invoices, by number."""
    from refundcli.cli.context import App
    from refundcli.services.invoices.lookup import place_in_list
    from refundcli.services.invoices.pages import invoice_pages
    from refundcli.services.ports.reads import InvoiceFilter

    app: App = ctx.obj
    if after:
        after = app.services.reader.read(lambda tx: place_in_list(tx, after))
    filters = InvoiceFilter(
        status=status, provider=provider, customer=customer, refundable=refundable, after=after, limit=limit
    )
    filter_options = {"status": status, "provider": provider, "customer": customer, "after": after}
    if refundable:
        filter_options["refundable"] = "yes"
    filter_words = ", ".join(f"{name} {value}" for name, value in filter_options.items() if value)
    if everything:
        _show_pages(app, invoice_pages(app.services.reader, filters), filter_words)
        return
    invoices = app.services.reader.read(lambda tx: tx.invoices.matching(filters))
    app.remember_numbers(invoice.number for invoice in invoices)
    _show_pages(app, [invoices] if invoices else [], filter_words)
    if len(invoices) == limit and app.format is Format.TABLE:
        app.note(f"More: add --after {invoices[-1].number}")


def _show_pages(app: "App", pages: "Iterable[list[Invoice]]", filter_words: str) -> None:
    """`filter_words`: what the list was limited to, for people; empty if it was not."""
    from refundcli.cli.context import while_read
    from refundcli.output.exported_list import INVOICE_COLUMNS, TEXT_COLUMNS, invoice_row
    from refundcli.output.serializers.invoices import invoice_summary
    from refundcli.output.views.invoice import show_list

    invoices = chain.from_iterable(pages)
    if app.wants_json:
        app.show_long_list(map(invoice_summary, invoices))
    elif not app.for_people:
        app.show_rows(INVOICE_COLUMNS, while_read(map(invoice_row, invoices)), text_columns=TEXT_COLUMNS)
    else:
        page: list[Invoice] = []
        for page in while_read(pages):
            show_list(page, app.out)
        if not page:
            no_invoices_note = "No invoices. To import some: refundcli invoice import FILE"
            app.note(f"No invoice matches. Filters: {filter_words}." if filter_words else no_invoices_note)


@group.command(epilog="Examples:  refundcli invoice show INV-1042   ·   refundcli invoice show CN-2026-000017 -o json")
def show(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NUMBER", help="An invoice's number, a provider's ID, or a credit note's number."),
    ],
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the provider first, and apply what it reports.")
    ] = False,
    output_format: Output = None,
) -> None:
    """Show one invoice: its details, what is left to refund, what has happened, and what can be done now."""
    app: App = ctx.obj
    if refresh:
        from refundcli.cli.commands.books.invoice_pull import refresh_invoice

        refresh_invoice(app, name)
    show_one(app, name)


def show_one(app: "App", name: str) -> None:
    """Show the invoice that has this number or id."""
    from refundcli.domain.invoice import without_lapsed_holds
    from refundcli.output.serializers.invoices import invoice_details
    from refundcli.output.views.invoice import show_invoice
    from refundcli.services.invoices.lookup import invoice_behind

    invoice, livemode = app.services.reader.read(lambda tx: (invoice_behind(tx, name), tx.store.livemode()))
    invoice = without_lapsed_holds(invoice, app.services.clock.now())
    app.remember_numbers([invoice.number])
    if app.for_people:
        mode = {None: "", True: "live mode", False: "test mode"}[livemode]
        show_invoice(invoice, app.out, zone=app.settings.operator.zone, mode=mode)
    else:
        app.show_object(invoice_details(invoice))


@group.command(epilog="Examples:  refundcli invoice history INV-1042   ·   refundcli invoice history INV-1042 -o json")
def history(ctx: typer.Context, number: Number, output_format: Output = None) -> None:
    """Show every change to one invoice: what changed, when, by whom and why."""
    from refundcli.cli.context import App
    from refundcli.output.serializers.invoices import history_entry
    from refundcli.output.views.invoice import changes, show_history
    from refundcli.services.invoices.history import history_of

    app: App = ctx.obj
    invoice, entries = app.services.reader.read(lambda tx: history_of(tx, number))
    if app.wants_json:
        app.show_list(map(history_entry, entries))
    elif app.for_people:
        show_history(invoice, entries, app.out, zone=app.settings.operator.zone, inner=app.verbose)
    else:
        rows = ((entry.at, entry.operator, entry.action, entry.subject, changes(entry)) for entry in entries)
        columns = ("at", "operator", "action", "subject", "details")
        app.show_rows(columns, rows, text_columns=columns[1:])
