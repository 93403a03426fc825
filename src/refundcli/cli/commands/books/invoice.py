"""invoice: import, pull, list, show, history."""

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.file_options import DateOrder, DecimalMark, FileFormatName, ReadingWishes, SheetName
from refundcli.cli.options import Number, day_option
from refundcli.cli.search_options import (
    SearchAmount,
    SearchEmail,
    SearchLast4,
    SearchName,
    SearchProduct,
    SearchSince,
    SearchUntil,
    search_of,
    searched_words,
)
from refundcli.domain.statuses import InvoiceStatus, Provider

if TYPE_CHECKING:
    from refundcli.cli.context import App

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
    since: Annotated[date | None, day_option("--since", help="Only invoices created on or after this day.")] = None,
    number: Annotated[
        str | None, typer.Option("--number", metavar="NUMBER", help="Only this one, by its number or in_… ID.")
    ] = None,
) -> None:
    """Import invoices from the provider, with their payments, refunds and disputes.

    Refunds already in the store, and any newer status there, are kept. A pull that was stopped resumes where it
    left off.
    """
    from refundcli.cli.commands.books.invoice_pull import pull_invoices

    pull_invoices(ctx.obj, provider, since=since, number=number)


@group.command(
    "list",
    epilog="Examples:  refundcli invoice list --refundable   ·   refundcli invoice list --name osei --since 2026-08-01"
    "   ·   refundcli invoice list --overdue --sort -total   ·   "
    "refundcli invoice list --columns number,total,refundable -o csv",
)
def list_(
    ctx: typer.Context,
    status: Annotated[InvoiceStatus | None, typer.Option("--status", help="Only invoices with this status.")] = None,
    provider: Annotated[
        Provider | None, typer.Option("--provider", help="Only invoices paid through this provider.")
    ] = None,
    customer: Annotated[str, typer.Option("--customer", metavar="ID", help="Only this customer's.")] = "",
    name: SearchName = "",
    email: SearchEmail = "",
    last4: SearchLast4 = "",
    amount: SearchAmount = "",
    since: SearchSince = None,
    until: SearchUntil = None,
    product: SearchProduct = "",
    refundable: Annotated[
        bool, typer.Option("--refundable", help="Only invoices that can currently be refunded or recorded as refunded.")
    ] = False,
    disputed: Annotated[bool, typer.Option("--disputed", help="Only invoices with a disputed payment.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only open invoices that were due before today.")] = False,
    sort: Annotated[
        str,
        typer.Option("--sort", metavar="ORDER", help="number, issued, due, total or customer; -total: largest first."),
    ] = "",
    columns: Annotated[
        str, typer.Option("--columns", metavar="NAMES", help="Only these columns, as number,total,refundable.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="List all invoices; ignores --limit.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number to show.")] = 50,
    after: Annotated[str, typer.Option("--after", metavar="NUMBER", help="Start after this number.")] = "",
) -> None:
    """List invoices, by number unless --sort says otherwise."""
    from refundcli.cli.commands.books.invoice_list import ListWishes, list_invoices
    from refundcli.services.invoices.lookup import place_in_list
    from refundcli.services.ports.reads import InvoiceFilter

    app: App = ctx.obj
    if after:
        after = app.services.reader.read(lambda tx: place_in_list(tx, after))
    search = search_of(
        app, name=name, email=email, last4=last4, amount=amount, since=since, until=until, product=product
    )
    filters = InvoiceFilter(
        status=status, provider=provider, customer=customer, refundable=refundable, disputed=disputed, after=after,
        limit=limit,
    )  # fmt: skip
    filter_options = {"status": status, "provider": provider, "customer": customer, "after": after}
    filter_options |= {word: "yes" for word in ("refundable", "disputed", "overdue") if ctx.params[word]}
    filter_words = ", ".join(f"{name} {value}" for name, value in filter_options.items() if value)
    filter_words = ", ".join(filter(None, (filter_words, searched_words(search))))
    wishes = ListWishes(search, overdue=overdue, sort=sort, columns=columns, everything=everything)
    list_invoices(app, filters, wishes, filter_words=filter_words)


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
def history(ctx: typer.Context, number: Number) -> None:
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
