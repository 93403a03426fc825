"""resolve: record by hand, with evidence, how a stuck refund or closing ended."""

from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Yes
from refundcli.domain.closing import Closing
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.services.dispatch.operations import Operation

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class OutcomeNeeded(UsageProblem):
    code = "made-or-not"

    def __init__(self) -> None:
        super().__init__(
            "Give either --provider-reference or --not-executed.",
            hint="--provider-reference re_…   the refund was made;   --not-executed   it was not",
        )


@group.command(
    epilog="Examples:  refundcli resolve rf_01K2… --not-executed --evidence 'Stripe dashboard'   ·   "
    "refundcli resolve rf_01K2… --provider-reference re_1Q… --evidence 'case 4711'"
)
def resolve(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="ID", help="The ID of the refund (rf_…), or of the void or write-off (cl_…).")
    ],
    provider_reference: Annotated[
        str | None,
        typer.Option(
            "--provider-reference",
            metavar="REF",
            help=(
                "If the refund, void or write-off took place: the provider's ID for the refund, or for the "
                "voided or written-off invoice."
            ),
        ),
    ] = None,
    not_executed: Annotated[
        bool, typer.Option("--not-executed", help="The refund, void or write-off never took place.")
    ] = False,
    evidence: Annotated[
        str,
        typer.Option(
            "--evidence",
            metavar="TEXT",
            help="How you know what happened. It is stored with the refund, void or write-off.",
        ),
    ] = "",
    yes: Yes = False,
) -> None:
    """Record, with your evidence, the outcome of a refund that resume can no longer settle. No money moves.

    This cannot be undone.
    """
    from refundcli.cli.prompts import ask_yes_no, require_a_way_to_ask
    from refundcli.services.recovery.resolve import Resolution

    app: App = ctx.obj
    if (provider_reference is not None) == not_executed:
        raise OutcomeNeeded
    if provider_reference is not None and not provider_reference.strip():
        raise OutcomeNeeded
    require_a_way_to_ask(app, is_answered=yes, how_to_answer="Add --yes.")
    resolution, service = Resolution(name, provider_reference or "", evidence), app.services.resolve
    operation = service.check(resolution)
    latest = service.ask_first(operation, resolution)
    if latest.state is not operation.state:
        app.note(f"The provider reported the outcome of {operation.id}, and it was recorded.")
        _show(app, latest, is_expected=isinstance(latest, Closing))
        return
    if not yes:
        app.err.say(_statement(operation, resolution.provider_reference))
        ask_yes_no(app, "Record this? It cannot be undone.", undone_action="recorded")
    # The operator asked for this outcome, so a failed refund is not a failure of this command.
    _show(app, service.resolve(resolution), is_expected=True)


def _statement(operation: "Operation", reference: str) -> str:
    if isinstance(operation, Closing):
        verb = "is" if reference else "was never"
        past_tense, provider_label = operation.past_tense, operation.provider.label
        return f"{operation.id}: {operation.invoice_number} {verb} {past_tense} at {provider_label}."
    statement = (
        f"was made, with the reference {reference}" if reference else "was never made: its amount will be released"
    )
    return f"{operation.id}, {operation.amount} of {operation.invoice_number}, {statement}."


def _show(app: "App", operation: "Operation", *, is_expected: bool) -> None:
    from refundcli.cli.commands.refunds.close import show_closed
    from refundcli.cli.commands.refunds.request import show_answer
    from refundcli.services.closings.close import Closed
    from refundcli.services.invoices.lookup import invoice_named

    number = operation.invoice_number
    if isinstance(operation, Closing):
        invoice = app.services.books.read(lambda tx: invoice_named(tx, number))
        show_closed(app, Closed(invoice, operation), is_expected=is_expected)
    else:
        show_answer(app, [operation], number, replayed=False, is_expected=is_expected)
