"""mark-refunded: record what was returned elsewhere, one invoice or a file of them. No money moves."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import (
    Amount,
    DisputeDecision,
    DryRun,
    Full,
    Memo,
    Output,
    PaymentReference,
    Reason,
    RequestKey,
    Yes,
)
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class OneOrMany(UsageProblem):
    code = "one-or-many"

    def __init__(self) -> None:
        super().__init__(
            "Say which: one invoice's NUMBER, or --from with a file of them.",
            hint="refundcli mark-refunded INV-7 --full --reason duplicate   or   "
            "refundcli mark-refunded --from transfers.csv",
        )


class OnlyForOne(UsageProblem):
    code = "only-for-one"

    def __init__(self, options: list[str]) -> None:
        super().__init__(
            f"{', '.join(options)} cannot stand beside --from.",
            hint="In a file they are columns: invoice, amount, reason, method, reference, refunded_on, memo, key.",
        )


@app.command(
    "mark-refunded",
    epilog="Examples:  refundcli mark-refunded INV-7 --full --reason returned-goods --method 'bank transfer'   ·   "
    "refundcli mark-refunded --from transfers.csv",
)
def mark_refunded(
    ctx: typer.Context,
    number: Annotated[str, typer.Argument(metavar="[NUMBER]", help="The invoice's number.")] = "",
    full: Full = False,
    amount: Amount = "",
    reason: Reason = "",
    method: Annotated[
        str, typer.Option("--method", metavar="TEXT", help="How it was returned: bank transfer, cash…")
    ] = "",
    reference: Annotated[
        str, typer.Option("--reference", metavar="TEXT", help="What the return can be found by, at the bank say.")
    ] = "",
    refunded_on: Annotated[
        datetime | None,
        typer.Option("--refunded-on", formats=["%Y-%m-%d"], metavar="DATE", help="The day it was returned."),
    ] = None,
    memo: Memo = "",
    payment: PaymentReference = "",
    request_key: RequestKey = None,
    dispute_decision: DisputeDecision = "",
    after_failed: Annotated[
        str, typer.Option("--after-failed", metavar="REFUND", help="The provider refused this refund for good.")
    ] = "",
    evidence: Annotated[
        str, typer.Option("--evidence", metavar="TEXT", help="With --after-failed: how it was returned instead.")
    ] = "",
    from_: Annotated[
        str, typer.Option("--from", metavar="FILE", help="A CSV file of many; - reads standard input.")
    ] = "",
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="ROWS", help="With --from: how many rows will be recorded.")
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = None,
) -> None:
    """Record refunds made elsewhere: bank transfers, cash, the provider's dashboard. No money moves."""
    me: App = ctx.obj
    if bool(number) == bool(from_):
        raise OneOrMany
    if from_:
        one = {"--full": full, "--amount": amount, "--reason": reason, "--method": method, "--reference": reference}
        one |= {"--refunded-on": refunded_on, "--memo": memo, "--payment": payment, "--request-key": request_key}
        one |= {"--dispute-decision": dispute_decision, "--after-failed": after_failed, "--evidence": evidence}
        if any(value not in ("", None, False) for value in one.values()):
            raise OnlyForOne([option for option, given in one.items() if given not in ("", None, False)])
        from refundcli.cli.marking_file import mark_file

        mark_file(me, from_, dry_run=dry_run, yes=yes, confirm=confirm)
        return
    from refundcli.cli import refunding
    from refundcli.cli.marking import mark_one
    from refundcli.domain.reasons import parse_reason
    from refundcli.domain.refund import OutOfBand
    from refundcli.services.mark_refunded import MarkRequest

    refunding.full_or_amount(full, amount)
    wanted_reason = parse_reason(reason)
    refunding.require_an_answer(me, yes=yes, confirm="", dry_run=dry_run, how="Add --yes.")
    day = refunded_on.date() if refunded_on else None
    request = MarkRequest(
        number=number,
        amount=me.services.books.read(lambda tx: refunding.amount_of(tx, number, amount)),
        amount_text=amount,
        reason=wanted_reason,
        request_key=refunding.key_for(request_key),
        operator=me.settings.operator.name,
        memo=memo,
        payment=payment,
        dispute_decision=dispute_decision,
        out_of_band=OutOfBand(method, reference, day, after_failed, evidence),
    )
    mark_one(me, request, dry_run=dry_run, yes=yes)
