"""Stores what was delivered, many deliveries in one transaction, and says when it is safe to answer."""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from refundcli.domain.errors import RefundcliError
from refundcli.services import events
from refundcli.services.deliveries import Flaw
from refundcli.services.ports import Books
from refundcli.services.provider_news import NewEvent

# A commit costs some milliseconds, whatever is in it: what came meanwhile goes into the next one.
_MOST_IN_ONE = 500
_MOST_WAITING = 5_000
_COUNT_EVERY_SECONDS = 1.0


class TooManyWaiting(Exception):
    """The store does not keep up; the provider sends it again later."""


@dataclass
class Keeper:
    """One thread that writes. `stored` is called after each commit, with how many events were new."""

    books: Books
    stored: Callable[[int], None]
    trouble: Callable[[str], None]
    kept: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    _waiting: "queue.Queue[tuple[Sequence[NewEvent], Future[None]] | None]" = field(
        default_factory=lambda: queue.Queue(_MOST_WAITING)
    )
    _uncounted: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Store what is there, then end."""
        self._waiting.put(None)
        self._thread.join(timeout=30)

    def keep(self, told: Sequence[NewEvent]) -> "Future[None]":
        """Done once the events are in the store. Raises TooManyWaiting."""
        done: Future[None] = Future()
        try:
            self._waiting.put_nowait((told, done))
        except queue.Full:
            raise TooManyWaiting from None
        return done

    def refuse(self, flaw: Flaw) -> None:
        """Counted, and written down with the next batch or within a second."""
        with self._lock:
            self.refused[flaw] += 1
            self._uncounted[flaw] += 1

    def _run(self) -> None:
        while True:
            batch, ending = self._next_batch()
            if batch:
                self._store(batch)
            self._count_refused()
            if ending:
                return

    def _next_batch(self) -> tuple[list[tuple[Sequence[NewEvent], "Future[None]"]], bool]:
        batch: list[tuple[Sequence[NewEvent], Future[None]]] = []
        try:
            each = self._waiting.get(timeout=_COUNT_EVERY_SECONDS)
            while each is not None:
                batch.append(each)
                if sum(len(told) for told, _ in batch) >= _MOST_IN_ONE:
                    return batch, False
                each = self._waiting.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _store(self, batch: Sequence[tuple[Sequence[NewEvent], "Future[None]"]]) -> None:
        told = [event for each, _ in batch for event in each]
        try:
            new = events.keep(told, books=self.books)
        except Exception as error:
            for _, done in batch:
                done.set_exception(error)
            self.trouble(error.message if isinstance(error, RefundcliError) else repr(error))
            return
        self.kept += new
        self.known += len(told) - new
        for _, done in batch:
            done.set_result(None)
        self.stored(new)

    def _count_refused(self) -> None:
        with self._lock:
            counts, self._uncounted = self._uncounted, Counter()
        try:
            events.refuse(counts, books=self.books)
        except Exception as error:
            with self._lock:
                self._uncounted.update(counts)
            self.trouble(error.message if isinstance(error, RefundcliError) else repr(error))
