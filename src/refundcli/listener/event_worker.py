"""Applies stored events while others are stored; a failure here never stops the listener."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.reads import EventFilter
from refundcli.services.webhooks.apply_events import EventOutcomes, waits_or_is_young

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

    apply: Callable[..., EventOutcomes]
    books: Books
    clock: Clock
    nothing_to_store: threading.Event
    applied: Callable[[EventOutcomes], None]
    trouble: Callable[[Exception], None]
    _new_events: threading.Event = field(default_factory=threading.Event)
    _ending: threading.Event = field(default_factory=threading.Event)
    # The last new event applied, and the last waiting event retried; None between two rounds.
    _last_applied_id: int | None = None
    _last_retried_id: int | None = 0
    _next_round_at: float = 0.0
    _is_first_round: bool = True
    _continued_at: float = 0.0

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="event-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self, new_count: int) -> None:
        if new_count:
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
                if self._last_retried_id is None:
                    self._new_events.wait(max(self._next_round_at - time.monotonic(), 0))
            except Exception as error:
                self.trouble(error)
                self._ending.wait(_AFTER_TROUBLE_SECONDS)

    def _apply_new(self) -> None:
        if self._last_applied_id is None:
            # Older events are retried with the waiting ones.
            newest_events = self.books.read(lambda tx: tx.events.matching(EventFilter(limit=1)))
            self._last_applied_id = newest_events[0].id if newest_events else 0
        outcomes = self.apply(after=self._last_applied_id, may_continue=self._may_continue, at_once=_AT_ONCE)
        self._last_applied_id = outcomes.last_id
        self.applied(outcomes)

    def _retry_waiting(self) -> None:
        """Retry one batch of waiting events, so that new ones are not delayed."""
        if self._last_retried_id is None:
            if time.monotonic() < self._next_round_at:
                return
            self._last_retried_id = 0
        may_continue_answers = iter((self._may_continue(), False))
        selects_event = waits_or_is_young(since=self.clock.now() - _YOUNG)
        outcomes = self.apply(
            after=self._last_retried_id,
            may_continue=lambda: next(may_continue_answers),
            at_once=_AT_ONCE,
            selects=(lambda event: True) if self._is_first_round else selects_event,
        )
        self.applied(outcomes)
        if outcomes.last_id == self._last_retried_id and not self._ending.is_set():
            self._last_retried_id, self._is_first_round = None, False
            self._next_round_at = time.monotonic() + _AGAIN_SECONDS
        else:
            self._last_retried_id = outcomes.last_id

    def _may_continue(self) -> bool:
        """Wait while events are stored, up to a limit; False when ending."""
        seconds_applying = time.monotonic() - self._continued_at
        most_seconds = max(_PATIENCE_SECONDS, seconds_applying * _STORING_TO_APPLYING)
        self.nothing_to_store.wait(min(most_seconds, _LONGEST_PATIENCE_SECONDS))
        self._continued_at = time.monotonic()
        return not self._ending.is_set()
