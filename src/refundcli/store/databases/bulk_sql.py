"""Write many rows in one statement, passed straight to the database's driver.

SQLAlchemy processes each value of each row, which took longer than the database itself for a million records.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from refundcli.services.chunks import chunked
from refundcli.store.databases.rows import stored_in_sqlite

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
    statement, a third of the time; the error must not be caught within the transaction. To PostgreSQL they are copied.
    """
    if or_nothing and connection.dialect.name == "postgresql":
        _copy(connection, table, columns, rows)
        return
    placeholder, verb = _mark(connection), "INSERT"
    if or_nothing and connection.dialect.name == "sqlite":
        verb = "INSERT OR ROLLBACK"
    for row_chunk in chunked(rows, _AT_ONCE):
        statement = _insert(verb, table, tuple(columns), len(row_chunk), placeholder)
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(row_chunk)))


def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    driver_connection: Any = connection.connection.driver_connection
    try:
        with driver_connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError.instance(
            statement,
            None,
            error,
            connection.dialect.loaded_dbapi.Error,
            hide_parameters=True,
            dialect=connection.dialect,
        ) from error


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


def attach(connection: Connection, path: str, name: str) -> bool:
    """Let the queries of this SQLite connection read another database, until it is closed. False on PostgreSQL."""
    if connection.dialect.name != "sqlite":
        return False
    attached_query = "SELECT 1 FROM pragma_database_list WHERE name = ?"
    if connection.exec_driver_sql(attached_query, (name,)).first() is None:
        connection.exec_driver_sql(f"ATTACH DATABASE ? AS {name}", (path,))
    return True


def first_new_id(connection: Connection, table: str, count: int) -> int:
    """The first of `count` consecutive ids for new rows: there is no other writer now.

    Raises NotMatched if another program took ids from PostgreSQL's sequence meanwhile.
    """
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").scalar_one())  # noqa: S608
    ids_query = f"SELECT nextval(pg_get_serial_sequence('{table}', 'id')) AS id FROM generate_series(1, %s)"  # noqa: S608
    first_id, last_id = connection.exec_driver_sql(
        f"SELECT min(id), max(id) FROM ({ids_query}) AS ids",  # noqa: S608
        (count,),
    ).one()
    if last_id - first_id != count - 1:
        raise NotMatched(f"ids {first_id} to {last_id} for {count} rows")
    return int(first_id)


def stored(connection: Connection, time_or_date: datetime | date | None) -> Any:
    """A time or a date as this database's driver stores it: on SQLite, text in the form that SQLAlchemy reads."""
    if time_or_date is None or connection.dialect.name != "sqlite":
        return time_or_date
    return stored_in_sqlite(time_or_date)


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


@lru_cache
def _insert(verb: str, table: str, columns: tuple[str, ...], row_count: int, placeholder: str) -> str:
    column_list = ", ".join(f'"{column}"' for column in columns)
    row_placeholders = f"({', '.join([placeholder] * len(columns))})"
    return f"{verb} INTO {table} ({column_list}) VALUES {', '.join([row_placeholders] * row_count)}"
