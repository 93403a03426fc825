"""Write many rows in one statement, passed straight to the database's driver.

SQLAlchemy processes each value of each row, which took longer than the database itself for a million records.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from refundcli.services.chunks import chunked
from refundcli.store.rows import stored_in_sqlite

# SQLite rebuilds the list of words that a CHECK allows for each statement: in large batches a row costs a third less.
_AT_ONCE = 500


class NotMatched(AssertionError):
    """A row was not as it was read: a defect of this program, or a bound that holds behind every rule."""


def insert_many(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    or_nothing: bool = False,
) -> None:
    """Insert rows of values in the order of the columns; times and dates must have passed through `stored`.

    `or_nothing`: a refused row rolls back the whole transaction, past its savepoints. That spares SQLite a journal per
    statement, a third of the time; the error must not be caught within the transaction.
    """
    placeholder, verb = _mark(connection), "INSERT"
    if or_nothing and connection.dialect.name == "sqlite":
        verb = "INSERT OR ROLLBACK"
    for row_chunk in chunked(rows, _AT_ONCE):
        statement = _insert(verb, table, tuple(columns), len(row_chunk), placeholder)
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(row_chunk)))


def update_many(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run one UPDATE, with `?` for its values, for each row. Each must match the row read under the same lock."""
    if not rows:
        return
    cursor = connection.exec_driver_sql(statement.replace("?", _mark(connection)), [tuple(row) for row in rows])
    if cursor.rowcount != len(rows):
        raise NotMatched(f"{cursor.rowcount} of {len(rows)} rows matched")


def set_cache_size(connection: Connection, kib: int) -> None:
    """Cache this much of a SQLite store until the connection is closed. PostgreSQL manages its own cache."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size=-{kib}")


def new_ids(connection: Connection, table: str, count: int) -> Sequence[int]:
    """Ids for `count` new rows: SQLite has no other writer now, and PostgreSQL has a sequence."""
    if connection.dialect.name == "sqlite":
        newest_id = connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) FROM {table}").scalar_one()  # noqa: S608
        return range(newest_id + 1, newest_id + 1 + count)
    ids_query = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, %s)"  # noqa: S608
    return list(connection.exec_driver_sql(ids_query, (count,)).scalars())


def stored(connection: Connection, time_or_date: datetime | date | None) -> Any:
    """A time or a date as this database's driver stores it: on SQLite, text in the form that SQLAlchemy reads."""
    if time_or_date is None or connection.dialect.name != "sqlite":
        return time_or_date
    return stored_in_sqlite(time_or_date)


def flags(connection: Connection, booleans: Iterable[bool]) -> list[Any]:
    """Booleans as this database's driver stores them: on SQLite, numbers."""
    return list(map(int, booleans)) if connection.dialect.name == "sqlite" else list(booleans)


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


@lru_cache
def _insert(verb: str, table: str, columns: tuple[str, ...], row_count: int, placeholder: str) -> str:
    column_list = ", ".join(f'"{column}"' for column in columns)
    row_placeholders = f"({', '.join([placeholder] * len(columns))})"
    return f"{verb} INTO {table} ({column_list}) VALUES {', '.join([row_placeholders] * row_count)}"
