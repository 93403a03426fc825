"""resolve: record by hand, with evidence, how a stuck refund or closing ended."""

from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Output, Yes
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.services.recovery.resolve import Resolution

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class OutcomeNeeded(UsageProblem):
    code = "made-or-not"

    def __init__(self) -> None:
        super().__init__(
            "Give either --provider-reference or --not-executed.",
            hint="--provider-reference re_…   the refund was made;   --not-executed   it was not",
        )


@group.command(
    epilog="Examples:  refundcli resolve rf_01K2… --not-executed --evidence 'Stripe dashboard, A. Osei'   ·   "
    "refundcli resolve rf_01K2… --provider-reference re_1Q… --evidence 'Stripe support, case 4711'"
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
    output_format: Output = None,
) -> None:
    """Record, with your evidence, the outcome of a refund that resume can no longer settle. No money moves.

    This cannot be undone.
    """
    from refundcli.cli.prompts import require_a_way_to_ask
    from refundcli.services.recovery.resolve import Resolution
    from refundcli.services.recovery.resume_closings import is_closing

    app: App = ctx.obj
    if (provider_reference is not None) == not_executed:
        raise OutcomeNeeded
    if provider_reference is not None and not provider_reference.strip():
        raise OutcomeNeeded
    require_a_way_to_ask(app, is_answered=yes, how_to_answer="Add --yes.")
    resolution = Resolution(name, provider_reference or "", evidence)
    (_resolve_closing if is_closing(name) else _resolve_refund)(app, resolution, yes=yes)


def _resolve_refund(app: "App", resolution: "Resolution", *, yes: bool) -> None:
    from refundcli.cli.commands.refunds.request import show_answer
    from refundcli.cli.prompts import ask_yes_no
    from refundcli.services.recovery import resolve as service

    services = app.services
    refund = services.books.read(lambda tx: service.check(tx, resolution, clock=services.clock))
    latest_refund = service.ask_first(
        refund, books=services.books, providers=services.providers, clock=services.clock, policy=services.policy
    )
    if latest_refund.state is not refund.state:
        app.note(f"The provider has {refund.id}; the outcome it reports was recorded.")
        show_answer(app, [latest_refund], latest_refund.invoice_number, replayed=False)
        return
    if not yes:
        reference = resolution.provider_reference
        statement = (
            f"was made, with the reference {reference}" if reference else "was never made: its amount will be released"
        )
        app.err.say(f"{refund.id}, {refund.amount} of {refund.invoice_number}, {statement}.")
        ask_yes_no(app, "Record this? It cannot be undone.", undone_action="recorded")
    resolved_refund = service.resolve(resolution, books=services.books, clock=services.clock, policy=services.policy)
    # The operator asked for this outcome, so a failed refund is not a failure of this command.
    show_answer(app, [resolved_refund], resolved_refund.invoice_number, replayed=False, is_expected=True)


def _resolve_closing(app: "App", resolution: "Resolution", *, yes: bool) -> None:
    from refundcli.cli.commands.refunds.close import show_closed
    from refundcli.cli.prompts import ask_yes_no
    from refundcli.services.closings.close import Closed
    from refundcli.services.invoices.lookup import invoice_named
    from refundcli.services.recovery import resume_closings as service

    services = app.services
    books, clock = services.books, services.clock
    closing = books.read(lambda tx: service.check_resolution(tx, resolution, clock=clock))
    latest_closing = service.ask_first(
        closing, resolution, books=books, providers=services.providers, clock=clock, policy=services.policy
    )
    if latest_closing.state is not closing.state:
        app.note(f"The provider reported the outcome of {closing.id}, and it was recorded.")
    else:
        if not yes:
            statement = "is" if resolution.provider_reference else "was never"
            app.err.say(
                f"{closing.id}: {closing.invoice_number} {statement} {closing.past_tense} at {closing.provider.label}."
            )
            ask_yes_no(app, "Record this? It cannot be undone.", undone_action="recorded")
        latest_closing = service.resolve_closing(resolution, books=books, clock=clock)
    invoice = books.read(lambda tx: invoice_named(tx, latest_closing.invoice_number))
    # The outcome is the operator's or the provider's, so it is not a failure of this command.
    show_closed(app, Closed(invoice, latest_closing), is_expected=True)
