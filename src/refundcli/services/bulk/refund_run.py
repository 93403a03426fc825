"""A run of many refunds through the providers: each by the same protocol as a single one, many in flight (DESIGN §4).

Only the thread that calls `run_refunds` uses the books: it commits the next steps of many rows at once, and hands
requests to threads that only call the providers. Any number of workers, each in its own process, may share a run.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence

from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunState
from refundcli.domain.errors import RefundcliError
from refundcli.services.bulk.report import OnRowEnd, OnWaiting, RunLimits, RunReport, Stopped, StopRequest
from refundcli.services.bulk.row_outcomes import ended, waiting_again
from refundcli.services.bulk.unfinished_runs import UnfinishedRun, unfinished_run
from refundcli.services.bulk.worker.group_commit import Group, Written, write_group
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row
from refundcli.services.bulk.worker.other_workers import OtherWorkers, Step
from refundcli.services.bulk.worker.refund_sending import LOOK_UP_SECONDS
from refundcli.services.bulk.worker.row_processing import RowProcessing
from refundcli.services.dispatch.leases import is_live
from refundcli.services.dispatch.outcomes import TOO_MANY
from refundcli.services.dispatch.send_refund import (
    OutcomeNotWritten,
    SendingPolicy,
    record_outcome,
)
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import Providers

# A commit waits this long for more rows, so that many rows share one.
_GATHER_SECONDS = 0.02
# Started rows per concurrent request: while some wait for a commit, others keep the providers busy.
_ROWS_PER_REQUEST = 3
# Another worker may take over a row after this long; its lease is renewed well before.
_ROW_LEASE_SECONDS = 120.0
_HOLD_SECONDS = 30.0
# How long to wait for other workers without progress: longer than a lease that is not renewed.
_PATIENCE_WITH_OTHERS_SECONDS = 1.25 * _ROW_LEASE_SECONDS
# How often the rows of other workers are checked.
_LOOK_AT_OTHERS_SECONDS = 1.0
# A provider that is rate limiting for longer than this gets no refund until the pause ends.
_SHORT_PAUSE_SECONDS = 1.0

# After so many answers that could not be stored, the store is not tried for the others.
_ENOUGH_TRIES = 2


def run_refunds(
    run: BulkRun,
    *,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
    limits: RunLimits,
    on_row_end: OnRowEnd,
    stop_request: StopRequest,
    on_waiting: OnWaiting = lambda holders: None,
) -> RunReport:
    """Process the rows of the run until none is left or it is stopped; resumes what an earlier worker left.

    Waits for rows that other workers have leased. Every error, even a bug in refundcli, is in the report, which also
    says what was sent.
    """
    worker = _Worker(run, books, providers, clock, policy, limits, on_row_end, stop_request, on_waiting)
    try:
        worker.work()
    except RefundcliError as store_error:
        worker.stop_policy.stop(Stopped.STORE, store_error)
    except Exception as bug:
        worker.report.bug = bug
        worker.stop_policy.stop(Stopped.BUG)
    finally:
        worker.leave()
    return worker.report


class _Worker(RowProcessing):
    def __init__(
        self,
        run: BulkRun,
        books: Books,
        providers: Providers,
        clock: Clock,
        policy: SendingPolicy,
        limits: RunLimits,
        on_row_end: OnRowEnd,
        stop_request: StopRequest,
        on_waiting: OnWaiting,
    ) -> None:
        super().__init__(run, books, providers, clock, policy, limits, row_lease_seconds=_ROW_LEASE_SECONDS)
        self.on_row_end, self.stop = on_row_end, stop_request
        self.others = OtherWorkers(run, books, clock, _PATIENCE_WITH_OTHERS_SECONDS, on_waiting)
        # No row was left to lease: `nothing_left` while rows were started, `all_done` when none was.
        self.nothing_left = self.all_done = False
        self.committed_at = 0.0
        self.held_at = time.monotonic()

    # --- the loop ----------------------------------------------------------------------------------------

    def work(self) -> None:
        self.books.write(self._begin)
        while True:
            self._process_finished_jobs()
            self._check_stop_policy()
            self._gather()
            if self.next:
                self._commit()
            elif not self.is_idle:
                self.pool.wait(LOOK_UP_SECONDS)
            elif self.is_stopping or not self._others_have_rows():
                return

    def _begin(self, tx: Writing) -> None:
        """Rows with an unknown outcome are tried again: they may be settled by now, or can be."""
        tx.runs.requeue_unknown(self.run.id)
        if _open_rows(tx.runs.item_counts(self.run.id)):
            tx.runs.change(self.run.id, RunState.RUNNING)

    def _others_have_rows(self) -> bool:
        """Wait a moment while other workers have the last rows; false when there is nothing to wait for."""
        step = self.others.next_step()
        self.all_done = step is not Step.TAKE
        if step is Step.WAIT:
            wait_until = time.monotonic() + _LOOK_AT_OTHERS_SECONDS
            while time.monotonic() < wait_until and not self.stop.is_set():
                time.sleep(LOOK_UP_SECONDS)
        else:
            # Another worker may have leased the row by now.
            time.sleep(_GATHER_SECONDS)
        return step is not Step.LEAVE

    def _process_finished_jobs(self) -> None:
        """Handle the finished jobs, after a short wait for more."""
        wait_seconds = self.committed_at + _GATHER_SECONDS - time.monotonic()
        if wait_seconds > 0:
            time.sleep(wait_seconds)
        while job := self.pool.next_finished():
            job.then(job)

    def _gather(self) -> None:
        """Add the steps that are due now to the next commit."""
        now = time.monotonic()
        if not self.is_stopping:
            self._begin_rows()
            # A killed worker leaves rows behind, so the last lease attempt comes when all else is done.
            if len(self.to_do) < self.limits.in_flight and (self.is_idle or not self.nothing_left):
                self.next.take = 0 if self.all_done else self.limits.in_flight
        for flight in self._claimable():
            self._claim(flight)
        self.next.to_read += [flight for due_at, flight in self.parked if due_at <= now]
        self.parked = [(due_at, flight) for due_at, flight in self.parked if due_at > now]
        if (self.rows or self.to_do) and now - self.held_at > _HOLD_SECONDS:
            self.next.hold, self.held_at = True, now

    def _begin_rows(self) -> None:
        starts_left = _ROWS_PER_REQUEST * self.limits.in_flight - len(self.rows)
        blocked_rows = deque[Row]()
        while self.to_do and starts_left > 0:
            row = self.to_do.popleft()
            if self.busy.isdisjoint(row.locks):
                self.busy.update(row.locks)
                self.rows.add(row)
                self.next.to_look_at.append(row)
                starts_left -= 1
            else:
                # In sequence, so that the second row sees the outcome of the first.
                blocked_rows.append(row)
        self.to_do.extendleft(reversed(blocked_rows))

    def _claimable(self) -> list[InFlightRefund]:
        """The refunds to claim now: only what can be sent soon, since claims of a killed worker must be looked up."""
        claims_left = self.limits.in_flight + self.limits.in_flight // 4 + 1 - len(self.on_the_wire)
        longest_pause = float("inf") if self.is_stopping else _SHORT_PAUSE_SECONDS
        for flight in self.to_claim:
            if self._pause_left(flight) > _SHORT_PAUSE_SECONDS:
                flight.snapshot = None
        claimable_refunds = [flight for flight in self.to_claim if self._pause_left(flight) <= longest_pause][
            : max(0, claims_left)
        ]
        for flight in claimable_refunds:
            self.to_claim.remove(flight)
        return claimable_refunds

    def _claim(self, flight: InFlightRefund) -> None:
        """T2 with the next commit, which checks the rules. If its lease ended, another worker may have claimed it."""
        assert flight.refund.sending
        if is_live(flight.refund.sending, self.clock.now()):
            self.next.to_claim.append(flight)
        elif self.is_stopping:
            self._give_up(flight)
        else:
            self._resume_refund(flight)

    # --- commits -----------------------------------------------------------------------------------------

    def _commit(self) -> None:
        group, was_idle = self.next, self.is_idle
        written = self.books.write(lambda tx: write_group(tx, group, self.context))
        self.next = Group()
        self.committed_at = time.monotonic()
        if group.take:
            self.nothing_left = not written.leased
            self.all_done = self.nothing_left and was_idle
        for ended_row in group.ended:
            if ended_row.n in written.ended:
                self._report_row(ended_row)
            else:
                # Another worker took it over and counts it.
                del self.ending[ended_row.n]
        self._apply(written)

    def _apply(self, written: Written) -> None:
        for flight, refund in written.settled:
            self._settled(flight, refund)
        for flight, refund in written.claimed:
            flight.refund, flight.claimed = refund, True
            self._send(flight)
        for flight, refund in [*written.elsewhere, *written.read]:
            flight.is_now(refund)
            self._resume_refund(flight)
        for flight, lookup in written.unchecked:
            self._ask_provider(flight, lookup)
        for row, plan in written.looked_at:
            self._check_at_provider(row, plan)
        for row, refunds in written.reserved:
            self._reserved(row, refunds)
        for row, existing_refunds in written.existing:
            self._use_existing(row, existing_refunds)
        for row, error in written.refused:
            self._refused(row, error)
        # A row that another worker took over and abandoned may still be one of ours; it counts once.
        numbers_in_hand = {row.stored.n for row in (*self.rows, *self.to_do, *self.ending.values())}
        self.to_do.extend(Row(leased_row) for leased_row in written.leased if leased_row.n not in numbers_in_hand)

    def _report_row(self, stored_row: RunItem) -> None:
        """Report a row whose outcome is committed, unless it waits again."""
        row = self.ending.pop(stored_row.n)
        if stored_row.state is not ItemState.WAITING:
            self.report.add(stored_row, row.refunds)
            self.on_row_end(stored_row, row.refunds)

    # --- stopping ----------------------------------------------------------------------------------------

    def _check_stop_policy(self) -> None:
        if self.stop.is_set():
            self.stop_policy.stop(Stopped.ASKED)
        if self.stop_policy.stopped:
            self.is_stopping = True
            self._begin_no_more_rows()

    def _begin_no_more_rows(self) -> None:
        """Finish what was sent. Release what was only reserved; every other row waits again."""
        self.next.to_look_at, self.next.to_reserve, self.next.looked_up = [], [], []
        self.next.found_ready, self.next.take = [], 0
        self.parked = []
        for job in self.pool.cancel_queued():
            job.then(job)
        flights_with_requests = {*self.on_the_wire, *self.next.answered, *self.next.to_release}
        for row in [*self.rows, *self.to_do]:
            if not flights_with_requests.isdisjoint(row.own):
                continue
            reserved_flights = [flight for flight in row.own if flight in self.to_claim or self._was_asking_for(flight)]
            for flight in reserved_flights:
                if flight in self.to_claim:
                    self.to_claim.remove(flight)
                self._give_up(flight)
            if not reserved_flights:
                self._end(row, waiting_again(row.stored))
        self.to_do.clear()

    def _was_asking_for(self, flight: InFlightRefund) -> bool:
        """Drop its pending snapshot; true if there was one and this worker holds the lease."""
        if flight not in self.asking:
            return False
        self.asking.discard(flight)
        return self._is_ours(flight)

    def _give_up(self, flight: InFlightRefund) -> None:
        """Release the amount of a refund that was never sent. One that was rate limited is left to be resumed.

        So is every refund of a row of which another was sent, so that no row is left half done.
        """
        flight.given_up = True
        is_row_begun = any(sibling.claimed for row in flight.rows for sibling in row.own)
        (self.next.to_release if is_row_begun else self.next.to_drop).append(flight)

    # --- the end -----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Whatever happened: wait for what was sent, store the answers, and release every row."""
        answered_flights = self._await_answers()
        self.pool.close()
        for flight in answered_flights:
            self._record_answer(flight)
        outcomes_of_rows = self._ends()
        own_row_numbers, store_error = {outcome.n for outcome, _ in outcomes_of_rows}, None
        try:
            own_row_numbers, self.report.standing = self.books.write(
                lambda tx: self._close(tx, [outcome for outcome, _ in outcomes_of_rows])
            )
        except RefundcliError as error:
            store_error = error
            self.stop_policy.stop(Stopped.STORE, error)
        for outcome, row in outcomes_of_rows:
            if outcome.n in own_row_numbers and outcome.state is not ItemState.WAITING:
                self.report.add(outcome, row.refunds)
        is_run_finished = self.report.state is RunState.FINISHED and self.stop_policy.stopped not in (
            Stopped.STORE,
            Stopped.BUG,
        )
        self.report.stopped = None if is_run_finished else self.stop_policy.stopped
        self.report.trouble = None if is_run_finished else self.stop_policy.trouble or store_error

    def _ends(self) -> list[tuple[RunItem, Row]]:
        """Every leased row with its outcome by its refunds; a row without one waits again."""
        outcome_by_number = {outcome.n: outcome for outcome in self.next.ended}
        outcomes_of_rows = [
            (outcome_by_number.get(row_number, waiting_again(row.stored)), row)
            for row_number, row in self.ending.items()
        ]
        for row in (*self.rows, *self.to_do):
            is_row_done = bool(row.refunds) and all(flight.ended and not flight.given_up for flight in row.own)
            outcomes_of_rows.append((ended(row.stored, row.refunds) if is_row_done else waiting_again(row.stored), row))
        return outcomes_of_rows

    def _await_answers(self) -> list[InFlightRefund]:
        """Refunds whose answer arrived but is not stored; none unless the work was aborted."""
        answered_flights = list(self.next.answered)
        unsent_flights = [job.about for job in self.pool.cancel_queued()]
        self.on_the_wire.difference_update(unsent_flights)
        self.next.to_release += unsent_flights
        while self.on_the_wire and self.pool.outstanding:
            self.pool.wait(LOOK_UP_SECONDS)
            while job := self.pool.next_finished():
                if job.about in self.on_the_wire:
                    self.on_the_wire.discard(job.about)
                    job.about.answer = job.response
                    answered_flights.append(job.about)
        unexecuted_flights = [
            flight for flight in answered_flights if not flight.answer or flight.answer.signal in TOO_MANY
        ]
        self.next.to_release += unexecuted_flights
        return [flight for flight in answered_flights if flight not in unexecuted_flights]

    def _record_answer(self, flight: InFlightRefund) -> None:
        assert flight.answer
        write_errors = self.report.not_written
        flight.ended = True
        try:
            if len(write_errors) >= _ENOUGH_TRIES:
                raise OutcomeNotWritten(flight.refund, flight.answer, flight.answer.reference, write_errors[-1])
            first_send, refund, clock = flight.first_send, flight.refund, self.clock
            flight.refund = record_outcome(
                refund, flight.answer, first_send=first_send, books=self.books, clock=clock, policy=self.policy
            )
        except OutcomeNotWritten as error:
            write_errors.append(error)
            self.stop_policy.stop(Stopped.STORE, error)

    def _close(self, tx: Writing, row_outcomes: Sequence[RunItem]) -> tuple[set[int], UnfinishedRun]:
        """The numbers of the rows that this worker still had leased, and the run in its new state."""
        own_row_numbers = tx.runs.finish_items(row_outcomes)
        for flight in self.next.to_release:
            tx.refunds.release_lease(flight.refund)
        counts_by_state = tx.runs.item_counts(self.run.id)
        if not _open_rows(counts_by_state):
            tx.runs.change(self.run.id, RunState.FINISHED)
        elif not counts_by_state.get(ItemState.LEASED):
            tx.runs.change(self.run.id, RunState.STOPPED, note=self.stop_policy.stopped or "")
        run = tx.runs.get(self.run.id)
        assert run
        return own_row_numbers, unfinished_run(tx, run, now=self.clock.now())


def _open_rows(counts_by_state: Mapping[ItemState, int]) -> int:
    """Rows that are not done and not refused."""
    return sum(counts_by_state.get(state, 0) for state in (ItemState.WAITING, ItemState.LEASED, ItemState.UNKNOWN))
