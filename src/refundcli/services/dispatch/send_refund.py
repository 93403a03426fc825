"""T2 to T4: claim a refund, send it once, store its outcome. Shared by `refund` and `resume`.

A closing is sent in the same way (`send_closing`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias, TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.errors import OutcomeUnknown
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.outcomes import MAY_BE_SENT_AGAIN, Signal, outcome_of
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import Answer, MaySend, PaymentProvider, RefundAnswer
from refundcli.services.ports.records import Settlement
from refundcli.services.ports.store_problems import BooksUnavailable
from refundcli.system.interrupts import held_until_written, is_interrupted, pause

A = TypeVar("A", bound=Answer)
Operation = TypeVar("Operation", Refund, Closing)
# Called with the answer and the seconds to wait: it waits, and returns whether another request may be sent.
Again: TypeAlias = Callable[[Answer, float], bool]
NO_LONGER_OURS = "not sent: it waited too long for its turn"
_MOST_SENDS = 3
_AGAIN_SECONDS = 1.0


class OutcomeNotWritten(OutcomeUnknown):
    """The provider answered, but the answer could not be stored; the refund stays claimed, so it is not lost."""

    code = "outcome-not-written"

    def __init__(self, operation: Refund | Closing, answer: Answer, provider_reference: str, error: Exception) -> None:
        operation_kind = "refund" if isinstance(operation, Refund) else "closing"
        super().__init__(
            (
                f"{operation_kind.title()} {operation.id}: the provider answered "
                f"({provider_reference or answer.signal}), but the store could not be written to: {error}"
            ),
            hint=f"Keep this line. When the store works again: refundcli resume {operation.id}",
            context={operation_kind: operation.id, "provider_reference": provider_reference, "signal": answer.signal},
        )


@dataclass(frozen=True, slots=True)
class SendingPolicy:
    """How long one request may take (seconds), and how credit notes are numbered."""

    call_seconds: float
    credit_note_format: str
    on_interrupt: Callable[[], None] = field(default=lambda: None)
    on_waiting: Callable[[Refund | Closing], None] = field(default=lambda operation: None)
    on_unwritten: Callable[[Refund | Closing, str], None] = field(default=lambda operation, reference: None)
    sleep: Callable[[float], None] = field(default=pause)
    apply_updates: Callable[[Writing, Invoice], object] = field(default=lambda tx, invoice: None)

    @property
    def sending_seconds(self) -> float:
        """How long sending may take: retries may start for as long as one request takes, then the last one runs."""
        return 2 * self.call_seconds

    def patience(self, sending: Sending, now: datetime) -> float:
        """Seconds in which its request may start, so that it ends before the lease does."""
        return leases.seconds_left(sending, now) - self.call_seconds


def send_again(
    refund: Refund, *, books: Books, provider: PaymentProvider, clock: Clock, policy: SendingPolicy
) -> Refund:
    """Send a `submitted` refund again with the same key, and settle it. (`first_send.send` sends a `ready` one.)

    Returns the refund in its new state: still `submitted` if the outcome is unknown. Raises OutcomeNotWritten.
    """
    assert not is_first_send(refund), "a first send goes through first_send.send"
    with held_until_written(policy.on_interrupt):
        claimed_refund = claim(refund, books=books, clock=clock, policy=policy)
        if claimed_refund is None or claimed_refund.sending is None:
            return _as_it_stands(refund, books)
        sending = claimed_refund.sending
        answer = call(claimed_refund, provider, policy, clock, patience=lambda: policy.patience(sending, clock.now()))
        return record_outcome(claimed_refund, answer, first_send=False, books=books, clock=clock, policy=policy)


def is_first_send(refund: Refund) -> bool:
    """Was it never sent before? Then an answer is about this request alone."""
    return refund.sending is not None and refund.sending.first_sent_at is None


def claim(refund: Refund, *, books: Books, clock: Clock, policy: SendingPolicy) -> Refund | None:
    """T2, again: claim it for this process. None if another process claimed it first."""

    def write(tx: Writing) -> Refund | None:
        now = clock.now()
        lease = leases.new_lease(now, policy.sending_seconds)
        return tx.refunds.claim(refund, owner=lease.owner, until=lease.until, at=now)

    return books.write(write)


def record_outcome(
    refund: Refund,
    answer: RefundAnswer,
    *,
    first_send: bool,
    books: Books,
    clock: Clock,
    policy: SendingPolicy,
) -> Refund:
    """T4: store the outcome. Raises OutcomeNotWritten.

    `first_send`: it was never sent before, so the answer is about this request alone.
    """

    def write(tx: Writing) -> Refund:
        record_outcome_in(tx, refund, answer, first_send=first_send, clock=clock, policy=policy)
        return tx.refunds.get(refund.id) or refund

    stored_refund = write_outcome(refund, answer, answer.reference, write, books=books, policy=policy)
    return with_provider_message(stored_refund, answer)


def write_outcome(
    operation: Operation,
    answer: Answer,
    provider_reference: str,
    write: Callable[[Writing], Operation],
    *,
    books: Books,
    policy: SendingPolicy,
) -> Operation:
    """T4: store the outcome of a request, and retry while the store is busy. Raises OutcomeNotWritten.

    `write`: stores it in a transaction, and returns the operation as stored. Money has moved, so this waits longer for
    a busy store than any step before the request.
    """
    started_at, is_announced = time.monotonic(), False
    while True:
        try:
            return books.write(write)
        except BooksUnavailable as busy_error:
            if time.monotonic() - started_at >= busy_error.passes_within:
                raise OutcomeNotWritten(operation, answer, provider_reference, busy_error) from busy_error
            if not is_announced:
                policy.on_unwritten(operation, provider_reference)
            is_announced = True
            # Not `policy.sleep`, which returns at once after Ctrl-C and would retry without a pause.
            time.sleep(_AGAIN_SECONDS)
        except Exception as error:
            raise OutcomeNotWritten(operation, answer, provider_reference, error) from error


def record_outcome_in(
    tx: Writing, refund: Refund, answer: RefundAnswer, *, first_send: bool, clock: Clock, policy: SendingPolicy
) -> None:
    """Store the outcome if the answer proves one; otherwise the amount stays reserved (I5).

    `first_send`: it was never sent before, so the answer is about this request alone.
    """
    outcome = outcome_of(answer, first_send=first_send)
    if outcome.state is None:
        tx.refunds.release_lease(refund)
    else:
        settle(tx, refund, outcome.state, answer, clock=clock, policy=policy)


def with_provider_message(refund: Refund, answer: RefundAnswer) -> Refund:
    """The refund with the provider's message, which is not stored while the outcome is unknown."""
    is_outcome_open = refund.state.unfinished or refund.state is RefundState.AWAITING_APPROVAL
    return replace(refund, failure=refund.failure or answer.message) if is_outcome_open else refund


def settle(
    tx: Writing,
    refund: Refund,
    state: RefundState,
    answer: RefundAnswer,
    *,
    clock: Clock,
    policy: SendingPolicy,
    evidence: str = "",
) -> None:
    """Store the state, the sums, the invoice and the credit note, in the caller's transaction (I9, I10).

    `evidence`: what proves the outcome, where a person resolved it by hand.
    """
    failure = answer.message if state in (RefundState.FAILED, RefundState.REVERSED) else ""
    failure_code = answer.signal if state is RefundState.FAILED else ""
    settlement = Settlement(
        state,
        answer.reference,
        answer.status,
        failure,
        evidence,
        failure_code=failure_code,
        pending_reason=answer.pending_reason,
        expires_at=answer.expires_at,
    )
    _end(tx, refund, settlement, clock=clock, credit_note_format=policy.credit_note_format)


def write_settlement(
    tx: Writing, refund: Refund, settlement: Settlement, *, clock: Clock, credit_note_format: str
) -> Refund | None:
    """Store the state and what follows from it; None if the change is not allowed, or it was changed meanwhile."""
    is_settled = _end(tx, refund, settlement, clock=clock, credit_note_format=credit_note_format)
    return tx.refunds.get(refund.id) if is_settled else None


def _end(tx: Writing, refund: Refund, settlement: Settlement, *, clock: Clock, credit_note_format: str) -> bool:
    settled_refund = tx.refunds.settle(refund, settlement)
    if settled_refund is None:
        return False
    # An external refund that is not adopted has no credit note to issue or void.
    if settlement.state.is_accepted:
        tx.credit_notes.issue(settled_refund, at=clock.now(), on=clock.today(), credit_note_format=credit_note_format)
    elif settlement.state in (RefundState.FAILED, RefundState.REVERSED):
        tx.credit_notes.void(settled_refund, at=clock.now())
    return True


def call(
    refund: Refund,
    provider: PaymentProvider,
    policy: SendingPolicy,
    clock: Clock,
    *,
    patience: Callable[[], float],
    may_retry: Again | None = None,
) -> RefundAnswer:
    """T3: send it. No request starts after `patience` (seconds left) is used up, or after its lease ended.

    `may_retry`: called with the answer and the seconds to wait; it waits, and says whether to send again.
    """
    assert refund.sending
    request, idempotency_key = refund.sending.request, refund.sending.idempotency_key
    may_send = last_check(refund.sending, clock)
    answer = ask(
        lambda: provider.refund(request, idempotency_key, may_send), policy, patience=patience, may_retry=may_retry
    )
    return answer or RefundAnswer(Signal.NOT_SENT, message=NO_LONGER_OURS)


def last_check(sending: Sending, clock: Clock) -> MaySend:
    """Checked just before the first byte: the process may have been suspended since the request began (I8)."""
    return lambda: leases.seconds_left(sending, clock.now()) > 0


def ask(
    send_request: Callable[[], A],
    policy: SendingPolicy,
    *,
    patience: Callable[[], float],
    may_retry: Again | None = None,
) -> A | None:
    """Send a request; retry only if the last one provably did nothing and `may_retry` allows it after its wait.

    No request starts after `patience` (seconds left) is used up: a process may have been suspended for a day, and its
    lease has ended since (I8). Returns None if none was sent.
    """
    answer = None
    for attempt in range(1, _MOST_SENDS + 1):
        if patience() < 0 or (answer and is_interrupted()):
            return answer
        answer = send_request()
        wait_seconds = answer.retry_after or 0.5 * 2**attempt
        if answer.signal not in MAY_BE_SENT_AGAIN or attempt == _MOST_SENDS or wait_seconds > patience():
            return answer
        if may_retry is None:
            policy.sleep(wait_seconds)
        elif not may_retry(answer, wait_seconds):
            return answer
    raise AssertionError("the loop returns")


def _as_it_stands(refund: Refund, books: Books) -> Refund:
    return books.read(lambda tx: tx.refunds.get(refund.id)) or refund
