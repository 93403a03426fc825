"""Waits for the rows that other workers have leased, once this worker has nothing left to do.

A live worker renews its leases and finishes its rows. Leases that are not renewed expire, and their rows are leased
again. The wait ends if nothing changes for longer than a lease lasts.
"""

import time
from dataclasses import dataclass, field
from enum import Enum, auto

from refundcli.domain.bulk_run import BulkRun, ItemState
from refundcli.services.bulk.report import OnWaiting
from refundcli.services.bulk.unfinished_runs import unfinished_run
from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock

_REPORT_SECONDS = 10.0


class Step(Enum):
    LEASE = auto()  # rows are waiting, or their leases have expired
    WAIT = auto()  # other workers have the last rows
    LEAVE = auto()  # no row is left, or there was no progress for too long


@dataclass(slots=True)
class OtherWorkers:
    """`patience_seconds`: how long to wait while no row of the run changes; longer than any lease of a row."""

    run: BulkRun
    books: Books
    clock: Clock
    patience_seconds: float
    on_waiting: OnWaiting
    _counts_by_state: dict[ItemState, int] = field(default_factory=dict)
    _unchanged_since: float = 0.0
    _reported_at: float = float("-inf")

    def next_step(self) -> Step:
        clock_time, monotonic_now = self.clock.now(), time.monotonic()
        stored_run = self.books.read(lambda tx: unfinished_run(tx, self.run, now=clock_time))
        counts_by_state = dict(stored_run.counts)
        if not stored_run.holders and not counts_by_state.get(ItemState.WAITING):
            return Step.LEAVE
        if counts_by_state != self._counts_by_state:
            self._counts_by_state, self._unchanged_since = counts_by_state, monotonic_now
        elif monotonic_now - self._unchanged_since > self.patience_seconds:
            return Step.LEAVE
        if counts_by_state.get(ItemState.WAITING) or any(not holder.is_live for holder in stored_run.holders):
            return Step.LEASE
        if monotonic_now - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = monotonic_now
            self.on_waiting(stored_run.holders)
        return Step.WAIT
