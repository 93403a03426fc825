"""Deliveries that were not believed: counted at once, written down and told at most once a second."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from refundcli.services import events
from refundcli.services.deliveries import Flaw, by_flaw
from refundcli.services.ports import Books

_EVERY_SECONDS = 1.0


@dataclass
class Refusals:
    """Any thread counts; the keeper's writes down. `counts` is since the start, by flaw."""

    books: Books
    tell: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    _uncounted: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written_at: float = 0.0

    def add(self, flaw: Flaw) -> None:
        with self._lock:
            self.counts[flaw] += 1
            self._uncounted[flaw] += 1

    def write_down(self, *, at_once: bool = False) -> None:
        """What came since the last time. Where the store cannot be written, it is kept for the next time."""
        if not self._uncounted or (not at_once and time.monotonic() < self._written_at + _EVERY_SECONDS):
            return
        self._written_at = time.monotonic()
        with self._lock:
            counts, self._uncounted = self._uncounted, Counter()
        try:
            events.refuse(counts, books=self.books)
        except Exception:
            with self._lock:
                self._uncounted.update(counts)
            raise
        self.tell(f"{sum(counts.values())} deliveries were not believed: {by_flaw(counts)}.")
