"""resolve: end by hand what no machine can settle."""

from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Output, Yes
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class MadeOrNot(UsageProblem):
    code = "made-or-not"

    def __init__(self) -> None:
        super().__init__(
            "Say what was found: either --provider-reference or --not-executed.",
            hint="--provider-reference re_…   the provider made it;   --not-executed   it never did",
        )


@app.command(
    epilog="Examples:  refundcli resolve rf_01K2… --not-executed --evidence 'Stripe dashboard, A. Osei'   ·   "
    "refundcli resolve rf_01K2… --provider-reference re_1Q… --evidence 'Stripe support, case 4711'"
)
def resolve(
    ctx: typer.Context,
    refund: Annotated[str, typer.Argument(metavar="REFUND", help="The refund's id: rf_…")],
    provider_reference: Annotated[
        str | None,
        typer.Option("--provider-reference", metavar="REF", help="The provider made it; this is its id there."),
    ] = None,
    not_executed: Annotated[bool, typer.Option("--not-executed", help="The provider never made it.")] = False,
    evidence: Annotated[
        str, typer.Option("--evidence", metavar="TEXT", help="How you know. It is kept with the refund.")
    ] = "",
    yes: Yes = False,
    output: Output = None,
) -> None:
    """End a refund that resume cannot settle any more, on your evidence. No money moves; it cannot be undone."""
    from refundcli.cli.prompts import agreed, require_a_way_to_ask
    from refundcli.cli.refunding import show_answer
    from refundcli.services import resolve as service

    me: App = ctx.obj
    if (provider_reference is not None) == not_executed:
        raise MadeOrNot
    if provider_reference is not None and not provider_reference.strip():
        raise MadeOrNot
    require_a_way_to_ask(me, answered=yes, how="Add --yes.")
    services = me.services
    wanted = service.Resolution(refund, provider_reference or "", evidence)
    found = services.books.read(lambda tx: service.check(tx, wanted, clock=services.clock))
    told = service.ask_first(
        found, books=services.books, providers=services.providers, clock=services.clock, policy=services.policy
    )
    if told.state is not found.state:
        me.note(f"{found.id} was found at the provider, whose word stands.")
        show_answer(me, [told], told.invoice_number, replayed=False)
        return
    if not yes:
        said = f"was made as {provider_reference}" if provider_reference else "was never made: its amount is free again"
        me.err.say(f"{found.id}, {found.amount} of {found.invoice_number}, {said}.")
        agreed(me, "Write it down so? It cannot be undone.")
    ended = service.resolve(wanted, books=services.books, clock=services.clock, policy=services.policy)
    # What was written is what was asked for, so a refund that failed is no failure of this command.
    show_answer(me, [ended], ended.invoice_number, replayed=False, expected=True)
