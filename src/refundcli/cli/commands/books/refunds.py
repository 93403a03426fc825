"""refunds: list them, and show what became of one."""

from datetime import date
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import day_option
from refundcli.domain.statuses import Provider, RefundState

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.cli.list_notes import ListNotes
    from refundcli.services.ports.reads import RefundFilter

group = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="List refunds, and show what became of one."
)


@group.command(
    "list",
    epilog="Examples:  refundcli refunds list --state pending   ·   "
    "refundcli refunds list --since 2026-10-01 --amount 10..50 -o csv",
)
def list_(
    ctx: typer.Context,
    state: Annotated[RefundState | None, typer.Option("--state", help="Only in this state.")] = None,
    operator: Annotated[str, typer.Option("--operator", metavar="NAME", help="Only this operator's.")] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="REASON", help="Only with this reason.")] = "",
    since: Annotated[date | None, day_option("--since", help="Created on this day or later.")] = None,
    until: Annotated[date | None, day_option("--until", help="Created on this day or before.")] = None,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="Only those of this bulk run.")] = "",
    provider: Annotated[Provider | None, typer.Option("--provider", help="Only through this provider.")] = None,
    amount: Annotated[str, typer.Option("--amount", metavar="A[..B]", help="Only this amount, or from A to B.")] = "",
    currency: Annotated[str, typer.Option("--currency", metavar="CODE", help="Only in this currency.")] = "",
    invoice: Annotated[str, typer.Option("--invoice", metavar="NUMBER", help="Only this invoice's.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="List all refunds; ignores --limit.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number to show.")] = 50,
    after: Annotated[str, typer.Option("--after", metavar="REFUND", help="Start after this refund.")] = "",
) -> None:
    """List refunds and records, newest first, with totals for each currency."""
    from refundcli.cli.list_notes import ListNotes
    from refundcli.domain.currencies import currency as currency_of
    from refundcli.domain.reasons import parse_reason
    from refundcli.services.invoices.lookup import invoice_behind, refund_named
    from refundcli.services.ports.reads import RefundFilter, period

    app: App = ctx.obj
    reader = app.services.reader
    first, last = period(since, until, reader.zone)
    filters = RefundFilter(
        state=state,
        operator=operator,
        reason=parse_reason(reason) if reason else None,
        provider=provider,
        run=run,
        invoice=reader.read(lambda tx: invoice_behind(tx, invoice)).number if invoice else "",
        currency=currency_of(currency.strip().upper()) if currency else None,
        amounts=_amounts(amount) if amount else None,
        since=first,
        until=last,
        after=reader.read(lambda tx: refund_named(tx, after)).id if after else "",
        limit=limit,
    )
    options = {
        "state": state, "operator": operator, "reason": reason, "since": since, "until": until, "run": run,
        "provider": provider, "amount": amount, "currency": currency, "invoice": invoice,
    }  # fmt: skip
    _show(app, filters, ListNotes(app, "refunds list", options), everything=everything)


def _amounts(text: str) -> tuple[Decimal, Decimal]:
    """`12.50`, or `10..50`. Raises InvalidAmount."""
    from refundcli.domain.money import check_amount

    low, dots, high = text.strip().partition("..")
    for number in (low, high) if dots else (low,):
        check_amount(number)
    return Decimal(low), Decimal(high if dots else low)


def _show(app: "App", filters: "RefundFilter", notes: "ListNotes", *, everything: bool) -> None:
    from dataclasses import replace

    from refundcli.cli.context import while_read
    from refundcli.output.serializers.invoices import refund
    from refundcli.output.views.refunds import COLUMNS, TEXT_COLUMNS, list_row, show_list, show_totals
    from refundcli.services.invoices.pages import refund_pages

    reader = app.services.reader
    first_page = [] if everything else reader.read(lambda tx: tx.refund_search.matching(filters))
    pages = refund_pages(reader, filters) if everything else [first_page]
    if app.wants_json:
        app.show_long_list(map(refund, chain.from_iterable(pages)))
        return
    if not app.for_people:
        app.show_rows(COLUMNS, while_read(map(list_row, chain.from_iterable(pages))), text_columns=TEXT_COLUMNS)
        return
    last_id = ""
    for page in while_read(pages):
        if page:
            show_list(page, app.out, zone=app.settings.operator.zone)
            last_id = page[-1].id
    if not last_id:
        notes.nothing("refund")
        return
    totals = reader.read(lambda tx: tx.refund_search.totals(replace(filters, after=last_id)))
    show_totals(totals, app.out)
    notes.older(sum(total.older for total in totals), last_id)


@group.command(epilog="Examples:  refundcli refunds show CN-2026-000017   ·   refundcli refunds show re_1Q2w3e -o json")
def show(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="REFUND", help="The ID (rf_…), the provider's ID, the trace number, or the credit note's number."
        ),
    ],
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the provider first, and apply what it reports.")
    ] = False,
) -> None:
    """Show one refund: its state at the provider, when the money arrives, what happened, and the next step."""
    from refundcli.output.serializers.invoices import refund_details
    from refundcli.output.views.refunds import arrival_of, next_command_of, show_refund
    from refundcli.services.invoices.history import history_of_refund

    app: App = ctx.obj
    if refresh:
        from refundcli.cli.commands.books.invoice_pull import refresh_invoice
        from refundcli.services.invoices.lookup import refund_named

        refresh_invoice(app, app.services.reader.read(lambda tx: refund_named(tx, name)).invoice_number)
    refund, entries = app.services.reader.read(lambda tx: history_of_refund(tx, name))
    app.show(
        refund_details(refund, entries, arrival_of(refund), next_command_of(refund)),
        lambda screen: show_refund(refund, entries, screen, zone=app.settings.operator.zone),
    )
