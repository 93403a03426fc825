"""What the refunding commands share: amounts, keys, the confirmation, the answer and its exit code."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date

import typer

from refundcli.cli.commands.refunds.questions import Entered
from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.cli.prompts import ConfirmationRequired, ask_to_type, ask_yes_no, check_confirm, require_a_way_to_ask
from refundcli.domain.closing import Closing
from refundcli.domain.dispute import is_inquiry
from refundcli.domain.errors import OutcomeUnknown, RefundcliError, UsageProblem
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.payment_methods import warning as method_warning
from refundcli.domain.reasons import RefundReason, UnknownReason
from refundcli.domain.refund import Refund
from refundcli.domain.refusals import PossibleDuplicate
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch.idempotency_keys import checked_key, generated_key
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.provider_updates import PaymentSnapshot
from refundcli.services.ports.providers import PaymentProvider
from refundcli.services.ports.reads import Account
from refundcli.services.refunds.issue import CheckedRequest, Preview, RefundRequest, left_behind


class FullOrAmount(UsageProblem):
    code = "full-or-amount"

    def __init__(self, command: str, entered: Entered) -> None:
        message = "Give either --full or --amount."
        if entered.has_amount:
            message = "--full and --amount cannot be combined: --full refunds all that is left."
        part = entered.amount or "12.50"
        super().__init__(
            message,
            hint=f"{_command_of(command, entered, '--full')}\n"
            f"or, for a part of it: {_command_of(command, entered, f'--amount {shlex.quote(part)}')}",
        )


def _command_of(command: str, entered: Entered, amount_option: str) -> str:
    number = shlex.quote(entered.number) if entered.number else "NUMBER"
    return f"refundcli {command} {number} {amount_option} --reason {entered.reason or 'REASON'}"


def refuse_unclear(app: App, command: str, entered: Entered) -> None:
    """Exactly one of --full and --amount, and a reason; what is missing is asked for on a terminal (R3, R4).

    Raises FullOrAmount, UnknownReason.
    """
    is_both = entered.is_full and bool(entered.amount)
    if is_both or not (entered.has_amount or app.may_ask):
        raise FullOrAmount(command, entered)
    if entered.reason is None and not app.may_ask:
        raise UnknownReason("")


def key_for(own_key: str | None) -> str:
    """The caller's key, or a generated one. Raises InvalidRequestKey, also for an empty key (an unset variable)."""
    return generated_key() if own_key is None else checked_key(own_key)


_HOW = 'Add --yes (test mode), or --confirm "12.50 EUR" with the amount and currency.'


def require_an_answer(app: App, *, yes: bool, confirm: str, dry_run: bool, how_to_answer: str = _HOW) -> None:
    require_a_way_to_ask(app, is_answered=yes or bool(confirm) or dry_run, how_to_answer=how_to_answer)


def check_asking(app: App, request: RefundRequest, *, may_ask: bool) -> CheckedRequest:
    """Check every rule; ask about a possible repeat where someone can be asked."""
    service = app.services.issue_refunds
    try:
        return service.check(request, is_dry_run=app.dry_run)
    except PossibleDuplicate as doubt:
        ask_about_repeat(app, doubt, may_ask=may_ask, question="Refund it again?", undone_action="sent")
        return service.check(replace(request, allow_duplicate=True), is_dry_run=app.dry_run)


def ask_about_repeat(app: App, doubt: PossibleDuplicate, *, may_ask: bool, question: str, undone_action: str) -> None:
    """Raises the doubt where nobody can be asked, and NotConfirmed."""
    if not (may_ask and app.may_ask):
        raise doubt
    app.err.say(("! ", "yellow"), doubt.message)
    if doubt.finish_words:
        app.err.say(doubt.finish_words, indent=3)
    ask_yes_no(app, question, undone_action=undone_action)


def settle_earlier_refunds(app: App, preview: Preview) -> None:
    """Settle earlier refunds of these payments whose outcome is unknown. Call it after the confirmation only.

    A refund that was never sent stays unsent: it may have been abandoned on purpose.
    """
    now = app.services.clock.now()
    earlier_refunds = [refund for refund in left_behind(preview, now=now) if refund.state is RefundState.SUBMITTED]
    if not earlier_refunds:
        return
    app.note(
        f"An earlier refund is unfinished; settling it first: {', '.join(refund.id for refund in earlier_refunds)}"
    )
    for resumed in app.services.resume.settle(earlier_refunds):
        if isinstance(resumed.problem, OutcomeUnknown):
            # The provider's response is shown nowhere else.
            raise resumed.problem
        if resumed.problem:
            app.note(f"{resumed.operation.id}: {resumed.note}")


def connect(app: App, preview: Preview) -> bool:
    """Connect the providers before any question. True when real money will move."""
    return announce_live(
        app, [app.services.providers.of(share.payment.provider) for share in preview.shares if share.payment.provider]
    )


def announce_live(app: App, providers: Sequence[PaymentProvider]) -> bool:
    """Announce live accounts, and with --verbose every account. True when real money will move."""
    is_live = any(provider.livemode for provider in providers)
    if app.verbose:
        for provider in dict.fromkeys(providers):
            app.note(f"{provider.name.label} account {provider.account} at {provider.base_url}")
    if is_live:
        for provider in providers:
            app.err.say(("LIVE ", "bold red"), f"{provider.name.label} {provider.account}: real money will move.")
    return is_live


def announce_live_accounts(app: App, accounts: Sequence[Account]) -> bool:
    """Announce the live accounts of the store. True when real money will move."""
    live_accounts = dict.fromkeys(
        (stored_account.provider, stored_account.account) for stored_account in accounts if stored_account.livemode
    )
    for provider, account in live_accounts:
        app.err.say(("LIVE ", "bold red"), f"{provider.label} {account}: real money will move.")
    return bool(live_accounts)


def confirm_refund(
    app: App, request: RefundRequest, preview: Preview, *, is_live: bool, yes: bool, confirm: str
) -> None:
    """The amount and currency must be typed, or given with --confirm; --yes is enough in test mode (R5)."""
    amount = str(preview.total)
    if confirm:
        check_confirm(confirm, amount)
    elif yes and not is_live:
        return
    elif not app.may_ask:
        raise ConfirmationRequired(f'A live refund needs --confirm "{amount}".')
    else:
        invoice = preview.invoice
        providers = " and ".join(
            dict.fromkeys(share.payment.provider.label for share in preview.shares if share.payment.provider)
        )
        customer = invoice.customer_name or invoice.customer
        mode = "LIVE" if is_live else "test mode"
        app.err.say(f"Refund {amount} of {invoice.number} to {customer} through {providers} ({mode}).")
        app.err.say(f"Reason: {request.reason.label}. This cannot be undone.")
        for warning in _warnings(preview):
            app.err.say(("! ", "yellow"), warning)
        ask_to_type(app, amount, undone_action="sent")


def _warnings(preview: Preview) -> Iterator[str]:
    """What the operator should know before refunding these payments, one sentence each."""
    for share in preview.shares:
        payment = share.payment
        if payment.provider and (warning := method_warning(payment.provider, payment.method)):
            yield warning
        if is_inquiry(payment.disputes) and share.amount != payment.captured:
            yield "The customer's bank has opened an inquiry about this payment: only a full refund settles it."


def show_dry_run(
    app: App,
    amounts_and_payments: Sequence[tuple[Money, Payment]],
    invoice: Invoice,
    *,
    reason: RefundReason,
    request_key: str,
    is_record: bool,
    refunded_on: date | None = None,
    snapshots: Sequence[PaymentSnapshot] = (),
) -> None:
    """What would be done, in the shape of a real answer; `snapshots` are the providers' answers."""
    from refundcli.output.serializers.refunds import dry_run_answer
    from refundcli.output.views.refund import snapshot_words

    if app.for_people:
        app.out.say("Dry run: every rule was checked; nothing was changed.")
        for amount, payment in amounts_and_payments:
            day_words = f", returned {refunded_on}" if refunded_on else ""
            app.out.say(f"Would {_what(payment, amount, is_record=is_record)}, {reason.label}{day_words}", indent=3)
        for snapshot in snapshots:
            app.out.say(
                f"Checked with {snapshot.provider.label}: {snapshot_words(snapshot)}. The books agree.", indent=3
            )
        return
    answer = dry_run_answer(
        amounts_and_payments,
        invoice,
        reason=reason,
        request_key=request_key,
        refunded_on=refunded_on,
        is_record=is_record,
        snapshots=snapshots,
    )
    app.show_object(answer)


def _what(payment: Payment, amount: Money, *, is_record: bool) -> str:
    if is_record or not payment.provider:
        return f"record {amount} as refunded by other means"
    return f"refund {amount} through {payment.provider.label} ({payment.reference})"


def show_answer(
    app: App, refunds: Sequence[Refund], invoice_number: str, *, replayed: bool, is_expected: bool = False
) -> None:
    """Show the refunds. The worst of them decides the exit code, unless the operator asked for this outcome.

    `replayed`: the request had been made before. `is_expected`: the operator asked for it.
    """
    from refundcli.output.serializers.refunds import refund_answer
    from refundcli.output.views.refund import REFUND_COLUMNS, after_notes, refund_row, show_result

    invoice = _read_again(app, invoice_number)
    # On a terminal the error comes before the invoice.
    is_warned = app.for_people and not is_expected
    if is_warned:
        _warn_of(app, refunds)
    if app.for_people:
        show_result(refunds, invoice, app.out, replayed=replayed)
    elif app.wants_json:
        app.show_object(refund_answer(refunds, invoice, notes=after_notes(refunds, invoice)))
    else:
        app.show_rows(REFUND_COLUMNS, map(refund_row, refunds), text_columns=("provider_reference", "reason"))
        for note in after_notes(refunds, invoice):
            app.note(note)
    if is_expected:
        return
    if not is_warned:
        _warn_of(app, refunds)
    exit_code = exit_code_of(refunds)
    if exit_code:
        raise typer.Exit(exit_code)


def _warn_of(app: App, refunds: Sequence[Refund]) -> None:
    for refund in refunds:
        warn(app, refund, alone=len(refunds) == 1)


def _read_again(app: App, invoice_number: str) -> Invoice | None:
    """The invoice as it is now; None where the store cannot be read, so that the refund is still shown."""
    try:
        return app.services.books.read(lambda tx: invoice_named(tx, invoice_number))
    except RefundcliError as error:
        app.note(
            ("! ", "yellow"),
            f"The refund is saved in the store, but {invoice_number} could not be read again [{error.code}].",
        )
        return None


def show_interrupted(app: App, request: RefundRequest) -> None:
    """After Ctrl-C: the stored state of the refunds (exit 130)."""
    with suppress(typer.Exit, RefundcliError):
        refunds = app.services.books.read(lambda tx: tx.refunds.by_key(request.request_key))
        if refunds:
            show_answer(app, refunds, request.number, replayed=False)


_WORST_FIRST = (ExitCode.OUTCOME_UNKNOWN, ExitCode.DECLINED, ExitCode.REFUSED, ExitCode.NOT_SENT)


def exit_code_of(operations: Sequence[Refund | Closing]) -> ExitCode:
    """The most serious exit code. NOT_SENT is the least serious, because it is safe to repeat."""
    from refundcli.services.dispatch.outcome_errors import problem_of

    codes = {OF_FAMILY[problem.family] for problem in map(problem_of, operations) if problem}
    if any(operation.state is RefundState.REVERSED for operation in operations):
        codes.add(ExitCode.DECLINED)
    return next((code for code in _WORST_FIRST if code in codes), ExitCode.DONE)


def warn(app: App, subject: Refund | Closing, *, alone: bool = True) -> None:
    """Show an unknown or a failed outcome on stderr, in every format. `alone`: it is the only one of its request."""
    from refundcli.output import json
    from refundcli.output.errors import show_error
    from refundcli.output.serializers.errors import error
    from refundcli.services.dispatch.outcome_errors import problem_of

    problem = problem_of(subject, is_only_refund=alone)
    if problem and app.wants_json:
        import sys

        json.dump(error(problem), sys.stderr)
    elif problem:
        show_error(problem, app.err)
