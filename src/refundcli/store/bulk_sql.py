"""Many rows in one statement, handed to the database's driver as they are.

SQLAlchemy looks at each value of each row on its way; a million records spent more time there than in the database.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from refundcli.services.chunks import chunked

# SQLite makes the list of words that a CHECK allows anew for each statement: among many, a row costs a third less.
_AT_ONCE = 500


def insert_many(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    or_nothing: bool = False,
) -> None:
    """Insert rows of values in the order of the columns; times and dates were made fit by `stored`.

    `or_nothing`: a row that is refused takes back the whole transaction, past its savepoints. It spares SQLite a
    journal of its own for each statement, a third of the time; the error must not be caught within the transaction.
    """
    mark, verb = _mark(connection), "INSERT"
    if or_nothing and connection.dialect.name == "sqlite":
        verb = "INSERT OR ROLLBACK"
    for some in chunked(rows, _AT_ONCE):
        statement = _insert(verb, table, tuple(columns), len(some), mark)
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))


def update_many(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """One UPDATE, with `?` for its values, for each of the rows. Every one must find its row as it expects it:

    they were read under the same lock.
    """
    if not rows:
        return
    result = connection.exec_driver_sql(statement.replace("?", _mark(connection)), [tuple(row) for row in rows])
    assert result.rowcount == len(rows), f"{result.rowcount} of {len(rows)} rows were as they had been read"


def keep_at_hand(connection: Connection, kib: int) -> None:
    """So much of the store, until the connection is closed: PostgreSQL sees to that itself."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size=-{kib}")


def new_ids(connection: Connection, table: str, count: int) -> Sequence[int]:
    """Numbers for so many new rows: on SQLite there is no other writer, and on PostgreSQL a sequence counts them."""
    if connection.dialect.name == "sqlite":
        newest = connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) FROM {table}").scalar_one()  # noqa: S608
        return range(newest + 1, newest + 1 + count)
    counted = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, %s)"  # noqa: S608
    return list(connection.exec_driver_sql(counted, (count,)).scalars())


def stored(connection: Connection, value: datetime | date | None) -> Any:
    """A time or a date as this database's driver keeps it: SQLite has text only, in the form that SQLAlchemy reads."""
    if value is None or connection.dialect.name != "sqlite":
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return value.isoformat()


def flags(connection: Connection, values: Iterable[bool]) -> list[Any]:
    """Truths as this database's driver keeps them: SQLite has numbers only."""
    return list(map(int, values)) if connection.dialect.name == "sqlite" else list(values)


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


@lru_cache
def _insert(verb: str, table: str, columns: tuple[str, ...], rows: int, mark: str) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    row = f"({', '.join([mark] * len(columns))})"
    return f"{verb} INTO {table} ({names}) VALUES {', '.join([row] * rows)}"
