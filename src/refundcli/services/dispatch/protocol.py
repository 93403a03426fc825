"""One request to a provider, from its reservation to its outcome: the same for refunds and closings (DESIGN §4).

T1 reserves it and stores the exact request with its key. T2 claims it, by the rules as of then. T3 sends it once. T4
records what the answer proves. T1, T2 and T4 are transactions of their own, and none is open during T3. What differs
is in `RefundDispatch` and `ClosingDispatch`. A bulk run takes the same steps for many refunds at once
(services/bulk/worker/refund_sending.py).
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.errors import NotFound, OutcomeUnknown, RefundcliError, SettingsProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.operations import Operation, is_unsent, kind_of, reference_at_provider, sending_of
from refundcli.services.dispatch.outcome_errors import NEVER_SENT
from refundcli.services.dispatch.outcomes import Signal, outcome_of
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.retries import A, Again, ask, last_check
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import (
    Answer,
    InvoiceCloser,
    MaySend,
    PaymentProvider,
    Providers,
)
from refundcli.services.ports.store_problems import BooksUnavailable
from refundcli.system.interrupts import Interrupted, held_until_written, is_interrupted

O = TypeVar("O", Refund, Closing)  # noqa: E741 - the operation
# An older snapshot may miss later changes, so another one is taken before anything is sent.
FRESH = timedelta(seconds=10)
# After waiting this long for a provider that is rate limiting, an operation is checked again before it is sent.
LONGEST_UNCHECKED_WAIT_SECONDS = 1.0
# Of an operation that was in a snapshot, but that the look-up does not find.
NO_LONGER_LISTED = "The provider listed it a moment ago but cannot find it now."
NO_LONGER_OURS = "not sent: it waited too long for its turn"
_MOST_SNAPSHOTS = 3
_AGAIN_SECONDS = 1.0


def is_fresh(taken_at: datetime, now: datetime) -> bool:
    return timedelta(0) <= now - taken_at <= FRESH


class Dated(Protocol):
    """What the provider had at some moment."""

    @property
    def taken_at(self) -> datetime: ...


S = TypeVar("S", bound=Dated)


class Repository(Protocol[O]):
    """`tx.refunds` or `tx.closings`; of a snapshot, only its reads."""

    def get(self, operation_id: str, /) -> O | None: ...
    def in_states(self, *states: Any) -> list[O]: ...
    def claim(self, operation: O, /, *, owner: str, until: datetime, at: datetime) -> O | None: ...
    def release_lease(self, operation: O, /) -> None: ...


class OutcomeNotWritten(OutcomeUnknown):
    """The provider answered, but the answer could not be stored; the operation stays claimed, so it is not lost."""

    code = "outcome-not-written"

    def __init__(self, operation: Operation, answer: Answer, provider_reference: str, error: Exception) -> None:
        kind, signal = kind_of(operation), answer.signal
        super().__init__(
            f"{kind.title()} {operation.id}: the provider answered ({provider_reference or signal}), but the store "
            f"could not be written to: {error}",
            hint=f"Keep this line. When the store works again: refundcli resume {operation.id}",
            context={kind: operation.id, "provider_reference": provider_reference, "signal": signal},
        )


class StaleSnapshot(SettingsProblem):
    """The store was so slow that each snapshot was out of date before it could be used."""

    code = "store-too-slow"

    def __init__(self, operation: Operation) -> None:
        unchanged = "Its amount stays reserved" if isinstance(operation, Refund) else "Nothing was changed"
        super().__init__(
            f"The store took longer than {FRESH.seconds} s to answer. {operation.id} was not sent.",
            hint=f"{unchanged}. When the store is fast enough again: refundcli resume {operation.id}",
            context={kind_of(operation): operation.id, "invoice": operation.invoice_number},
        )


class CannotBeChecked(SettingsProblem):
    """The provider could not be asked before the first send, so nothing was sent: `message` says why."""

    code = "cannot-be-checked"

    def __init__(self, operation: Operation, error: RefundcliError) -> None:
        context = {kind_of(operation): operation.id, "invoice": operation.invoice_number}
        super().__init__(error.message, hint=error.hint, context=context)


@dataclass(frozen=True)
class Dispatch(ABC, Generic[O, A, S]):
    """Sends operations of one kind to their provider, and records the outcomes."""

    books: Books
    providers: Providers
    clock: Clock
    policy: SendingPolicy

    # --- T1: reserve, then send what was reserved --------------------------------------------------------------

    def reserve_and_send(
        self, reserve: Callable[[Writing], Sequence[O]], snapshot_for: Callable[[O], S | None]
    ) -> list[O]:
        """T1, then T2 to T4 of each operation that `reserve` reserves and leases for this process.

        `snapshot_for`: what the provider had before. If the provider cannot be asked again where it must be, the
        operation fails as not sent, and the others are still sent. After Ctrl-C what was not sent fails.
        """
        operations = self.books.write(reserve)
        try:
            return [self._sent(operation, snapshot_for(operation)) for operation in operations]
        except (KeyboardInterrupt, Interrupted):
            self.books.write(partial(self._drop_unsent, operations))
            raise

    def _sent(self, operation: O, snapshot: S | None) -> O:
        try:
            return self.first_send(operation, snapshot)
        except CannotBeChecked as problem:
            reason = problem.message
            self.books.write(lambda tx: self.fail_unsent(tx, operation, reason))
            stored_operation = self.as_stored(operation)
            if stored_operation.state.unfinished:
                raise
            return stored_operation

    def _drop_unsent(self, operations: Iterable[O], tx: Writing) -> None:
        """The operator interrupted: what was not sent fails, and what it reserved is released."""
        for operation in operations:
            stored_operation = self.repository(tx).get(operation.id)
            if stored_operation and is_unsent(stored_operation):
                self.fail_unsent(tx, stored_operation, "interrupted")

    def fail_unsent(self, tx: Writing, operation: O, reason: str) -> None:
        """Nothing happens if another process has claimed it since."""
        self.record_in(tx, operation, self._answer(Signal.NOT_SENT, f"{NEVER_SENT}{reason}"), first_send=True)

    # --- T2: claim --------------------------------------------------------------------------------------------

    def first_send(self, operation: O, snapshot: S | None = None) -> O:
        """Check, claim and send an operation that was never sent, or record what the provider already has of it.

        Returns it in its new state: `failed` if it was refused and not sent, `submitted` if its outcome is unknown.
        Raises OutcomeNotWritten; and CannotBeChecked, StaleSnapshot or a refusal by `look`, which leave it `ready`.
        """
        assert is_unsent(operation), "what was sent before is resumed by other rules"
        for attempts_left in reversed(range(_MOST_SNAPSHOTS)):
            if snapshot is None or not is_fresh(snapshot.taken_at, self.clock.now()):
                snapshot = self.look(operation)
            try:
                with held_until_written(self.policy.on_interrupt):
                    return self._claim_and_send(operation, snapshot)
            except StaleSnapshot:
                if not attempts_left:
                    raise
        raise AssertionError("the loop returns or raises")

    def _claim_and_send(self, operation: O, snapshot: S | None) -> O:
        claimed = self.books.write(partial(self._claim_first, operation, snapshot))
        if claimed is None:
            return self.as_stored(operation)
        if self.is_listed(operation, snapshot):
            return self._record_listed(claimed)
        recheck = _Recheck(self, claimed, snapshot)
        answer = self.call(claimed, may_retry=recheck.may_retry)
        if recheck.is_listed:
            return self._record_listed(claimed)
        if recheck.refusal:
            answer = self._answer(Signal.NOT_SENT, f"{NEVER_SENT}{recheck.refusal}")
        return self.record(claimed, answer, first_send=True)

    def _record_listed(self, claimed: O) -> O:
        """Record the outcome that the provider has. If it is not found now, the operation stays `submitted`."""
        answer, _ = self.look_up(claimed)
        return self.record(claimed, answer or self._answer(Signal.OTHER, NO_LONGER_LISTED), first_send=False)

    def _claim_first(self, operation: O, snapshot: S | None, tx: Writing) -> O | None:
        """T2: check the rules and claim it. None if another process claimed it, or a rule made it `failed`.

        What the provider already has was sent, so it is claimed whatever the rules and the clock say.
        """
        now = self.clock.now()
        sent_at = self.sent_at(operation, snapshot, now)
        if self.is_listed(operation, snapshot):
            return self.repository(tx).claim(operation, owner="", until=now, at=sent_at)
        if snapshot and not is_fresh(snapshot.taken_at, now):
            raise StaleSnapshot(operation)
        refusal = self.why_not_claimed(tx, operation, snapshot)
        if refusal:
            self.fail_unsent(tx, operation, refusal)
            return None
        return self._claim(tx, operation, at=sent_at)

    def _claim_again(self, operation: O, tx: Writing) -> O | None:
        return self._claim(tx, operation, at=self.clock.now())

    def send_again(self, operation: O) -> O:
        """Send a `submitted` operation again with the same key. Still `submitted` if its outcome is unknown.

        Raises OutcomeNotWritten.
        """
        assert not is_unsent(operation), "a first send has its own rules"
        with held_until_written(self.policy.on_interrupt):
            claimed = self.books.write(partial(self._claim_again, operation))
            if claimed is None:
                return self.as_stored(operation)
            return self.record(claimed, self.call(claimed), first_send=False)

    def _claim(self, tx: Writing, operation: O, *, at: datetime) -> O | None:
        lease = leases.new_lease(self.clock.now(), self.policy.sending_seconds)
        return self.repository(tx).claim(operation, owner=lease.owner, until=lease.until, at=at)

    # --- T3: send ---------------------------------------------------------------------------------------------

    def call(self, operation: O, *, may_retry: "Again[A] | None" = None) -> A:
        """Send it. No request starts once its lease has no time left for one, or after the lease ended."""
        sending = sending_of(operation)
        send_request = partial(self.request, operation, last_check(sending, self.clock))
        answer = ask(
            send_request,
            self.policy,
            patience=lambda: self.policy.patience(sending, self.clock.now()),
            may_retry=may_retry,
        )
        return answer or self._answer(Signal.NOT_SENT, NO_LONGER_OURS)

    def _answer(self, signal: Signal, message: str) -> A:
        """The answer to a request that the provider did not get."""
        answer: A = self.answer_type(signal, message=message)
        return answer

    # --- T4: record -------------------------------------------------------------------------------------------

    def record(self, operation: O, answer: A, *, first_send: bool) -> O:
        """Store the outcome; wait while the store is busy. Raises OutcomeNotWritten.

        Money has moved, so this waits longer for a busy store than any step before the request.
        """
        reference = reference_at_provider(operation, answer)
        started_at, is_announced = time.monotonic(), False
        while True:
            try:
                stored_operation = self.books.write(partial(self._record, operation, answer, first_send))
                return self.with_answer(stored_operation, answer)
            except BooksUnavailable as busy_error:
                if time.monotonic() - started_at >= busy_error.passes_within:
                    raise OutcomeNotWritten(operation, answer, reference, busy_error) from busy_error
                if not is_announced:
                    self.policy.on_unwritten(operation, reference)
                is_announced = True
                # Not `policy.sleep`, which returns at once after Ctrl-C and would retry without a pause.
                time.sleep(_AGAIN_SECONDS)
            except Exception as error:
                raise OutcomeNotWritten(operation, answer, reference, error) from error

    def _record(self, operation: O, answer: A, first_send: bool, tx: Writing) -> O:
        self.record_in(tx, operation, answer, first_send=first_send)
        return self.repository(tx).get(operation.id) or operation

    def record_in(self, tx: Writing, operation: O, answer: A, *, first_send: bool) -> None:
        """Store the outcome if the answer proves one; otherwise all stays as it is, and the amount reserved (I5).

        `first_send`: it was never sent before, so the answer is about this request alone.
        """
        state = outcome_of(answer, first_send=first_send)
        if state is None:
            self.repository(tx).release_lease(operation)
        else:
            self.settle(tx, operation, state, answer)

    def as_stored(self, operation: O) -> O:
        """The operation as the books have it now."""
        return self.books.read(lambda tx: self.repository(tx).get(operation.id)) or operation

    # --- what differs -----------------------------------------------------------------------------------------

    # The states without an outcome.
    open_states: ClassVar[tuple[RefundState | ClosingState, ...]]
    answer_type: ClassVar[Callable[..., Any]]
    not_found: ClassVar[Callable[..., NotFound]]

    @abstractmethod
    def repository(self, tx: Any) -> Repository[O]: ...
    @abstractmethod
    def connection(self, provider: Provider) -> PaymentProvider | InvoiceCloser:
        """Raises SettingsProblem."""

    @abstractmethod
    def look(self, operation: O) -> S | None:
        """Ask the provider before a first send. None if it has no look-up. Raises CannotBeChecked."""

    @abstractmethod
    def is_listed(self, operation: O, snapshot: S | None) -> bool:
        """Does the provider have its outcome, although these books never sent it?"""

    def sent_at(self, operation: O, snapshot: S | None, now: datetime) -> datetime:
        """When it is sent, or was. The age of its key counts from then (I8)."""
        return now

    @abstractmethod
    def why_not_sent(self, reading: Reading, operation: O, snapshot: S | None) -> str:
        """The rule that refuses it now, or the difference from the provider; empty if it may be sent."""

    def why_not_claimed(self, tx: Writing, operation: O, snapshot: S | None) -> str:
        """The same in the transaction that claims it."""
        return self.why_not_sent(tx, operation, snapshot)

    @abstractmethod
    def request(self, operation: O, may_send: MaySend) -> A:
        """One HTTP call."""

    @abstractmethod
    def settle(self, tx: Writing, operation: O, state: RefundState | ClosingState, answer: A) -> None:
        """Store the state and what follows from it, in the caller's transaction (I9, I10)."""

    @abstractmethod
    def with_answer(self, stored_operation: O, answer: A) -> O:
        """The operation with what the answer says and the books do not store."""

    # --- what differs when it is resumed or resolved ------------------------------------------------------------

    @abstractmethod
    def look_up(self, operation: O) -> tuple[A | None, S | None]:
        """The provider's answer about an operation that was sent, and what it has; None if it has no answer."""

    @abstractmethod
    def forgotten_note(self, operation: O, snapshot: S | None) -> str:
        """What to do, after `look_up` found nothing, and the provider no longer knows its key."""


@dataclass
class _Recheck(Generic[O, A, S]):
    """Before another request after a wait: the operation is still claimed, so nothing is claimed again.

    `refusal`: why it was not sent after a wait.
    """

    dispatch: Dispatch[O, A, S]
    claimed: O
    snapshot: S | None
    refusal: str = ""
    is_listed: bool = False
    waited_seconds: float = 0.0

    def may_retry(self, answer: A, wait_seconds: float) -> bool:
        """Wait, then check again if the wait was long."""
        self.dispatch.policy.sleep(wait_seconds)
        self.waited_seconds += wait_seconds
        if is_interrupted():
            return False
        if self.waited_seconds < LONGEST_UNCHECKED_WAIT_SECONDS:
            return True
        self.waited_seconds = 0.0
        try:
            self.snapshot = self.dispatch.look(self.claimed)
            self.is_listed = self.dispatch.is_listed(self.claimed, self.snapshot)
            if not self.is_listed:
                self.refusal = self.dispatch.books.read(
                    lambda tx: self.dispatch.why_not_sent(tx, self.claimed, self.snapshot)
                )
        except RefundcliError:
            # It cannot be checked, so it is not sent. The last answer, that nothing was done, remains.
            return False
        return not (self.refusal or self.is_listed)
