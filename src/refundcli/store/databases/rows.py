"""Run a query's text on either database, and read and write its values the same way on both.

A text has named parameters (`:number`). A list of values is one parameter: an object in JSON whose keys are the
values, because `SELECT key FROM json_each(:numbers)` is the same on SQLite and PostgreSQL.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

Row: TypeAlias = Sequence[Any]
_PARAMETER = re.compile(r":([a-z_]+)")


class Rows(ABC):
    """The rows of queries, on one snapshot of the store or in one transaction."""

    is_sqlite = True

    @abstractmethod
    def all(self, text: str, **parameters: object) -> Sequence[Row]:
        """The rows of a query's text, with the values of its parameters."""

    def first(self, text: str, **parameters: object) -> Row | None:
        return next(iter(self.all(text, **parameters)), None)

    def value(self, text: str, **parameters: object) -> Any:
        """The first column of the first row; None without a row."""
        row = self.first(text, **parameters)
        return row[0] if row else None

    def pairs(self, text: str, **parameters: object) -> dict[Any, Any]:
        """The second column of each row by the first."""
        return {row[0]: row[1] for row in self.all(text, **parameters)}


class Reads:
    """A repository, of one snapshot or in one transaction."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows


def as_sqlite(parameters: dict[str, object]) -> dict[str, object]:
    """Parameters as the driver of SQLite takes them."""
    return {name: stored_in_sqlite(_plain(value)) for name, value in parameters.items()}


def as_postgres(parameters: dict[str, object]) -> dict[str, object]:
    """Parameters as the driver of PostgreSQL takes them."""
    return {name: _plain(value) for name, value in parameters.items()}


@lru_cache
def for_psycopg(text: str) -> str:
    """A query's text with parameters in the form of this driver."""
    return _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))


def stored_in_sqlite(value: Any) -> Any:
    """A value as SQLite stores it: a time or a date as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return value.isoformat() if isinstance(value, date) else value


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple | set | frozenset | dict):
        return json.dumps(dict.fromkeys(value), ensure_ascii=False)
    return value


def moment(stored: Any) -> datetime:
    """A time of either database: text on SQLite."""
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return stored.astimezone(UTC)  # type: ignore[no-any-return]


def moment_or_none(stored: Any) -> datetime | None:
    return None if stored is None else moment(stored)


def day(stored: Any) -> date:
    """A date of either database: text on SQLite."""
    return date.fromisoformat(stored) if isinstance(stored, str) else stored


def day_or_none(stored: Any) -> date | None:
    return None if stored is None else day(stored)


def columns_of(table: str, names: Iterable[str]) -> str:
    """The columns of a query, named with their table."""
    return ", ".join(f"{table}.{name}" for name in names)
