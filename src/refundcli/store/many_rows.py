"""Inserting thousands of rows: many to a statement, past the mapper, each value as its database's driver takes it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from refundcli.services.chunks import chunked
from refundcli.store.tables import UtcDateTime

# SQLite makes the list of words that a CHECK allows anew for each statement: among many, a row costs a third less.
_AT_ONCE = 200


def insert_many(connection: Connection, table: str, columns: Mapping[str, Iterable[Any]]) -> None:
    """Rows by their columns. Days are text; flags and moments are as the functions below give them."""
    dialect = connection.dialect.name
    for rows in chunked(zip(*columns.values(), strict=False), _AT_ONCE):
        statement = _insert(dialect, table, tuple(columns), len(rows))
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(rows)))


def flags(connection: Connection, values: Iterable[bool]) -> list[Any]:
    return list(map(int, values)) if connection.dialect.name == "sqlite" else list(values)


def moment(connection: Connection, at: datetime) -> Any:
    taken = UtcDateTime().dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return taken(at) if taken else at


def new_ids(connection: Connection, table: str, count: int) -> Sequence[int]:
    """Numbers for so many new rows: on SQLite there is no other writer, and on PostgreSQL a sequence counts them."""
    if connection.dialect.name == "sqlite":
        newest = connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) FROM {table}").scalar_one()  # noqa: S608
        return range(newest + 1, newest + 1 + count)
    counted = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, %s)"  # noqa: S608
    return list(connection.exec_driver_sql(counted, (count,)).scalars())


@cache
def _insert(dialect: str, table: str, columns: Sequence[str], rows: int) -> str:
    mark = "?" if dialect == "sqlite" else "%s"
    row = f"({','.join([mark] * len(columns))})"
    # A row that is refused takes the whole transaction back anyway. Saying so spares SQLite a journal of its own for
    # each statement.
    verb = "INSERT OR ROLLBACK" if dialect == "sqlite" else "INSERT"
    return f"{verb} INTO {table} ({','.join(columns)}) VALUES {','.join([row] * rows)}"
