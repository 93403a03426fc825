"""Stores deliveries, many in one transaction, and reports when it is safe to answer."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from refundcli.domain.errors import RefundcliError
from refundcli.listener.heartbeat import Heartbeat
from refundcli.listener.rejection_counter import Rejections
from refundcli.services.ports.books import Books
from refundcli.services.ports.provider_updates import NewEvent
from refundcli.services.webhooks.deliveries import store_events

# A commit takes some milliseconds, whatever its size: deliveries that arrive meanwhile share the next one.
_MOST_IN_ONE = 500
_MOST_WAITING = 2_000
_MOST_WAITING_CHARACTERS = 64 * 1024 * 1024
# A batch waits at most this long for as many deliveries as the last one had: their senders are likely to send again.
_GATHER_SECONDS = 0.01
# After this long without a delivery, events can be applied.
_QUIET_SECONDS = 0.05
_REST_SECONDS = 0.5
_STOP_SECONDS = 60

Delivery: TypeAlias = tuple[Sequence[NewEvent], "Future[None]"]


class TooManyWaiting(Exception):
    """The store cannot keep up; the provider redelivers later."""


@dataclass
class EventWriter:
    """One thread that stores. `stored` is called after each commit, with how many events were new."""

    books: Books
    rejections: Rejections
    stored: Callable[[int], None]
    trouble: Callable[[Exception], None]
    # Shows what was stored; it may be slow, so it is called after the responses.
    show: Callable[[Sequence[NewEvent]], None] = field(default=lambda events: None)
    heartbeat: Heartbeat | None = None
    stored_count: int = 0
    duplicate_count: int = 0
    # The last write failed.
    is_troubled: bool = False
    # No delivery arrived for a moment.
    is_idle: threading.Event = field(default_factory=threading.Event)
    _waiting: "queue.Queue[Delivery | None]" = field(default_factory=lambda: queue.Queue(_MOST_WAITING))
    _waiting_characters: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last_batch_size: int = 0

    def __post_init__(self) -> None:
        self.is_idle.set()
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Store all accepted deliveries, then end."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=_STOP_SECONDS)
        self._thread.join(timeout=_STOP_SECONDS)

    @property
    def is_well(self) -> bool:
        return self._thread.is_alive() and not self.is_troubled

    def store(self, events: Sequence[NewEvent]) -> "Future[None]":
        """A future that is done once the events are stored. Raises TooManyWaiting."""
        stored_future: Future[None] = Future()
        # Not cancellable: the events are stored even if the caller stops waiting.
        stored_future.set_running_or_notify_cancel()
        characters = _size(events)
        with self._lock:
            if self._waiting_characters + characters > _MOST_WAITING_CHARACTERS:
                raise TooManyWaiting
            try:
                self._waiting.put_nowait((events, stored_future))
            except queue.Full:
                raise TooManyWaiting from None
            self._waiting_characters += characters
        self.is_idle.clear()
        return stored_future

    def _run(self) -> None:
        is_last_batch = False
        while not is_last_batch:
            batch, is_last_batch = self._next_batch()
            if batch:
                self._store(batch)
            elif self._waiting.empty():
                self.is_idle.set()
            try:
                self.rejections.write(at_once=is_last_batch)
                if self.heartbeat:
                    self.heartbeat.beat()
            except Exception as error:
                self.trouble(error)

    def _next_batch(self) -> tuple[list[Delivery], bool]:
        """The next deliveries, and whether they are the last."""
        batch: list[Delivery] = []
        event_count, gather_until, is_last_batch = 0, 0.0, False
        while event_count < _MOST_IN_ONE:
            try:
                delivery = (
                    self._waiting.get(timeout=self._quiet_seconds())
                    if not batch
                    else self._another(len(batch), gather_until)
                )
            except queue.Empty:
                break
            if delivery is None:
                is_last_batch = True
                break
            gather_until = gather_until or time.monotonic() + _GATHER_SECONDS
            batch.append(delivery)
            event_count += len(delivery[0])
        self._last_batch_size = len(batch)
        with self._lock:
            self._waiting_characters -= sum(_size(events) for events, _ in batch)
        return batch, is_last_batch

    def _another(self, delivery_count: int, gather_until: float) -> Delivery | None:
        seconds_left = gather_until - time.monotonic()
        if delivery_count < self._last_batch_size and seconds_left > 0:
            return self._waiting.get(timeout=seconds_left)
        return self._waiting.get_nowait()

    def _quiet_seconds(self) -> float:
        return _REST_SECONDS if self.is_idle.is_set() else _QUIET_SECONDS

    def _store(self, batch: Sequence[Delivery]) -> None:
        events = [event for delivery_events, _ in batch for event in delivery_events]
        try:
            new_count = store_events(events, books=self.books)
        except Exception as error:
            self._not_stored(batch, error)
            return
        self.is_troubled = False
        self.stored_count += new_count
        self.duplicate_count += len(events) - new_count
        for _, future in batch:
            future.set_result(None)
        self.stored(new_count)
        try:
            self.show(events)
        except Exception as error:
            self.trouble(error)

    def _not_stored(self, batch: Sequence[Delivery], error: Exception) -> None:
        """Store the deliveries one by one, so that one that the store refuses does not block the others."""
        if len(batch) > 1 and not isinstance(error, RefundcliError):
            for delivery in batch:
                self._store([delivery])
            return
        self.is_troubled = isinstance(error, RefundcliError)
        for _, future in batch:
            future.set_exception(error)
        self.trouble(error)


def _size(events: Sequence[NewEvent]) -> int:
    return sum(len(event.payload) for event in events)
