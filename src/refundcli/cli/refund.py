"""refund: send money back through the provider."""

from typing import TYPE_CHECKING

import typer

from refundcli.cli.options import (
    AllowDuplicate,
    Amount,
    Confirm,
    DisputeDecision,
    DryRun,
    Full,
    Memo,
    Number,
    Output,
    PaymentReference,
    Reason,
    RequestKey,
    Yes,
)

if TYPE_CHECKING:
    from refundcli.cli.context import App

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog="Examples:  refundcli refund INV-1042 --full --reason duplicate   ·   "
    "refundcli refund INV-1042 --amount 12.50 --reason 'Returned Goods' --yes -o json"
)
def refund(
    ctx: typer.Context,
    number: Number,
    full: Full = False,
    amount: Amount = "",
    reason: Reason = "",
    memo: Memo = "",
    payment: PaymentReference = "",
    request_key: RequestKey = None,
    dispute_decision: DisputeDecision = "",
    allow_duplicate: AllowDuplicate = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    confirm: Confirm = "",
    output: Output = None,
) -> None:
    """Send money back through Stripe or Adyen, in full or in part. It cannot be undone."""
    from refundcli.cli import refunding
    from refundcli.domain.reasons import parse_reason
    from refundcli.services.interrupts import Interrupted
    from refundcli.services.issue_refund import RefundRequest, issue_refund
    from refundcli.services.preflight import preflight

    me: App = ctx.obj
    refunding.full_or_amount(full, amount)
    wanted_reason = parse_reason(reason)
    refunding.require_an_answer(me, yes=yes, confirm=confirm, dry_run=dry_run)
    services = me.services
    request = RefundRequest(
        number=number,
        amount=services.books.read(lambda tx: refunding.amount_of(tx, number, amount)),
        amount_text=amount,
        reason=wanted_reason,
        request_key=refunding.key_for(request_key),
        operator=services.settings.operator.name,
        memo=memo,
        payment=payment,
        dispute_decision=dispute_decision,
        allow_duplicate=allow_duplicate or request_key is not None,
    )
    request, seen = refunding.look(me, request, may_ask=not (yes or confirm or dry_run))
    if seen.existing:
        refunding.show_answer(me, seen.existing, number, replayed=True)
        return
    live = refunding.connect(me, seen)
    if dry_run:
        truths = preflight(seen.invoice, seen.shares, books=services.books, providers=services.providers)
        refunding.show_dry_run(
            me,
            [(share.amount, share.payment) for share in seen.shares],
            seen.invoice,
            reason=request.reason,
            request_key=request.request_key,
            record=False,
            truths=truths,
        )
        return
    refunding.confirm_refund(me, request, seen, live=live, yes=yes, confirm=confirm)
    refunding.settle_left_behind(me, seen)
    try:
        refunds = issue_refund(
            request,
            confirmed=seen.total,
            books=services.books,
            providers=services.providers,
            clock=services.clock,
            policy=services.policy,
        )
    except Interrupted:
        refunding.show_interrupted(me, request)
        raise
    refunding.show_answer(me, refunds, number, replayed=False)
