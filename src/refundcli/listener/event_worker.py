"""Applies stored events while others are stored; a failure here never stops the listener."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.records import EventFilter
from refundcli.services.webhooks.apply_events import Apply, EventOutcomes, waits_or_is_young

# Waiting and unmatched events are retried this often.
_AGAIN_SECONDS = 60.0
# A payment is usually imported soon after its event; older events wait for `events apply`, or a restart.
_YOUNG = timedelta(hours=1)
_AFTER_TROUBLE_SECONDS = 5.0
# Each transaction applies this many events, and storing goes first between them. The limits on waiting give applying a
# fifth of the time, however slow the machine is and however many deliveries arrive.
_AT_ONCE = 10
_PATIENCE_SECONDS = 0.25
_LONGEST_PATIENCE_SECONDS = 2.0
_STORING_TO_APPLYING = 4


@dataclass
class EventWorker:
    """One thread: applies new events at once, and in between retries waiting ones, oldest first."""

    apply: Apply
    books: Books
    clock: Clock
    nothing_to_store: threading.Event
    applied: Callable[[EventOutcomes], None]
    trouble: Callable[[Exception], None]
    _new_events: threading.Event = field(default_factory=threading.Event)
    _ending: threading.Event = field(default_factory=threading.Event)
    # The last new event applied, and the last waiting event retried; None between two rounds.
    _applied_to: int | None = None
    _again_from: int | None = 0
    _again_at: float = 0.0
    _first_time: bool = True
    _continued_at: float = 0.0

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="event-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self, new: int) -> None:
        if new:
            self._new_events.set()

    def stop(self) -> None:
        """End after the current batch; the other events wait in the store."""
        self._ending.set()
        self._new_events.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._new_events.clear()
                self._apply_new()
                self._retry_waiting()
                if self._again_from is None:
                    self._new_events.wait(max(self._again_at - time.monotonic(), 0))
            except Exception as error:
                self.trouble(error)
                self._ending.wait(_AFTER_TROUBLE_SECONDS)

    def _apply_new(self) -> None:
        if self._applied_to is None:
            # Older events are retried with the waiting ones.
            newest = self.books.read(lambda tx: tx.events(EventFilter(limit=1)))
            self._applied_to = newest[0].id if newest else 0
        outcomes = self.apply(
            books=self.books, after=self._applied_to, may_continue=self._may_continue, at_once=_AT_ONCE
        )
        self._applied_to = outcomes.last_id
        self.applied(outcomes)

    def _retry_waiting(self) -> None:
        """Retry one batch of waiting events, so that new ones are not delayed."""
        if self._again_from is None:
            if time.monotonic() < self._again_at:
                return
            self._again_from = 0
        rounds = iter((self._may_continue(), False))
        young = waits_or_is_young(since=self.clock.now() - _YOUNG)
        outcomes = self.apply(
            books=self.books,
            after=self._again_from,
            may_continue=lambda: next(rounds),
            at_once=_AT_ONCE,
            selects=(lambda event: True) if self._first_time else young,
        )
        self.applied(outcomes)
        if outcomes.last_id == self._again_from and not self._ending.is_set():
            self._again_from, self._first_time = None, False
            self._again_at = time.monotonic() + _AGAIN_SECONDS
        else:
            self._again_from = outcomes.last_id

    def _may_continue(self) -> bool:
        """Wait while events are stored, up to a limit; False when ending."""
        took = time.monotonic() - self._continued_at
        patience = max(_PATIENCE_SECONDS, took * _STORING_TO_APPLYING)
        self.nothing_to_store.wait(min(patience, _LONGEST_PATIENCE_SECONDS))
        self._continued_at = time.monotonic()
        return not self._ending.is_set()
