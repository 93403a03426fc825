"""How many rows of a store to read in one transaction."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# A writer of a SQLite store waits for the page that is being read, at each of a refund's three commits.
_WANTED_SECONDS = 0.1
_FEWEST, _MOST = 10, 20_000


@dataclass(slots=True)
class PageSize:
    """Adapts so that a page takes about a tenth of a second on any machine."""

    rows: int = 500
    seconds: Callable[[], float] = time.monotonic

    @contextmanager
    def timed(self) -> Iterator[int]:
        """Yields the number of rows to read, and adapts the next page to the time it took."""
        seconds_before = self.seconds()
        yield self.rows
        seconds_taken = self.seconds() - seconds_before
        if seconds_taken > _WANTED_SECONDS:
            self.rows = max(self.rows // 2, _FEWEST)
        elif seconds_taken < _WANTED_SECONDS / 4:
            self.rows = min(self.rows * 2, _MOST)
