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


def copy_in_steps(source_path: Path, copy_connection: sqlite3.Connection) -> None:
    """Copy into an empty database. After a change the copy starts over, with larger steps.

    Raises CopyTookTooLong, and sqlite3.Error if the source cannot be read or the copy cannot be written.
    """
    deadline = time.monotonic() + _COPY_SECONDS
    # Do not create a missing file.
    with closing(sqlite3.connect(f"{source_path.absolute().as_uri()}?mode=rw", uri=True)) as source_connection:
        for pages_per_step in _STEPS:
            try:
                source_connection.backup(
                    copy_connection, pages=pages_per_step, progress=_Progress(deadline), sleep=0.05
                )
                break
            except _Restarted:
                continue


class _Restarted(Exception):
    pass


class _Progress:
    """Watches a copy. Raises _Restarted after several restarts, and CopyTookTooLong."""

    def __init__(self, deadline: float) -> None:
        self._deadline, self._pages_left, self._restart_count = deadline, 0, 0

    def __call__(self, sqlite_status: int, pages_left: int, total_pages: int) -> None:
        """SQLite calls it after each step."""
        self._restart_count += pages_left > self._pages_left
        self._pages_left = pages_left
        if time.monotonic() > self._deadline:
            raise CopyTookTooLong("other programs kept writing to it")
        if self._restart_count > _MOST_RESTARTS:
            raise _Restarted
