"""mark-refunded: record refunds made by other means, one or a file of them. No money moves."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.commands.refunds.one_or_file import check_request, is_for_many, options_set
from refundcli.cli.file_options import DateOrder, DecimalMark, FileFormatName, ReadingWishes, SheetName
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
    OptionalNumber,
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
    from refundcli.cli.commands.refunds.questions import Entered
    from refundcli.cli.context import App
    from refundcli.domain.invoice import Invoice
    from refundcli.domain.refund import OutOfBand
    from refundcli.services.invoices.allocation import Share
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
    epilog="Examples:  refundcli mark-refunded INV-7 --full --reason duplicate --method cash   ·   "
    "refundcli mark-refunded --from transfers.csv   ·   "
    "refundcli mark-refunded --propose statement.xml --to transfers.csv",
)
def mark_refunded(
    ctx: typer.Context,
    number: OptionalNumber = "",
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
    propose: Annotated[
        str,
        typer.Option(
            "--propose",
            metavar="FILE",
            help="Record nothing; find refunds in a bank statement, CSV or camt.053.",
        ),
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="OUT", help="With --propose: the file of records to write, for review.")
    ] = "",
    format_name: FileFormatName = "auto",
    decimal: DecimalMark = "",
    date_order: DateOrder = "",
    sheet: SheetName = "",
    dry_run: DryRun = False,
    yes: Yes = False,
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
    statement_options = {"--to": to, "--decimal": decimal, "--date": date_order, "--sheet": sheet}
    if propose or options_set(statement_options):
        from refundcli.cli.commands.refunds.propose import ProposalTarget, propose_records

        conflicts = {"NUMBER": number, "--undo": undo} | file_options | only_for_one | only_for_many
        if options_set(conflicts) or not (propose and to):
            raise ProposalTarget
        wishes = ReadingWishes(format_name, decimal, date_order, sheet)
        propose_records(app, propose, to, wishes, reason=reason)
        return
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
    if is_for_many(
        "mark-refunded",
        number,
        file_options,
        only_for_one=only_for_one,
        only_for_many=only_for_many,
        may_ask=app.may_ask,
    ):
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
    from refundcli.cli.commands.refunds.questions import Entered
    from refundcli.domain.reasons import parse_reason
    from refundcli.domain.refund import OutOfBand

    parsed_reason = parse_reason(reason) if reason else None
    entered = Entered(number, full, amount, parsed_reason, payment, dispute_decision)
    refunding.refuse_unclear(app, "mark-refunded", entered)
    refunding.require_an_answer(app, yes=yes, confirm="", dry_run=dry_run, how_to_answer="Add --yes.")
    refunded_day = day_of("--refunded-on")(refunded_on) if refunded_on else None
    request = _request(
        app,
        entered,
        OutOfBand(method, reference, refunded_day, after_failed, evidence),
        memo=memo,
        request_key=request_key,
        allow_duplicate=allow_duplicate,
        is_answered=yes or dry_run or request_key is not None,
    )
    app.services.check_number_format()
    _record_one(app, request, dry_run=dry_run, yes=yes)


def _request(
    app: "App",
    entered: "Entered",
    out_of_band: "OutOfBand",
    *,
    memo: str,
    request_key: str | None,
    allow_duplicate: bool,
    is_answered: bool,
) -> "MarkRequest":
    """The request, with what was left out asked for on a terminal. `is_answered`: nothing else is asked."""
    from refundcli.cli.commands.refunds import request as refunding
    from refundcli.cli.commands.refunds.questions import Questions
    from refundcli.domain.eligibility import Intent, mark_refunded_blocker
    from refundcli.services.invoices.lookup import payment_behind
    from refundcli.services.refunds.record import MarkRequest, mark_shares

    def request_of(invoice: "Invoice", entered: "Entered") -> MarkRequest:
        assert entered.reason
        return MarkRequest(
            number=invoice.number,
            amount=entered.money(invoice),
            amount_text=entered.amount,
            reason=entered.reason,
            request_key=key,
            operator=app.settings.operator.name,
            memo=memo,
            payment=entered.payment,
            dispute_decision=entered.dispute_decision,
            out_of_band=out_of_band,
            allow_duplicate=allow_duplicate,
        )

    def shares(invoice: "Invoice", entered: "Entered") -> "Sequence[Share]":
        if entered.reason:
            return mark_shares(invoice, request_of(invoice, entered), today=app.services.clock.today())
        intent = Intent(None, entered.dispute_decision, after_failed=bool(out_of_band.after_failed))
        if blocker := mark_refunded_blocker(invoice, intent):
            raise blocker
        return ()

    find = partial(app.services.record_refunds.invoice, is_dry_run=app.dry_run)
    key = refunding.key_for(request_key)
    if app.may_ask and not (entered.is_complete and is_answered):
        was_complete = entered.is_complete
        entered = Questions(app, "recorded", find, shares).complete(entered)
        out_of_band = out_of_band if was_complete else _asked_about(app, out_of_band)
    invoice = find(entered.number)
    payment = entered.payment or payment_behind(invoice, entered.number)
    return request_of(invoice, replace(entered, payment=payment))


def _asked_about(app: "App", out_of_band: "OutOfBand") -> "OutOfBand":
    from refundcli.cli.prompts import ask_for

    def answer(given: str, question: str) -> str:
        return given or ask_for(app, f"{question} (optional):", missing="", undone_action="recorded")

    method = answer(out_of_band.method, "Returned by bank transfer, cash, …")
    return replace(out_of_band, method=method, reference=answer(out_of_band.reference, "Reference of the transfer"))


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
