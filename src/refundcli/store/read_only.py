"""The books for a command that only reads: a SQLite store through its bare driver, without loading an ORM."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from refundcli.store.driver_errors import opening_problem, problem_of, translated_system_errors, unchanged
from refundcli.store.errors import NoStore, NotAStore, StoreOlder
from refundcli.store.queries.snapshot import SqlReading
from refundcli.store.rows import Row, Rows, as_sqlite
from refundcli.store.schema_check import refuse_other_schema, schema_in, store_timezone
from refundcli.store.sqlite_file import BUSY_TIMEOUT_SECONDS, prepare_sqlite

if TYPE_CHECKING:
    from refundcli.services.ports.books import Reading

T = TypeVar("T")

_SCHEME = "sqlite:///"


class SqliteRows(Rows):
    """The rows of queries on a connection of SQLite's driver."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        return self._connection.execute(text, as_sqlite(parameters)).fetchall()


def plain_sqlite_path(url: str) -> Path | None:
    """The file of a SQLite store whose address has no options of the driver."""
    return Path(unquote(url.removeprefix(_SCHEME))) if url.startswith(_SCHEME) and "?" not in url else None


@dataclass(slots=True)
class ReadOnlyBooks:
    """The books in the SQLite file at `path`. Like `SqlBooks`, but they never create, upgrade or change a store.

    `timezone`: where the books' days begin and end, if the store does not say.
    """

    path: Path
    timezone: str = "UTC"
    _zone: str = ""

    @property
    def zone(self) -> ZoneInfo:
        if not self._zone:
            with suppress(NoStore, StoreOlder):
                self.read(lambda tx: None)
        return ZoneInfo(self._zone or self.timezone)

    def read(self, work: "Callable[[Reading], T]") -> T:
        """Run on one consistent snapshot. It is closed before anything is shown, because a reader blocks writers."""
        with self._opened() as connection:
            rows = SqliteRows(connection)
            try:
                connection.execute("BEGIN")
                self._zone = store_timezone(rows) or self.timezone
                return work(SqlReading(rows))
            except sqlite3.Error as error:
                raise unchanged(problem_of(error)) from error

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection to a store with this schema. Raises NoStore, NotAStore, StoreNewer and StoreOlder."""
        address = str(self.path)
        with translated_system_errors():
            if self.path.is_dir():
                raise NotAStore(address, "it is a folder")
            if not self.path.exists():
                raise NoStore(address)
        try:
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)
        except sqlite3.Error as error:
            raise opening_problem(error, address) from error
        with closing(connection):
            try:
                prepare_sqlite(connection)
                schema = schema_in(SqliteRows(connection), address)
            except sqlite3.Error as error:
                raise opening_problem(error, address) from error
            if not schema:
                raise NoStore(address)
            refuse_other_schema(schema)
            yield connection
