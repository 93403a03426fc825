"""Records by the million: `mark-refunded --from` against bare sqlite3.

python -m benchmarks.bulk_records [--rows 1000000]
"""

import argparse
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import REFUNDCLI, Figure, Measured, Scale, environ, figure, run, spread

from refundcli.services.bulk.validation import CHUNK
from refundcli.store.databases.engine import store_engine
from refundcli.store.databases.sqlite_file import CACHE_KIB
from refundcli.store.migrate import ensure_schema

ROWS = 1_000_000
# What the goals of the project ask for.
LEAST_OF_RIVAL, MOST_MEMORY_MB, MOST_GROWTH = 0.5, 200, 1.2
RECORDS = [REFUNDCLI, "--quiet", "mark-refunded", "--from", "transfers.csv", "--yes", "-o", "json"]

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
INVOICES = (
    COUNT + "INSERT INTO invoice (id, number, customer, customer_name, currency, total, paid, returned, status,"
    " issued_on, products, subscription, source, created_at, updated_at) SELECT i, printf('INV-%07d', i),"
    " printf('cus_%d', i % 5000), 'Ada Lovelace', 'EUR', 10000, 10000, 0, 'paid', '2026-09-01', '', '', 'bench',"
    " '2026-09-01 00:00:00.000000', '2026-09-01 00:00:00.000000' FROM n"
)
PAYMENTS = (
    COUNT + "INSERT INTO payment (id, invoice_id, position, provider, method, reference, allocated, reserved, refunded,"
    " returned_elsewhere, auto_refundable, processing, dispute, dispute_recorded, opening_returned)"
    " SELECT i, i, 0, '', 'bank transfer', '', 10000, 0, 0, 0, 0, 0, '', 0, 0 FROM n"
)
TAKE = (
    "UPDATE payment SET refunded = refunded + ?"
    " WHERE id = ? AND reserved + refunded + returned_elsewhere + ? <= allocated"
)
RETURNED = "UPDATE invoice SET returned = ?, status = 'refunded', updated_at = '2026-10-01' WHERE id = ?"
NUMBER = (
    "INSERT INTO counter (name, value) VALUES ('credit_note', ?)"
    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)


def measure(rows: int) -> Measured:
    """Rows by the second, of one file of records."""
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        store, copy = folder / "books.db", folder / "rival.db"
        make_store(store, rows)
        shutil.copy(store, copy)
        make_file(folder / "transfers.csv", rows)
        # From the start of the process to its end: the check of the file included.
        ran = run(RECORDS, environ(folder), folder)
        return Measured(rows, rows / ran.seconds, rows / _rival(store, copy), ran.memory_mb)


def make_store(path: Path, invoices: int) -> None:
    """A store of paid invoices, from INV-0000001 on."""
    engine = store_engine(f"sqlite:///{path}")
    ensure_schema(engine, at=datetime.now(UTC), writing=True)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as line:
        line.execute("PRAGMA synchronous = OFF")
        line.execute("BEGIN")
        line.execute(INVOICES, (invoices,))
        line.execute(PAYMENTS, (invoices,))
        line.execute("COMMIT")


def make_file(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("invoice,amount,reason,method,reference,refunded_on,memo\n")
        file.writelines(f"INV-{n:07},,returned-goods,bank transfer,SEPA {n},2026-09-15,\n" for n in range(1, rows + 1))


def _rival(done: Path, store: Path) -> float:
    """Seconds in which bare sqlite3 writes what ours wrote, in the same chunks; reading it first is not counted."""
    seconds = 0.0
    with closing(sqlite3.connect(done)) as source, closing(sqlite3.connect(store, isolation_level=None)) as line:
        for pragma in ("foreign_keys=ON", "synchronous=EXTRA", "trusted_schema=OFF", f"cache_size=-{CACHE_KIB}"):
            line.execute(f"PRAGMA {pragma}")
        line.executemany(_into("bulk_run", source), source.execute("SELECT * FROM bulk_run").fetchall())
        for chunk in _chunks(source):
            began = time.perf_counter()
            line.execute("BEGIN IMMEDIATE")
            for statement, rows in chunk:
                line.executemany(statement, rows)
            line.execute("COMMIT")
            seconds += time.perf_counter() - began
    return seconds


def _chunks(source: sqlite3.Connection) -> Iterator[list[tuple[str, list[tuple[object, ...]]]]]:
    """The statements of one chunk after the other, with the rows that ours wrote in it."""
    into = {table: _into(table, source) for table in ("refund", "credit_note", "audit_entry")}
    made, seq = 0, 0
    while True:
        query = "SELECT rowid, id, payment_id, invoice_id, amount FROM refund WHERE run_id IS NOT NULL AND rowid > ?"
        found = source.execute(f"{query} ORDER BY rowid LIMIT {CHUNK}", (made,)).fetchall()
        if not found:
            return
        first, made = found[0][0], found[-1][0]
        between = f"rowid BETWEEN {first} AND {made}"
        refunds = source.execute(f"SELECT * FROM refund WHERE run_id IS NOT NULL AND {between}").fetchall()
        ids = f"SELECT id FROM refund WHERE run_id IS NOT NULL AND {between}"
        notes = source.execute(f"SELECT * FROM credit_note WHERE refund_id IN ({ids}) ORDER BY rowid").fetchall()
        # A refund, its credit note, and its invoice that became Refunded.
        audit = source.execute(
            "SELECT * FROM audit_entry WHERE seq > ? ORDER BY seq LIMIT ?", (seq, 3 * len(found))
        ).fetchall()
        seq = audit[-1][0]
        yield [
            (TAKE, [(amount, payment, amount) for _, _, payment, _, amount in found]),
            (into["refund"], refunds),
            (NUMBER, [(len(found),)]),
            (into["credit_note"], notes),
            (RETURNED, [(amount, invoice) for _, _, _, invoice, amount in found]),
            (into["audit_entry"], audit),
        ]


def _into(table: str, source: sqlite3.Connection) -> str:
    columns = source.execute(f"SELECT * FROM {table} LIMIT 0").description
    return f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(columns))})"


def figures(scale: Scale) -> Iterator[Figure]:
    count = scale.pick(full=ROWS, small=50_000, tiny=20)
    few = [measure(max(count // 10, 1)) for _ in range(scale.rounds)]
    many = measure(count)
    for found in (few, [many]):
        yield figure(
            f"`mark-refunded --from` of {found[0].rows:,} rows",
            spread([each.ours for each in found], "rows/s"),
            "rival: bare sqlite3 writing the same rows",
            spread([each.rival for each in found], "rows/s"),
            [each.ratio for each in found],
            at_least=LEAST_OF_RIVAL,
        )
    yield figure(
        "its most memory",
        f"{many.memory_mb:.0f} MB",
        f"limit: {MOST_MEMORY_MB} MB",
        f"{MOST_MEMORY_MB} MB",
        [many.memory_mb / MOST_MEMORY_MB],
        at_most=1,
    )
    yield figure(
        "its most memory",
        f"{many.memory_mb:.0f} MB",
        f"itself at {few[0].rows:,} rows",
        spread([each.memory_mb for each in few], "MB"),
        [many.memory_mb / each.memory_mb for each in few],
        at_most=MOST_GROWTH,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    found = measure(options.parse_args().rows)
    print(
        f"{found.rows:,} rows: {found.ours:,.0f}/s against {found.rival:,.0f}/s, ratio {found.ratio:.2f}; "
        f"{found.memory_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
