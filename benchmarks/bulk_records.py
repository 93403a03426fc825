"""Records by the million: `mark-refunded --from` against bare sqlite3, and what a second terminal waits meanwhile.

python benchmarks/bulk_records.py [--rows 1000000]
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from refundcli.services.bulk_check import CHUNK
from refundcli.store.engine import CACHE_KIB, store_engine
from refundcli.store.migrate import ensure_schema

REFUNDCLI = str(Path(sys.executable).parent / "refundcli")
ROWS = 1_000_000
# What the goals of the project ask for.
LEAST_OF_RIVAL, MOST_MEMORY_MB, MOST_GROWTH, MOST_WAIT_SECONDS = 0.5, 200, 1.2, 2.0

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
INVOICES = (
    COUNT + "INSERT INTO invoice (id, number, customer, customer_name, currency, total, paid, returned, status,"
    " issued_on, products, subscription, source, created_at, updated_at) SELECT i, printf('INV-%07d', i),"
    " printf('cus_%d', i % 5000), 'Ada Lovelace', 'EUR', 10000, 10000, 0, 'paid', '2026-09-01', '', '', 'bench',"
    " '2026-09-01 00:00:00.000000', '2026-09-01 00:00:00.000000' FROM n"
)
PAYMENTS = (
    COUNT + "INSERT INTO payment (id, invoice_id, position, provider, method, reference, captured, reserved, refunded,"
    " returned_elsewhere, auto_refundable, processing, dispute, dispute_recorded, opening_returned)"
    " SELECT i, i, 0, '', 'bank transfer', '', 10000, 0, 0, 0, 0, 0, '', 0, 0 FROM n"
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One file of records: rows by the second of ours and of the rival, and our memory."""

    rows: int
    ours: float
    rival: float
    memory_mb: float
    waits: Sequence[float] = ()

    @property
    def ratio(self) -> float:
        return self.ours / self.rival


def measure(rows: int, *, second_terminal: bool = True) -> Measured:
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        store, copy = folder / "books.db", folder / "rival.db"
        _make_store(store, rows)
        shutil.copy(store, copy)
        _make_file(folder / "transfers.csv", rows)
        waits: list[float] = []
        over = threading.Event()
        terminal = threading.Thread(target=_second_terminal, args=(folder, over, waits), daemon=True)
        if second_terminal:
            terminal.start()
        seconds, memory = _ours(folder)
        over.set()
        if second_terminal:
            terminal.join()
        return Measured(rows, rows / seconds, rows / _rival(store, copy, rows), memory, waits)


def _make_store(path: Path, rows: int) -> None:
    engine = store_engine(f"sqlite:///{path}")
    ensure_schema(engine, at=datetime.now(UTC), writing=True)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as line:
        line.execute("PRAGMA synchronous = OFF")
        line.execute("BEGIN")
        line.execute(INVOICES, (rows + 1,))
        line.execute(PAYMENTS, (rows + 1,))
        line.execute("COMMIT")


def _make_file(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("invoice,amount,reason,method,reference,refunded_on,memo\n")
        file.writelines(
            f"INV-{n:07},,returned-goods,bank transfer,SEPA {n},2026-09-15,\n" for n in range(1, rows + 1)
        )


def _environ(folder: Path) -> dict[str, str]:
    return os.environ | {
        "REFUNDCLI_STORE_URL": f"sqlite:///{folder / 'books.db'}",
        "REFUNDCLI_OPERATOR_NAME": "Ada Lovelace",
        "REFUNDCLI_OPERATOR_TIMEZONE": "UTC",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


def _ours(folder: Path) -> tuple[float, float]:
    """Seconds from the start of the process to its end, and its most memory in MB: the check of the file included."""
    command = [REFUNDCLI, "--quiet", "mark-refunded", "--from", "transfers.csv", "--yes", "-o", "json"]
    started = time.perf_counter()
    running = subprocess.Popen(
        command, env=_environ(folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(running.pid, 0)
    seconds = time.perf_counter() - started
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0, f"it ended with {running.returncode}"
    return seconds, used.ru_maxrss / 1024


def _second_terminal(folder: Path, over: threading.Event, waits: list[float]) -> None:
    """Records one penny after another of an invoice that is not in the file, and notes how long each takes."""
    one = [REFUNDCLI, "mark-refunded", "--amount", "0.01", "--reason", "other", "--yes"]
    environ = _environ(folder)
    while not over.is_set():
        with closing(sqlite3.connect(folder / "books.db")) as line:
            (last,) = line.execute("SELECT max(number) FROM invoice").fetchone()
        started = time.perf_counter()
        subprocess.run([*one, last], env=environ, cwd=folder, check=True, capture_output=True)
        waits.append(time.perf_counter() - started)
        over.wait(1)


def _rival(done: Path, store: Path, rows: int) -> float:
    """Seconds in which bare sqlite3 writes what ours wrote; reading it first is not counted."""
    seconds = 0.0
    with closing(sqlite3.connect(done)) as source, closing(sqlite3.connect(store, isolation_level=None)) as line:
        for pragma in ("foreign_keys = ON", "synchronous = EXTRA", "trusted_schema = OFF", f"cache_size = -{CACHE_KIB}"):
            line.execute(f"PRAGMA {pragma}")
        (run,) = source.execute("SELECT id, * FROM bulk_run").fetchall() or [None]
        if run:
            _insert(line, "bulk_run", [run[1:]])
        for step in _written(source, rows):
            began = time.perf_counter()
            line.execute("BEGIN IMMEDIATE")
            step(line)
            line.execute("COMMIT")
            seconds += time.perf_counter() - began
    return seconds


def _written(source: sqlite3.Connection, rows: int) -> Iterator[Callable[[sqlite3.Connection], None]]:
    """Chunk by chunk: the rows of each table in the order in which ours wrote them."""
    of_run = "WHERE run_id IS NOT NULL"
    for start in range(0, rows, CHUNK):
        page = f"ORDER BY rowid LIMIT {CHUNK} OFFSET 0"
        refunds = source.execute(
            f"SELECT rowid, * FROM refund {of_run} AND rowid > ? {page}", (_last.get("refund", 0),)
        ).fetchall()
        _last["refund"] = refunds[-1][0]
        marks = ",".join("?" * len(refunds))
        ids = [row[1] for row in refunds]
        notes = source.execute(f"SELECT * FROM credit_note WHERE refund_id IN ({marks}) ORDER BY rowid", ids).fetchall()
        invoices = [row[2] for row in refunds]
        numbers = [f"INV-{n:07}" for n in invoices]
        audit = source.execute(
            f"SELECT * FROM audit_entry WHERE subject IN ({marks}) OR subject IN ({marks}) ORDER BY seq", ids + numbers
        ).fetchall()
        amounts = [row[5] for row in refunds]

        def step(
            line: sqlite3.Connection,
            refunds: list[tuple[object, ...]] = refunds,
            notes: list[tuple[object, ...]] = notes,
            audit: list[tuple[object, ...]] = audit,
            start: int = start,
            invoices: list[int] = invoices,
            amounts: list[int] = amounts,
        ) -> None:
            guard = "WHERE id = ? AND reserved + refunded + returned_elsewhere + ? <= captured"
            line.executemany(
                f"UPDATE payment SET refunded = refunded + ? {guard}",
                [(a, i, a) for a, i in zip(amounts, invoices, strict=True)],
            )
            _insert(line, "refund", [row[1:] for row in refunds])
            line.execute("INSERT OR REPLACE INTO counter VALUES ('credit_note:2026', ?)", (start + len(refunds),))
            _insert(line, "credit_note", notes)
            _insert(line, "audit_entry", audit)
            line.executemany(
                "UPDATE invoice SET paid = 10000, returned = ?, status = 'refunded', updated_at = '2026-10-01' WHERE id = ?",
                zip(amounts, invoices, strict=True),
            )

        yield step


_last: dict[str, int] = {}


def _insert(line: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    line.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
