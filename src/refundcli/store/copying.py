"""Copy a SQLite store in use, in steps, so that writers can commit in between.

A reader of a SQLite file blocks commits, so nothing may read all of it at once.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

# Pages per step, during which writers wait: from some milliseconds to about a second.
_STEPS = (1_000, 10_000, 50_000, *[200_000] * 1_000)
_MOST_RESTARTS = 4
_COPY_SECONDS = 300.0


class CopyTookTooLong(sqlite3.OperationalError):
    """Other programs kept changing the store, and the copy started over each time."""


def copy_in_steps(source: Path, copy: sqlite3.Connection) -> None:
    """Copy into an empty database. After a change the copy starts over, with larger steps.

    Raises CopyTookTooLong, and sqlite3.Error if the source cannot be read or the copy cannot be written.
    """
    until = time.monotonic() + _COPY_SECONDS
    # Do not create a missing file.
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as live:
        for pages in _STEPS:
            try:
                live.backup(copy, pages=pages, progress=_Progress(until), sleep=0.05)
                break
            except _Restarted:
                continue


class _Restarted(Exception):
    pass


class _Progress:
    """Watches a copy. Raises _Restarted after several restarts, and CopyTookTooLong."""

    def __init__(self, until: float) -> None:
        self._until, self._left, self._restarts = until, 0, 0

    def __call__(self, status: int, remaining: int, total: int) -> None:
        self._restarts += remaining > self._left
        self._left = remaining
        if time.monotonic() > self._until:
            raise CopyTookTooLong("other programs were writing to it all the time")
        if self._restarts > _MOST_RESTARTS:
            raise _Restarted
