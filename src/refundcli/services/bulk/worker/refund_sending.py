"""The refunds that a worker has in flight: sending, looking up and settling them.

Requests run in threads, which have no access to the books. Their answers are stored with the worker's next commit.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial

from refundcli.domain.errors import NotUsable, RefundcliError
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk.report import Stopped
from refundcli.services.bulk.worker.leased_rows import InFlightRefund
from refundcli.services.bulk.worker.request_pool import Job
from refundcli.services.bulk.worker.worker_state import WorkerState
from refundcli.services.dispatch.first_send import (
    LONGEST_UNCHECKED_WAIT_SECONDS,
    NO_LONGER_LISTED,
    StaleSnapshot,
    check_listed,
    snapshot_of,
)
from refundcli.services.dispatch.leases import is_live
from refundcli.services.dispatch.outcome_errors import UNREACHABLE
from refundcli.services.dispatch.outcomes import TOO_MANY, Signal
from refundcli.services.dispatch.send_refund import (
    call,
)
from refundcli.services.ports.providers import Answer, RefundAnswer
from refundcli.services.preflight.payment import AlreadyAtProvider, PaymentLookup
from refundcli.services.recovery.resume_refunds import look_up, same_account

# A refund that another process is sending is read again after this long.
LOOK_UP_SECONDS = 0.2
# How often a rate-limited row is tried again; it is checked each time.
_MOST_ROUNDS = 15
# How long a thread retries a request that provably did nothing; then the refund waits for another commit, where it can
# be stopped. A rate-limited request waits there at once, and is checked before it is sent again.
_PATIENCE_SECONDS = 10.0


class RefundSending(WorkerState, ABC):
    """Sends the refunds in flight. `_flight_settled` is called when the outcome of one is stored."""

    @abstractmethod
    def _flight_settled(self, flight: InFlightRefund) -> None: ...

    def _send(self, flight: InFlightRefund) -> None:
        self.on_the_wire.add(flight)
        job = Job(lambda: self._ask(flight), lambda job: self._answered(flight, job), flight)
        self.pool.send(job, urgent=True)

    def _ask(self, flight: InFlightRefund) -> RefundAnswer | None:
        """In a pool thread: send a request; retry only if the last one provably did nothing.

        None if it was not sent, because the provider is rate limiting for longer than the lease lasts.
        """
        sending, started_at = flight.refund.sending, time.monotonic()
        assert sending

        def lease_left() -> float:
            return self.policy.patience(sending, self.clock.now())

        if self._pause_left(flight) > lease_left():
            return None
        return call(
            flight.refund,
            flight.provider,
            self.policy,
            self.clock,
            patience=lambda: min(lease_left(), started_at + _PATIENCE_SECONDS - time.monotonic()),
            may_retry=self._waited_unchecked,
        )

    def _waited_unchecked(self, answer: Answer, wait_seconds: float) -> bool:
        """In a pool thread, which has no access to the books: wait only for a short pause."""
        if answer.signal in TOO_MANY and wait_seconds >= LONGEST_UNCHECKED_WAIT_SECONDS:
            return False
        self.policy.sleep(wait_seconds)
        return True

    def _answered(self, flight: InFlightRefund, job: Job) -> None:
        self.on_the_wire.discard(flight)
        answer = job.answer
        is_rate_limited = answer is None or answer.signal in TOO_MANY
        if is_rate_limited and self.is_stopping:
            # Not executed, and not retried now: the worker that resumes the run settles it.
            flight.given_up = True
            self.next.to_release.append(flight)
        elif is_rate_limited and (answer is None or flight.rounds < _MOST_ROUNDS):
            flight.rounds += answer is not None and answer.signal == Signal.RATE_LIMITED
            flight.snapshot = None
            self.to_claim.append(flight)
        else:
            flight.answer = answer
            self.next.answered.append(flight)

    def _settled(self, flight: InFlightRefund, refund: Refund) -> None:
        """Its outcome, known or unknown, is stored."""
        flight.refund, flight.ended = refund, True
        self.flights.pop(refund.id, None)
        if flight.answer:
            is_unclear = refund.state.unfinished or flight.answer.signal == Signal.NOT_SENT
            self.stop_policy.answered(is_outcome_clear=not is_unclear)
        self._flight_settled(flight)

    def _resume_refund(self, flight: InFlightRefund) -> None:
        """Continue an abandoned refund from its state; wait for one that another process is sending."""
        refund = flight.refund
        if not refund.state.unfinished or refund.sending is None:
            self._settled(flight, refund)
        elif is_live(refund.sending, self.clock.now()):
            self.parked.append((time.monotonic() + LOOK_UP_SECONDS, flight))
        elif not same_account(refund.sending, flight.provider):
            self._settled(flight, replace(refund, failure="it was made with other settings"))
        elif refund.state is RefundState.READY:
            self.next.found_ready.append(flight)
        else:
            sending = refund.sending
            job = Job(lambda: look_up(sending, refund, flight.provider), lambda job: self._looked_up(flight, job))
            self.pool.send(job, urgent=False)

    # --- before a first send -----------------------------------------------------------------------------

    def _ask_provider(self, flight: InFlightRefund, lookup: PaymentLookup) -> None:
        """Take a new snapshot of its payment, after a pause or if another process reserved it.

        `lookup`: how the provider finds the payment.
        """
        providers, clock = self.providers, self.clock
        flight.snapshots += 1
        if flight.snapshots > _MOST_ROUNDS:
            stale_error = StaleSnapshot(flight.refund)
            self.stop_policy.stop(Stopped.STORE, stale_error)
            self._cannot_be_checked(flight, stale_error)
            return
        self.asking.add(flight)
        take_snapshot = partial(snapshot_of, lookup, providers=providers, clock=clock)
        self.pool.send(Job(take_snapshot, lambda job: self._asked(flight, job)), urgent=False)

    def _asked(self, flight: InFlightRefund, job: Job) -> None:
        if flight not in self.asking:
            return
        self.asking.discard(flight)
        try:
            flight.snapshot = job.answer
            check_listed(flight.refund, job.answer)
        except AlreadyAtProvider as problem:
            self._settled(flight, replace(flight.refund, failure=problem.message))
        except RefundcliError as problem:
            self._cannot_be_checked(flight, problem)
        else:
            if flight.is_listed:
                self._look_up_listed(flight)
            elif self._is_ours(flight):
                self.to_claim.appendleft(flight)
            else:
                self.next.found_ready.append(flight)

    def _cannot_be_checked(self, flight: InFlightRefund, problem: RefundcliError) -> None:
        """Nothing is sent, and the amount that this worker reserved is released."""
        if isinstance(problem, NotUsable) and problem.code != UNREACHABLE:
            self.stop_policy.stop(Stopped.SETTINGS, problem)
        self.stop_policy.answered(is_outcome_clear=False)
        if self._is_ours(flight):
            self.next.to_fail.append((flight, problem.message))
        else:
            self._settled(flight, replace(flight.refund, failure=problem.message))

    def _look_up_listed(self, flight: InFlightRefund) -> None:
        """The provider has it, but a restored backup lost it: look up its outcome and send nothing."""
        sending, refund, provider = flight.refund.sending, flight.refund, flight.provider
        assert sending

        def ask() -> RefundAnswer:
            return look_up(sending, refund, provider) or NO_LONGER_LISTED

        self.pool.send(Job(ask, lambda job: self._looked_up(flight, job)), urgent=False)

    def _looked_up(self, flight: InFlightRefund, job: Job) -> None:
        if flight.rows and all(row.closed for row in flight.rows):
            return
        self.next.looked_up.append((flight, job.answer))
