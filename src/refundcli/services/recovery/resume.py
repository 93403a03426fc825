"""Finish what has no outcome: look it up first, send again only while the provider knows its key (DESIGN §4).

The same for refunds and for voids and write-offs at a provider.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from refundcli.domain.closing import CLOSING_PREFIX
from refundcli.domain.errors import OutcomeUnknown, RefundcliError
from refundcli.domain.refund import Sending
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.operations import Operation, is_unsent, sending_of
from refundcli.services.dispatch.outcomes import outcome_of
from refundcli.services.dispatch.protocol import Dispatch
from refundcli.services.dispatch.send_closing import ClosingDispatch
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.key_windows import key_is_known
from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.services.preflight.payment import AlreadyAtProvider
from refundcli.system.interrupts import raise_if_interrupted

_LOOK_AGAIN_SECONDS = 0.2


class Step(StrEnum):
    """What `resume` did, or why it did nothing."""

    SETTLED = "settled"
    FINISHED = "already-finished"
    STILL_UNKNOWN = "still-unknown"
    AWAITING_APPROVAL = "awaiting-approval"
    NEEDS_ATTENTION = "needs-attention"
    NOT_ASKED = "not-asked"
    NOT_CONFIRMED = "not-confirmed"
    LEASED = "leased-elsewhere"
    NOT_WRITTEN = "not-written"
    OTHER_ACCOUNT = "other-account"


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came of one refund or closing, and why; `problem` is the error that stopped it, if any."""

    operation: Operation
    step: Step
    note: str = ""
    problem: RefundcliError | None = None


def is_closing(operation_id: str) -> bool:
    return operation_id.startswith(CLOSING_PREFIX)


def awaits_approval(operation: Operation) -> bool:
    return operation.state is RefundState.AWAITING_APPROVAL


@dataclass(frozen=True, slots=True)
class Resume:
    """Settles refunds and closings without an outcome."""

    refunds: RefundDispatch
    closings: ClosingDispatch

    def dispatch_of(self, operation_id: str) -> Dispatch[Any, Any, Any]:
        return self.closings if is_closing(operation_id) else self.refunds

    def unfinished(self, operation_id: str | None = None) -> list[Operation]:
        """What is to be settled: all of it, or the one with this id. Raises RefundNotFound, ClosingNotFound."""
        books = self.refunds.books
        if operation_id is None:
            return books.read(
                lambda tx: [
                    operation
                    for dispatch in (self.refunds, self.closings)
                    for operation in dispatch.repository(tx).in_states(*dispatch.open_states)
                ]
            )
        dispatch = self.dispatch_of(operation_id)
        operation: Operation | None = books.read(lambda tx: dispatch.repository(tx).get(operation_id))
        if operation is None:
            raise dispatch.not_found(operation_id)
        return [operation]

    def settle(self, operations: Sequence[Operation], outcomes: list[Resumed] | None = None) -> list[Resumed]:
        """Settle each. One that cannot be settled now stays as it is, with its amount reserved (I5); others continue.

        `outcomes` is filled as they are settled, for a caller that may be interrupted. Raises Interrupted after Ctrl-C,
        even if one failed meanwhile. A bug in refundcli is raised too.
        """
        outcomes = [] if outcomes is None else outcomes
        for operation in operations:
            raise_if_interrupted()
            try:
                outcomes.append(self.settle_one(operation))
            except RefundcliError as problem:
                outcomes.append(Resumed(operation, step_of(problem), problem.message, problem))
        return outcomes

    def as_interrupted(self, operations: Sequence[Operation]) -> list[Resumed]:
        """The operations after Ctrl-C: the current one may be settled, the others were not checked."""
        current = [self.dispatch_of(operation.id).as_stored(operation) for operation in operations]
        return [
            Resumed(operation, Step.NOT_ASKED, "interrupted") if operation.state.unfinished else settled(operation)
            for operation in current
        ]

    def settle_one(self, operation: Operation) -> Resumed:
        """Settle it, once no other process is sending it. Raises NotUsable, AlreadyAtProvider, OutcomeNotWritten."""
        dispatch = self.dispatch_of(operation.id)
        operation = self._wait_until_free(operation, dispatch)
        if not (operation.state.unfinished or awaits_approval(operation)) or operation.sending is None:
            return Resumed(operation, Step.FINISHED)
        provider = dispatch.connection(operation.sending.request.provider)
        if not same_account(operation.sending, provider):
            return Resumed(operation, Step.OTHER_ACCOUNT, "use the same settings as when it was made")
        if is_unsent(operation):
            return self._first_send(operation, dispatch)
        return self._look_up(operation, dispatch)

    def _wait_until_free(self, operation: Operation, dispatch: Dispatch[Any, Any, Any]) -> Operation:
        """The operation, once its lease has expired or ended with its process."""
        clock, policy, is_announced = dispatch.clock, dispatch.policy, False
        while operation.state.unfinished and operation.sending and leases.is_live(operation.sending, clock.now()):
            if not is_announced:
                policy.on_waiting(operation)
                is_announced = True
            policy.sleep(_LOOK_AGAIN_SECONDS)
            operation = dispatch.as_stored(operation)
        return operation

    def _first_send(self, operation: Operation, dispatch: Dispatch[Any, Any, Any]) -> Resumed:
        provider = sending_of(operation).request.provider
        pause_seconds = dispatch.providers.pace(provider).pause_left
        if pause_seconds > dispatch.policy.call_seconds:
            # Sent now, it would be rate limited and become `failed`.
            note = f"{provider.label} is limiting the number of requests; try again in {pause_seconds:.0f} s"
            return Resumed(operation, Step.NOT_ASKED, note)
        return settled(dispatch.first_send(operation))

    def _look_up(self, operation: Operation, dispatch: Dispatch[Any, Any, Any]) -> Resumed:
        """Look it up; send again with the same key only while the provider still knows the key (I8)."""
        answer, snapshot = dispatch.look_up(operation)
        if awaits_approval(operation):
            proven_state = outcome_of(answer, first_send=False) if answer else None
            if proven_state in (None, operation.state):
                message = answer.message if answer else ""
                label = sending_of(operation).request.provider.label
                note = message or f"nobody has approved it at {label} yet"
                return Resumed(operation, Step.AWAITING_APPROVAL, note)
        if answer is not None:
            return settled(dispatch.record(operation, answer, first_send=False))
        if not key_is_known(sending_of(operation), dispatch.clock.now()):
            return Resumed(operation, Step.NEEDS_ATTENTION, dispatch.forgotten_note(operation, snapshot))
        refusal = dispatch.books.read(lambda tx: dispatch.why_not_sent(tx, operation, snapshot))
        if refusal:
            # Sending again could do it twice, because the first request may have arrived after all.
            return Resumed(operation, Step.STILL_UNKNOWN, f"not sent again: {refusal}")
        return settled(dispatch.send_again(operation))


def settled(operation: Operation) -> Resumed:
    if awaits_approval(operation):
        return Resumed(operation, Step.AWAITING_APPROVAL, operation.failure)
    step = Step.STILL_UNKNOWN if operation.state.unfinished else Step.SETTLED
    return Resumed(operation, step, operation.failure)


def step_of(problem: RefundcliError) -> Step:
    """The step to report for an operation that this error stopped."""
    if isinstance(problem, AlreadyAtProvider):
        return Step.NEEDS_ATTENTION
    return Step.NOT_WRITTEN if isinstance(problem, OutcomeUnknown | WouldContradict) else Step.NOT_ASKED


def same_account(sending: Sending, provider: PaymentProvider | InvoiceCloser) -> bool:
    """Would it go to the account, mode and address that it was prepared for (I8, I12)?"""
    request = sending.request
    return (
        provider.account == request.account
        and provider.livemode == request.livemode
        and request.endpoint.startswith(f"{provider.base_url}/")
    )
