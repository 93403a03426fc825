"""SQLite's own check of a store's file, which gives way to writers: one statement that may read for a minute.

Whoever reads a SQLite file keeps writers from their commit. They say that they wait by a lock on one byte of the file
(https://sqlite.org/lockingv3.html); the check is broken off then, and begun again when they are done.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from refundcli.store.engine import sqlite_path
from refundcli.store.errors import StructureNotChecked
from refundcli.store.unit_of_work import SqlBooks

_PENDING_BYTE = 0x40000000
_LOOK_SECONDS = 0.02
# The whole, and then each table by itself: that takes less time at once.
_TRIES_OF_ALL, _TRIES_OF_TABLE = 3, 8


class _Waited(Exception):
    """A writer waited, so the check was broken off."""


def structure_errors(books: SqlBooks) -> Iterator[str]:
    """What SQLite finds wrong with the file; nothing on PostgreSQL. Raises StructureNotChecked."""
    path = sqlite_path(books.engine)
    if path is None:
        return
    tables = books.inspect(_tables)
    with _writers_at(path) as is_waited_for:
        try:
            yield from _again_until_done(books, "", is_waited_for, tries=_TRIES_OF_ALL)
        except StructureNotChecked:
            for table in tables:
                yield from _again_until_done(books, table, is_waited_for, tries=_TRIES_OF_TABLE)


def structure_errors_in(connection: Connection, table: str = "") -> Iterator[str]:
    for (found,) in connection.exec_driver_sql(f'PRAGMA integrity_check("{table}")' if table else _CHECK_ALL):
        if found != "ok":
            yield f"SQLite: {found}"


_CHECK_ALL = "PRAGMA integrity_check"


def _tables(session: Session) -> list[str]:
    return list(session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")).scalars())


def _again_until_done(books: SqlBooks, table: str, is_waited_for: Callable[[], bool], *, tries: int) -> list[str]:
    for done in range(tries):
        try:
            return books.inspect(lambda session: _checked(session, table, is_waited_for))
        except _Waited:
            time.sleep(0.1 * 2 ** min(done, 4))
    raise StructureNotChecked(table)


def _checked(session: Session, table: str, is_waited_for: Callable[[], bool]) -> list[str]:
    connection = session.connection()
    interrupt = connection.connection.driver_connection.interrupt  # type: ignore[union-attr]
    with _interrupted_for_writers(interrupt, is_waited_for) as interrupted:
        try:
            found = list(structure_errors_in(connection, table))
        except OperationalError:
            if interrupted.is_set():
                raise _Waited from None
            raise
    if interrupted.is_set():
        # What it found may come of being broken off.
        raise _Waited
    return found


@contextmanager
def _interrupted_for_writers(
    interrupt: Callable[[], None], is_waited_for: Callable[[], bool]
) -> Iterator[threading.Event]:
    """Call `interrupt` once a writer waits; the event says whether that was so."""
    done, interrupted = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK_SECONDS):
            if is_waited_for():
                interrupted.set()
                interrupt()

    watcher = threading.Thread(target=watch, name="writers", daemon=True)
    watcher.start()
    try:
        yield interrupted
    finally:
        done.set()
        watcher.join()


@contextmanager
def _writers_at(path: Path) -> Iterator[Callable[[], bool]]:
    """Does a writer wait for readers to end? Its file stays open meanwhile: closing it would drop SQLite's locks."""
    file = os.open(path, os.O_RDONLY)
    try:
        yield lambda: _is_locked(file)
    finally:
        os.close(file)


def _is_locked(file: int) -> bool:
    """Would SQLite be kept out now? It takes the same lock, for as short a time, before each read."""
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _PENDING_BYTE)
    except OSError:
        return True
    fcntl.lockf(file, fcntl.LOCK_UN, 1, _PENDING_BYTE)
    return False
