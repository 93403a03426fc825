"""refund: send money back through the provider."""

from typing import TYPE_CHECKING, Annotated

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
    Output,
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
    from refundcli.cli.context import App

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(
    epilog="Examples:  refundcli refund INV-1042 --full --reason duplicate   ·   "
    "refundcli refund INV-1042 --amount 12.50 --reason 'Returned Goods' --yes -o json   ·   "
    "refundcli refund --from refunds.csv --reason duplicate"
)
def refund(
    ctx: typer.Context,
    number: Annotated[str, typer.Argument(metavar="[NUMBER]", help="The invoice's number.")] = "",
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
    output_format: Output = None,
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
    from refundcli.services.dispatch.release_lapsed import apply_due_updates
    from refundcli.services.preflight.payment import preflight
    from refundcli.services.refunds.issue import RefundRequest, issue_refund, planned_refunds
    from refundcli.system.interrupts import Interrupted

    refunding.full_or_amount(full, amount)
    parsed_reason = parse_reason(reason)
    refunding.require_an_answer(app, yes=yes, confirm=confirm, dry_run=dry_run)
    services = app.services
    request = RefundRequest(
        number=number,
        amount=services.books.read(lambda tx: refunding.amount_of(tx, number, amount)),
        amount_text=amount,
        reason=parsed_reason,
        request_key=refunding.key_for(request_key),
        operator=services.settings.operator.name,
        memo=memo,
        payment=payment,
        dispute_decision=dispute_decision,
        allow_duplicate=allow_duplicate or request_key is not None,
    )
    services.check_number_format()
    if not dry_run:
        services.read_events_again()
        apply_due_updates(number, books=services.books, policy=services.policy, clock=services.clock)
    request, preview = refunding.preview_asking(app, request, may_ask=not (yes or confirm or dry_run))
    if preview.existing:
        refunding.show_answer(app, preview.existing, number, replayed=True)
        return
    if dry_run:
        # What the books already know comes first.
        services.read_events_again()
    with before_sending():
        is_live = refunding.connect(app, preview)
    if dry_run:
        planned_refund_by_payment = services.books.read(lambda tx: planned_refunds(tx.store.secret(), request, preview))
        with before_sending():
            snapshots = preflight(
                preview.invoice,
                preview.shares,
                books=services.books,
                providers=services.providers,
                planned_refunds=planned_refund_by_payment,
            )
        refunding.show_dry_run(
            app,
            [(share.amount, share.payment) for share in preview.shares],
            preview.invoice,
            reason=request.reason,
            request_key=request.request_key,
            is_record=False,
            snapshots=snapshots,
        )
        return
    refunding.confirm_refund(app, request, preview, is_live=is_live, yes=yes, confirm=confirm)
    refunding.settle_earlier_refunds(app, preview)
    try:
        refunds = issue_refund(
            request,
            confirmed=preview.total,
            books=services.books,
            providers=services.providers,
            clock=services.clock,
            policy=services.policy,
        )
    except Interrupted:
        refunding.show_interrupted(app, request)
        raise
    refunding.show_answer(app, refunds, number, replayed=False)
