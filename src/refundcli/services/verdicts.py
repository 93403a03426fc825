"""How an unfinished or failed refund or closing is told, with the way on."""

from refundcli.domain.closing import Closing
from refundcli.domain.errors import OutcomeUnknown, ProviderDeclined, RefundcliError, Refused
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, RefundState

# What the failure of a refund that was reserved and not sent begins with.
NEVER_SENT = "never sent: "


class NotConfirmedByProvider(OutcomeUnknown):
    code = "outcome-unknown"

    def __init__(self, refund: Refund) -> None:
        who = refund.provider.label if refund.provider else "The provider"
        why = f" ({refund.failure})" if refund.failure else ""
        super().__init__(
            f"{who} did not confirm refund {refund.id}{why}. It may or may not have been made.",
            hint=f"{refund.amount} stays reserved, so it cannot be paid twice. Do not refund by hand.\n"
            f"Next: refundcli resume {refund.id}     (asks {who}, and sends again only if it never arrived)",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class RefundDeclined(ProviderDeclined):
    code = "provider-declined"

    def __init__(self, refund: Refund) -> None:
        who = refund.provider.label if refund.provider else "The provider"
        super().__init__(
            f"{who} declined refund {refund.id}: {refund.failure or 'no reason was given'}.",
            hint=f"{refund.amount} is free again. refundcli invoice show {refund.invoice_number}   shows what may be "
            "done;\n"
            f"if it was returned by other means: refundcli mark-refunded {refund.invoice_number} "
            f"--full --reason {refund.reason} --after-failed {refund.id} --evidence TEXT",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class NeverSent(Refused):
    """It was reserved, and refused before anything was sent."""

    code = "never-sent"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"Refund {refund.id} was {refund.failure}",
            hint=f"{refund.amount} is free again. refundcli invoice show {refund.invoice_number}   shows what may be "
            "done;\n"
            f"refundcli reconcile --invoice {refund.invoice_number}   compares it with the provider",
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


def was_never_sent(refund: Refund) -> bool:
    return refund.state is RefundState.FAILED and refund.failure.startswith(NEVER_SENT)


def failure_of(refund: Refund) -> RefundcliError:
    """Of one that failed or came back."""
    return NeverSent(refund) if was_never_sent(refund) else RefundDeclined(refund)


class ClosingNotConfirmed(OutcomeUnknown):
    code = "outcome-unknown"

    def __init__(self, closing: Closing) -> None:
        who, number = closing.provider.label, closing.invoice_number
        why = f" ({closing.failure})" if closing.failure else ""
        super().__init__(
            f"{who} did not confirm that {number} is {closing.past_tense}{why}. It may or may not be.",
            hint=f"{number} stays as it was until that is known.\n"
            f"Next: refundcli resume {closing.id}     (asks {who}, and sends again only if it never arrived)",
            context={"closing": closing.id, "invoice": number},
        )


class ClosingDeclined(ProviderDeclined):
    code = "provider-declined"

    def __init__(self, closing: Closing) -> None:
        who, number = closing.provider.label, closing.invoice_number
        super().__init__(
            f"{number} was not {closing.past_tense} at {who}: {closing.failure or 'no reason was given'}.",
            hint=f"{number} stays as it was. refundcli invoice show {number} --refresh   shows how it stands at {who}",
            context={"closing": closing.id, "invoice": number},
        )


def problem_of(asked: Refund | Closing) -> RefundcliError | None:
    """What is to be told on stderr, whatever the format; nothing where all went well."""
    if isinstance(asked, Closing):
        if asked.state.unfinished:
            return ClosingNotConfirmed(asked)
        return ClosingDeclined(asked) if asked.state is ClosingState.FAILED else None
    if asked.state.unfinished:
        return NotConfirmedByProvider(asked)
    return failure_of(asked) if asked.state is RefundState.FAILED else None
