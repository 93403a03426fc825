"""The error and the next step for a refund or closing that is unfinished, failed or was not sent."""

import shlex
from collections.abc import Sequence

from refundcli.domain.bulk_run import PARTLY_REFUNDED
from refundcli.domain.closing import Closing
from refundcli.domain.errors import NotSent, OutcomeUnknown, ProviderDeclined, RefundcliError, Refused
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, InvoiceStatus, RefundState
from refundcli.services.dispatch.idempotency_keys import is_generated
from refundcli.services.dispatch.outcomes import MAY_BE_SENT_AGAIN, Signal

# The code of a provider that could not be reached; any other error of its settings affects every row.
UNREACHABLE = "provider-unreachable"
# The failure text of a refund that was reserved and not sent begins with this.
NEVER_SENT = "never sent: "


class NotConfirmedByProvider(OutcomeUnknown):
    code = "outcome-unknown"

    def __init__(self, refund: Refund) -> None:
        provider_label = refund.provider.label if refund.provider else "The provider"
        failure_note = f" ({refund.failure})" if refund.failure else ""
        super().__init__(
            f"{provider_label} did not confirm refund {refund.id}{failure_note}. It may or may not have been made.",
            hint=f"{refund.amount} stays reserved, so it cannot be paid twice. Do not refund by hand.\n"
            f"Next: refundcli resume {refund.id}     (asks {provider_label}, and sends again only if it never arrived)",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class RefundDeclined(ProviderDeclined):
    code = "provider-declined"

    def __init__(self, refund: Refund) -> None:
        provider_label = refund.provider.label if refund.provider else "The provider"
        super().__init__(
            f"{provider_label} declined refund {refund.id}: {refund.failure or 'no reason was given'}.",
            hint=(
                f"{refund.amount} is available to refund again. refundcli invoice show {refund.invoice_number}   "
                "shows your options;\nif the customer was paid by other means: refundcli mark-refunded "
                f"{refund.invoice_number} --full --reason {refund.reason} --after-failed {refund.id} --evidence "
                "TEXT"
            ),
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class PartlyRefunded(ProviderDeclined):
    """A request for several payments: some were refunded, and others were not."""

    code = PARTLY_REFUNDED

    def __init__(self, refunds: Sequence[Refund]) -> None:
        accepted_refunds = [refund for refund in refunds if refund.state.is_accepted]
        failed_refunds = [refund for refund in refunds if not refund.state.is_accepted]
        invoice_number = accepted_refunds[0].invoice_number
        final_refunds = [refund for refund in accepted_refunds if refund.state is not RefundState.PENDING]
        pending_refunds = [refund for refund in accepted_refunds if refund.state is RefundState.PENDING]
        sentences = [
            f"{total_of(final_refunds)} of {invoice_number} was refunded ({_references(final_refunds)})"
            if final_refunds
            else "",
            f"{total_of(pending_refunds)} of {invoice_number} was accepted and is not final yet "
            f"({_references(pending_refunds)})"
            if pending_refunds
            else "",
        ]
        reasons = " ".join(failure_of(refund).message for refund in failed_refunds)
        super().__init__(
            f"{', '.join(filter(None, sentences))}, but {total_of(failed_refunds)} was not: {reasons}",
            hint="\n".join(
                f"Refund the rest: {shlex.join(_command(refund, is_only_refund=False))}" for refund in failed_refunds
            ),
            context={"invoice": invoice_number, "refunds": [refund.id for refund in refunds]},
        )


class RefundNotSent(NotSent):
    """It failed before the provider accepted it. `is_only_refund`: its request made no other refund."""

    code = "not-sent"

    def __init__(self, refund: Refund, *, is_only_refund: bool = True) -> None:
        super().__init__(
            f"{_why_not_sent(refund.failure, refund.failure_code)} It is safe to run the command again.",
            hint=_repeat(refund, is_only_refund=is_only_refund),
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


# The codes of rows that may be run again as they are.
MAY_BE_RUN_AGAIN = frozenset({UNREACHABLE, RefundNotSent.code})


class NeverSent(Refused):
    """It was reserved, and refused before anything was sent."""

    code = "never-sent"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"Refund {refund.id} was {refund.failure}",
            hint=(
                f"{refund.amount} is available to refund again. refundcli invoice show {refund.invoice_number}   "
                f"shows your options;\nrefundcli reconcile --invoice {refund.invoice_number}   compares it with "
                "the provider"
            ),
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class AwaitingApproval(OutcomeUnknown):
    code = "awaiting-approval"

    def __init__(self, refund: Refund) -> None:
        provider_label = refund.provider.label if refund.provider else "The provider"
        super().__init__(
            (
                f"{provider_label} requires a second person to approve this refund. Nothing has been refunded "
                f"yet, and {refund.amount} stays reserved."
            ),
            hint=f"Approve it in the {provider_label} dashboard. Then: refundcli resume {refund.id}",
            context={
                "refund": refund.id,
                "invoice": refund.invoice_number,
                "provider_status": refund.provider_status,
            },
        )


class ClosingNotConfirmed(OutcomeUnknown):
    code = "outcome-unknown"

    def __init__(self, closing: Closing) -> None:
        provider_label, invoice_number = closing.provider.label, closing.invoice_number
        failure_note = f" ({closing.failure})" if closing.failure else ""
        super().__init__(
            f"{provider_label} did not confirm that {invoice_number} is {closing.past_tense}{failure_note}. "
            "It may or may not be.",
            hint=(
                f"{invoice_number} will not change until that is known.\nNext: refundcli resume {closing.id}     "
                f"(asks {provider_label}, and resends the request only if it never arrived)"
            ),
            context={"closing": closing.id, "invoice": invoice_number},
        )


class ClosingDeclined(ProviderDeclined):
    code = "provider-declined"

    def __init__(self, closing: Closing) -> None:
        provider_label, invoice_number = closing.provider.label, closing.invoice_number
        super().__init__(
            f"{invoice_number} was not {closing.past_tense} at {provider_label}: "
            f"{closing.failure or 'no reason was given'}.",
            hint=f"{invoice_number} stays as it was. "
            f"refundcli invoice show {invoice_number} --refresh   shows its status at {provider_label}",
            context={"closing": closing.id, "invoice": invoice_number},
        )


class ClosingNotSent(NotSent):
    code = "not-sent"

    def __init__(self, closing: Closing) -> None:
        command = "void" if closing.target is InvoiceStatus.VOID else "uncollectible"
        memo = f" --memo {shlex.quote(closing.memo)}" if closing.memo else ""
        super().__init__(
            f"{_why_not_sent(closing.failure, closing.failure_code)} It is safe to run the command again.",
            hint=f"{closing.invoice_number} stays as it was. "
            f"Repeat: refundcli {command} {shlex.quote(closing.invoice_number)}{memo}",
            context={"closing": closing.id, "invoice": closing.invoice_number},
        )


def problem_of(operation: Refund | Closing, *, is_only_refund: bool = True) -> RefundcliError | None:
    """The error to show on stderr in every output format; None on success.

    `is_only_refund`: the request of this refund made no other one.
    """
    if isinstance(operation, Closing):
        return _problem_of_closing(operation)
    if operation.state.unfinished:
        return NotConfirmedByProvider(operation)
    if operation.state is RefundState.AWAITING_APPROVAL:
        return AwaitingApproval(operation)
    return failure_of(operation, is_only_refund=is_only_refund) if operation.state is RefundState.FAILED else None


def was_never_sent(refund: Refund) -> bool:
    return refund.state is RefundState.FAILED and refund.failure.startswith(NEVER_SENT)


def failure_of(refund: Refund, *, is_only_refund: bool = True) -> RefundcliError:
    """The error for a refund that failed or was reversed: refused by a rule, not sent, or declined by the provider.

    `is_only_refund`: its request made no other refund.
    """
    if was_never_sent(refund):
        return NeverSent(refund)
    if (
        refund.state is RefundState.FAILED
        and refund.failure_code in MAY_BE_SENT_AGAIN
        and not refund.needs_acknowledgement_since
    ):
        return RefundNotSent(refund, is_only_refund=is_only_refund)
    return RefundDeclined(refund)


def _problem_of_closing(closing: Closing) -> RefundcliError | None:
    if closing.state.unfinished:
        return ClosingNotConfirmed(closing)
    if closing.state is not ClosingState.FAILED:
        return None
    return ClosingNotSent(closing) if closing.failure_code in MAY_BE_SENT_AGAIN else ClosingDeclined(closing)


def _why_not_sent(failure: str, failure_code: str) -> str:
    sentence = failure[:1].upper() + failure[1:].rstrip(".")
    return f"{sentence}. {'Nothing was done.' if failure_code == Signal.RATE_LIMITED else 'Nothing was sent.'}"


def _payment_of(refund: Refund) -> str:
    """The payment's reference, as named in its request."""
    if refund.sending is None:
        return "REFERENCE"
    request = refund.sending.request
    payment_reference = request.params.get("payment_intent") or request.params.get("charge")
    return str(payment_reference or request.endpoint.rsplit("/", 2)[-2])


def _repeat(refund: Refund, *, is_only_refund: bool) -> str:
    """The command that repeats this refund, with the caller's own request key if there is one.

    `is_only_refund`: its request made no other refund.
    """
    if refund.run_id:
        return (
            f"{refund.amount} is available to refund again. Its row is in the file of refused rows: run that file "
            "later."
        )
    repeat_hint = (
        f"{refund.amount} is available to refund again. Try again: "
        f"{shlex.join(_command(refund, is_only_refund=is_only_refund))}"
    )
    if is_only_refund and not is_generated(refund.request_key):
        return f"{repeat_hint}\nor the same command as before, with its --request-key {shlex.quote(refund.request_key)}"
    return repeat_hint


def _command(refund: Refund, *, is_only_refund: bool) -> list[str]:
    """The words of the command; it names the payment unless the request made only this refund."""
    command_words = ["refundcli", "refund", refund.invoice_number, "--amount", refund.amount.number]
    command_words += ["--reason", refund.reason or "REASON"]
    if not is_only_refund:
        command_words += ["--payment", _payment_of(refund)]
    if refund.memo:
        command_words += ["--memo", refund.memo]
    if refund.dispute_decision:
        command_words += ["--dispute-decision", refund.dispute_decision]
    return command_words


def _references(refunds: Sequence[Refund]) -> str:
    return ", ".join(refund.provider_reference for refund in refunds)


def total_of(refunds: Sequence[Refund]) -> Money:
    """The sum of one invoice's refunds, which have one currency."""
    return sum((refund.amount for refund in refunds), zero(refunds[0].amount.currency))
