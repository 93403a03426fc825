"""Read a PostgreSQL store through its bare driver, psycopg, on one connection."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

import psycopg

from refundcli.domain.errors import RefundcliError
from refundcli.secrets import shown_address
from refundcli.store.databases.database_time import in_transaction
from refundcli.store.databases.driver_errors import opening_problem, problem_of, unchanged
from refundcli.store.databases.postgres_settings import BEGIN_SETTINGS, connection_settings
from refundcli.store.databases.rows import Row, Rows, as_postgres, for_psycopg
from refundcli.store.read_only.books import ReadOnlyBooks, refuse_unusable

_ADDRESS = re.compile(
    r"postgresql://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?]+)\]|(?P<host>[^/:?]+))?(?::(?P<port>[0-9]+))?(?:/(?P<dbname>[^?]*))?(?:\?(?P<query>.*))?"
)
_TAKES_NO_WRITE = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {BEGIN_SETTINGS}"


def plain_postgres_address(url: str) -> dict[str, Any] | None:
    """The driver's arguments of an address; None for one with several hosts, which SQLAlchemy takes apart."""
    match = _ADDRESS.fullmatch(url)
    if match is None:
        return None
    parts = match.groupdict()
    options = parse_qsl(parts.pop("query") or "")
    parts["host"] = parts["host"] or parts.pop("ipv6")
    if len(dict(options)) < len(options) or ("host" in dict(options) and ":" in dict(options)["host"]):
        return None
    return {
        name: unquote(parts[name]) for name in ("user", "password", "host", "port", "dbname") if parts[name]
    } | dict(options)


class PostgresRows(Rows):
    """The rows of queries on a connection of psycopg."""

    is_sqlite = False

    def __init__(self, connection: "psycopg.Connection[Row]") -> None:
        self._connection = connection

    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        return self._connection.execute(for_psycopg(text).encode(), as_postgres(parameters)).fetchall()


class PostgresBooks(ReadOnlyBooks):
    """The books in a PostgreSQL database. `address`: as from `plain_postgres_address`."""

    def __init__(self, url: str, address: dict[str, Any], command: str, timezone: str = "UTC") -> None:
        super().__init__(timezone)
        self._shown = shown_address(url)
        self._arguments = connection_settings(address, command) | address
        self._open_transaction: Rows | None = None

    @cached_property
    def _connection(self) -> "psycopg.Connection[Row]":
        # Transactions are begun and ended by name, so the driver begins none.
        return psycopg.connect(**self._arguments, autocommit=True)

    @cached_property
    def _is_checked(self) -> bool:
        with self._transaction(lambda error: opening_problem(error, self._shown)) as rows:
            refuse_unusable(rows, self._shown)
        return True

    @contextmanager
    def _snapshot(self) -> Iterator[Rows]:
        assert self._is_checked
        with self._transaction(lambda error: unchanged(self._problem(error))) as rows:
            yield rows

    @contextmanager
    def asking(self) -> Iterator[Callable[[], datetime]]:
        """Ask for the database's time, in one transaction."""
        with self._transaction(self._problem) as rows:
            yield lambda: rows.value("SELECT clock_timestamp()")

    @contextmanager
    def _transaction(self, problem: Callable[[psycopg.Error], RefundcliError]) -> Iterator[Rows]:
        """The open transaction, or a new one: the time may be asked for in the middle of a read."""
        if self._open_transaction:
            yield self._open_transaction
            return
        try:
            with in_transaction():
                self._connection.execute(_TAKES_NO_WRITE)
                self._open_transaction = PostgresRows(self._connection)
                yield self._open_transaction
                self._connection.execute("ROLLBACK")
        except psycopg.Error as error:
            raise problem(error) from error
        finally:
            self._open_transaction = None
            if "_connection" in self.__dict__ and self._connection.info.transaction_status:
                self.close()

    def _problem(self, error: psycopg.Error) -> RefundcliError:
        is_connected = "_connection" in self.__dict__
        return problem_of(error, is_disconnected=is_connected and (self._connection.closed or self._connection.broken))

    def close(self) -> None:
        if "_connection" in self.__dict__:
            self.__dict__.pop("_connection").close()
