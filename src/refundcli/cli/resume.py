"""resume: settle what a kill or a timeout left behind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Output

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.services.resume import Resumed

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Examples:  refundcli resume   ·   refundcli resume rf_01K2… -o json")
def resume(
    ctx: typer.Context,
    refund: Annotated[str | None, typer.Argument(metavar="[REFUND]", help="One refund's id; without it, all.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every refund that is not finished; so it is without REFUND.")
    ] = False,
    output: Output = None,
) -> None:
    """Ask the provider about refunds whose outcome is not known; send again only what never arrived."""
    from refundcli.cli.refunding import exit_code_of
    from refundcli.services.resume import resume as settle
    from refundcli.services.resume import unfinished

    me: App = ctx.obj
    services = me.services
    found = unfinished(services.books, None if all_ else refund)
    done = settle(
        found, books=services.books, providers=services.providers, clock=services.clock, policy=services.policy
    )
    _show(me, done)
    code = exit_code_of([each.refund for each in done])
    if code:
        raise typer.Exit(code)


def _show(me: "App", done: "Sequence[Resumed]") -> None:
    from refundcli.output import shapes
    from refundcli.output.refund_screen import REFUND_COLUMNS, refund_row, show_resumed

    if me.wants_json:
        me.show_list(shapes.refund(each.refund) | {"step": each.step, "note": each.note or None} for each in done)
    elif me.for_people:
        show_resumed(done, me.out)
    else:
        rows = ((*refund_row(each.refund), each.step) for each in done)
        me.show_rows((*REFUND_COLUMNS, "step"), rows, text_columns=("provider_reference", "reason", "step"))
    if not done:
        me.note("Nothing to resume: every refund is settled.")
