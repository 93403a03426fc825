"""mark-refunded: record refunds made by other means, one or a file of them. No money moves."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.commands.refunds.one_or_file import check_request, is_for_many, options_set
from refundcli.cli.options import (
    AllowDuplicate,
    Amount,
    Apply,
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
    day_of,
)
from refundcli.domain.errors import UsageProblem

if TYPE_CHECKING:
    from refundcli.cli.context import App
    from refundcli.services.refunds.record import MarkPreview, MarkRequest

group = typer.Typer(rich_markup_mode=None, add_completion=False)


class UndoAlone(UsageProblem):
    code = "undo-alone"

    def __init__(self, options: list[str]) -> None:
        super().__init__(
            f"--undo takes the id of a run or of a record, and cannot be combined with {', '.join(options)}.",
            hint="refundcli mark-refunded --undo RUN|REFUND --memo TEXT [--dry-run]; "
            "refundcli invoice history NUMBER   shows the ids of its refunds",
        )


@group.command(
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
        str, typer.Option("--method", metavar="TEXT", help="How the money was returned: bank transfer, cash…")
    ] = "",
    reference: Annotated[
        str,
        typer.Option(
            "--reference", metavar="TEXT", help="The transfer's reference, or the provider's ID for the refund."
        ),
    ] = "",
    refunded_on: Annotated[
        str, typer.Option("--refunded-on", metavar="DATE", help="The date the money was returned, such as 2026-10-31.")
    ] = "",
    memo: Memo = "",
    payment: PaymentReference = "",
    request_key: RequestKey = None,
    dispute_decision: DisputeDecision = "",
    after_failed: Annotated[
        str,
        typer.Option(
            "--after-failed",
            metavar="REFUND",
            help="The ID of a failed refund that you have since replaced by paying the customer by other means.",
        ),
    ] = "",
    evidence: Annotated[
        str,
        typer.Option(
            "--evidence", metavar="TEXT", help="With --after-failed: how you know that the customer has the money."
        ),
    ] = "",
    from_: FromFile = "",
    plan_path: Plan = "",
    plan_to_apply: Apply = "",
    resume: ResumeRun = "",
    allow_duplicate: AllowDuplicate = False,
    atomic: Annotated[bool, typer.Option("--atomic", help="With a file: all rows or none, up to 10,000.")] = False,
    max_errors: MaxErrors = None,
    undo: Annotated[
        str,
        typer.Option(
            "--undo",
            metavar="RUN|REFUND",
            help="Undo the records of a run, or one record; needs --memo.",
        ),
    ] = "",
    confirm: Annotated[
        str,
        typer.Option(
            "--confirm",
            metavar="ROWS",
            help="With a file or --undo: confirm the number of rows to be recorded or undone.",
        ),
    ] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output_format: Output = None,
) -> None:
    """Record refunds made by other means: bank transfer, cash, the provider's dashboard. No money moves.

    Columns of a file: invoice, amount, reason, method, reference, refunded_on, memo, payment, key.
    """
    app: App = ctx.obj
    file_options = {"--from": from_, "--apply": plan_to_apply, "--resume": resume}
    only_for_one = {
        "--full": full,
        "--amount": amount,
        "--method": method,
        "--reference": reference,
        "--refunded-on": refunded_on,
        "--payment": payment,
        "--request-key": request_key,
        "--dispute-decision": dispute_decision,
        "--after-failed": after_failed,
        "--evidence": evidence,
    }
    only_for_many = {"--plan": plan_path, "--atomic": atomic, "--max-errors": max_errors}
    if undo:
        conflicts = {"NUMBER": number, "--reason": reason, "--allow-duplicate": allow_duplicate}
        conflicts |= file_options | only_for_one | only_for_many
        if set_conflicts := options_set(conflicts):
            raise UndoAlone(set_conflicts)
        from refundcli.cli.commands.refunds.record_file import undo_records

        undo_records(app, undo, memo=memo, yes=yes, confirm=confirm, dry_run=dry_run)
        return
    only_for_one |= {"--memo": memo}
    only_for_many |= {"--confirm": confirm}
    if is_for_many("mark-refunded", number, file_options, only_for_one=only_for_one, only_for_many=only_for_many):
        from refundcli.cli.commands.refunds.file_run import TerminalPresenter
        from refundcli.cli.commands.refunds.record_file import record_file
        from refundcli.domain.bulk_run import RunKind
        from refundcli.domain.reasons import parse_reason
        from refundcli.services.bulk.ports import BulkRequest

        bulk_request = BulkRequest(
            RunKind.MARK_REFUNDED,
            from_,
            plan_to_apply,
            resume,
            plan_path,
            parse_reason(reason) if reason else None,
            allow_duplicate,
            atomic,
            max_errors,
            dry_run,
        )
        check_request(bulk_request)
        record_file(app, bulk_request, TerminalPresenter(app, yes, confirm, is_answered=dry_run or bool(plan_path)))
        return
    from refundcli.cli.commands.refunds import request as refunding
    from refundcli.domain.reasons import parse_reason
    from refundcli.domain.refund import OutOfBand
    from refundcli.services.refunds.record import MarkRequest

    refunding.full_or_amount(full, amount)
    parsed_reason = parse_reason(reason)
    refunding.require_an_answer(app, yes=yes, confirm="", dry_run=dry_run, how_to_answer="Add --yes.")
    refunded_day = day_of("--refunded-on")(refunded_on) if refunded_on else None
    request = MarkRequest(
        number=number,
        amount=app.services.books.read(lambda tx: refunding.amount_of(tx, number, amount)),
        amount_text=amount,
        reason=parsed_reason,
        request_key=refunding.key_for(request_key),
        operator=app.settings.operator.name,
        memo=memo,
        payment=payment,
        dispute_decision=dispute_decision,
        out_of_band=OutOfBand(method, reference, refunded_day, after_failed, evidence),
        allow_duplicate=allow_duplicate,
    )
    app.services.check_number_format()
    _record_one(app, request, dry_run=dry_run, yes=yes)


def _record_one(app: "App", request: "MarkRequest", *, dry_run: bool, yes: bool) -> None:
    """Raises the refusal that comes first, or ChangedMeanwhile."""
    from refundcli.cli.commands.refunds import request as refunding
    from refundcli.cli.prompts import ask_yes_no

    services = app.services
    request, preview = _preview_asking(app, request, may_ask=not (yes or dry_run))
    if preview.existing:
        refunding.show_answer(app, preview.existing, request.number, replayed=True)
        return
    if dry_run:
        refunding.show_dry_run(
            app,
            [(share.amount, share.payment) for share in preview.shares],
            preview.invoice,
            reason=request.reason,
            request_key=request.request_key,
            is_record=True,
            refunded_on=request.out_of_band.refunded_on,
        )
        return
    if not yes:
        customer = preview.invoice.customer_name or preview.invoice.customer
        return_words = request.out_of_band.words
        way_words = f" ({return_words})" if return_words else ""
        app.err.say(
            f"Record that {preview.total} of {request.number} was returned to {customer}{way_words}. No money moves."
        )
        ask_yes_no(app, f"Reason: {request.reason.label}. Record it?", undone_action="recorded")
    refunds = services.record_refunds.record(request, confirmed=preview.total)
    refunding.show_answer(app, refunds, request.number, replayed=False)


def _preview_asking(app: "App", request: "MarkRequest", *, may_ask: bool) -> "tuple[MarkRequest, MarkPreview]":
    """Check every rule; ask about a possible repeat where someone can be asked."""
    from refundcli.cli.commands.refunds import request as refunding
    from refundcli.domain.refusals import PossibleDuplicate

    record_refunds = app.services.record_refunds
    try:
        return request, record_refunds.preview(request)
    except PossibleDuplicate as doubt:
        question = "Record it again?"
        refunding.ask_about_repeat(app, doubt, may_ask=may_ask, question=question, undone_action="recorded")
        repeat_request = replace(request, repeat_agreed=True)
        return repeat_request, record_refunds.preview(repeat_request)
