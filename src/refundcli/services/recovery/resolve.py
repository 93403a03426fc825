"""Resolve a stuck refund or closing by hand, with evidence, after its idempotency key has expired (DESIGN §4)."""

import re
from dataclasses import dataclass

from refundcli.domain.closing import Closing
from refundcli.domain.errors import NotUsable, Refused, UsageProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.operations import Operation, is_unsent, kind_of
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.settling import settle_closing, settle_refund
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.key_windows import CAN_LOOK_UP, key_is_known
from refundcli.services.ports.providers import RefundAnswer
from refundcli.services.recovery.resume import Resume, Step, awaits_approval

_REFERENCES = {
    Provider.STRIPE: re.compile(r"(?:re|pyr)_[A-Za-z0-9_]{1,250}"),
    Provider.ADYEN: re.compile(r"[A-Za-z0-9]{1,32}"),
}
# After these the provider was not asked, or has no answer: only the evidence remains.
_ONLY_EVIDENCE = (Step.NEEDS_ATTENTION, Step.NOT_ASKED, Step.OTHER_ACCOUNT, Step.AWAITING_APPROVAL)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person found out: the provider's reference if it was executed, "" if it was not."""

    operation_id: str
    provider_reference: str
    evidence: str


class NotUnresolved(Refused):
    code = "not-unresolved"

    def __init__(self, operation: Operation) -> None:
        super().__init__(
            f"{operation.id} has the status {operation.state}: there is nothing to resolve.",
            hint=f"refundcli invoice show {operation.invoice_number}",
            context={kind_of(operation): operation.id, "status": operation.state},
        )


class ResumeFirst(Refused):
    """`resume` can still find the outcome, which is safer than a person's evidence."""

    code = "resume-first"

    def __init__(self, operation: Operation) -> None:
        super().__init__(
            f"{operation.id} can still be settled by asking the provider.",
            hint=f"refundcli resume {operation.id}",
            context={kind_of(operation): operation.id},
        )


class ReferenceTaken(Refused):
    code = "reference-taken"

    def __init__(self, reference: str, invoice_numbers: list[str]) -> None:
        super().__init__(
            f"{reference[:60]!a} is already known as a refund of {', '.join(invoice_numbers)}: it cannot also be the "
            "id of this refund.",
            hint="Look up the refund at the provider by its refundcli id, which was sent with it.",
        )


class NoReference(UsageProblem):
    code = "invalid-reference"

    def __init__(self, provider: Provider, reference: str) -> None:
        super().__init__(
            f"{reference[:60]!a} is not the id of a refund at {provider.label}.",
            hint="At Stripe it begins with re_ or pyr_; at Adyen it is the refund's own pspReference.",
        )


class AnotherInvoice(UsageProblem):
    code = "another-invoice"

    def __init__(self, closing: Closing, reference: str) -> None:
        super().__init__(
            f"{closing.id} is about {closing.reference}, not about {reference[:60]!a}.",
            hint=f"If it is {closing.past_tense} there: --provider-reference {closing.reference}",
        )


class NoEvidence(UsageProblem):
    code = "evidence-needed"

    def __init__(self) -> None:
        super().__init__(
            "Evidence is needed: nothing else confirms this.",
            hint='Add --evidence "Stripe dashboard 2026-11-23, seen by …"',
        )


class ProviderSaysOtherwise(Refused):
    """The provider was just asked, and its answer overrides any evidence."""

    code = "provider-says-otherwise"

    def __init__(self, closing: Closing, reason: str) -> None:
        super().__init__(
            f"{closing.invoice_number} is not {closing.past_tense} at {closing.provider.label}: {reason}",
            hint=f"refundcli resolve {closing.id} --not-executed --evidence TEXT",
            context={"closing": closing.id, "invoice": closing.invoice_number},
        )


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ends by hand what `resume` cannot settle."""

    resume: Resume

    def check(self, resolution: Resolution) -> Operation:
        """The operation, if it may be resolved by hand. Raises the first refusal."""
        return self.resume.refunds.books.read(lambda tx: self._checked(tx, resolution))

    def _checked(self, reading: Reading, resolution: Resolution) -> Operation:
        dispatch = self.resume.dispatch_of(resolution.operation_id)
        operation: Operation | None = dispatch.repository(reading).get(resolution.operation_id)
        if operation is None:
            raise dispatch.not_found(resolution.operation_id)
        if not resolution.evidence.strip():
            raise NoEvidence
        if not (operation.state.unfinished or awaits_approval(operation)) or operation.sending is None:
            raise NotUnresolved(operation)
        now = dispatch.clock.now()
        # It was never sent, so no provider can have executed it; or it is never sent again, and a person reports that
        # it was declined. Otherwise `resume` may settle it while its key is known.
        was_not_executed = is_unsent(operation) and not resolution.provider_reference
        is_open = not (was_not_executed or awaits_approval(operation))
        if leases.is_live(operation.sending, now) or (is_open and key_is_known(operation.sending, now)):
            raise ResumeFirst(operation)
        if resolution.provider_reference:
            _check_reference(reading, operation, resolution.provider_reference)
        return operation

    def ask_first(self, operation: Operation, resolution: Resolution) -> Operation:
        """The outcome according to the provider, if it can be asked: its answer overrides any evidence.

        Nothing is sent, because the key has expired. Raises ResumeFirst if it cannot be asked now, and
        ProviderSaysOtherwise.
        """
        if is_unsent(operation) or operation.provider not in CAN_LOOK_UP:
            return operation
        (resumed,) = self.resume.settle([operation])
        if resumed.step is Step.NEEDS_ATTENTION and isinstance(operation, Closing) and resolution.provider_reference:
            raise ProviderSaysOtherwise(operation, resumed.note)
        if resumed.problem and not isinstance(resumed.problem, NotUsable):
            raise resumed.problem
        # Without credentials the provider cannot be asked.
        if resumed.step in _ONLY_EVIDENCE:
            return operation
        if resumed.operation.state.unfinished:
            raise ResumeFirst(operation)
        return resumed.operation

    def resolve(self, resolution: Resolution) -> Operation:
        """Store the outcome with its evidence: executed (at Adyen accepted, a final event may follow) or not."""
        return self.resume.refunds.books.write(lambda tx: self._resolved(tx, resolution))

    def _resolved(self, tx: Writing, resolution: Resolution) -> Operation:
        operation = self._checked(tx, resolution)
        is_executed, evidence = bool(resolution.provider_reference), resolution.evidence
        failure = f"resolved by hand: {evidence}"
        if isinstance(operation, Closing):
            state = ClosingState.DONE if is_executed else ClosingState.FAILED
            settle_closing(tx, operation, state, failure=failure, evidence=evidence)
            return tx.closings.get(operation.id) or operation
        clock, policy = self.resume.refunds.clock, self.resume.refunds.policy
        answer = RefundAnswer(
            Signal.OTHER, reference=resolution.provider_reference, message="" if is_executed else failure
        )
        settle_refund(
            tx,
            operation,
            _state(operation, resolution),
            answer,
            clock=clock,
            credit_note_format=policy.credit_note_format,
            evidence=evidence,
        )
        return tx.refunds.get(operation.id) or operation


def _state(refund: Refund, resolution: Resolution) -> RefundState:
    if not resolution.provider_reference:
        return RefundState.FAILED
    return RefundState.PENDING if refund.provider is Provider.ADYEN else RefundState.SUCCEEDED


def _check_reference(reading: Reading, operation: Operation, reference: str) -> None:
    """Raises AnotherInvoice, NoReference, ReferenceTaken."""
    if isinstance(operation, Closing):
        if reference != operation.reference:
            raise AnotherInvoice(operation, reference)
        return
    assert operation.provider
    if not _REFERENCES[operation.provider].fullmatch(reference):
        raise NoReference(operation.provider, reference)
    invoice_numbers = reading.invoices.numbers_behind(reference)
    if invoice_numbers:
        raise ReferenceTaken(reference, invoice_numbers)
