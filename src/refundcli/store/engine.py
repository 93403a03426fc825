"""Opening a store: connections that are safe for money, on SQLite and PostgreSQL.

SQLite runs with a rollback journal and `synchronous=EXTRA`: of the modes that survive a power cut, it is the one
without the WAL-reset bug of SQLite 3.7.0 to 3.51.2.
"""

import errno
import os
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from refundcli.private_files import create, make_folder
from refundcli.store.errors import DriverMissing, NotAStore, StoreAddress

# "RfCl": marks a SQLite file as a refundcli store.
APPLICATION_ID = 0x5266436C
BUSY_TIMEOUT_SECONDS = 30
# Of PostgreSQL, for each of its hosts; `connect_timeout` in the URL takes precedence.
CONNECT_TIMEOUT_SECONDS = 10
_RETRY_SECONDS = 0.01
# PostgreSQL cuts an application's name there.
LONGEST_NAME = 63
# Large enough for a chunk of a bulk run: a transaction that spills locks readers out until its end.
CACHE_KIB = 32_768


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
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", lambda connection, record: record.info.update(file=_file_at(url)))
    event.listen(engine, "checkout", lambda connection, record, proxy: _refuse_replaced(record, url))
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


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver begins transactions too late (a read would have no snapshot), so ours are explicit.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("foreign_keys=ON", "synchronous=EXTRA", "trusted_schema=OFF", f"cache_size=-{CACHE_KIB}"):
        cursor.execute(f"PRAGMA {pragma}")
    # Only in our own store: the mode is saved in the file, and we must not change another program's file.
    if cursor.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.close()


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


def program_name(command: str = "") -> str:
    """This process in PostgreSQL's list of connections: `refundcli 4711@shop-1 events listen`."""
    return (
        f"refundcli {os.getpid()}@{socket.gethostname()} {command}".strip()
        .encode()[:LONGEST_NAME]
        .decode("utf-8", "ignore")
    )


def _postgres_engine(url: URL, command: str) -> Engine:
    """Suitable for PgBouncer in transaction mode: no prepared statements and no session state."""
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            hide_parameters=True,
            pool_size=2,
            pool_pre_ping=True,
            connect_args=_connect_args(url, command),
        )
    except ModuleNotFoundError as error:
        raise DriverMissing from error
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _connect_args(url: URL, command: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {"prepare_threshold": None, "application_name": program_name(command)}
    # Without a timeout, a host that does not answer would hang the command.
    return arguments if "connect_timeout" in url.query else arguments | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}


def _begin_postgres(connection: Connection) -> None:
    # A reported commit must survive a power cut, whatever the server's default.
    connection.exec_driver_sql(
        "SET LOCAL synchronous_commit = on;"
        "SET LOCAL TIME ZONE 'UTC';"
        f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'"
    )
