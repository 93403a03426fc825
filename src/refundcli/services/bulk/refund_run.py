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
from refundcli.services.bulk.group_commit import Bench, Group, Written, write_group
from refundcli.services.bulk.leased_rows import Part, Row
from refundcli.services.bulk.other_workers import OtherWorkers, Step
from refundcli.services.bulk.report import Brakes, RunLimits, RunReport, Stopped, StopSign, Tell, TellWaiting
from refundcli.services.bulk.request_pool import Errand, Senders
from refundcli.services.bulk.row_outcomes import ended, refused, waiting_again
from refundcli.services.bulk.unfinished_runs import UnfinishedRun, unfinished_run
from refundcli.services.dispatch.first_send import (
    LONGEST_UNCHECKED_WAIT_SECONDS,
    VANISHED,
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
    take_down,
)
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.providers import Answer, PaymentProvider, Providers, RefundAnswer
from refundcli.services.preflight.payment import AlreadyAtProvider, PaymentPlace, truths_of
from refundcli.services.recovery.resume_refunds import looked_up, same_place
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
    tell: Tell,
    stop: StopSign,
    tell_waiting: TellWaiting = lambda holders: None,
) -> RunReport:
    """Do rows of the run until none is left, or until it is stopped; go on where an earlier worker ended.

    Rows that other workers hold are waited for. Whatever a row, a provider or the store does, and a defect of the
    program too, is in the report, which says what was sent.
    """
    worker = _Worker(run, books, providers, clock, policy, limits, tell, stop, tell_waiting)
    try:
        worker.work()
    except RefundcliError as trouble:
        worker.brakes.pull(Stopped.STORE, trouble)
    except Exception as bug:
        worker.report.bug = bug
        worker.brakes.pull(Stopped.BUG)
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
        tell: Tell,
        stop: StopSign,
        tell_waiting: TellWaiting,
    ) -> None:
        self.run, self.books, self.providers, self.clock, self.policy = run, books, providers, clock, policy
        self.limits, self.tell, self.stop = limits, tell, stop
        self.report = RunReport()
        self.others = OtherWorkers(run, books, clock, _PATIENCE_WITH_OTHERS_SECONDS, tell_waiting)
        self.brakes = Brakes(limits)
        self.senders = Senders(limits.in_flight)
        self.connected: dict[Provider, PaymentProvider] = {}
        self.bench = Bench(run, this_process(), clock, policy, self.connected, self._lease_seconds, _ROW_LEASE_SECONDS)
        # Taken and not begun; begun; and those whose end is being written.
        self.to_do: deque[Row] = deque()
        self.rows: set[Row] = set()
        self.ending: dict[int, Row] = {}
        self.busy: set[str] = set()
        # By refund: those that are not settled. Which of them wait for T2, and which for others or for a pause.
        self.parts: dict[str, Part] = {}
        self.to_claim: deque[Part] = deque()
        self.parked: list[tuple[float, Part]] = []
        # The provider is asked how their payments stand before they are sent.
        self.asking: set[Part] = set()
        self.on_the_wire: set[Part] = set()
        self.next = Group()
        # Nothing was there to take: as long as rows were under way, and still when none was.
        self.nothing_left = self.all_done = False
        self.braked = False
        self.committed_at = 0.0
        self.held_at = time.monotonic()

    # --- the loop ------------------------------------------------------------------------------------------

    def work(self) -> None:
        self.books.write(self._begin)
        while True:
            self._take_in()
            self._mind_the_brakes()
            self._gather()
            if self.next:
                self._commit()
            elif not self.is_idle:
                self.senders.wait(_LOOK_UP_SECONDS)
            elif self.braked or not self._others_have_rows():
                return

    def _begin(self, tx: Writing) -> None:
        """What was not known is asked about again: somebody may have settled it, or it can be settled now."""
        tx.requeue_unknown(self.run.id)
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

    def _take_in(self) -> None:
        """What came back since; a moment is given to what is about to."""
        wait = self.committed_at + _GATHER_SECONDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        while errand := self.senders.come_back():
            errand.then(errand)

    def _gather(self) -> None:
        """What the next commit is to do besides what is due already."""
        now = time.monotonic()
        if not self.braked:
            self._begin_rows()
            # A worker that ends without a word leaves rows: they are looked for once more when all else is done.
            if len(self.to_do) < self.limits.in_flight and (self.is_idle or not self.nothing_left):
                self.next.take = 0 if self.all_done else self.limits.in_flight
        for part in self._claimable():
            self._claim(part)
        self.next.to_read += [part for due, part in self.parked if due <= now]
        self.parked = [(due, part) for due, part in self.parked if due > now]
        if (self.rows or self.to_do) and now - self.held_at > _HOLD_SECONDS:
            self.next.hold, self.held_at = True, now

    def _begin_rows(self) -> None:
        room = _ROWS_PER_REQUEST * self.limits.in_flight - len(self.rows)
        waiting = deque[Row]()
        while self.to_do and room > 0:
            row = self.to_do.popleft()
            if self.busy.isdisjoint(row.marks):
                self.busy.update(row.marks)
                self.rows.add(row)
                self.next.to_look_at.append(row)
                room -= 1
            else:
                # One after the other: the second sees what became of the first.
                waiting.append(row)
        self.to_do.extendleft(reversed(waiting))

    def _claimable(self) -> list[Part]:
        """No more than can be sent soon: what is claimed and then lost has to be looked up."""
        room = self.limits.in_flight + self.limits.in_flight // 4 + 1 - len(self.on_the_wire)
        longest = float("inf") if self.braked else _SHORT_PAUSE_SECONDS
        for part in self.to_claim:
            if self._pause_left(part) > _SHORT_PAUSE_SECONDS:
                part.snapshot = None
        may = [part for part in self.to_claim if self._pause_left(part) <= longest][: max(0, room)]
        for part in may:
            self.to_claim.remove(part)
        return may

    def _claim(self, part: Part) -> None:
        """T2 with the next commit, which checks the rules. After its lease another worker may have claimed it."""
        assert part.refund.sending
        if is_live(part.refund.sending, self.clock.now()):
            self.next.to_claim.append(part)
        elif self.braked:
            self._give_up(part)
        else:
            self._go_on_with(part)

    @property
    def is_idle(self) -> bool:
        return not (self.rows or self.to_do or self.on_the_wire or self.ending)

    # --- commits -------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        group, was_idle = self.next, self.is_idle
        written = self.books.write(lambda tx: write_group(tx, group, self.bench))
        self.next = Group()
        self.committed_at = time.monotonic()
        if group.take:
            self.nothing_left = not written.taken
            self.all_done = self.nothing_left and was_idle
        for item in group.ended:
            if item.n in written.ended:
                self._tell(item)
            else:
                # Another worker took it over, and counts it.
                del self.ending[item.n]
        self._apply(written)

    def _apply(self, written: Written) -> None:
        for part, refund in written.settled:
            self._settled(part, refund)
        for part, refund in written.claimed:
            part.refund, part.claimed = refund, True
            self._send(part)
        for part, refund in [*written.elsewhere, *written.read]:
            part.is_now(refund)
            self._go_on_with(part)
        for part, place in written.unchecked:
            self._ask_provider(part, place)
        for row, plan in written.looked_at:
            self._check_at_provider(row, plan)
        for row, refunds in written.reserved:
            self._reserved(row, refunds)
        for row, made in written.known:
            self._known(row, made)
        for row, why in written.refused:
            self._refused(row, why)
        # One that others had taken over and left behind may be in hand still: it is one row.
        in_hand = {row.item.n for row in (*self.rows, *self.to_do, *self.ending.values())}
        self.to_do.extend(Row(item) for item in written.taken if item.n not in in_hand)

    def _tell(self, item: RunItem) -> None:
        """A row's end is committed, or it is back among those that wait."""
        row = self.ending.pop(item.n)
        if item.state is not ItemState.WAITING:
            self.report.add(item, row.refunds)
            self.tell(item, row.refunds)

    # --- rows ----------------------------------------------------------------------------------------------

    def _check_at_provider(self, row: Row, plan: Preview) -> None:
        shares, invoice = plan.shares, plan.invoice
        if row.left or not self._connects(row, *(share.payment.provider for share in shares)):
            return
        asked = [share for share in shares if share.payment.provider in CAN_LOOK_UP]
        if not asked:
            self.next.to_reserve.append(row)
            return
        row.truths_at = self.clock.now()
        errand = Errand(lambda: truths_of(invoice, asked, self.providers), lambda errand: self._checked(row, errand))
        self.senders.send(errand, urgent=False)

    def _checked(self, row: Row, errand: Errand) -> None:
        if row.left:
            return
        try:
            row.truths = errand.answer
        except RefundcliError as problem:
            if isinstance(problem, SettingsProblem) and problem.code != _UNREACHABLE:
                self._cannot_be_used(row, problem)
                return
            if problem.code == _UNREACHABLE:
                self.brakes.answered(clearly=False)
            self._end(row, refused(row.item, problem))
        else:
            self.next.to_reserve.append(row)

    def _connects(self, row: Row, *providers: Provider | None) -> bool:
        """Are they all connected? Where one cannot be, no other row could use it either."""
        try:
            for provider in providers:
                if provider and provider not in self.connected:
                    made = self.providers.of(provider)
                    if provider in CAN_LOOK_UP:
                        self.providers.records(provider)
                    self.connected[provider] = made
        except SettingsProblem as problem:
            self._cannot_be_used(row, problem)
            return False
        return True

    def _cannot_be_used(self, row: Row, problem: SettingsProblem) -> None:
        self.brakes.pull(Stopped.SETTINGS, problem)
        self._end(row, waiting_again(row.item))

    def _reserved(self, row: Row, refunds: Sequence[Refund]) -> None:
        for refund in refunds:
            assert refund.provider
            part = Part(refund, self.connected[refund.provider], [row], snapshot=row.snapshot_for(refund))
            row.own.append(part)
            self.parts[refund.id] = part
            if part.is_listed:
                self._look_up_listed(part)
            else:
                self.to_claim.append(part)

    def _known(self, row: Row, made: Sequence[Refund]) -> None:
        """It has refunds already: they are its end, or they are settled first."""
        row.finished = [refund for refund in made if not refund.state.unfinished]
        unfinished = [refund for refund in made if refund.state.unfinished]
        if self._connects(row, *(refund.provider for refund in unfinished)):
            row.own = [self._part_of(refund, row) for refund in unfinished]
            self._end_where_settled(row)

    def _part_of(self, refund: Refund, row: Row) -> Part:
        """The refund as it is in this worker's hands, or comes into them now."""
        part = self.parts.get(refund.id)
        if part is None:
            assert refund.provider
            part = Part(refund, self.connected[refund.provider], first_send=is_first_send(refund))
            self.parts[refund.id] = part
            self._go_on_with(part)
        part.rows.append(row)
        return part

    def _refused(self, row: Row, why: RefundcliError) -> None:
        if row.left:
            return
        if isinstance(why, UnsettledRefund) and self._settles_first(row, why.earlier):
            return
        self._end(row, refused(row.item, why))

    def _settles_first(self, row: Row, earlier: Refund) -> bool:
        """One that was left behind is settled, once; one of other hands that was never sent is theirs to send."""
        may = earlier.state is RefundState.SUBMITTED or earlier.run_id == self.run.id
        if self.braked or not may or earlier.id in row.out_of_its_way:
            return False
        row.out_of_its_way.add(earlier.id)
        if self._connects(row, earlier.provider):
            part = self._part_of(earlier, row)
            if part.ended:
                self.next.to_look_at.append(row)
            else:
                row.in_its_way = part
        return True

    def _end_where_settled(self, row: Row) -> None:
        if row.left or not all(part.ended for part in row.own):
            return
        given_up = any(part.given_up for part in row.own)
        self._end(row, waiting_again(row.item) if given_up else ended(row.item, row.refunds))

    def _end(self, row: Row, item: RunItem) -> None:
        """Written with the next commit; what is still heard of the row after this changes nothing."""
        row.left = True
        self.rows.discard(row)
        self.busy.difference_update(row.marks)
        self.ending[item.n] = row
        self.next.ended.append(item)
        if item.state is ItemState.REFUSED:
            self.brakes.refused()

    # --- refunds -------------------------------------------------------------------------------------------

    def _send(self, part: Part) -> None:
        self.on_the_wire.add(part)
        errand = Errand(lambda: self._ask(part), lambda errand: self._answered(part, errand), part)
        self.senders.send(errand, urgent=True)

    def _ask(self, part: Part) -> RefundAnswer | None:
        """In a sender's thread: one request, again only where the last one provably did nothing.

        None when it was not sent: the provider wants to be left alone for longer than the refund is ours.
        """
        sending, began = part.refund.sending, time.monotonic()
        assert sending

        def left() -> float:
            return self.policy.patience(sending, self.clock.now())

        if self._pause_left(part) > left():
            return None
        return call(
            part.refund,
            part.provider,
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

    def _answered(self, part: Part, errand: Errand) -> None:
        self.on_the_wire.discard(part)
        answer = errand.answer
        too_many = answer is None or answer.signal in TOO_MANY
        if too_many and self.braked:
            # Not made, and not to be tried now: whoever goes on with the run settles it.
            part.given_up = True
            self.next.to_let_go.append(part)
        elif too_many and (answer is None or part.rounds < _MOST_ROUNDS):
            part.rounds += answer is not None and answer.signal == Signal.RATE_LIMITED
            part.snapshot = None
            self.to_claim.append(part)
        else:
            part.answer = answer
            self.next.answered.append(part)

    def _settled(self, part: Part, refund: Refund) -> None:
        """Its outcome is written, known or not."""
        part.refund, part.ended = refund, True
        self.parts.pop(refund.id, None)
        if part.answer:
            unclear = refund.state.unfinished or part.answer.signal == Signal.NOT_SENT
            self.brakes.answered(clearly=not unclear)
        for row in part.rows:
            if row.in_its_way is part:
                row.in_its_way = None
                if not row.left:
                    self.next.to_look_at.append(row)
            else:
                self._end_where_settled(row)

    def _go_on_with(self, part: Part) -> None:
        """A refund that was left behind, by where it was left; one that others are sending is waited for."""
        refund = part.refund
        if not refund.state.unfinished or refund.sending is None:
            self._settled(part, refund)
        elif is_live(refund.sending, self.clock.now()):
            self.parked.append((time.monotonic() + _LOOK_UP_SECONDS, part))
        elif not same_place(refund.sending, part.provider):
            self._settled(part, replace(refund, failure="it was made with other settings"))
        elif refund.state is RefundState.READY:
            self.next.found_ready.append(part)
        else:
            sending = refund.sending
            errand = Errand(
                lambda: looked_up(sending, refund, part.provider), lambda errand: self._looked_up(part, errand)
            )
            self.senders.send(errand, urgent=False)

    # --- before a first send -------------------------------------------------------------------------------

    def _ask_provider(self, part: Part, place: PaymentPlace) -> None:
        """Take a new snapshot of its payment: after a pause, or if another process reserved it."""
        providers, clock = self.providers, self.clock
        part.snapshots += 1
        if part.snapshots > _MOST_ROUNDS:
            slow = StaleSnapshot(part.refund)
            self.brakes.pull(Stopped.STORE, slow)
            self._cannot_be_checked(part, slow)
            return
        self.asking.add(part)
        ask = partial(snapshot_of, place, providers=providers, clock=clock)
        self.senders.send(Errand(ask, lambda errand: self._asked(part, errand)), urgent=False)

    def _asked(self, part: Part, errand: Errand) -> None:
        if part not in self.asking:
            return
        self.asking.discard(part)
        try:
            part.snapshot = errand.answer
            check_listed(part.refund, errand.answer)
        except AlreadyAtProvider as problem:
            self._settled(part, replace(part.refund, failure=problem.message))
        except RefundcliError as problem:
            self._cannot_be_checked(part, problem)
        else:
            if part.is_listed:
                self._look_up_listed(part)
            elif self._is_ours(part):
                self.to_claim.appendleft(part)
            else:
                self.next.found_ready.append(part)

    def _cannot_be_checked(self, part: Part, problem: RefundcliError) -> None:
        """Nothing is sent, and the amount that this worker reserved is released."""
        if isinstance(problem, SettingsProblem) and problem.code != _UNREACHABLE:
            self.brakes.pull(Stopped.SETTINGS, problem)
        self.brakes.answered(clearly=False)
        if self._is_ours(part):
            self.next.to_fail.append((part, problem.message))
        else:
            self._settled(part, replace(part.refund, failure=problem.message))

    def _look_up_listed(self, part: Part) -> None:
        """The provider has it and a restored backup lost it: record its outcome and send nothing."""
        sending, refund, provider = part.refund.sending, part.refund, part.provider
        assert sending

        def ask() -> RefundAnswer:
            return looked_up(sending, refund, provider) or VANISHED

        self.senders.send(Errand(ask, lambda errand: self._looked_up(part, errand)), urgent=False)

    def _is_ours(self, part: Part) -> bool:
        """Does this worker hold the lease? Nobody holds that of a refund that another process left behind."""
        sending = part.refund.sending
        return sending is not None and is_live(sending, self.clock.now())

    def _looked_up(self, part: Part, errand: Errand) -> None:
        if part.rows and all(row.left for row in part.rows):
            return
        self.next.looked_up.append((part, errand.answer))

    def _pause_left(self, part: Part) -> float:
        return self.providers.pace(part.provider.name).pause_left

    def _lease_seconds(self, provider: Provider) -> float:
        """For waiting for a turn, being sent more than once, and being written down."""
        waiting = self.providers.pace(provider).time_for(2 * self.limits.in_flight)
        return self.policy.sending_seconds + waiting

    # --- stopping ------------------------------------------------------------------------------------------

    def _mind_the_brakes(self) -> None:
        if self.stop.is_set():
            self.brakes.pull(Stopped.ASKED)
        if self.brakes.stopped:
            self.braked = True
            self._begin_no_more()

    def _begin_no_more(self) -> None:
        """What is on the wire is finished. What was only reserved is free again; every other row waits again."""
        self.next.to_look_at, self.next.to_reserve, self.next.looked_up = [], [], []
        self.next.found_ready, self.next.take = [], 0
        self.parked = []
        for errand in self.senders.take_back():
            errand.then(errand)
        answering = {*self.on_the_wire, *self.next.answered, *self.next.to_let_go}
        for row in [*self.rows, *self.to_do]:
            if not answering.isdisjoint(row.own):
                continue
            reserved = [part for part in row.own if part in self.to_claim or self._was_asking_for(part)]
            for part in reserved:
                if part in self.to_claim:
                    self.to_claim.remove(part)
                self._give_up(part)
            if not reserved:
                self._end(row, waiting_again(row.item))
        self.to_do.clear()

    def _was_asking_for(self, part: Part) -> bool:
        """Drop its pending snapshot; true if there was one and this worker holds the lease."""
        if part not in self.asking:
            return False
        self.asking.discard(part)
        return self._is_ours(part)

    def _give_up(self, part: Part) -> None:
        """Never sent: its amount is free. Sent, and told "too many" each time: whoever goes on settles it.

        What belongs to a row of which another part was sent is left for whoever goes on, too: it is not half a row.
        """
        part.given_up = True
        begun = any(each.claimed for row in part.rows for each in row.own)
        (self.next.to_let_go if begun else self.next.to_drop).append(part)

    # --- the end -------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Whatever happened: what is on the wire is waited for and written, and no row stays this worker's."""
        answered = self._waited_for()
        self.senders.close()
        for part in answered:
            self._write_down(part)
        ends = self._ends()
        ours, lost = {item.n for item, _ in ends}, None
        try:
            ours, self.report.standing = self.books.write(lambda tx: self._close(tx, [item for item, _ in ends]))
        except RefundcliError as trouble:
            lost = trouble
            self.brakes.pull(Stopped.STORE, trouble)
        for item, row in ends:
            if item.n in ours and item.state is not ItemState.WAITING:
                self.report.add(item, row.refunds)
        done = self.report.state is RunState.FINISHED and self.brakes.stopped not in (Stopped.STORE, Stopped.BUG)
        self.report.stopped = None if done else self.brakes.stopped
        self.report.trouble = None if done else self.brakes.trouble or lost

    def _ends(self) -> list[tuple[RunItem, Row]]:
        """Every row in hand with its end: what became of its refunds, where that is known, else it waits again."""
        due = {item.n: item for item in self.next.ended}
        ends = [(due.get(n, waiting_again(row.item)), row) for n, row in self.ending.items()]
        for row in (*self.rows, *self.to_do):
            is_done = bool(row.refunds) and all(part.ended and not part.given_up for part in row.own)
            ends.append((ended(row.item, row.refunds) if is_done else waiting_again(row.item), row))
        return ends

    def _waited_for(self) -> list[Part]:
        """Refunds whose answer came and is not written: none, unless the work broke off."""
        answered = list(self.next.answered)
        never_asked = [errand.about for errand in self.senders.take_back()]
        self.on_the_wire.difference_update(never_asked)
        self.next.to_let_go += never_asked
        while self.on_the_wire and self.senders.outstanding:
            self.senders.wait(_LOOK_UP_SECONDS)
            while errand := self.senders.come_back():
                if errand.about in self.on_the_wire:
                    self.on_the_wire.discard(errand.about)
                    errand.about.answer = errand.result
                    answered.append(errand.about)
        not_made = [part for part in answered if not part.answer or part.answer.signal in TOO_MANY]
        self.next.to_let_go += not_made
        return [part for part in answered if part not in not_made]

    def _write_down(self, part: Part) -> None:
        assert part.answer
        broken = self.report.not_written
        part.ended = True
        try:
            if len(broken) >= _ENOUGH_TRIES:
                raise OutcomeNotWritten(part.refund, part.answer, part.answer.reference, broken[-1])
            first, refund, clock = part.first_send, part.refund, self.clock
            part.refund = take_down(
                refund, part.answer, first_send=first, books=self.books, clock=clock, policy=self.policy
            )
        except OutcomeNotWritten as trouble:
            broken.append(trouble)
            self.brakes.pull(Stopped.STORE, trouble)

    def _close(self, tx: Writing, ends: Sequence[RunItem]) -> tuple[set[int], UnfinishedRun]:
        """The numbers of the rows that were still this worker's, and the run as it stands now."""
        ours = tx.finish_items(ends)
        for part in self.next.to_let_go:
            tx.release_lease(part.refund)
        counts = tx.item_counts(self.run.id)
        if not _open_rows(counts):
            tx.change_run(self.run.id, RunState.FINISHED)
        elif not counts.get(ItemState.TAKEN):
            tx.change_run(self.run.id, RunState.STOPPED, note=self.brakes.stopped or "")
        run = tx.run(self.run.id)
        assert run
        return ours, unfinished_run(tx, run, now=self.clock.now())


def _open_rows(counts: Mapping[ItemState, int]) -> int:
    """Rows that are not done and not refused."""
    return sum(counts.get(state, 0) for state in (ItemState.WAITING, ItemState.TAKEN, ItemState.UNKNOWN))
