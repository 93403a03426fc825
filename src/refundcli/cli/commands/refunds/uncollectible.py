"""uncollectible: write an unpaid invoice off as bad debt, and keep it."""

import typer

from refundcli.cli.commands.refunds.close import close
from refundcli.cli.options import Confirm, DryRun, FromFile, Memo, OptionalNumber, Yes
from refundcli.domain.statuses import InvoiceStatus

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli uncollectible INV-8   ·   refundcli uncollectible INV-8 --dry-run   ·   "
    "refundcli uncollectible --from invoices-to-close.csv   ·   refundcli uncollectible INV-8 --memo 'insolvent' --yes"
)
def uncollectible(
    ctx: typer.Context,
    number: OptionalNumber = "",
    from_: FromFile = "",
    memo: Memo = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    confirm: Confirm = "",
) -> None:
    """Write off what is owed on an invoice as bad debt. No money moves.

    The invoice can still be paid later, or voided if nothing was paid on it. Columns of a file: invoice, memo.
    """
    if from_:
        from refundcli.cli.commands.refunds.close_file import close_file

        close_file(
            ctx.obj, number, from_, InvoiceStatus.UNCOLLECTIBLE, memo=memo, yes=yes, confirm=confirm, dry_run=dry_run
        )
        return
    close(ctx.obj, number, InvoiceStatus.UNCOLLECTIBLE, memo=memo, yes=yes, dry_run=dry_run)
