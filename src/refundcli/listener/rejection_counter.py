"""Rejected deliveries: counted at once, stored and reported at most once a second."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books
from refundcli.services.ports.rejection_reasons import RejectionReason, counts_text

_EVERY_SECONDS = 1.0
# Of a flood of forged deliveries, so many a second are shown; all are counted.
_MOST_SHOWN = 20


@dataclass
class Rejections:
    """Counts from any thread; the event writer stores them. The provider is None for a request to none."""

    books: Books
    report: Callable[[str], None]
    show: Callable[[Provider | None, RejectionReason], None] = field(default=lambda provider, reason: None)
    _counts: Counter[tuple[Provider | None, RejectionReason]] = field(default_factory=Counter)
    _unwritten: Counter[tuple[Provider | None, RejectionReason]] = field(default_factory=Counter)
    _to_show: list[tuple[Provider | None, RejectionReason]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _written_at: float = 0.0

    def add(self, provider: Provider | None, reason: RejectionReason, count: int = 1) -> None:
        with self._lock:
            self._counts[provider, reason] += count
            self._unwritten[provider, reason] += count
            if len(self._to_show) < _MOST_SHOWN:
                self._to_show.append((provider, reason))

    def by_reason(self) -> dict[str, int]:
        """Counts since the start."""
        with self._lock:
            return _by_reason(self._counts)

    def write(self, *, at_once: bool = False) -> None:
        """Store the counts since the last write. If the store cannot be written, they wait for the next write."""
        if not self._unwritten or (not at_once and time.monotonic() < self._written_at + _EVERY_SECONDS):
            return
        self._written_at = time.monotonic()
        with self._lock:
            counts, self._unwritten = self._unwritten, Counter()
        try:
            self.books.write(lambda tx: tx.deliveries.count_rejected(counts))
        except Exception:
            with self._lock:
                self._unwritten.update(counts)
            raise
        with self._lock:
            to_show, self._to_show = self._to_show, []
        for provider, reason in to_show:
            self.show(provider, reason)
        self.report(f"Rejected deliveries: {counts_text(_by_reason(counts))}.")


def _by_reason(counts: Counter[tuple[Provider | None, RejectionReason]]) -> dict[str, int]:
    by_reason = Counter[str]()
    for (_, reason), count in counts.items():
        by_reason[reason.value] += count
    return dict(by_reason)
