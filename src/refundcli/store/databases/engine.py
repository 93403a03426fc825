"""Opening a store: connections that are safe for money, on SQLite and PostgreSQL."""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from refundcli.private_files import create, make_folder
from refundcli.store.databases.db_errors import store_error
from refundcli.store.databases.postgres_settings import BEGIN_SETTINGS, connection_settings
from refundcli.store.databases.sqlite_file import BUSY_TIMEOUT_SECONDS, prepare_sqlite
from refundcli.store.errors import DriverMissing, NotAStore, StoreAddress

_RETRY_SECONDS = 0.01


def store_engine(url: str, command: str = "") -> Engine:
    """An engine for `sqlite:///path` or `postgresql://…`. Raises StoreAddress, NotAStore and DriverMissing.

    `command` is what PostgreSQL's list of connections calls it, so that an upgrade can name who is connected.
    """
    try:
        parsed = make_url(url)
        return _sqlite_engine(parsed) if parsed.get_backend_name() == "sqlite" else _postgres_engine(parsed, command)
    except (ValueError, ArgumentError):
        # Without the cause, which may hold the password.
        raise StoreAddress from None


def sqlite_path(engine: Engine) -> Path | None:
    """The file of a SQLite store; None on PostgreSQL."""
    return Path(str(engine.url.database)) if engine.dialect.name == "sqlite" else None


def make_private(path: Path) -> None:
    """Create an empty store file that only its owner may read, in a folder that only its owner may enter."""
    make_folder(path.parent)
    try:
        create(path).close()
    except FileExistsError:
        # Another process just created it, or it is a broken link, which is not followed.
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "this is a link to a file that does not exist", str(path)) from None


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise NotAStore(str(url), "a store needs a file")
    # One connection is kept; a thread that finds it in use opens another one.
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
    )
    event.listen(engine, "connect", lambda connection, _record: prepare_sqlite(connection))
    event.listen(engine, "connect", lambda connection, record: record.info.update(file=_file_at(url)))
    event.listen(engine, "checkout", lambda connection, record, proxy: _refuse_replaced(record, url))
    event.listen(engine, "checkout", lambda connection, record, proxy: _forget_pages(connection))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _file_at(url: URL) -> tuple[int, int] | None:
    try:
        status = os.stat(str(url.database))
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refuse_replaced(record: ConnectionPoolEntry, url: URL) -> None:
    """Another file may have taken the store's place since, such as a backup. Then a new connection is opened."""
    if record.info["file"] != _file_at(url):
        raise DisconnectionError


def _forget_pages(connection: sqlite3.Connection) -> None:
    """Read every page again: a backup may have been copied into the same file.

    SQLite takes its cached pages for valid while the file's number of changes is the same, and would write them back.
    """
    connection.execute("PRAGMA shrink_memory")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that will write takes its lock first, because an upgrade from a read lock fails
    # instead of waiting.
    if not connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql("BEGIN")
        return
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    connection.exec_driver_sql("PRAGMA busy_timeout=0")
    try:
        while not _try_begin(connection, is_last_attempt=time.monotonic() > deadline):
            # SQLite itself retries ten times a second, but a bulk run releases the lock only for a hundredth.
            time.sleep(_RETRY_SECONDS)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")


def _try_begin(connection: Connection, *, is_last_attempt: bool) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if is_last_attempt or getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _postgres_engine(url: URL, command: str) -> Engine:
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            pool_size=2,
            pool_pre_ping=True,
            connect_args=connection_settings(url.query, command),
        )
    except ModuleNotFoundError as error:
        raise DriverMissing from error
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _begin_postgres(connection: Connection) -> None:
    connection.exec_driver_sql(BEGIN_SETTINGS)


@contextmanager
def engine_clock(engine: Engine) -> Iterator[Callable[[], datetime]]:
    """Ask for the database's time, in one transaction."""
    try:
        with engine.connect() as connection:
            # BEGIN may wait for a pooler's connection; the query after it is one round trip.
            connection.begin()
            yield lambda: connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    except DBAPIError as error:
        raise store_error(error) from error
