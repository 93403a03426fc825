"""uncollectible: write an unpaid invoice off as bad debt, and keep it."""

import typer

from refundcli.cli.commands.refunds.close import close
from refundcli.cli.options import DryRun, Memo, OptionalNumber, Output, Yes
from refundcli.domain.statuses import InvoiceStatus

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli uncollectible INV-8   ·   refundcli uncollectible INV-8 --dry-run   ·   "
    "refundcli uncollectible INV-8 --memo 'insolvent' --yes"
)
def uncollectible(
    ctx: typer.Context,
    number: OptionalNumber = "",
    memo: Memo = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output_format: Output = None,
) -> None:
    """Write off what is owed on an invoice as bad debt. No money moves.

    The invoice can still be paid later, or voided if nothing was paid on it.
    """
    close(ctx.obj, number, InvoiceStatus.UNCOLLECTIBLE, memo=memo, yes=yes, dry_run=dry_run)
