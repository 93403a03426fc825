"""Many rows in one statement, handed to the database's driver as they are.

SQLAlchemy looks at each value of each row on its way; a million records spent more time there than in the database.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection


def insert_many(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows of values in the order of the columns; times and dates were made fit by `stored`."""
    if rows:
        connection.exec_driver_sql(_insert(table, tuple(columns), _mark(connection)), [tuple(row) for row in rows])


def update_many(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """One UPDATE, with `?` for its values, for each of the rows. Every one must find its row as it expects it:

    they were read under the same lock.
    """
    result = connection.exec_driver_sql(statement.replace("?", _mark(connection)), [tuple(row) for row in rows])
    assert result.rowcount == len(rows), f"{result.rowcount} of {len(rows)} rows were as they had been read"


def stored(connection: Connection, value: datetime | date | None) -> Any:
    """A time or a date as this database's driver keeps it: SQLite has text only, in the form that SQLAlchemy reads."""
    if value is None or connection.dialect.name != "sqlite":
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return value.isoformat()


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


@lru_cache
def _insert(table: str, columns: tuple[str, ...], mark: str) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608 - names of ours
