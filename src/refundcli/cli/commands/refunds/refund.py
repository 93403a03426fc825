"""refund: send money back through the provider."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer

from refundcli.cli.commands.refunds.one_or_file import check_request, is_for_many
from refundcli.cli.options import (
    AllowDuplicate,
    Amount,
    Apply,
    Confirm,
    DisputeDecision,
    DryRun,
    FromFile,
    Full,
    MaxErrors,
    Memo,
    OptionalNumber,
    PaymentReference,
    Plan,
    Reason,
    RequestKey,
    ResumeRun,
    Yes,
)
from refundcli.domain.errors import before_sending
from refundcli.domain.reasons import parse_reason

if TYPE_CHECKING:
    from refundcli.cli.commands.refunds.questions import Questions
    from refundcli.cli.context import App
    from refundcli.domain.invoice import Invoice
    from refundcli.services.invoices.allocation import Share
    from refundcli.services.refunds.issue import RefundRequest

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli refund INV-1042 --full --reason duplicate   ·   "
    "refundcli refund INV-1042 --amount 12.50 --reason 'Returned Goods' --yes   ·   "
    "refundcli refund --from refunds.csv --reason duplicate"
)
def refund(
    ctx: typer.Context,
    number: OptionalNumber = "",
    full: Full = False,
    amount: Amount = "",
    reason: Reason = "",
    memo: Memo = "",
    payment: PaymentReference = "",
    request_key: RequestKey = None,
    dispute_decision: DisputeDecision = "",
    allow_duplicate: AllowDuplicate = False,
    from_: FromFile = "",
    plan_path: Plan = "",
    plan_to_apply: Apply = "",
    resume: ResumeRun = "",
    max_errors: MaxErrors = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    confirm: Confirm = "",
) -> None:
    """Refund an invoice through Stripe or Adyen, in full or in part. This cannot be undone.

    Columns of a file: invoice, amount, reason, memo, payment, key.
    """
    app: App = ctx.obj
    if is_for_many(
        "refund",
        number,
        {"--from": from_, "--apply": plan_to_apply, "--resume": resume},
        only_for_one={
            "--full": full,
            "--amount": amount,
            "--memo": memo,
            "--payment": payment,
            "--request-key": request_key,
            "--dispute-decision": dispute_decision,
        },
        only_for_many={"--plan": plan_path, "--max-errors": max_errors},
        may_ask=app.may_ask,
    ):
        from refundcli.cli.commands.refunds.file_run import TerminalPresenter
        from refundcli.cli.commands.refunds.refund_file import refund_file
        from refundcli.domain.bulk_run import RunKind
        from refundcli.services.bulk.ports import BulkRequest

        bulk_request = BulkRequest(
            RunKind.REFUND,
            from_,
            plan_to_apply,
            resume,
            plan_path,
            parse_reason(reason) if reason else None,
            allow_duplicate,
            max_errors=max_errors,
            dry_run=dry_run,
        )
        check_request(bulk_request)
        refund_file(app, bulk_request, TerminalPresenter(app, yes, confirm, is_answered=dry_run or bool(plan_path)))
        return
    from refundcli.cli.commands.refunds import request as refunding
    from refundcli.cli.commands.refunds.questions import Entered
    from refundcli.services.refunds.issue import RefundRequest

    parsed_reason = parse_reason(reason) if reason else None
    entered = Entered(number, full, amount, parsed_reason, payment, dispute_decision)
    refunding.refuse_unclear(app, "refund", entered)
    refunding.require_an_answer(app, yes=yes, confirm=confirm, dry_run=dry_run)
    is_answered = yes or bool(confirm) or dry_run or request_key is not None
    if app.may_ask and not (entered.is_complete and is_answered):
        entered = _questions(app).complete(entered)
    request = RefundRequest(
        number=entered.number,
        amount=None,
        amount_text=entered.amount,
        reason=entered.reason or parse_reason(reason),
        request_key=refunding.key_for(request_key),
        operator=app.settings.operator.name,
        memo=memo,
        payment=entered.payment,
        dispute_decision=entered.dispute_decision,
        allow_duplicate=allow_duplicate or request_key is not None,
    )
    _refund_one(app, request, dry_run=dry_run, yes=yes, confirm=confirm)


def _questions(app: "App") -> "Questions":
    from refundcli.cli.commands.refunds.questions import Entered, Questions
    from refundcli.domain.eligibility import Intent
    from refundcli.services.invoices.allocation import refund_shares

    def shares(invoice: "Invoice", entered: Entered) -> "Sequence[Share]":
        intent = Intent(entered.reason, entered.dispute_decision, amount=entered.money(invoice))
        return refund_shares(invoice, intent, entered.payment)

    return Questions(app, "sent", partial(app.services.issue_refunds.invoice, is_dry_run=app.dry_run), shares)


def _refund_one(app: "App", request: "RefundRequest", *, dry_run: bool, yes: bool, confirm: str) -> None:
    """Raises the refusal that comes first, or ChangedMeanwhile."""
    from refundcli.cli.commands.refunds import request as refunding
    from refundcli.system.interrupts import Interrupted

    services = app.services
    checked = refunding.check_asking(app, request, may_ask=not (yes or confirm or dry_run))
    request = checked.request
    if checked.preview.existing:
        refunding.show_answer(app, checked.preview.existing, request.number, replayed=True)
        return
    with before_sending():
        is_live = refunding.connect(app, checked.preview)
    if dry_run:
        refunding.show_dry_run(
            app,
            [(share.amount, share.payment) for share in checked.preview.shares],
            checked.preview.invoice,
            reason=request.reason,
            request_key=request.request_key,
            is_record=False,
            snapshots=services.issue_refunds.preflight(checked),
        )
        return
    refunding.confirm_refund(app, request, checked.preview, is_live=is_live, yes=yes, confirm=confirm)
    refunding.settle_earlier_refunds(app, checked.preview)
    try:
        refunds = services.issue_refunds.issue(checked)
    except Interrupted:
        refunding.show_interrupted(app, request)
        raise
    refunding.show_answer(app, refunds, request.number, replayed=False)
