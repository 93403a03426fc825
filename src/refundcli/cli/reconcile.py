"""reconcile: compare the books with a provider, and adopt refunds that were made elsewhere."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Memo, Output, Reason
from refundcli.domain.errors import UsageProblem
from refundcli.domain.statuses import Provider

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class OneAtATime(UsageProblem):
    code = "one-at-a-time"

    def __init__(self) -> None:
        super().__init__(
            "--adopt, --report, --invoice and --since each stand alone; --reason and --memo go with --adopt.",
            hint="refundcli reconcile --adopt REFUND --reason REASON   ·   refundcli reconcile --report FILE",
        )


@app.command(
    epilog="Examples:  refundcli reconcile   ·   refundcli reconcile --report payments_accounting_report.csv   ·   "
    "refundcli reconcile --adopt re_1Q… --reason duplicate"
)
def reconcile(
    ctx: typer.Context,
    provider: Annotated[
        Provider | None, typer.Option("--provider", help="Which one; Stripe is asked, Adyen needs --report.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="FILE", help="Adyen's payment accounting or settlement details report, CSV."),
    ] = None,
    invoice: Annotated[str | None, typer.Option("--invoice", metavar="NUMBER", help="Only this invoice.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", formats=["%Y-%m-%d"], metavar="DATE", help="Only payments made since this day."),
    ] = None,
    adopt: Annotated[
        str | None,
        typer.Option("--adopt", metavar="REFUND", help="Give a refund made elsewhere its reason and its credit note."),
    ] = None,
    reason: Reason = "",
    memo: Memo = "",
    output: Output = None,
) -> None:
    """Compare the books with the provider; what it proves is taken in, and every difference is shown.

    Exit code 0 when there was none, 3 when there were some.
    """
    from refundcli.cli import reconciling

    me: App = ctx.obj
    alone = sum(each is not None for each in (adopt, report, invoice, since))
    if alone > 1 or (adopt is None and (reason or memo)):
        raise OneAtATime
    if adopt is not None:
        reconciling.adopt_refund(me, adopt, reason=reason, memo=memo)
    elif report is not None:
        reconciling.with_report(me, report, provider or Provider.ADYEN)
    else:
        reconciling.with_provider(me, provider, invoice, since.date() if since else None)
