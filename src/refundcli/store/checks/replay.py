"""The guarded rows as the audit trail says they are: the last value written to each, kept in a temporary database."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from refundcli.store.audit import BASELINE
from refundcli.store.guarded.columns import GUARDED
from refundcli.store.guarded.row_texts import pages_in

Key: TypeAlias = int | str
_SCHEMA = """
    CREATE TABLE vouched (tab, id, content, seq, PRIMARY KEY (tab, id)) WITHOUT ROWID;
    CREATE TABLE stored (id PRIMARY KEY, content) WITHOUT ROWID;
    CREATE TABLE dubious (tab, id, PRIMARY KEY (tab, id)) WITHOUT ROWID;
"""
_ROWS_OF = "SELECT json_extract(value, '$[0]') AS id, value AS content FROM json_each(:page, '{}')"
_VOUCH = f"INSERT OR REPLACE INTO vouched SELECT :tab, id, content, :seq FROM ({_ROWS_OF.format('$[2]')})"  # noqa: S608
_STORE = f"INSERT INTO stored SELECT id, content FROM ({_ROWS_OF.format('$')})"  # noqa: S608
_COMPARE = """
    INSERT OR IGNORE INTO dubious
    SELECT :tab, stored.id FROM stored LEFT JOIN vouched ON tab = :tab AND vouched.id = stored.id
    WHERE vouched.content IS NOT stored.content
"""
# A baseline repeats what earlier entries say; where it does not, a row was changed before the upgrade.
_REBASED = f"""
    SELECT vouched.id, page.content, vouched.content, vouched.seq FROM ({_ROWS_OF.format("$[2]")}) page
    JOIN vouched ON tab = :tab AND vouched.id = page.id WHERE vouched.content <> page.content
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A guarded row that is not as the audit trail says. `field` is empty where the whole row is missing or added."""

    table: str
    key: str
    field: str
    stored: Any
    should_be: Any
    # The entry that wrote it last; 0 if none did.
    entry: int

    def __str__(self) -> str:
        name = f"{self.table.replace('_', ' ')} {self.key}"
        if self.field:
            return f"{name}: {self.field} is {_shown(self.stored)}, should be {_shown(self.should_be)} ({self._source})"
        return f"{name} is missing ({self._source})" if self.entry else f"{name} is not in the audit trail"

    @property
    def _source(self) -> str:
        return f"audit entry {self.entry}"


class Replay:
    """Takes the rows of audit entries, and compares pages of stored rows with them."""

    def __init__(self) -> None:
        # An empty name is a temporary file, which SQLite deletes; memory does not grow with the store.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        self.unreadable: list[int] = []
        self.rebased: list[Mismatch] = []
        # The first entry of the newest baseline, from which rows are compared; 0 if every row's first entry is there.
        self.baseline = 0
        self._is_in_baseline = False

    def __enter__(self) -> Self:
        self._database.execute("BEGIN")
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def on_rows(self, seq: int, action: str, rows_text: str) -> None:
        """Apply the rows of one entry; entries come in order."""
        is_baseline = action == BASELINE
        if is_baseline and not self._is_in_baseline:
            self.baseline = seq
        self._is_in_baseline = is_baseline
        try:
            for table, page in pages_in(rows_text):
                parameters = {"tab": table, "page": page, "seq": seq}
                if is_baseline:
                    for key, stored, vouched, last_seq in self._database.execute(_REBASED, parameters).fetchall():
                        self.rebased += _differences(table, key, json.loads(stored), json.loads(vouched), last_seq)
                self._database.execute(_VOUCH, parameters)
        except (ValueError, LookupError, sqlite3.Error):
            self.unreadable.append(seq)

    def compare(self, table: str, rows_json: str) -> int:
        """Mark the stored rows that differ as dubious. Returns how many rows the page has."""
        self._database.execute("DELETE FROM stored")
        row_count = self._database.execute(_STORE, {"page": rows_json}).rowcount
        self._database.execute(_COMPARE, {"tab": table})
        return int(row_count)

    def keys(self, table: str, after: Key | None, limit: int) -> list[Key]:
        """The next keys of the rows that the trail has, in the order of the temporary database."""
        condition = "" if after is None else "AND id > :after"
        query = f"SELECT id FROM vouched WHERE tab = :tab {condition} ORDER BY id LIMIT {limit}"  # noqa: S608
        return [key for (key,) in self._database.execute(query, {"tab": table, "after": after})]

    def count(self, table: str) -> int:
        return int(self._database.execute("SELECT count(*) FROM vouched WHERE tab = ?", (table,)).fetchone()[0])

    def doubt(self, table: str, keys: Sequence[Key]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO dubious VALUES (?, ?)", [(table, key) for key in keys])

    def dubious(self, table: str, after: Key | None, limit: int) -> list[Key]:
        condition = "" if after is None else "AND id > :after"
        query = f"SELECT id FROM dubious WHERE tab = :tab {condition} ORDER BY id LIMIT {limit}"  # noqa: S608
        return [key for (key,) in self._database.execute(query, {"tab": table, "after": after})]

    def mismatches(self, table: str, keys: Sequence[Key], rows_json: str) -> Iterator[Mismatch]:
        """What differs in the rows of these keys. `rows_json`: those that are stored."""
        stored_rows = {row[0]: row for row in json.loads(rows_json)}
        for key in keys:
            query = "SELECT content, seq FROM vouched WHERE tab = ? AND id = ?"
            with closing(self._database.execute(query, (table, key))) as cursor:
                content, seq = cursor.fetchone() or ("null", 0)
            yield from _differences(table, key, stored_rows.get(key), json.loads(content), seq)


def _differences(
    table: str, key: Key, stored_row: list[Any] | None, vouched_row: list[Any] | None, seq: int
) -> Iterator[Mismatch]:
    name = _name(table, key, vouched_row or stored_row)
    if stored_row is None or vouched_row is None:
        if stored_row is not vouched_row:
            yield Mismatch(table, name, "", None, None, seq)
        return
    # An entry of an earlier version has fewer columns.
    for field, stored, should_be in zip(GUARDED[table], stored_row, vouched_row, strict=False):
        if (type(stored), stored) != (type(should_be), should_be):
            yield Mismatch(table, name, field, stored, should_be, seq)


def _name(table: str, key: Key, row: list[Any] | None) -> str:
    """An invoice's number; of other rows, the id."""
    return str(row[GUARDED[table].index("number")]) if table == "invoice" and row else str(key)


def _shown(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
