"""void: cancel an invoice that was issued and never paid."""

import typer

from refundcli.cli.commands.refunds.close import close
from refundcli.cli.options import DryRun, Memo, OptionalNumber, Output, Yes
from refundcli.domain.statuses import InvoiceStatus

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli void INV-7   ·   refundcli void INV-7 --dry-run   ·   "
    "refundcli void INV-7 --memo 'ordered twice' --yes -o json"
)
def void(
    ctx: typer.Context,
    number: OptionalNumber = "",
    memo: Memo = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output_format: Output = None,
) -> None:
    """Cancel an invoice that was issued and never paid. No money moves. This cannot be undone."""
    close(ctx.obj, number, InvoiceStatus.VOID, memo=memo, yes=yes, dry_run=dry_run)
