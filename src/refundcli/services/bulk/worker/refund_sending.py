"""One refund of a run, from its reservation to its outcome: claimed, sent, and settled by the provider's answer.

Requests run in threads, which have no access to the books. Their answers are stored with the next commit.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial

from refundcli.domain.errors import NotUsable, RefundcliError
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk.report import Stopped
from refundcli.services.bulk.worker.claims import Claim, Result, claim_in, claim_listed
from refundcli.services.bulk.worker.context import WorkerContext
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row, Stage
from refundcli.services.dispatch.first_send import (
    NO_LONGER_LISTED,
    check_listed,
    fail_unsent_in,
    snapshot_of,
)
from refundcli.services.dispatch.outcome_errors import UNREACHABLE
from refundcli.services.dispatch.outcomes import TOO_MANY, Signal
from refundcli.services.dispatch.protocol import LONGEST_UNCHECKED_WAIT_SECONDS, StaleSnapshot
from refundcli.services.dispatch.send_refund import call, look_up, with_provider_message
from refundcli.services.ports.books import RefundReading, Writing
from refundcli.services.ports.providers import Answer, RefundAnswer
from refundcli.services.preflight.payment import AlreadyAtProvider, PaymentLookup
from refundcli.services.recovery.resume import same_account

# A refund that another process is sending is read again after this long.
LOOK_UP_SECONDS = 0.2
# How often a rate-limited refund is claimed again; it is checked each time.
_MOST_ROUNDS = 15
# How long a thread retries a request that provably did nothing; then the refund waits for another commit, where it can
# be stopped. A rate-limited request waits there at once, and is checked before it is sent again.
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RefundSending:
    """Settles the refunds in flight, each in a task of its own."""

    context: WorkerContext

    async def settle(self, flight: InFlightRefund, row: Row | None = None) -> None:
        """Bring it to its outcome, known or unknown. `row`: whose refund it is; None if it only blocks a row.

        If the worker stops, what was sent is still waited for, and anything else is given up.
        """
        try:
            while not flight.ended:
                await self._take_step(flight)
        except asyncio.CancelledError:
            if self.context.commits.closed:
                raise
            await self._give_up(flight, row)

    async def _take_step(self, flight: InFlightRefund) -> None:
        refund, sending = flight.refund, flight.refund.sending
        if not refund.state.unfinished or sending is None:
            self._end(flight, refund)
        elif flight.is_listed:
            # A restored backup lost it: its outcome is looked up, and nothing is sent.
            found_answer = await self.context.look_up(lambda: look_up(refund, flight.provider))
            await self._record(flight, found_answer or NO_LONGER_LISTED, first_send=False)
        elif flight.stage is not Stage.FOUND:
            await self._claim(flight)
        elif flight.is_leased(self.context.clock.now()):
            await self.context.pause(LOOK_UP_SECONDS)
            flight.is_now(await self.context.commits.settle(flight, lambda tx: None))
        elif not same_account(sending, flight.provider):
            self._end(flight, replace(refund, failure="it was made with other settings"))
        elif refund.state is RefundState.READY:
            flight.stage = Stage.READY
        else:
            answer = await self.context.look_up(lambda: look_up(refund, flight.provider))
            if answer is None:
                flight.stage = Stage.NOT_FOUND
            else:
                await self._record(flight, answer, first_send=False)

    # --- T2 ----------------------------------------------------------------------------------------------

    async def _claim(self, flight: InFlightRefund) -> None:
        context = self.context

        def claim(tx: Writing, reading: RefundReading) -> Claim:
            lease = context.lease(flight.provider.name)
            return claim_in(tx, reading, flight, lease, clock=context.clock, policy=context.policy)

        claimed = await context.commits.claim(flight, claim)
        if claimed.result is Result.CLAIMED:
            flight.refund, flight.claimed, flight.stage = claimed.refund, True, Stage.OURS
            await self._send(flight)
        elif claimed.result is Result.UNCHECKED:
            assert claimed.lookup, "a provider without look-up needs no snapshot"
            await self._look_again(flight, claimed.lookup)
        elif claimed.result is Result.ELSEWHERE:
            flight.is_now(claimed.refund)
        elif claimed.result is Result.LAPSED:
            flight.stage = Stage.FOUND
        else:
            self._end(flight, claimed.refund)

    async def _look_again(self, flight: InFlightRefund, lookup: PaymentLookup) -> None:
        """Take a new snapshot of its payment, after a pause or if another process reserved it."""
        context = self.context
        flight.snapshots += 1
        if flight.snapshots > _MOST_ROUNDS:
            context.stop_policy.stop(Stopped.STORE, StaleSnapshot(flight.refund))
            raise asyncio.CancelledError
        try:
            take_snapshot = partial(snapshot_of, lookup, providers=context.providers, clock=context.clock)
            flight.snapshot = await context.look_up(take_snapshot)
            check_listed(flight.refund, flight.snapshot)
        except AlreadyAtProvider as problem:
            self._end(flight, replace(flight.refund, failure=problem.message))
        except RefundcliError as problem:
            await self._cannot_be_checked(flight, problem)
        else:
            flight.stage = Stage.OURS if self._is_ours(flight) else Stage.READY

    async def _cannot_be_checked(self, flight: InFlightRefund, problem: RefundcliError) -> None:
        """Nothing is sent, and the amount that this worker reserved is released."""
        context = self.context
        context.stop_policy.answered(is_outcome_clear=False)
        if isinstance(problem, NotUsable) and problem.code != UNREACHABLE:
            context.stop_policy.stop(Stopped.SETTINGS, problem)
            raise asyncio.CancelledError
        if not self._is_ours(flight):
            self._end(flight, replace(flight.refund, failure=problem.message))
            return

        def fail(tx: Writing) -> None:
            fail_unsent_in(
                tx, flight.refund, problem.message, clock=context.clock, policy=context.policy, is_refused=False
            )

        self._end(flight, await context.commits.settle(flight, fail))

    # --- T3, T4 ------------------------------------------------------------------------------------------

    async def _send(self, flight: InFlightRefund) -> None:
        flight.answer = await self.context.send(flight, lambda: self._ask(flight))
        if self._is_sent_again(flight, flight.answer):
            flight.answer = flight.snapshot = None
        elif flight.answer:
            await self._record(flight, flight.answer, first_send=flight.first_send)

    def _is_sent_again(self, flight: InFlightRefund, answer: RefundAnswer | None) -> bool:
        """Was it rate limited, so that it is checked and claimed again? Raises CancelledError if the worker stops."""
        is_rate_limited = answer is None or answer.signal in TOO_MANY
        if is_rate_limited and self.context.is_stopping:
            # Not executed, and not retried now: the worker that resumes the run settles it.
            raise asyncio.CancelledError
        if answer is None:
            return True
        is_again = is_rate_limited and flight.rounds < _MOST_ROUNDS
        flight.rounds += is_again and answer.signal == Signal.RATE_LIMITED
        return is_again

    def _ask(self, flight: InFlightRefund) -> RefundAnswer | None:
        """In a pool thread: send a request; retry only if the last one provably did nothing.

        None if it was not sent, because the provider is rate limiting for longer than the lease lasts.
        """
        context, sending, started_at = self.context, flight.refund.sending, time.monotonic()
        assert sending

        def lease_left() -> float:
            return context.policy.patience(sending, context.clock.now())

        if context.pause_left(flight) > lease_left():
            return None
        return call(
            flight.refund,
            flight.provider,
            context.policy,
            context.clock,
            patience=lambda: min(lease_left(), started_at + _PATIENCE_SECONDS - time.monotonic()),
            may_retry=self._waited_unchecked,
        )

    def _waited_unchecked(self, answer: Answer, wait_seconds: float) -> bool:
        """In a pool thread, which has no access to the books: wait only for a short pause."""
        if answer.signal in TOO_MANY and wait_seconds >= LONGEST_UNCHECKED_WAIT_SECONDS:
            return False
        self.context.policy.sleep(wait_seconds)
        return True

    async def _record(self, flight: InFlightRefund, answer: RefundAnswer, *, first_send: bool) -> None:
        """T4, for a refund that was sent or looked up."""
        context = self.context

        def record(tx: Writing) -> None:
            refund = claim_listed(tx, flight, context.clock.now())
            context.dispatch.record_in(tx, refund, answer, first_send=first_send)

        self._end(flight, with_provider_message(await context.commits.settle(flight, record), answer))

    def _end(self, flight: InFlightRefund, refund: Refund) -> None:
        """Its outcome, known or unknown, is stored."""
        flight.refund, flight.ended = refund, True
        if flight.answer:
            is_unclear = refund.state.unfinished or flight.answer.signal == Signal.NOT_SENT
            self.context.stop_policy.answered(is_outcome_clear=not is_unclear)

    # --- stopping ----------------------------------------------------------------------------------------

    async def _give_up(self, flight: InFlightRefund, row: Row | None) -> None:
        """Release the amount of a refund that was never sent. One that was rate limited is left to be resumed.

        So is every refund of a row of which another was sent, so that no row is left half done.
        """
        context, flight.given_up = self.context, True
        if flight.stage is not Stage.OURS:
            return

        def release(tx: Writing) -> None:
            # Another one's claim may be committed already, while its task does not know it yet.
            if flight.claimed or any(sibling.claimed for sibling in (row.own if row else ())):
                tx.refunds.release_lease(flight.refund)
            else:
                refund = tx.refunds.get(flight.refund.id)
                if refund and refund.state is RefundState.READY:
                    fail_unsent_in(tx, refund, "interrupted", clock=context.clock, policy=context.policy)

        self._end(flight, await context.commits.settle(flight, release))

    def _is_ours(self, flight: InFlightRefund) -> bool:
        """Does this worker hold the refund's lease?"""
        return flight.stage is Stage.OURS and flight.is_leased(self.context.clock.now())
