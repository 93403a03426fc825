"""The worker of a run of many refunds: each by the same protocol as a single one, many in flight (DESIGN §4).

Only the thread that calls `RunWorker.run` uses the books. Each row is a task that awaits its next commit, which it
shares with other rows, or a request, which a thread sends. Any number of workers, each in its own process, may share a
run.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from contextlib import suppress

from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunState
from refundcli.domain.errors import RefundcliError
from refundcli.services.bulk.report import OnRowEnd, OnWaiting, RunLimits, RunReport, Stopped, StopPolicy, StopRequest
from refundcli.services.bulk.unfinished_runs import UnfinishedRun, unfinished_run
from refundcli.services.bulk.worker.context import WorkerContext
from refundcli.services.bulk.worker.group_commit import GroupCommit
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Row
from refundcli.services.bulk.worker.other_workers import OtherWorkers, Step
from refundcli.services.bulk.worker.refund_sending import LOOK_UP_SECONDS, RefundSending
from refundcli.services.bulk.worker.request_pool import RequestPool
from refundcli.services.bulk.worker.row_processing import RowProcessing
from refundcli.services.dispatch.outcomes import TOO_MANY
from refundcli.services.dispatch.protocol import OutcomeNotWritten
from refundcli.services.dispatch.send_refund import RefundDispatch
from refundcli.services.ports.books import Writing
from refundcli.services.ports.providers import RefundAnswer
from refundcli.system.processes import this_process

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

# After this many answers that could not be stored, storing the others is not attempted.
_MOST_FAILED_WRITES = 2


class RunWorker:
    """Processes the rows of a run until none is left or it is stopped; resumes what an earlier worker left.

    Waits for rows that other workers have leased. Every error, even a bug in refundcli, is in the report, which also
    says what was sent.
    """

    def __init__(
        self,
        run: BulkRun,
        *,
        dispatch: RefundDispatch,
        limits: RunLimits,
        on_row_end: OnRowEnd,
        stop_request: StopRequest,
        on_waiting: OnWaiting = lambda holders: None,
    ) -> None:
        books, clock, policy = dispatch.books, dispatch.clock, dispatch.policy
        self._run, self._dispatch, self._books, self._clock, self._limits = run, dispatch, books, clock, limits
        self._on_row_end, self._stop_request = on_row_end, stop_request
        self._report, self._stop_policy = RunReport(), StopPolicy(limits)
        self._commits = GroupCommit(run, this_process(), books, clock, policy, _ROW_LEASE_SECONDS)
        pool = RequestPool(limits.in_flight)
        self._context = WorkerContext(run, dispatch, limits.in_flight, self._commits, pool, self._stop_policy)
        self._processing = RowProcessing(self._context, RefundSending(self._context))
        self._others = OtherWorkers(run, books, clock, _PATIENCE_WITH_OTHERS_SECONDS, on_waiting)
        # The leased rows by number: waiting, in progress, or with an outcome that is not stored yet.
        self._rows: dict[int, Row] = {}
        # The invoices and request keys of the rows in progress.
        self._busy: set[str] = set()
        # No row was left to lease: `nothing_left` while rows were leased, `all_done` when none was.
        self._nothing_left = self._all_done = False
        self._committed_at, self._extended_at = 0.0, time.monotonic()

    def run(self) -> RunReport:
        try:
            asyncio.run(self._work())
        except RefundcliError as store_error:
            self._stop_policy.stop(Stopped.STORE, store_error)
        except Exception as bug:
            self._report.bug = bug
            self._stop_policy.stop(Stopped.BUG)
        finally:
            self._leave()
        return self._report

    # --- the loop ----------------------------------------------------------------------------------------

    async def _work(self) -> None:
        self._books.write(self._begin)
        try:
            while True:
                # A short wait, so that many rows share a commit.
                await asyncio.sleep(max(0.0, self._committed_at + _GATHER_SECONDS - time.monotonic()))
                self._raise_failure()
                self._check_stop_policy()
                self._start_rows()
                if not await self._commit_what_is_due():
                    return
        finally:
            self._commits.closed = True

    def _begin(self, tx: Writing) -> None:
        """Rows with an unknown outcome wait again: they may be settled by now, or can be."""
        tx.runs.requeue_unknown(self._run.id)
        if _open_rows(tx.runs.item_counts(self._run.id)):
            tx.runs.change(self._run.id, RunState.RUNNING)

    def _raise_failure(self) -> None:
        for row in self._rows.values():
            if row.task and row.task.done():
                row.task.result()

    def _start_rows(self) -> None:
        starts_left = _ROWS_PER_REQUEST * self._limits.in_flight - sum(
            row.is_in_progress for row in self._rows.values()
        )
        blocked = set[str]()
        for row in self._waiting_rows():
            # In sequence, so that the second row of an invoice sees the outcome of the first.
            if starts_left > 0 and self._busy.isdisjoint(row.locks) and blocked.isdisjoint(row.locks):
                self._busy.update(row.locks)
                row.task = asyncio.create_task(self._process(row))
                starts_left -= 1
            blocked.update(row.locks)

    def _waiting_rows(self) -> list[Row]:
        return [row for row in self._rows.values() if row.task is None]

    async def _process(self, row: Row) -> None:
        row.outcome = await self._processing.outcome_of(row)
        self._busy.difference_update(row.locks)
        if row.outcome.state is ItemState.REFUSED:
            self._stop_policy.refused()
        # Otherwise another worker took it over and counts it.
        if await self._commits.finish(row.outcome):
            self._report_row(row.outcome, row)
        del self._rows[row.stored.n]

    def _report_row(self, outcome: RunItem, row: Row) -> None:
        """Report a row whose outcome is committed, unless it waits again."""
        if outcome.state is not ItemState.WAITING:
            self._report.add(outcome, row.refunds)
            self._on_row_end(outcome, row.refunds)

    async def _commit_what_is_due(self) -> bool:
        """Commit, or wait for something to commit. False when nothing is left to do or to wait for."""
        claims, take = self._claimable(), self._rows_to_lease()
        extend = bool(self._rows) and time.monotonic() - self._extended_at > _HOLD_SECONDS
        if claims or take or extend or self._commits.is_due():
            self._commit(claims, take, extend=extend)
        elif self._rows:
            self._commits.added.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._commits.added.wait(), LOOK_UP_SECONDS)
        else:
            return not self._context.is_stopping and await self._others_have_rows()
        return True

    def _commit(self, claims: Sequence[InFlightRefund], take: int, *, extend: bool) -> None:
        was_idle = not self._rows
        leased = self._commits.commit(claims, take=take, extend=extend)
        self._committed_at = time.monotonic()
        if extend:
            self._extended_at = self._committed_at
        if take:
            self._nothing_left = not leased
            self._all_done = self._nothing_left and was_idle
        for leased_row in leased:
            # A row that another worker took over and abandoned may still be one of ours; it counts once.
            self._rows.setdefault(leased_row.n, Row(leased_row))

    def _rows_to_lease(self) -> int:
        """A killed worker leaves rows behind, so the last lease attempt comes when all else is done."""
        if self._context.is_stopping or self._all_done or len(self._waiting_rows()) >= self._limits.in_flight:
            return 0
        return 0 if self._rows and self._nothing_left else self._limits.in_flight

    def _claimable(self) -> list[InFlightRefund]:
        """The refunds to claim now: only what can be sent soon, since claims of a killed worker must be looked up."""
        claimable = []
        for flight in self._commits.waiting_claims():
            if self._context.pause_left(flight) <= _SHORT_PAUSE_SECONDS:
                claimable.append(flight)
            else:
                flight.snapshot = None
        claims_left = self._limits.in_flight + self._limits.in_flight // 4 + 1 - len(self._context.on_the_wire)
        return claimable[: max(0, claims_left)]

    async def _others_have_rows(self) -> bool:
        """Wait a moment while other workers have the last rows; false when there is nothing to wait for."""
        step = self._others.next_step()
        self._all_done = step is not Step.LEASE
        wait_until = time.monotonic() + (_LOOK_AT_OTHERS_SECONDS if step is Step.WAIT else _GATHER_SECONDS)
        while step is not Step.LEAVE and time.monotonic() < wait_until and not self._stop_request.is_set():
            # Another worker may have leased the rows to take by then.
            await asyncio.sleep(LOOK_UP_SECONDS if step is Step.WAIT else _GATHER_SECONDS)
        return step is not Step.LEAVE

    def _check_stop_policy(self) -> None:
        """Finish what was sent, and release what was only reserved; every other row waits again."""
        if self._stop_request.is_set():
            self._stop_policy.stop(Stopped.ASKED)
        if self._stop_policy.stopped:
            self._context.stop()
            for row in self._waiting_rows():
                row.task = asyncio.create_task(self._process(row))

    # --- the end -----------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Whatever happened: wait for what was sent, store the answers, and release every row."""
        unsent_flights = self._await_answers()
        self._context.pool.close()
        outcomes = [(row.outcome or row.outcome_by_refunds(), row) for row in self._rows.values()]
        own_row_numbers, store_error = {outcome.n for outcome, _ in outcomes}, None
        try:
            own_row_numbers, self._report.standing = self._books.write(
                lambda tx: self._close(tx, [outcome for outcome, _ in outcomes], unsent_flights)
            )
        except RefundcliError as error:
            store_error = error
            self._stop_policy.stop(Stopped.STORE, error)
        for outcome, row in outcomes:
            if outcome.n in own_row_numbers and outcome.state is not ItemState.WAITING:
                self._report.add(outcome, row.refunds)
        is_aborted = self._stop_policy.stopped in (Stopped.STORE, Stopped.BUG)
        if self._report.state is not RunState.FINISHED or is_aborted:
            self._report.stopped = self._stop_policy.stopped
            self._report.trouble = self._stop_policy.trouble or store_error

    def _await_answers(self) -> list[InFlightRefund]:
        """Store the answers that are not stored; there are none unless the work was aborted.

        Returns the refunds whose request was not sent, or provably not executed.
        """
        own_flights = [
            flight for row in self._rows.values() for flight in (*row.own, *row.earlier) if flight.is_to_settle
        ]
        flights = list(dict.fromkeys([*own_flights, *self._context.on_the_wire]))
        wait([flight.request for flight in flights if flight.request and not flight.request.cancel()])
        unsent_flights = []
        for flight in flights:
            is_cancelled = flight.request is None or flight.request.cancelled()
            if not is_cancelled and flight.request and flight.request.exception():
                # A bug: nothing is known about it.
                continue
            answer = None if is_cancelled or flight.request is None else flight.request.result()
            if answer and answer.signal not in TOO_MANY:
                self._record_answer(flight, answer)
            else:
                unsent_flights.append(flight)
        return unsent_flights

    def _record_answer(self, flight: InFlightRefund, answer: RefundAnswer) -> None:
        write_errors = self._report.not_written
        flight.ended = True
        try:
            if len(write_errors) >= _MOST_FAILED_WRITES:
                raise OutcomeNotWritten(flight.refund, answer, answer.reference, write_errors[-1])
            flight.refund = self._dispatch.record(flight.refund, answer, first_send=flight.first_send)
        except OutcomeNotWritten as error:
            write_errors.append(error)
            self._stop_policy.stop(Stopped.STORE, error)

    def _close(
        self, tx: Writing, row_outcomes: Sequence[RunItem], unsent_flights: Sequence[InFlightRefund]
    ) -> tuple[set[int], UnfinishedRun]:
        """The numbers of the rows that this worker still had leased, and the run in its new state."""
        own_row_numbers = tx.runs.finish_items(row_outcomes)
        for flight in unsent_flights:
            tx.refunds.release_lease(flight.refund)
        counts_by_state = tx.runs.item_counts(self._run.id)
        if not _open_rows(counts_by_state):
            tx.runs.change(self._run.id, RunState.FINISHED)
        elif not counts_by_state.get(ItemState.LEASED):
            tx.runs.change(self._run.id, RunState.STOPPED, note=self._stop_policy.stopped or "")
        run = tx.runs.get(self._run.id)
        assert run
        return own_row_numbers, unfinished_run(tx, run, now=self._clock.now())


def _open_rows(counts_by_state: Mapping[ItemState, int]) -> int:
    """Rows that are not done and not refused."""
    return sum(counts_by_state.get(state, 0) for state in (ItemState.WAITING, ItemState.LEASED, ItemState.UNKNOWN))
