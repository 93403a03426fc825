"""acknowledge: a refund that failed or was reversed after it was accepted, or a loss."""

from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Memo, Output, Yes

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.refund import Refund

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples:  refundcli acknowledge rf_01K2… --memo 'account closed; customer asked for a transfer'   ·   "
    "refundcli acknowledge INV-1042 --memo 'chargeback after our refund; claimed from the customer'"
)
def acknowledge(
    ctx: typer.Context,
    refund: Annotated[
        str,
        typer.Argument(
            metavar="REFUND|INVOICE", help="The refund's id, rf_…; or the number of an invoice with a loss."
        ),
    ],
    not_refunded: Annotated[
        bool,
        typer.Option(
            "--not-refunded", help="The provider reported success after the failure, but the customer was not refunded."
        ),
    ] = False,
    memo: Memo = "",
    yes: Yes = False,
    output: Output = None,
) -> None:
    """Acknowledge a refund that failed or was reversed after it was accepted, or an invoice's loss.

    This releases the amount of a refund that failed late, so that it can be refunded again. No money moves.
    """
    from refundcli.cli.commands.refunds.request import show_answer
    from refundcli.cli.prompts import agreed, require_a_way_to_ask
    from refundcli.domain.statuses import RefundState
    from refundcli.services.refunds import acknowledge as service

    me: App = ctx.obj
    require_a_way_to_ask(me, answered=yes, how="Add --yes.")
    books = me.services.books
    if not refund.startswith("rf_"):
        _acknowledge_loss(me, refund, memo=memo, yes=yes)
        return
    found = books.read(lambda tx: service.check(tx, refund, not_refunded=not_refunded))
    if not yes:
        who = found.provider.label if found.provider else "The provider"
        me.err.say(f"{found.id}, {found.amount} of {found.invoice_number}: {_what_happened(found)}.")
        if found.state is RefundState.FAILED:
            me.err.say(f"Check in {who}'s dashboard that the customer did not get the money after all.")
        if found.holding:
            me.err.say("Its amount stays reserved until you acknowledge it; then it can be refunded again.")
        agreed(me, "Acknowledge it?", nothing="recorded")
    known = service.acknowledge(refund, memo=memo, books=books, not_refunded=not_refunded)
    # What came of the refund is known by now, and is no failure of this command.
    show_answer(me, [known], known.invoice_number, replayed=False, expected=True)


def _what_happened(refund: "Refund") -> str:
    if refund.reversed_amount:
        return f"{refund.reversed_amount} of it was returned"
    return refund.failure or "the money was returned"


def _acknowledge_loss(me: "App", number: str, *, memo: str, yes: bool) -> None:
    from refundcli.cli.prompts import agreed
    from refundcli.output.serializers.refunds import acknowledged_loss
    from refundcli.services.invoices.lookup import invoice_named
    from refundcli.services.refunds import acknowledge as service

    books = me.services.books
    found = books.read(lambda tx: invoice_named(tx, number))
    if found.loss and not yes:
        me.err.say(f"{found.number}: {found.loss} more was refunded or lost to disputes than was captured.")
        agreed(me, "Acknowledge it?", nothing="recorded")
    known = service.acknowledge_loss(number, memo=memo, books=books)
    if me.for_people:
        me.out.say(("✓ ", "green"), f"Acknowledged a loss of {known.loss} on {known.number}.")
    else:
        me.show_object(acknowledged_loss(known))
