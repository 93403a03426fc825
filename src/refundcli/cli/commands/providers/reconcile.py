"""reconcile: compare the books with a provider; adopt external refunds, or match them with records."""

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Memo, Output, Reason, day_of
from refundcli.domain.errors import UsageProblem
from refundcli.domain.statuses import Provider

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class OneAtATime(UsageProblem):
    code = "one-at-a-time"

    def __init__(self) -> None:
        super().__init__(
            "Use only one of --adopt, --match, --report, --invoice and --since; "
            "--adopt also takes --reason, --memo and --invoice, and --match needs --record.",
            hint="refundcli reconcile --help   shows an example of each",
        )


@app.command(
    epilog="Examples:  refundcli reconcile   ·   refundcli reconcile --report payments_accounting_report.csv   ·   "
    "refundcli reconcile --adopt re_1Q… --reason duplicate   ·   "
    "refundcli reconcile --match re_1Q… --record rf_01K2…"
)
def reconcile(
    ctx: typer.Context,
    provider: Annotated[
        Provider | None, typer.Option("--provider", help="Stripe is asked directly; Adyen needs --report.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="FILE", help="Adyen's payment accounting or settlement details report, CSV."),
    ] = None,
    invoice: Annotated[
        str | None,
        typer.Option("--invoice", metavar="NUMBER", help="Only this invoice; with --adopt, the one that it is about."),
    ] = None,
    since: Annotated[
        date | None,
        typer.Option(
            "--since", parser=day_of("--since"), metavar="DATE", help="Only payments made on or after this day."
        ),
    ] = None,
    adopt: Annotated[
        str | None,
        typer.Option("--adopt", metavar="REFUND", help="Give an external refund a reason and a credit note."),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="REFUND", help="An external refund that was also recorded by hand."),
    ] = None,
    record: Annotated[
        str, typer.Option("--record", metavar="REFUND", help="With --match: the id of that record, rf_…")
    ] = "",
    reason: Reason = "",
    memo: Memo = "",
    output: Output = None,
) -> None:
    """Compare the books with the provider: apply what it proves, and show every difference.

    A refund made in the provider's dashboard is an external refund: adopt it, or match it with the record if someone
    has recorded it by hand. Exit code 0 when everything was compared and agrees, or the books hold nothing to compare;
    3 when something differs, also when a report says nothing about this merchant account; 8 when something could not be
    compared: a payment that cannot be read, an unreviewed update, a refund without an outcome.
    """
    from refundcli.cli.commands.providers import comparison

    me: App = ctx.obj
    alone = sum(choice is not None for choice in (adopt, match, report, None if adopt else invoice, since))
    if alone > 1 or (adopt is None and (reason or memo)) or (match is None) != (not record):
        raise OneAtATime
    if adopt is not None:
        comparison.adopt_refund(me, adopt, reason=reason, memo=memo, number=invoice or "")
    elif match is not None:
        comparison.match_refund(me, match, record)
    elif report is not None:
        comparison.with_report(me, report, provider or Provider.ADYEN)
    else:
        comparison.with_provider(me, provider, invoice, since)
