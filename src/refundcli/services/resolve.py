"""End by hand what no machine can settle: past the key window, on a person's evidence (§4)."""

from dataclasses import dataclass

from refundcli.domain.errors import Refused, UsageProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services import leases
from refundcli.services.key_windows import key_is_known
from refundcli.services.outcomes import Signal
from refundcli.services.ports import Books, Clock, Reading, RefundAnswer, Writing
from refundcli.services.resume import RefundNotFound
from refundcli.services.sending import SendingPolicy, settle


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person found out: the provider's reference where the refund was made, none where it was not."""

    refund_id: str
    provider_reference: str
    evidence: str


class NotUnresolved(Refused):
    code = "not-unresolved"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"{refund.id} is {refund.state}: there is nothing to resolve.",
            hint=f"refundcli invoice show {refund.invoice_number}",
            context={"refund": refund.id, "status": refund.state},
        )


class ResumeFirst(Refused):
    """A machine can still find out, and its word is worth more than ours."""

    code = "resume-first"

    def __init__(self, refund: Refund) -> None:
        super().__init__(
            f"{refund.id} can still be settled by asking the provider.",
            hint=f"refundcli resume {refund.id}",
            context={"refund": refund.id},
        )


class ReferenceTaken(Refused):
    code = "reference-taken"

    def __init__(self, reference: str, numbers: list[str]) -> None:
        super().__init__(
            f"{reference[:60]!a} is known already, on {', '.join(numbers)}: it cannot be this refund's too.",
            hint="Look it up at the provider by the refund's id, which travelled with it.",
        )


class NoEvidence(UsageProblem):
    code = "evidence-needed"

    def __init__(self) -> None:
        super().__init__(
            "This is taken on your word: say how you know.",
            hint='Add --evidence "Stripe dashboard 2026-11-23, seen by …"',
        )


def check(reading: Reading, wanted: Resolution, *, clock: Clock) -> Refund:
    """The refund, if it may be ended by hand. Raises the refusal that comes first."""
    refund = reading.refund(wanted.refund_id)
    if refund is None:
        raise RefundNotFound(wanted.refund_id)
    if not wanted.evidence.strip():
        raise NoEvidence
    if refund.state is not RefundState.SUBMITTED or refund.sending is None:
        raise ResumeFirst(refund) if refund.state is RefundState.READY else NotUnresolved(refund)
    if leases.is_live(refund.sending, clock.now()) or key_is_known(refund.sending, clock.now()):
        raise ResumeFirst(refund)
    if wanted.provider_reference:
        taken = reading.numbers_behind(wanted.provider_reference)
        if taken:
            raise ReferenceTaken(wanted.provider_reference, taken)
    return refund


def resolve(wanted: Resolution, *, books: Books, clock: Clock, policy: SendingPolicy) -> Refund:
    """Write the end with its evidence: made (Adyen: accepted, its news may still come), or never made."""

    def end(tx: Writing) -> Refund:
        refund = check(tx, wanted, clock=clock)
        state = _state(refund, wanted)
        message = "" if wanted.provider_reference else f"resolved by hand: {wanted.evidence}"
        answer = RefundAnswer(Signal.OTHER, state, wanted.provider_reference, "", message)
        settle(tx, refund, state, answer, clock=clock, policy=policy, evidence=wanted.evidence)
        return tx.refund(refund.id) or refund

    return books.write(end)


def _state(refund: Refund, wanted: Resolution) -> RefundState:
    if not wanted.provider_reference:
        return RefundState.FAILED
    return RefundState.PENDING if refund.provider is Provider.ADYEN else RefundState.SUCCEEDED
