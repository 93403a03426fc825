"""Verifying the audit chain against SHA-256 over the same bytes, which no verification can do without.

python -m benchmarks.audit_chain [--rows 1000000]
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, Scale, figure

from refundcli.services.clock import SystemClock
from refundcli.store.checks.audited_rows import audit_findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.repositories.transaction import SqlWriting
from refundcli.store.unit_of_work import SqlBooks

ROWS, AT_ONCE = 1_000_000, 10_000


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of verifying all entries, and of hashing the bytes that their hashes cover."""

    verify: float
    hashing: float


def measure(rows: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        books = SqlBooks(store_engine(f"sqlite:///{Path(name) / 'books.db'}"), SystemClock(UTC), "Ada Lovelace")
        for first in range(0, rows, AT_ONCE):
            books.write(partial(_write, first=first, count=min(AT_ONCE, rows - first)))
        began = time.perf_counter()
        findings = audit_findings(books.inspect)
        verify = time.perf_counter() - began
        assert (findings.entries, findings.sentences) == (rows, [])
        return Measured(verify, books.inspect(lambda connection: _hashing(connection.connection)))


def _write(tx: SqlWriting, *, first: int, count: int) -> None:
    for number in range(first, first + count):
        refund_id, reference = f"rf_{number:026}", f"re_{number:024}"
        facts = {"state": "succeeded", "provider_status": "succeeded", "provider_reference": reference}
        tx.audit_trail.write("refund succeeded", refund_id, {"state": "submitted"}, facts)


def _hashing(connection: object) -> float:
    seconds, after = 0.0, 0
    query = (
        "SELECT seq, at, operator, host, login, action, subject, before, after, previous_hash, rows FROM audit_entry"
        " WHERE seq > ? ORDER BY seq LIMIT ?"
    )
    while True:
        rows = connection.execute(query, (after, AT_ONCE)).fetchall()  # type: ignore[attr-defined]
        if not rows:
            return seconds
        texts, after = [json.dumps(row).encode() for row in rows], rows[-1][0]
        began = time.perf_counter()
        for text in texts:
            hashlib.sha256(text).hexdigest()
        seconds += time.perf_counter() - began


def figures(scale: Scale) -> Iterator[Figure]:
    rows = scale.pick(full=ROWS, small=50_000, tiny=200)
    found = measure(rows)
    yield figure(
        f"`audit verify` of {rows:,} entries", f"{found.verify:.1f} s", "limit: SHA-256 over the same bytes, in Python",
        f"{found.hashing:.2f} s", [found.verify / found.hashing],
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    measured = measure(parser.parse_args().rows)
    print(f"{measured.verify:.2f} s, {measured.hashing:.2f} s: {measured.verify / measured.hashing:.1f}")
