"""acknowledge: a refund that failed or was reversed after it was accepted, or a loss."""

from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Memo, Yes

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.domain.refund import Refund

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli acknowledge rf_01K2… --memo 'account closed; transfer made'   ·   "
    "refundcli acknowledge INV-1042 --memo 'claimed from the customer'"
)
def acknowledge(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="REFUND|INVOICE", help="The refund's ID, rf_…; or the number of an invoice with a loss."
        ),
    ],
    not_refunded: Annotated[
        bool,
        typer.Option(
            "--not-refunded",
            help=(
                "Confirm that the customer was not refunded, although the provider reported success after the failure."
            ),
        ),
    ] = False,
    memo: Memo = "",
    yes: Yes = False,
) -> None:
    """Acknowledge a refund that failed or was reversed after it was accepted, or an invoice's loss.

    This releases the amount of a refund that failed late, so that it can be refunded again. No money moves.
    """
    from refundcli.cli.commands.refunds.request import show_answer
    from refundcli.cli.prompts import ask_yes_no, require_a_way_to_ask
    from refundcli.domain.statuses import RefundState

    app: App = ctx.obj
    require_a_way_to_ask(app, is_answered=yes, how_to_answer="Add --yes.")
    if not name.startswith("rf_"):
        _acknowledge_loss(app, name, memo=memo, yes=yes)
        return
    refund = app.services.acknowledge.check(name, not_refunded=not_refunded)
    if not yes:
        provider_label = refund.provider.label if refund.provider else "The provider"
        app.err.say(f"{refund.id}, {refund.amount} of {refund.invoice_number}: {_what_happened(refund)}.")
        if refund.state is RefundState.FAILED:
            app.err.say(f"Check in {provider_label}'s dashboard that the customer did not receive the money.")
        if refund.holding:
            app.err.say("Its amount stays reserved until you acknowledge it; then it can be refunded again.")
        ask_yes_no(app, "Acknowledge it?", undone_action="recorded")
    acknowledged = app.services.acknowledge.refund(name, memo=memo, not_refunded=not_refunded)
    # The refund's outcome is known already, so it is not a failure of this command.
    show_answer(app, [acknowledged], acknowledged.invoice_number, replayed=False, is_expected=True)


def _what_happened(refund: "Refund") -> str:
    if refund.reversed_amount:
        return f"{refund.reversed_amount} of it came back to you"
    return refund.failure or "the refund bounced: the money came back to you"


def _acknowledge_loss(app: "App", invoice_number: str, *, memo: str, yes: bool) -> None:
    from refundcli.cli.prompts import ask_yes_no
    from refundcli.output.serializers.refunds import acknowledged_loss
    from refundcli.services.invoices.lookup import invoice_behind

    invoice = app.services.books.read(lambda tx: invoice_behind(tx, invoice_number))
    if invoice.loss and not yes:
        app.err.say(f"{invoice.number}: refunds and lost disputes exceed the captured amount by {invoice.loss}.")
        ask_yes_no(app, "Acknowledge it?", undone_action="recorded")
    acknowledged = app.services.acknowledge.loss(invoice.number, memo=memo)
    words = f"Acknowledged a loss of {acknowledged.loss} on {acknowledged.number}."
    app.show_done(words, acknowledged_loss(acknowledged))
