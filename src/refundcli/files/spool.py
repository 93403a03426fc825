"""Checked rows kept aside on disk: a private file that goes when it is closed."""

import pickle
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

from refundcli.private_files import temporary_folder
from refundcli.services.bulk.rows import CheckedRow

_SCHEMA = """
    CREATE TABLE chunk (n INTEGER PRIMARY KEY, rows BLOB);
    CREATE TABLE seen (text BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID;
    CREATE TABLE key (key BLOB PRIMARY KEY, line INTEGER, content BLOB) WITHOUT ROWID;
    CREATE TABLE said (facts BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID;
    CREATE TABLE payment (id INTEGER PRIMARY KEY, taken INTEGER, charged_back INTEGER);
"""
_CACHE_KIB = 16_384


class DiskShelf:
    """Fits `services.bulk_rows.Shelf`. Close it when done."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed by close()
            prefix="refundcli-rows-", dir=temporary_folder()
        )
        self._line = sqlite3.connect(self._file.name, isolation_level=None)
        # Lost with the program, as it should be.
        for pragma in ("synchronous=OFF", "journal_mode=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self._line.execute(f"PRAGMA {pragma}")
        self._line.executescript(_SCHEMA)
        self._line.execute("BEGIN")

    def __enter__(self) -> "DiskShelf":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._line.close()
        self._file.close()

    def put(self, rows: Sequence[CheckedRow]) -> None:
        if rows:
            self._line.execute("INSERT INTO chunk (rows) VALUES (?)", (pickle.dumps(list(rows)),))

    def chunks(self) -> Iterator[list[CheckedRow]]:
        query = "SELECT n, rows FROM chunk WHERE n > ? ORDER BY n LIMIT 1"
        after = 0
        while found := self._line.execute(query, (after,)).fetchone():
            after, rows = found
            # From a private file of this process, written just before.
            yield pickle.loads(rows)  # noqa: S301

    def occurrences(self, texts: Sequence[str]) -> list[int]:
        again = "INSERT INTO seen VALUES (?, 1) ON CONFLICT (text) DO UPDATE SET times = times + 1 RETURNING times"
        return [self._line.execute(again, (_short(text),)).fetchone()[0] for text in texts]

    def first_with_key(self, keys: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
        found = {}
        for key, (line, content) in keys.items():
            new = (_short(key), line, _short(content))
            self._line.execute("INSERT OR IGNORE INTO key VALUES (?,?,?)", new)
            first, wanted = self._line.execute("SELECT line, content FROM key WHERE key = ?", new[:1]).fetchone()
            found[key] = (int(first), content if wanted == new[2] else "")
        return found

    def line_of(self, facts: str) -> int:
        found = self._line.execute("SELECT line FROM said WHERE facts = ?", (_short(facts),)).fetchone()
        return found[0] if found else 0

    def add_lines(self, lines: Mapping[str, int]) -> None:
        values = ((_short(facts), line) for facts, line in lines.items())
        self._line.executemany("INSERT OR IGNORE INTO said VALUES (?,?)", values)

    def taken(self, payments: Sequence[int]) -> dict[int, tuple[int, int]]:
        marks = ",".join("?" * len(payments))
        query = f"SELECT id, taken, charged_back FROM payment WHERE id IN ({marks})"  # noqa: S608 - marks only
        return {of: (taken, charged) for of, taken, charged in self._line.execute(query, payments)}

    def take(self, taken: Mapping[int, tuple[int, int]]) -> None:
        values = ((of, *amounts) for of, amounts in taken.items())
        self._line.executemany("INSERT OR REPLACE INTO payment VALUES (?,?,?)", values)


def _short(text: str) -> bytes:
    """16 bytes that tell a text from all others."""
    return blake2b(text.encode(), digest_size=16).digest()
