"""acknowledge: say that you know of a refund that came back."""

from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Memo, Output, Yes

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Example:  refundcli acknowledge rf_01K2… --memo 'account closed; customer asked for a transfer'")
def acknowledge(
    ctx: typer.Context,
    refund: Annotated[str, typer.Argument(metavar="REFUND", help="The refund's id: rf_…")],
    memo: Memo = "",
    yes: Yes = False,
    output: Output = None,
) -> None:
    """Say that you know of a refund that failed after its success, or came back; `status` is quiet about it then.

    After a late failure its amount can be refunded again from then on. No money moves.
    """
    from refundcli.cli.prompts import agreed, require_a_way_to_ask
    from refundcli.cli.refunding import show_answer
    from refundcli.domain.statuses import RefundState
    from refundcli.services import acknowledge as service

    me: App = ctx.obj
    require_a_way_to_ask(me, answered=yes, how="Add --yes.")
    books = me.services.books
    found = books.read(lambda tx: service.check(tx, refund))
    if not yes:
        who = found.provider.label if found.provider else "The provider"
        me.err.say(f"{found.id}, {found.amount} of {found.invoice_number}: {found.failure or 'the money came back'}.")
        if found.state is RefundState.FAILED:
            me.err.say(f"{who} may still try by itself. Its amount can be refunded again once you acknowledge it.")
        agreed(me, "Acknowledge it?")
    known = service.acknowledge(refund, memo=memo, books=books)
    # What came of the refund is known by now, and is no failure of this command.
    show_answer(me, [known], known.invoice_number, replayed=False, expected=True)
