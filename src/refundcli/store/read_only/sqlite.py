"""Read a SQLite store through its bare driver."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote

from refundcli.store.databases.driver_errors import opening_problem, problem_of, translated_system_errors, unchanged
from refundcli.store.databases.rows import Row, Rows, as_sqlite
from refundcli.store.databases.sqlite_file import BUSY_TIMEOUT_SECONDS, prepare_sqlite
from refundcli.store.errors import NoStore, NotAStore
from refundcli.store.read_only.books import ReadOnlyBooks, refuse_unusable

_SCHEME = "sqlite:///"


def plain_sqlite_path(url: str) -> Path | None:
    """The file of a SQLite store whose address has no options of the driver."""
    return Path(unquote(url.removeprefix(_SCHEME))) if url.startswith(_SCHEME) and "?" not in url else None


class SqliteRows(Rows):
    """The rows of queries on a connection of SQLite's driver."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        return self._connection.execute(text, as_sqlite(parameters)).fetchall()


class SqliteBooks(ReadOnlyBooks):
    """The books in the SQLite file at `path`, which is opened for each read."""

    def __init__(self, path: Path, timezone: str = "UTC") -> None:
        super().__init__(timezone)
        self._path = path

    @contextmanager
    def _snapshot(self) -> Iterator[Rows]:
        with self._connection() as connection:
            try:
                connection.execute("BEGIN")
                yield SqliteRows(connection)
            except sqlite3.Error as error:
                raise unchanged(problem_of(error)) from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        address = str(self._path)
        with translated_system_errors():
            if self._path.is_dir():
                raise NotAStore(address, "it is a folder")
            if not self._path.exists():
                raise NoStore(address)
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)
        except sqlite3.Error as error:
            raise opening_problem(error, address) from error
        with closing(connection):
            try:
                prepare_sqlite(connection)
                connection.execute("PRAGMA query_only = ON")
                refuse_unusable(SqliteRows(connection), address)
            except sqlite3.Error as error:
                raise opening_problem(error, address) from error
            yield connection
