"""Collect which guarded rows a transaction writes, and read them once before its commit for the audit entry.

Statements of SQLAlchemy are seen as they run, so none can be forgotten; what goes straight to the driver is named by
whoever writes it (`touch`, `touch_new`). A row that is named and did not change does no harm.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, Connection, CursorResult, Insert, Update, event, select
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ColumnElement
from sqlalchemy.sql.operators import eq

from refundcli.services.chunks import chunked
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.guarded.columns import GUARDED, NUMBERED, json_rows
from refundcli.store.guarded.row_texts import row_text

Parameters: TypeAlias = Mapping[str, Any]
_ROWS_IN_PAGE = 5_000
# Columns that never change and find the rows as well as their key does.
_LASTING = {("credit_note", "refund_id")}


class RowsWritten:
    """The guarded rows written in one transaction, by table and key."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._rows = connection, ConnectionRows(connection)
        self._keys: dict[tuple[str, str], set[Any]] = defaultdict(set)
        self._newest_before: dict[str, int] = {}
        self._of_statement: list[tuple[str, str, Any]] = []
        event.listen(connection, "before_execute", self._before)
        event.listen(connection, "after_execute", self._after)

    def touch(self, table: str, keys: Iterable[Any], *, column: str = "id") -> None:
        """Rows that are written past SQLAlchemy."""
        self._keys[table, column].update(keys)

    def touch_new(self, table: str) -> None:
        """Rows that are going to be inserted, in a table that numbers them."""
        if table not in self._newest_before:
            self._newest_before[table] = int(self._rows.value(f"SELECT coalesce(max(id), 0) FROM {table}"))  # noqa: S608

    def texts(self) -> Iterator[str]:
        """What is stored in them now, a page each; then the collection is empty."""
        keys, newest_before = dict(self._keys), dict(self._newest_before)
        self._keys.clear()
        self._newest_before.clear()
        small_parts = [
            (table, column, page)
            for (table, column), of_column in keys.items()
            for page in chunked(sorted(of_column), _ROWS_IN_PAGE)
        ]
        if small_parts:
            yield from self._texts_of(small_parts)
        for table, newest_id in newest_before.items():
            yield from new_pages(self._rows, table, newest_id)

    def _texts_of(self, parts: Sequence[tuple[str, str, Sequence[Any]]]) -> Iterator[str]:
        """All tables with one statement: on PostgreSQL each costs a round trip."""
        query = " UNION ALL ".join(
            f"SELECT '{table}', {json_rows(table, is_sqlite=self._rows.is_sqlite)} FROM {table}"  # noqa: S608
            f" WHERE {column} IN (SELECT {'CAST(key AS BIGINT)' if table in NUMBERED else 'key'}"
            f" FROM json_each(:part_{'abcdefghij'[number % 10] * (number // 10 + 1)}))"
            for number, (table, column, _) in enumerate(parts)
        )
        parameters = {
            f"part_{'abcdefghij'[number % 10] * (number // 10 + 1)}": page for number, (*_, page) in enumerate(parts)
        }
        for table, rows_json in self._rows.all(query, **parameters):
            if rows_json and rows_json != "[]":
                yield row_text(table, rows_json)

    def _before(
        self, connection: Connection, statement: Any, many: Sequence[Parameters], single: Parameters, options: Any
    ) -> None:
        table = str(statement.table.name) if isinstance(statement, Update | Insert) else ""  # type: ignore[union-attr]
        if table not in GUARDED:
            return
        if isinstance(statement, Insert) and table in NUMBERED:
            self.touch_new(table)
            return
        self._of_statement = [
            (table, column, key)
            for parameters in many or [single]
            for column, keys in [self._written_by(table, statement, parameters)]
            for key in keys
        ]

    def _after(
        self,
        connection: Connection,
        statement: Any,
        many: Sequence[Parameters],
        single: Parameters,
        options: Any,
        outcome: CursorResult[Any],
    ) -> None:
        if isinstance(statement, Update | Insert) and self._of_statement:
            # Of a statement that returns rows the number is not known yet.
            if outcome.returns_rows or outcome.rowcount != 0:
                for table, column, key in self._of_statement:
                    self._keys[table, column].add(key)
            self._of_statement = []

    def _written_by(self, table: str, statement: Update | Insert, parameters: Parameters) -> tuple[str, list[Any]]:
        """A column and its values in the rows that the statement is going to write."""
        if isinstance(statement, Insert):
            return "id", [parameters["id"]]
        for column, key in _equalities(statement.whereclause, parameters):
            if column == "id" or (table, column) in _LASTING:
                return column, [key]
        key_column = statement.table.c.id
        query = select(key_column)
        if statement.whereclause is not None:
            query = query.where(statement.whereclause)
        return "id", list(self._connection.execute(query, dict(parameters)).scalars())


def new_pages(rows: ConnectionRows, table: str, newest_before: int) -> Iterator[str]:
    """All rows of a table that numbers them whose number is greater, a page each."""
    newest = int(rows.value(f"SELECT coalesce(max(id), 0) FROM {table}"))  # noqa: S608
    of_rows = json_rows(table, is_sqlite=rows.is_sqlite)
    # By a range: of a page that is cut off by its length SQLite would copy every row, twice the time.
    page_query = f"SELECT {of_rows} FROM {table} WHERE id > :after AND id <= :upto"  # noqa: S608
    for after in range(newest_before, newest, _ROWS_IN_PAGE):
        rows_json = rows.value(page_query, after=after, upto=after + _ROWS_IN_PAGE)
        if rows_json and rows_json != "[]":
            yield row_text(table, rows_json)


def all_pages(rows: ConnectionRows, table: str) -> Iterator[str]:
    """All rows of a table, a page each."""
    of_rows, condition, last_key = json_rows(table, is_sqlite=rows.is_sqlite), "", None
    while True:
        page_query = (
            f"SELECT {of_rows}, max(id) FROM"  # noqa: S608
            f" (SELECT * FROM {table} {condition} ORDER BY id LIMIT {_ROWS_IN_PAGE}) page"
        )
        rows_json, last_key = rows.all(page_query, **({"after": last_key} if condition else {}))[0]
        if last_key is None:
            return
        yield row_text(table, rows_json)
        condition = "WHERE id > :after"


def _equalities(condition: ColumnElement[bool] | None, parameters: Parameters) -> Iterator[tuple[str, Any]]:
    parts = condition.clauses if isinstance(condition, BooleanClauseList) else (condition,)
    if isinstance(condition, BooleanClauseList) and condition.operator.__name__ != "and_":
        return
    for part in parts:
        if isinstance(part, BinaryExpression) and part.operator is eq and isinstance(part.right, BindParameter):
            bound = part.right
            yield getattr(part.left, "name", ""), parameters.get(bound.key, bound.effective_value)
