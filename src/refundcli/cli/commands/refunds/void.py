"""void: cancel an invoice that was issued and never paid."""

import typer

from refundcli.cli.commands.refunds.close import close
from refundcli.cli.options import Confirm, DryRun, FromFile, Memo, OptionalNumber, Yes
from refundcli.domain.statuses import InvoiceStatus

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli void INV-8   ·   refundcli void INV-8 --dry-run   ·   "
    "refundcli void --from invoices-to-close.csv   ·   refundcli void INV-8 --memo 'ordered twice' --yes -o json"
)
def void(
    ctx: typer.Context,
    number: OptionalNumber = "",
    from_: FromFile = "",
    memo: Memo = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    confirm: Confirm = "",
) -> None:
    """Cancel an invoice that was issued and never paid. No money moves. This cannot be undone.

    Columns of a file: invoice, memo.
    """
    if from_:
        from refundcli.cli.commands.refunds.close_file import close_file

        close_file(ctx.obj, number, from_, InvoiceStatus.VOID, memo=memo, yes=yes, confirm=confirm, dry_run=dry_run)
        return
    close(ctx.obj, number, InvoiceStatus.VOID, memo=memo, yes=yes, dry_run=dry_run)
