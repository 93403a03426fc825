"""Checked rows on disk, in a private file that is deleted when closed."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

from refundcli.private_files import ScratchDatabase
from refundcli.services.bulk.rows import CheckedRow

_SCHEMA = """
    CREATE TABLE chunk (n INTEGER PRIMARY KEY, rows BLOB);
    CREATE TABLE seen (text BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID;
    CREATE TABLE key (key BLOB PRIMARY KEY, line INTEGER, content BLOB) WITHOUT ROWID;
    CREATE TABLE said (facts BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID;
    CREATE TABLE payment (id INTEGER PRIMARY KEY, taken INTEGER, charged_back INTEGER);
"""
_CACHE_KIB = 16_384


class DiskSpool(ScratchDatabase):
    """Fits `services.bulk.rows.RowSpool`. Close it when done."""

    def __init__(self) -> None:
        super().__init__(_SCHEMA, cache_kib=_CACHE_KIB)

    def put(self, rows: Sequence[CheckedRow]) -> None:
        if rows:
            self.connection.execute("INSERT INTO chunk (rows) VALUES (?)", (pickle.dumps(list(rows)),))

    def chunks(self) -> Iterator[list[CheckedRow]]:
        query = "SELECT n, rows FROM chunk WHERE n > ? ORDER BY n LIMIT 1"
        chunk_number = 0
        while chunk := self.connection.execute(query, (chunk_number,)).fetchone():
            chunk_number, pickled_rows = chunk
            # From a private file of this process, written just before.
            yield pickle.loads(pickled_rows)  # noqa: S301

    def ends(self, first: int, last: int) -> list[CheckedRow]:
        # A chunk may have a single row.
        query = "SELECT rows FROM (SELECT n, rows FROM chunk ORDER BY n {} LIMIT ?) AS some ORDER BY n"
        head, tail = (
            [
                row
                for (pickled_rows,) in self.connection.execute(query.format(order), (count,))
                for row in pickle.loads(pickled_rows)  # noqa: S301 - as in `chunks`
            ]
            for order, count in (("ASC", first), ("DESC", last))
        )
        shown_rows = {row.row.line: row for row in [*head[:first], *tail[-last:]]}
        return list(shown_rows.values())

    def occurrences(self, texts: Sequence[str]) -> list[int]:
        hashes = list(map(_short, texts))
        query = f"SELECT text, times FROM seen WHERE text IN ({','.join('?' * len(hashes))})"  # noqa: S608 - marks only
        times = dict(self.connection.execute(query, hashes))
        counts = []
        for text_hash in hashes:
            times[text_hash] = times.get(text_hash, 0) + 1
            counts.append(times[text_hash])
        self.connection.executemany("INSERT OR REPLACE INTO seen VALUES (?,?)", times.items())
        return counts

    def first_with_key(self, line_and_content_by_key: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
        first_by_key = {}
        for key, (row_line, content) in line_and_content_by_key.items():
            hashed_key_row = (_short(key), row_line, _short(content))
            self.connection.execute("INSERT OR IGNORE INTO key VALUES (?,?,?)", hashed_key_row)
            first_line, stored_hash = self.connection.execute(
                "SELECT line, content FROM key WHERE key = ?", hashed_key_row[:1]
            ).fetchone()
            first_by_key[key] = (int(first_line), content if stored_hash == hashed_key_row[2] else "")
        return first_by_key

    def line_of(self, facts: str) -> int:
        row = self.connection.execute("SELECT line FROM said WHERE facts = ?", (_short(facts),)).fetchone()
        return row[0] if row else 0

    def add_lines(self, line_by_facts: Mapping[str, int]) -> None:
        parameters = ((_short(facts), line) for facts, line in line_by_facts.items())
        self.connection.executemany("INSERT OR IGNORE INTO said VALUES (?,?)", parameters)

    def taken(self, payment_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
        placeholders = ",".join("?" * len(payment_ids))
        query = f"SELECT id, taken, charged_back FROM payment WHERE id IN ({placeholders})"  # noqa: S608 - marks only
        return {
            payment_id: (taken_minor, charged_back_minor)
            for payment_id, taken_minor, charged_back_minor in self.connection.execute(query, payment_ids)
        }

    def take(self, amounts_by_payment: Mapping[int, tuple[int, int]]) -> None:
        parameters = ((payment_id, *amounts) for payment_id, amounts in amounts_by_payment.items())
        self.connection.executemany("INSERT OR REPLACE INTO payment VALUES (?,?,?)", parameters)


def _short(text: str) -> bytes:
    """A 16-byte hash that identifies the text."""
    return blake2b(text.encode(), digest_size=16).digest()
