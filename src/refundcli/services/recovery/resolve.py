"""Resolve a stuck refund by hand, with evidence, after its idempotency key has expired (§4)."""

import re
from dataclasses import dataclass

from refundcli.domain.closing import Closing
from refundcli.domain.errors import Refused, UsageProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.send_refund import SendingPolicy, settle
from refundcli.services.invoices.lookup import RefundNotFound
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP, key_is_known
from refundcli.services.ports.providers import Providers, RefundAnswer
from refundcli.services.recovery.resume_refunds import Step, resume

_REFERENCES = {
    Provider.STRIPE: re.compile(r"(?:re|pyr)_[A-Za-z0-9_]{1,250}"),
    Provider.ADYEN: re.compile(r"[A-Za-z0-9]{1,32}"),
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person found out: the provider's reference if it was executed, "" if it was not."""

    operation_id: str
    provider_reference: str
    evidence: str


class NotUnresolved(Refused):
    code = "not-unresolved"

    def __init__(self, operation: Refund | Closing) -> None:
        super().__init__(
            f"{operation.id} has the status {operation.state}: there is nothing to resolve.",
            hint=f"refundcli invoice show {operation.invoice_number}",
            context={_kind_of(operation): operation.id, "status": operation.state},
        )


class ResumeFirst(Refused):
    """`resume` can still find the outcome, which is safer than a person's evidence."""

    code = "resume-first"

    def __init__(self, operation: Refund | Closing) -> None:
        super().__init__(
            f"{operation.id} can still be settled by asking the provider.",
            hint=f"refundcli resume {operation.id}",
            context={_kind_of(operation): operation.id},
        )


class ReferenceTaken(Refused):
    code = "reference-taken"

    def __init__(self, reference: str, invoice_numbers: list[str]) -> None:
        super().__init__(
            (
                f"{reference[:60]!a} is already known as a refund of {', '.join(invoice_numbers)}: it cannot also "
                "be the id of this refund."
            ),
            hint="Look up the refund at the provider by its refundcli id, which was sent with it.",
        )


class NoReference(UsageProblem):
    code = "invalid-reference"

    def __init__(self, provider: Provider, reference: str) -> None:
        super().__init__(
            f"{reference[:60]!a} is not the id of a refund at {provider.label}.",
            hint="At Stripe it begins with re_ or pyr_; at Adyen it is the refund's own pspReference.",
        )


class NoEvidence(UsageProblem):
    code = "evidence-needed"

    def __init__(self) -> None:
        super().__init__(
            "Evidence is needed: nothing else confirms this.",
            hint='Add --evidence "Stripe dashboard 2026-11-23, seen by …"',
        )


def _kind_of(operation: Refund | Closing) -> str:
    return "refund" if isinstance(operation, Refund) else "closing"


def check(reading: Reading, resolution: Resolution, *, clock: Clock) -> Refund:
    """The refund, if it may be resolved by hand. Raises the first refusal."""
    refund = reading.refunds.get(resolution.operation_id)
    if refund is None:
        raise RefundNotFound(resolution.operation_id)
    if not resolution.evidence.strip():
        raise NoEvidence
    awaits_approval = refund.state is RefundState.AWAITING_APPROVAL
    if not (refund.state.unfinished or awaits_approval) or refund.sending is None:
        raise NotUnresolved(refund)
    if leases.is_live(refund.sending, clock.now()):
        raise ResumeFirst(refund)
    if refund.state is RefundState.READY:
        # It was never sent, so no provider can have executed it.
        if resolution.provider_reference:
            raise ResumeFirst(refund)
        return refund
    # A refund that awaits approval is never sent again; a person reports that it was declined.
    if not awaits_approval and key_is_known(refund.sending, clock.now()):
        raise ResumeFirst(refund)
    if resolution.provider_reference:
        _check_reference(reading, refund, resolution.provider_reference)
    return refund


def _check_reference(reading: Reading, refund: Refund, reference: str) -> None:
    assert refund.provider
    if not _REFERENCES[refund.provider].fullmatch(reference):
        raise NoReference(refund.provider, reference)
    invoice_numbers = reading.invoices.numbers_behind(reference)
    if invoice_numbers:
        raise ReferenceTaken(reference, invoice_numbers)


def ask_first(refund: Refund, *, books: Books, providers: Providers, clock: Clock, policy: SendingPolicy) -> Refund:
    """The outcome according to the provider, if it can be asked: its answer overrides any evidence.

    Nothing is sent, because the key has expired. Raises ResumeFirst if it cannot be asked now.
    """
    may_be_at_provider = refund.state in (RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
    if not may_be_at_provider or refund.provider not in CAN_LOOK_UP:
        return refund
    (resume_outcome,) = resume([refund], books=books, providers=providers, clock=clock, policy=policy)
    # Without credentials the provider cannot be asked, and only the evidence remains.
    if resume_outcome.step in (Step.NEEDS_ATTENTION, Step.NOT_ASKED, Step.OTHER_ACCOUNT, Step.AWAITING_APPROVAL):
        return refund
    if resume_outcome.refund.state.unfinished:
        raise ResumeFirst(refund)
    return resume_outcome.refund


def resolve(resolution: Resolution, *, books: Books, clock: Clock, policy: SendingPolicy) -> Refund:
    """Store the outcome with its evidence: executed (at Adyen accepted, a final event may follow) or not executed."""

    def end(tx: Writing) -> Refund:
        refund = check(tx, resolution, clock=clock)
        state = _state(refund, resolution)
        message = "" if resolution.provider_reference else f"resolved by hand: {resolution.evidence}"
        answer = RefundAnswer(Signal.OTHER, state, resolution.provider_reference, "", message)
        settle(tx, refund, state, answer, clock=clock, policy=policy, evidence=resolution.evidence)
        return tx.refunds.get(refund.id) or refund

    return books.write(end)


def _state(refund: Refund, resolution: Resolution) -> RefundState:
    if not resolution.provider_reference:
        return RefundState.FAILED
    return RefundState.PENDING if refund.provider is Provider.ADYEN else RefundState.SUCCEEDED
