"""Finish refunds whose outcome is unknown: look each up first, send again only while its key is valid (§4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.errors import OutcomeUnknown, RefundcliError
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import WITHOUT_OUTCOME, Provider, RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.first_send import send
from refundcli.services.dispatch.outcomes import outcome_of
from refundcli.services.dispatch.send_refund import SendingPolicy, record_outcome, send_again
from refundcli.services.invoices.lookup import RefundNotFound
from refundcli.services.ports.books import Books, Reading, RefundReading
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP, key_is_known
from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, Providers, RefundAnswer
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.services.preflight.payment import AlreadyAtProvider
from refundcli.services.preflight.revalidate import why_not_any_more
from refundcli.system.interrupts import raise_if_interrupted

_LOOK_AGAIN_SECONDS = 0.2
_Operation = TypeVar("_Operation", Refund, Closing)


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
    """The outcome for one refund, and why; `problem` is the error that stopped it, if any."""

    refund: Refund
    step: Step
    note: str = ""
    problem: RefundcliError | None = None


def unfinished(books: Books, refund_id: str | None) -> list[Refund]:
    """The refunds to finish. Raises RefundNotFound."""
    if refund_id is None:
        return books.read(lambda tx: tx.refunds.in_states(*WITHOUT_OUTCOME))
    refund = books.read(lambda tx: tx.refunds.get(refund_id))
    if refund is None:
        raise RefundNotFound(refund_id)
    return [refund]


def resume(
    refunds: Sequence[Refund],
    *,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
    outcomes: list[Resumed] | None = None,
) -> list[Resumed]:
    """Settle each. One that cannot be settled now stays as it is, with its amount reserved (I5); the others continue.

    `outcomes` is filled as they are settled, for a caller that may be interrupted. Raises Interrupted after Ctrl-C,
    even if a refund failed meanwhile. A bug in refundcli is raised too.
    """
    outcomes = [] if outcomes is None else outcomes
    for refund in refunds:
        raise_if_interrupted()
        try:
            outcomes.append(resume_one(refund, books=books, providers=providers, clock=clock, policy=policy))
        except RefundcliError as problem:
            outcomes.append(Resumed(refund, step_of(problem), problem.message, problem))
    return outcomes


def as_interrupted(refunds: Sequence[Refund], *, books: Books) -> list[Resumed]:
    """The refunds after Ctrl-C: the current one may be settled, the others were not checked."""
    refunds_by_id = books.read(lambda tx: tx.refunds.by_id([refund.id for refund in refunds]))
    current_refunds = [refunds_by_id.get(refund.id, refund) for refund in refunds]
    return [
        _settled(refund) if not refund.state.unfinished else Resumed(refund, Step.NOT_ASKED, "interrupted")
        for refund in current_refunds
    ]


def step_of(problem: RefundcliError) -> Step:
    """The step to report for a refund or closing that this error stopped."""
    if isinstance(problem, AlreadyAtProvider):
        return Step.NEEDS_ATTENTION
    return Step.NOT_WRITTEN if isinstance(problem, OutcomeUnknown | WouldContradict) else Step.NOT_ASKED


def resume_one(refund: Refund, *, books: Books, providers: Providers, clock: Clock, policy: SendingPolicy) -> Resumed:
    refund = wait_until_free(refund, lambda tx: tx.refunds.get(refund.id), books=books, clock=clock, policy=policy)
    awaits_approval = refund.state is RefundState.AWAITING_APPROVAL
    if not (refund.state.unfinished or awaits_approval) or refund.sending is None:
        return Resumed(refund, Step.FINISHED)
    provider = providers.of(refund.sending.request.provider)
    if not same_account(refund.sending, provider):
        return Resumed(refund, Step.OTHER_ACCOUNT, "use the same settings as when it was made")
    if awaits_approval:
        return _look_only(refund, refund.sending, books, provider, clock, policy)
    if refund.state is RefundState.READY:
        pause_seconds = providers.pace(provider.name).pause_left
        if pause_seconds > policy.call_seconds:
            # Sent now, it would be rate limited and become `failed`.
            note = f"{provider.name.label} is limiting the number of requests; try again in {pause_seconds:.0f} s"
            return Resumed(refund, Step.NOT_ASKED, note)
        return _settled(send(refund, books=books, providers=providers, provider=provider, clock=clock, policy=policy))
    return _finish_submitted(refund, refund.sending, books, provider, clock, policy)


def wait_until_free(
    operation: _Operation,
    read_again: Callable[[Reading], _Operation | None],
    *,
    books: Books,
    clock: Clock,
    policy: SendingPolicy,
) -> _Operation:
    """The operation, once no other process is sending it. A lease expires, or ends with its process.

    `read_again`: reads the operation as it is stored now.
    """
    is_announced = False
    while operation.state.unfinished and operation.sending and leases.is_live(operation.sending, clock.now()):
        if not is_announced:
            policy.on_waiting(operation)
            is_announced = True
        policy.sleep(_LOOK_AGAIN_SECONDS)
        operation = books.read(read_again) or operation
    return operation


def _look_only(
    refund: Refund,
    sending: Sending,
    books: Books,
    provider: PaymentProvider,
    clock: Clock,
    policy: SendingPolicy,
) -> Resumed:
    """Look up a refund that awaits approval. It is never sent again from here (I5)."""
    answer = look_up(sending, refund, provider) or provider.ended_approval(sending.request, refund.provider_status)
    proven_state = outcome_of(answer, first_send=False).state if answer else None
    if answer is None or proven_state in (None, refund.state):
        provider_message = answer.message if answer else ""
        return Resumed(
            refund, Step.AWAITING_APPROVAL, provider_message or f"nobody has approved it at {provider.name.label} yet"
        )
    return _settled(record_outcome(refund, answer, first_send=False, books=books, clock=clock, policy=policy))


def _finish_submitted(
    refund: Refund,
    sending: Sending,
    books: Books,
    provider: PaymentProvider,
    clock: Clock,
    policy: SendingPolicy,
) -> Resumed:
    """Look it up; send again with the same key only while the provider still knows the key (I8)."""
    answer = look_up(sending, refund, provider)
    if answer is not None:
        settled_refund = record_outcome(refund, answer, first_send=False, books=books, clock=clock, policy=policy)
        return _settled(settled_refund)
    unsent_outcome = books.read(lambda tx: why_not_again(tx, refund, sending, provider.name, clock.now()))
    if unsent_outcome:
        return unsent_outcome
    return _settled(send_again(refund, books=books, provider=provider, clock=clock, policy=policy))


def look_up(sending: Sending, refund: Refund, provider: PaymentProvider) -> RefundAnswer | None:
    """The provider's answer about this refund; None if it has none, or cannot be asked."""
    return provider.find_refund(sending.request, refund.id) if provider.name in CAN_LOOK_UP else None


def why_not_again(
    reading: RefundReading, refund: Refund, sending: Sending, provider: Provider, now: datetime
) -> Resumed | None:
    """Why a refund that was not found is not sent again; None if it may be, with the same key (I8)."""
    if not key_is_known(sending, now):
        note = (
            f"{provider.label} no longer remembers this request; nothing will be sent again. Look it up "
            f"there, then: refundcli resolve {refund.id} …"
        )
        return Resumed(refund, Step.NEEDS_ATTENTION, note)
    refusal = why_not_any_more(reading, refund)
    if refusal:
        # Sending again could pay the customer twice, because the first request may have arrived after all.
        return Resumed(refund, Step.STILL_UNKNOWN, f"not sent again: {refusal.message}")
    return None


def _settled(refund: Refund) -> Resumed:
    if refund.state is RefundState.AWAITING_APPROVAL:
        return Resumed(refund, Step.AWAITING_APPROVAL, refund.failure)
    if refund.state.unfinished:
        return Resumed(refund, Step.STILL_UNKNOWN, refund.failure)
    return Resumed(refund, Step.SETTLED, refund.failure)


def same_account(sending: Sending, provider: PaymentProvider | InvoiceCloser) -> bool:
    """Would it go to the account, mode and address that it was prepared for (I8, I12)?"""
    request = sending.request
    return (
        provider.account == request.account
        and provider.livemode == request.livemode
        and request.endpoint.startswith(f"{provider.base_url}/")
    )
