"""What the refunding commands share: amounts, keys, the question, the answer and its exit code."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.cli.prompts import ConfirmationRequired, agreed, check_confirm, require_a_way_to_ask, typed
from refundcli.domain.closing import Closing
from refundcli.domain.dispute import is_inquiry
from refundcli.domain.errors import OutcomeUnknown, RefundcliError, UsageProblem
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, parse_amount
from refundcli.domain.payment_methods import warning as method_warning
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.domain.refusals import PossibleDuplicate
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch.request_keys import checked_key, generated_key
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Reading
from refundcli.services.ports.provider_updates import PaymentTruth
from refundcli.services.ports.providers import PaymentProvider
from refundcli.services.ports.records import Account
from refundcli.services.recovery.resume_refunds import resume
from refundcli.services.refunds.issue import Preview, RefundRequest, left_behind, preview


class FullOrAmount(UsageProblem):
    code = "full-or-amount"

    def __init__(self) -> None:
        super().__init__(
            "Say how much: either --full or --amount.",
            hint="--full   returns all that remains;   --amount 12.50   a part of it",
        )


def full_or_amount(full: bool, amount: str) -> None:
    """One of the two, never both and never neither (R3)."""
    if full == bool(amount):
        raise FullOrAmount


def amount_of(reading: Reading, number: str, text: str) -> Money | None:
    """The amount in the invoice's currency; None for all that remains. Raises InvalidAmount."""
    return parse_amount(text, invoice_named(reading, number).currency) if text else None


def key_for(given: str | None) -> str:
    """The caller's own key; an empty one, from a variable that was not set, is refused. Raises InvalidRequestKey."""
    return generated_key() if given is None else checked_key(given)


_HOW = 'Add --yes (test mode), or --confirm "12.50 EUR" with the amount and currency.'


def require_an_answer(app: App, *, yes: bool, confirm: str, dry_run: bool, how: str = _HOW) -> None:
    require_a_way_to_ask(app, answered=yes or bool(confirm) or dry_run, how=how)


def look(app: App, request: RefundRequest, *, may_ask: bool) -> tuple[RefundRequest, Preview]:
    """Ask every rule. What may be an accidental repeat is asked about, where someone can be asked."""
    books, now = app.services.books, app.services.clock.now()
    try:
        return request, books.read(lambda tx: preview(tx, request, now=now))
    except PossibleDuplicate as doubt:
        ask_about_repeat(app, doubt, may_ask=may_ask, question="Refund it again?", nothing="sent")
        meant = replace(request, allow_duplicate=True)
        return meant, books.read(lambda tx: preview(tx, meant, now=now))


def ask_about_repeat(app: App, doubt: PossibleDuplicate, *, may_ask: bool, question: str, nothing: str) -> None:
    """Raises the doubt where nobody can be asked, and NotConfirmed."""
    if not (may_ask and app.may_ask):
        raise doubt
    app.err.say(("! ", "yellow"), doubt.message)
    agreed(app, question, nothing=nothing)


def settle_left_behind(app: App, seen: Preview) -> None:
    """Settle earlier refunds of these payments whose outcome is not known. Asked for after the question only.

    One that was never sent stays so: whoever reserved it may have thought better of it.
    """
    services = app.services
    earlier = [r for r in left_behind(seen, now=services.clock.now()) if r.state is RefundState.SUBMITTED]
    if earlier:
        app.note(f"An earlier refund was left unfinished; settling it first: {', '.join(r.id for r in earlier)}")
        done = resume(
            earlier, books=services.books, providers=services.providers, clock=services.clock, policy=services.policy
        )
        for each in done:
            if isinstance(each.problem, OutcomeUnknown):
                # The provider's answer is shown nowhere else, so show it as an error.
                raise each.problem
            if each.problem:
                app.note(f"{each.refund.id}: {each.note}")


def connect(app: App, seen: Preview) -> bool:
    """Connect the providers that will be asked, before any question. True when the money is real."""
    return tell_connected(
        app, [app.services.providers.of(s.payment.provider) for s in seen.shares if s.payment.provider]
    )


def tell_connected(app: App, providers: Sequence[PaymentProvider]) -> bool:
    """Whose money it is, where someone wants to know, and always where it is real; true when it is."""
    live = any(provider.livemode for provider in providers)
    if app.verbose:
        for provider in dict.fromkeys(providers):
            app.note(f"{provider.name.label} account {provider.account} at {provider.base_url}")
    if live:
        for provider in providers:
            app.err.say(("LIVE ", "bold red"), f"{provider.name.label} {provider.account}: real money moves.")
    return live


def tell_accounts(app: App, accounts: Sequence[Account]) -> bool:
    """Where real money is going to move, by the accounts that the store knows; true when it is."""
    live = dict.fromkeys((each.provider, each.account) for each in accounts if each.livemode)
    for name, account in live:
        app.err.say(("LIVE ", "bold red"), f"{name.label} {account}: real money moves.")
    return bool(live)


def confirm_refund(app: App, request: RefundRequest, seen: Preview, *, live: bool, yes: bool, confirm: str) -> None:
    """The amount and currency must be typed, or given with --confirm; --yes will do in test mode (R5)."""
    wanted = str(seen.total)
    if confirm:
        check_confirm(confirm, wanted)
    elif yes and not live:
        return
    elif not app.may_ask:
        raise ConfirmationRequired(f'Live money needs --confirm "{wanted}".')
    else:
        invoice = seen.invoice
        ways = " and ".join(dict.fromkeys(s.payment.provider.label for s in seen.shares if s.payment.provider))
        whom = invoice.customer_name or invoice.customer
        app.err.say(
            f"Refund {wanted} of {invoice.number} to {whom} through {ways} ({'LIVE' if live else 'test mode'})."
        )
        app.err.say(f"Reason: {request.reason.label}. This cannot be undone.")
        for warning in _warnings(seen):
            app.err.say(("! ", "yellow"), warning)
        typed(app, wanted, nothing="sent")


def _warnings(seen: Preview) -> Iterator[str]:
    """What the operator should know before these payments are refunded, one sentence each."""
    for share in seen.shares:
        payment = share.payment
        if payment.provider and (words := method_warning(payment.provider, payment.method)):
            yield words
        if is_inquiry(payment.disputes) and share.amount != payment.captured:
            yield "The customer's bank has opened an inquiry about this payment: only a full refund settles it."


def show_dry_run(
    app: App,
    parts: Sequence[tuple[Money, Payment]],
    invoice: Invoice,
    *,
    reason: RefundReason,
    request_key: str,
    record: bool,
    refunded_on: date | None = None,
    truths: Sequence[PaymentTruth] = (),
) -> None:
    """What would be done, in the shape of a real answer; `truths` is what the providers told when they were asked."""
    from refundcli.output.serializers.refunds import dry_run_answer
    from refundcli.output.views.refund import snapshot_words

    if app.for_people:
        nothing = "written" if record else "sent or written"
        app.out.say(f"Dry run: every rule was asked, nothing was {nothing}.")
        for amount, payment in parts:
            day = f", returned {refunded_on}" if refunded_on else ""
            app.out.say(f"Would {_what(payment, amount, record=record)}, {reason.label}{day}", indent=3)
        for truth in truths:
            app.out.say(f"Asked {truth.provider.label}: {snapshot_words(truth)}. The books agree.", indent=3)
        return
    answer = dry_run_answer(
        parts,
        invoice,
        reason=reason,
        request_key=request_key,
        refunded_on=refunded_on,
        record=record,
        snapshots=truths,
    )
    app.show_object(answer)


def _what(payment: Payment, amount: Money, *, record: bool) -> str:
    if record or not payment.provider:
        return f"record {amount} as returned elsewhere"
    return f"refund {amount} through {payment.provider.label} ({payment.reference})"


def show_answer(app: App, refunds: Sequence[Refund], number: str, *, replayed: bool, expected: bool = False) -> None:
    """Show what came of it. Of several, the worst decides the exit code, unless this end was asked for."""
    from refundcli.output.serializers.refunds import refund_answer
    from refundcli.output.views.refund import REFUND_COLUMNS, after_notes, refund_row, show_result

    invoice = _read_again(app, number)
    # A person reads first what went wrong, and then how the invoice stands.
    warned = app.for_people and not expected
    if warned:
        _warn_of(app, refunds)
    if app.for_people:
        show_result(refunds, invoice, app.out, replayed=replayed)
    elif app.wants_json:
        app.show_object(refund_answer(refunds, invoice, notes=after_notes(refunds, invoice)))
    else:
        app.show_rows(REFUND_COLUMNS, map(refund_row, refunds), text_columns=("provider_reference", "reason"))
        for note in after_notes(refunds, invoice):
            app.note(note)
    if expected:
        return
    if not warned:
        _warn_of(app, refunds)
    code = exit_code_of(refunds)
    if code:
        raise typer.Exit(code)


def _warn_of(app: App, refunds: Sequence[Refund]) -> None:
    for refund in refunds:
        warn(app, refund, alone=len(refunds) == 1)


def _read_again(app: App, number: str) -> Invoice | None:
    """The invoice as it is now. What was done is told even where the store cannot be read any more."""
    try:
        return app.services.books.read(lambda tx: invoice_named(tx, number))
    except RefundcliError as trouble:
        app.note(("! ", "yellow"), f"The refund is written; {number} could not be read again [{trouble.code}].")
        return None


def show_interrupted(app: App, request: RefundRequest) -> None:
    """After Ctrl-C: the state of what was begun, which is written by now (exit 130)."""
    with suppress(typer.Exit, RefundcliError):
        made = app.services.books.read(lambda tx: tx.refunds_by_key(request.request_key))
        if made:
            show_answer(app, made, request.number, replayed=False)


_WORST_FIRST = (ExitCode.OUTCOME_UNKNOWN, ExitCode.DECLINED, ExitCode.REFUSED, ExitCode.NOT_SENT)


def exit_code_of(refunds: Sequence[Refund], closings: Sequence[Closing] = ()) -> ExitCode:
    """The most serious exit code of all. NOT_SENT is the least serious, because it is safe to repeat."""
    from refundcli.services.dispatch.outcome_errors import problem_of

    problems = [*map(problem_of, refunds), *map(problem_of, closings)]
    codes = {OF_FAMILY[problem.family] for problem in problems if problem}
    if any(refund.state is RefundState.REVERSED for refund in refunds):
        codes.add(ExitCode.DECLINED)
    return next((code for code in _WORST_FIRST if code in codes), ExitCode.DONE)


def warn(app: App, asked: Refund | Closing, *, alone: bool = True) -> None:
    """An outcome that is not known, or a definite no, is told on stderr whatever the format."""
    from refundcli.output import json
    from refundcli.output.errors import show_error
    from refundcli.output.serializers.errors import error
    from refundcli.services.dispatch.outcome_errors import problem_of

    problem = problem_of(asked, alone=alone)
    if problem and app.wants_json:
        import sys

        json.dump(error(problem), sys.stderr)
    elif problem:
        show_error(problem, app.err)
