"""A run of many refunds through the providers: each by the same protocol as a single one, many in flight (DESIGN §4).

The thread that calls `run_refunds` keeps the books, and no other touches them: it commits for all rows that are due a
step at once, and hands what may be sent to threads that only ask the providers. Any number of workers, each a
process of its own, may be at the same run.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunState
from refundcli.domain.errors import RefundcliError, SettingsProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.bulk.group_commit import Group, WorkerContext, Written, write_group
from refundcli.services.bulk.leased_rows import InFlightRefund, Row
from refundcli.services.bulk.other_workers import OtherWorkers, Step
from refundcli.services.bulk.report import OnRowEnd, OnWaiting, RunLimits, RunReport, Stopped, StopPolicy, StopRequest
from refundcli.services.bulk.request_pool import Job, RequestPool
from refundcli.services.bulk.row_outcomes import ended, refused, waiting_again
from refundcli.services.bulk.unfinished_runs import UnfinishedRun, unfinished_run
from refundcli.services.dispatch.first_send import (
    LONGEST_UNCHECKED_WAIT_SECONDS,
    NO_LONGER_LISTED,
    StaleSnapshot,
    check_listed,
    snapshot_of,
)
from refundcli.services.dispatch.leases import is_live, this_process
from refundcli.services.dispatch.outcomes import TOO_MANY, Signal
from refundcli.services.dispatch.send_refund import (
    OutcomeNotWritten,
    SendingPolicy,
    call,
    is_first_send,
    record_outcome,
)
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import Answer, PaymentProvider, Providers, RefundAnswer
from refundcli.services.preflight.payment import AlreadyAtProvider, PaymentPlace, snapshots_of
from refundcli.services.recovery.resume_refunds import look_up, same_account
from refundcli.services.refunds.issue import Preview, UnsettledRefund

# Commits wait for each other's rows this long: a row loses little, and many share one.
_GATHER_SECONDS = 0.02
_LOOK_UP_SECONDS = 0.2
# Rows under way for each request at once: while some wait for a commit, others keep the providers busy.
_ROWS_PER_REQUEST = 3
# A row is another worker's after this long without a word; it is held anew well before.
_ROW_LEASE_SECONDS = 120.0
_HOLD_SECONDS = 30.0
# Rows that others hold are waited for as long as this without progress: every lease that nobody renews ends before.
_PATIENCE_WITH_OTHERS_SECONDS = 1.25 * _ROW_LEASE_SECONDS
# How often it is looked whether they are done.
_LOOK_AT_OTHERS_SECONDS = 1.0
# How often a row that is rate limited is tried again; it is checked each time.
_MOST_ROUNDS = 15
# A provider that does not want to be asked for longer than this gets no refund until it does.
_SHORT_PAUSE_SECONDS = 1.0
# How long its sender repeats a request that provably did nothing; then it waits among the others, where it can be
# stopped. A request that was rate limited waits there at once, and is checked before it is sent again.
_PATIENCE_SECONDS = 10.0

# A store that took down neither of so many answers is not asked to take down the others.
_ENOUGH_TRIES = 2
# The code of a provider that could not be asked; any other trouble with its settings concerns every row.
_UNREACHABLE = "provider-unreachable"


def run_refunds(
    run: BulkRun,
    *,
    books: Books,
    providers: Providers,
    clock: Clock,
    policy: SendingPolicy,
    limits: RunLimits,
    tell: OnRowEnd,
    stop: StopRequest,
    on_waiting: OnWaiting = lambda holders: None,
) -> RunReport:
    """Do rows of the run until none is left, or until it is stopped; go on where an earlier worker ended.

    Rows that other workers hold are waited for. Whatever a row, a provider or the store does, and a defect of the
    program too, is in the report, which says what was sent.
    """
    worker = _Worker(run, books, providers, clock, policy, limits, tell, stop, on_waiting)
    try:
        worker.work()
    except RefundcliError as trouble:
        worker.stop_policy.stop(Stopped.STORE, trouble)
    except Exception as bug:
        worker.report.bug = bug
        worker.stop_policy.stop(Stopped.BUG)
    finally:
        worker.leave()
    return worker.report


class _Worker:
    def __init__(
        self,
        run: BulkRun,
        books: Books,
        providers: Providers,
        clock: Clock,
        policy: SendingPolicy,
        limits: RunLimits,
        tell: OnRowEnd,
        stop: StopRequest,
        on_waiting: OnWaiting,
    ) -> None:
        self.run, self.books, self.providers, self.clock, self.policy = run, books, providers, clock, policy
        self.limits, self.tell, self.stop = limits, tell, stop
        self.report = RunReport()
        self.others = OtherWorkers(run, books, clock, _PATIENCE_WITH_OTHERS_SECONDS, on_waiting)
        self.stop_policy = StopPolicy(limits)
        self.pool = RequestPool(limits.in_flight)
        self.connected: dict[Provider, PaymentProvider] = {}
        self.context = WorkerContext(
            run, this_process(), clock, policy, self.connected, self._lease_seconds, _ROW_LEASE_SECONDS
        )
        # Taken and not begun; begun; and those whose end is being written.
        self.to_do: deque[Row] = deque()
        self.rows: set[Row] = set()
        self.ending: dict[int, Row] = {}
        self.busy: set[str] = set()
        # By refund: those that are not settled. Which of them wait for T2, and which for others or for a pause.
        self.flights: dict[str, InFlightRefund] = {}
        self.to_claim: deque[InFlightRefund] = deque()
        self.parked: list[tuple[float, InFlightRefund]] = []
        # The provider is asked how their payments stand before they are sent.
        self.asking: set[InFlightRefund] = set()
        self.on_the_wire: set[InFlightRefund] = set()
        self.next = Group()
        # Nothing was there to take: as long as rows were under way, and still when none was.
        self.nothing_left = self.all_done = False
        self.is_stopping = False
        self.committed_at = 0.0
        self.held_at = time.monotonic()

    # --- the loop ------------------------------------------------------------------------------------------

    def work(self) -> None:
        self.books.write(self._begin)
        while True:
            self._process_finished_jobs()
            self._check_stop_policy()
            self._gather()
            if self.next:
                self._commit()
            elif not self.is_idle:
                self.pool.wait(_LOOK_UP_SECONDS)
            elif self.is_stopping or not self._others_have_rows():
                return

    def _begin(self, tx: Writing) -> None:
        """What was not known is asked about again: somebody may have settled it, or it can be settled now."""
        tx.ask_again(self.run.id)
        if _open_rows(tx.item_counts(self.run.id)):
            tx.change_run(self.run.id, RunState.RUNNING)

    def _others_have_rows(self) -> bool:
        """Wait a moment while others are at the last rows; false when there is nothing more to wait for."""
        step = self.others.next_step()
        self.all_done = step is not Step.TAKE
        if step is Step.WAIT:
            until = time.monotonic() + _LOOK_AT_OTHERS_SECONDS
            while time.monotonic() < until and not self.stop.is_set():
                time.sleep(_LOOK_UP_SECONDS)
        else:
            # What could be taken a moment ago may be another's by now.
            time.sleep(_GATHER_SECONDS)
        return step is not Step.LEAVE

    def _process_finished_jobs(self) -> None:
        """What came back since; a moment is given to what is about to."""
        wait = self.committed_at + _GATHER_SECONDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        while job := self.pool.next_finished():
            job.then(job)

    def _gather(self) -> None:
        """What the next commit is to do besides what is due already."""
        now = time.monotonic()
        if not self.is_stopping:
            self._begin_rows()
            # A worker that ends without a word leaves rows: they are looked for once more when all else is done.
            if len(self.to_do) < self.limits.in_flight and (self.is_idle or not self.nothing_left):
                self.next.take = 0 if self.all_done else self.limits.in_flight
        for flight in self._claimable():
            self._claim(flight)
        self.next.to_read += [flight for due, flight in self.parked if due <= now]
        self.parked = [(due, flight) for due, flight in self.parked if due > now]
        if (self.rows or self.to_do) and now - self.held_at > _HOLD_SECONDS:
            self.next.hold, self.held_at = True, now

    def _begin_rows(self) -> None:
        room = _ROWS_PER_REQUEST * self.limits.in_flight - len(self.rows)
        waiting = deque[Row]()
        while self.to_do and room > 0:
            row = self.to_do.popleft()
            if self.busy.isdisjoint(row.locks):
                self.busy.update(row.locks)
                self.rows.add(row)
                self.next.to_look_at.append(row)
                room -= 1
            else:
                # One after the other: the second sees what became of the first.
                waiting.append(row)
        self.to_do.extendleft(reversed(waiting))

    def _claimable(self) -> list[InFlightRefund]:
        """No more than can be sent soon: what is claimed and then lost has to be looked up."""
        room = self.limits.in_flight + self.limits.in_flight // 4 + 1 - len(self.on_the_wire)
        longest = float("inf") if self.is_stopping else _SHORT_PAUSE_SECONDS
        for flight in self.to_claim:
            if self._pause_left(flight) > _SHORT_PAUSE_SECONDS:
                flight.snapshot = None
        may = [flight for flight in self.to_claim if self._pause_left(flight) <= longest][: max(0, room)]
        for flight in may:
            self.to_claim.remove(flight)
        return may

    def _claim(self, flight: InFlightRefund) -> None:
        """T2 with the next commit, which checks the rules. After its lease another worker may have claimed it."""
        assert flight.refund.sending
        if is_live(flight.refund.sending, self.clock.now()):
            self.next.to_claim.append(flight)
        elif self.is_stopping:
            self._give_up(flight)
        else:
            self._resume_refund(flight)

    @property
    def is_idle(self) -> bool:
        return not (self.rows or self.to_do or self.on_the_wire or self.ending)

    # --- commits -------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        group, was_idle = self.next, self.is_idle
        written = self.books.write(lambda tx: write_group(tx, group, self.context))
        self.next = Group()
        self.committed_at = time.monotonic()
        if group.take:
            self.nothing_left = not written.leased
            self.all_done = self.nothing_left and was_idle
        for item in group.ended:
            if item.n in written.ended:
                self._tell(item)
            else:
                # Another worker took it over, and counts it.
                del self.ending[item.n]
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
        for flight, place in written.unchecked:
            self._ask_provider(flight, place)
        for row, plan in written.looked_at:
            self._check_at_provider(row, plan)
        for row, refunds in written.reserved:
            self._reserved(row, refunds)
        for row, existing in written.existing:
            self._use_existing(row, existing)
        for row, why in written.refused:
            self._refused(row, why)
        # One that others had taken over and left behind may be in hand still: it is one row.
        in_hand = {row.item.n for row in (*self.rows, *self.to_do, *self.ending.values())}
        self.to_do.extend(Row(item) for item in written.leased if item.n not in in_hand)

    def _tell(self, item: RunItem) -> None:
        """A row's end is committed, or it is back among those that wait."""
        row = self.ending.pop(item.n)
        if item.state is not ItemState.WAITING:
            self.report.add(item, row.refunds)
            self.tell(item, row.refunds)

    # --- rows ----------------------------------------------------------------------------------------------

    def _check_at_provider(self, row: Row, plan: Preview) -> None:
        shares, invoice = plan.shares, plan.invoice
        if row.closed or not self._connects(row, *(share.payment.provider for share in shares)):
            return
        checkable = [share for share in shares if share.payment.provider in CAN_LOOK_UP]
        if not checkable:
            self.next.to_reserve.append(row)
            return
        row.snapshots_at = self.clock.now()
        job = Job(lambda: snapshots_of(invoice, checkable, self.providers), lambda job: self._checked(row, job))
        self.pool.send(job, urgent=False)

    def _checked(self, row: Row, job: Job) -> None:
        if row.closed:
            return
        try:
            row.snapshots = job.answer
        except RefundcliError as problem:
            if isinstance(problem, SettingsProblem) and problem.code != _UNREACHABLE:
                self._cannot_be_used(row, problem)
                return
            if problem.code == _UNREACHABLE:
                self.stop_policy.answered(clearly=False)
            self._end(row, refused(row.item, problem))
        else:
            self.next.to_reserve.append(row)

    def _connects(self, row: Row, *providers: Provider | None) -> bool:
        """Are they all connected? Where one cannot be, no other row could use it either."""
        try:
            for provider in providers:
                if provider and provider not in self.connected:
                    connection = self.providers.of(provider)
                    if provider in CAN_LOOK_UP:
                        self.providers.records(provider)
                    self.connected[provider] = connection
        except SettingsProblem as problem:
            self._cannot_be_used(row, problem)
            return False
        return True

    def _cannot_be_used(self, row: Row, problem: SettingsProblem) -> None:
        self.stop_policy.stop(Stopped.SETTINGS, problem)
        self._end(row, waiting_again(row.item))

    def _reserved(self, row: Row, refunds: Sequence[Refund]) -> None:
        for refund in refunds:
            assert refund.provider
            flight = InFlightRefund(refund, self.connected[refund.provider], [row], snapshot=row.snapshot_for(refund))
            row.own.append(flight)
            self.flights[refund.id] = flight
            if flight.is_listed:
                self._look_up_listed(flight)
            else:
                self.to_claim.append(flight)

    def _use_existing(self, row: Row, refunds: Sequence[Refund]) -> None:
        """It has refunds already: they are its end, or they are settled first."""
        row.finished = [refund for refund in refunds if not refund.state.unfinished]
        unfinished = [refund for refund in refunds if refund.state.unfinished]
        if self._connects(row, *(refund.provider for refund in unfinished)):
            row.own = [self._flight_of(refund, row) for refund in unfinished]
            self._end_where_settled(row)

    def _flight_of(self, refund: Refund, row: Row) -> InFlightRefund:
        """The refund as it is in this worker's hands, or comes into them now."""
        flight = self.flights.get(refund.id)
        if flight is None:
            assert refund.provider
            flight = InFlightRefund(refund, self.connected[refund.provider], first_send=is_first_send(refund))
            self.flights[refund.id] = flight
            self._resume_refund(flight)
        flight.rows.append(row)
        return flight

    def _refused(self, row: Row, why: RefundcliError) -> None:
        if row.closed:
            return
        if isinstance(why, UnsettledRefund) and self._settles_first(row, why.earlier):
            return
        self._end(row, refused(row.item, why))

    def _settles_first(self, row: Row, earlier: Refund) -> bool:
        """One that was left behind is settled, once; one of other hands that was never sent is theirs to send."""
        may = earlier.state is RefundState.SUBMITTED or earlier.run_id == self.run.id
        if self.is_stopping or not may or earlier.id in row.settled_blockers:
            return False
        row.settled_blockers.add(earlier.id)
        if self._connects(row, earlier.provider):
            flight = self._flight_of(earlier, row)
            if flight.ended:
                self.next.to_look_at.append(row)
            else:
                row.blocked_by = flight
        return True

    def _end_where_settled(self, row: Row) -> None:
        if row.closed or not all(flight.ended for flight in row.own):
            return
        given_up = any(flight.given_up for flight in row.own)
        self._end(row, waiting_again(row.item) if given_up else ended(row.item, row.refunds))

    def _end(self, row: Row, item: RunItem) -> None:
        """Written with the next commit; what is still heard of the row after this changes nothing."""
        row.closed = True
        self.rows.discard(row)
        self.busy.difference_update(row.locks)
        self.ending[item.n] = row
        self.next.ended.append(item)
        if item.state is ItemState.REFUSED:
            self.stop_policy.refused()

    # --- refunds -------------------------------------------------------------------------------------------

    def _send(self, flight: InFlightRefund) -> None:
        self.on_the_wire.add(flight)
        job = Job(lambda: self._ask(flight), lambda job: self._answered(flight, job), flight)
        self.pool.send(job, urgent=True)

    def _ask(self, flight: InFlightRefund) -> RefundAnswer | None:
        """In a sender's thread: one request, again only where the last one provably did nothing.

        None when it was not sent: the provider wants to be left alone for longer than the refund is ours.
        """
        sending, began = flight.refund.sending, time.monotonic()
        assert sending

        def left() -> float:
            return self.policy.patience(sending, self.clock.now())

        if self._pause_left(flight) > left():
            return None
        return call(
            flight.refund,
            flight.provider,
            self.policy,
            self.clock,
            patience=lambda: min(left(), began + _PATIENCE_SECONDS - time.monotonic()),
            again=self._waited_unchecked,
        )

    def _waited_unchecked(self, answer: Answer, wait: float) -> bool:
        """In a sender's thread, which has no access to the books: it waits only for a short pause."""
        if answer.signal in TOO_MANY and wait >= LONGEST_UNCHECKED_WAIT_SECONDS:
            return False
        self.policy.sleep(wait)
        return True

    def _answered(self, flight: InFlightRefund, job: Job) -> None:
        self.on_the_wire.discard(flight)
        answer = job.answer
        too_many = answer is None or answer.signal in TOO_MANY
        if too_many and self.is_stopping:
            # Not made, and not to be tried now: whoever goes on with the run settles it.
            flight.given_up = True
            self.next.to_release.append(flight)
        elif too_many and (answer is None or flight.rounds < _MOST_ROUNDS):
            flight.rounds += answer is not None and answer.signal == Signal.RATE_LIMITED
            flight.snapshot = None
            self.to_claim.append(flight)
        else:
            flight.answer = answer
            self.next.answered.append(flight)

    def _settled(self, flight: InFlightRefund, refund: Refund) -> None:
        """Its outcome is written, known or not."""
        flight.refund, flight.ended = refund, True
        self.flights.pop(refund.id, None)
        if flight.answer:
            unclear = refund.state.unfinished or flight.answer.signal == Signal.NOT_SENT
            self.stop_policy.answered(clearly=not unclear)
        for row in flight.rows:
            if row.blocked_by is flight:
                row.blocked_by = None
                if not row.closed:
                    self.next.to_look_at.append(row)
            else:
                self._end_where_settled(row)

    def _resume_refund(self, flight: InFlightRefund) -> None:
        """A refund that was left behind, by where it was left; one that others are sending is waited for."""
        refund = flight.refund
        if not refund.state.unfinished or refund.sending is None:
            self._settled(flight, refund)
        elif is_live(refund.sending, self.clock.now()):
            self.parked.append((time.monotonic() + _LOOK_UP_SECONDS, flight))
        elif not same_account(refund.sending, flight.provider):
            self._settled(flight, replace(refund, failure="it was made with other settings"))
        elif refund.state is RefundState.READY:
            self.next.found_ready.append(flight)
        else:
            sending = refund.sending
            job = Job(lambda: look_up(sending, refund, flight.provider), lambda job: self._looked_up(flight, job))
            self.pool.send(job, urgent=False)

    # --- before a first send -------------------------------------------------------------------------------

    def _ask_provider(self, flight: InFlightRefund, place: PaymentPlace) -> None:
        """Take a new snapshot of its payment: after a pause, or if another process reserved it."""
        providers, clock = self.providers, self.clock
        flight.snapshots += 1
        if flight.snapshots > _MOST_ROUNDS:
            slow = StaleSnapshot(flight.refund)
            self.stop_policy.stop(Stopped.STORE, slow)
            self._cannot_be_checked(flight, slow)
            return
        self.asking.add(flight)
        ask = partial(snapshot_of, place, providers=providers, clock=clock)
        self.pool.send(Job(ask, lambda job: self._asked(flight, job)), urgent=False)

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
        if isinstance(problem, SettingsProblem) and problem.code != _UNREACHABLE:
            self.stop_policy.stop(Stopped.SETTINGS, problem)
        self.stop_policy.answered(clearly=False)
        if self._is_ours(flight):
            self.next.to_fail.append((flight, problem.message))
        else:
            self._settled(flight, replace(flight.refund, failure=problem.message))

    def _look_up_listed(self, flight: InFlightRefund) -> None:
        """The provider has it and a restored backup lost it: record its outcome and send nothing."""
        sending, refund, provider = flight.refund.sending, flight.refund, flight.provider
        assert sending

        def ask() -> RefundAnswer:
            return look_up(sending, refund, provider) or NO_LONGER_LISTED

        self.pool.send(Job(ask, lambda job: self._looked_up(flight, job)), urgent=False)

    def _is_ours(self, flight: InFlightRefund) -> bool:
        """Does this worker hold the lease? Nobody holds that of a refund that another process left behind."""
        sending = flight.refund.sending
        return sending is not None and is_live(sending, self.clock.now())

    def _looked_up(self, flight: InFlightRefund, job: Job) -> None:
        if flight.rows and all(row.closed for row in flight.rows):
            return
        self.next.looked_up.append((flight, job.answer))

    def _pause_left(self, flight: InFlightRefund) -> float:
        return self.providers.pace(flight.provider.name).pause_left

    def _lease_seconds(self, provider: Provider) -> float:
        """For waiting for a turn, being sent more than once, and being written down."""
        waiting = self.providers.pace(provider).time_for(2 * self.limits.in_flight)
        return self.policy.sending_seconds + waiting

    # --- stopping ------------------------------------------------------------------------------------------

    def _check_stop_policy(self) -> None:
        if self.stop.is_set():
            self.stop_policy.stop(Stopped.ASKED)
        if self.stop_policy.stopped:
            self.is_stopping = True
            self._begin_no_more_rows()

    def _begin_no_more_rows(self) -> None:
        """What is on the wire is finished. What was only reserved is free again; every other row waits again."""
        self.next.to_look_at, self.next.to_reserve, self.next.looked_up = [], [], []
        self.next.found_ready, self.next.take = [], 0
        self.parked = []
        for job in self.pool.cancel_queued():
            job.then(job)
        answering = {*self.on_the_wire, *self.next.answered, *self.next.to_release}
        for row in [*self.rows, *self.to_do]:
            if not answering.isdisjoint(row.own):
                continue
            reserved = [flight for flight in row.own if flight in self.to_claim or self._was_asking_for(flight)]
            for flight in reserved:
                if flight in self.to_claim:
                    self.to_claim.remove(flight)
                self._give_up(flight)
            if not reserved:
                self._end(row, waiting_again(row.item))
        self.to_do.clear()

    def _was_asking_for(self, flight: InFlightRefund) -> bool:
        """Drop its pending snapshot; true if there was one and this worker holds the lease."""
        if flight not in self.asking:
            return False
        self.asking.discard(flight)
        return self._is_ours(flight)

    def _give_up(self, flight: InFlightRefund) -> None:
        """Never sent: its amount is free. Sent, and told "too many" each time: whoever goes on settles it.

        What belongs to a row of which another flight was sent is left for whoever goes on, too: it is not half a row.
        """
        flight.given_up = True
        begun = any(sibling.claimed for row in flight.rows for sibling in row.own)
        (self.next.to_release if begun else self.next.to_drop).append(flight)

    # --- the end -------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Whatever happened: what is on the wire is waited for and written, and no row stays this worker's."""
        answered = self._await_answers()
        self.pool.close()
        for flight in answered:
            self._record_answer(flight)
        ends = self._ends()
        ours, lost = {item.n for item, _ in ends}, None
        try:
            ours, self.report.standing = self.books.write(lambda tx: self._close(tx, [item for item, _ in ends]))
        except RefundcliError as trouble:
            lost = trouble
            self.stop_policy.stop(Stopped.STORE, trouble)
        for item, row in ends:
            if item.n in ours and item.state is not ItemState.WAITING:
                self.report.add(item, row.refunds)
        is_finished = self.report.state is RunState.FINISHED and self.stop_policy.stopped not in (
            Stopped.STORE,
            Stopped.BUG,
        )
        self.report.stopped = None if is_finished else self.stop_policy.stopped
        self.report.trouble = None if is_finished else self.stop_policy.trouble or lost

    def _ends(self) -> list[tuple[RunItem, Row]]:
        """Every row in hand with its end: what became of its refunds, where that is known, else it waits again."""
        due = {item.n: item for item in self.next.ended}
        ends = [(due.get(n, waiting_again(row.item)), row) for n, row in self.ending.items()]
        for row in (*self.rows, *self.to_do):
            is_done = bool(row.refunds) and all(flight.ended and not flight.given_up for flight in row.own)
            ends.append((ended(row.item, row.refunds) if is_done else waiting_again(row.item), row))
        return ends

    def _await_answers(self) -> list[InFlightRefund]:
        """Refunds whose answer came and is not written: none, unless the work broke off."""
        answered = list(self.next.answered)
        never_asked = [job.about for job in self.pool.cancel_queued()]
        self.on_the_wire.difference_update(never_asked)
        self.next.to_release += never_asked
        while self.on_the_wire and self.pool.outstanding:
            self.pool.wait(_LOOK_UP_SECONDS)
            while job := self.pool.next_finished():
                if job.about in self.on_the_wire:
                    self.on_the_wire.discard(job.about)
                    job.about.answer = job.result
                    answered.append(job.about)
        not_made = [flight for flight in answered if not flight.answer or flight.answer.signal in TOO_MANY]
        self.next.to_release += not_made
        return [flight for flight in answered if flight not in not_made]

    def _record_answer(self, flight: InFlightRefund) -> None:
        assert flight.answer
        broken = self.report.not_written
        flight.ended = True
        try:
            if len(broken) >= _ENOUGH_TRIES:
                raise OutcomeNotWritten(flight.refund, flight.answer, flight.answer.reference, broken[-1])
            first, refund, clock = flight.first_send, flight.refund, self.clock
            flight.refund = record_outcome(
                refund, flight.answer, first_send=first, books=self.books, clock=clock, policy=self.policy
            )
        except OutcomeNotWritten as trouble:
            broken.append(trouble)
            self.stop_policy.stop(Stopped.STORE, trouble)

    def _close(self, tx: Writing, ends: Sequence[RunItem]) -> tuple[set[int], UnfinishedRun]:
        """The numbers of the rows that were still this worker's, and the run as it stands now."""
        ours = tx.finish_items(ends)
        for flight in self.next.to_release:
            tx.let_go(flight.refund)
        counts = tx.item_counts(self.run.id)
        if not _open_rows(counts):
            tx.change_run(self.run.id, RunState.FINISHED)
        elif not counts.get(ItemState.TAKEN):
            tx.change_run(self.run.id, RunState.STOPPED, note=self.stop_policy.stopped or "")
        run = tx.run(self.run.id)
        assert run
        return ours, unfinished_run(tx, run, now=self.clock.now())


def _open_rows(counts: Mapping[ItemState, int]) -> int:
    """Rows that are not done and not refused."""
    return sum(counts.get(state, 0) for state in (ItemState.WAITING, ItemState.TAKEN, ItemState.UNKNOWN))
