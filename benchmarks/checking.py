"""`store check`: its memory, and what a second terminal's `refund` waits for beside it.

python -m benchmarks.checking [--rows 1000000]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from benchmarks.bulk_records import RECORDS, make_file, make_store
from benchmarks.figures import REFUNDCLI, Figure, Ran, Scale, environ, figure, run
from benchmarks.provider_runs import desk_of, fill, sandbox_process
from benchmarks.second_terminal import ALONE, MOST_WAIT_SECONDS, refund_once

from refundcli.services.clock import SystemClock
from refundcli.store.databases.engine import store_engine
from refundcli.store.unit_of_work import SqlBooks

CHECK = [REFUNDCLI, "--quiet", "store", "check", "-o", "json"]
ROWS = 1_000_000
# Of five invoices one was refunded.
RECORDS_OF = 5
MOST_MEMORY_MB = 200


@dataclass(frozen=True, slots=True)
class Measured:
    """The check by itself and beside refunds, and seconds of each refund: with the books to itself, and beside it."""

    check: Ran
    beside_refunds: Ran
    alone: list[float]
    beside: list[float]

    @property
    def waits(self) -> list[float]:
        """What each refund took longer than one that has the books to itself."""
        return [max(0.0, each - statistics.median(self.alone)) for each in self.beside]


def measure(rows: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        make_books(folder, rows)
        return measure_at(folder)


def make_books(folder: Path, rows: int) -> None:
    make_store(folder / "books.db", rows)
    # The store was not written by refundcli, so its audit trail begins with what is there.
    books = SqlBooks(store_engine(f"sqlite:///{folder / 'books.db'}"), SystemClock(UTC), "Ada Lovelace")
    books.write(_write_baseline)
    books.engine.dispose()
    make_file(folder / "transfers.csv", rows // RECORDS_OF)
    run(RECORDS, environ(folder), folder)


def _write_baseline(tx: Any) -> None:
    tx.audit_trail.write_baseline()


def measure_at(folder: Path) -> Measured:
    """Of the store that is there."""
    with sandbox_process(1, 0) as sandbox:
        url = f"sqlite:///{folder / 'books.db'}"
        fill(url, 1)
        desk = desk_of(folder, url, sandbox, 1, 0)
        check = run(CHECK, environ(folder), folder)
        alone = [refund_once(desk, folder) for _ in range(ALONE)]
        beside = []
        with ThreadPoolExecutor(1) as terminal:
            checking = terminal.submit(run, CHECK, environ(folder), folder)
            while not checking.done():
                beside.append(refund_once(desk, folder))
                time.sleep(0.5)
            return Measured(check, checking.result(), alone, beside)


def figures(scale: Scale) -> Iterator[Figure]:
    rows = scale.pick(full=ROWS, small=50_000, tiny=20)
    less, found = measure(max(rows // 10, 10)), measure(rows)
    name = f"`store check` of {rows:,} invoices and {rows // RECORDS_OF:,} records: most memory"
    ours, limit = f"{found.check.memory_mb:.0f} MB", f"{MOST_MEMORY_MB} MB"
    yield figure(name, ours, f"limit: {limit}", limit, [found.check.memory_mb / MOST_MEMORY_MB], at_most=1)
    yield figure(
        "its most memory", ours, f"itself of {max(rows // 10, 10):,}", f"{less.check.memory_mb:.0f} MB",
        [found.check.memory_mb / less.check.memory_mb], at_most=1.2,
    )  # fmt: skip
    yield figure(
        f"a second terminal's `refund` beside it, how much longer than by itself, the slowest of {len(found.beside)}",
        f"{max(found.waits):.2f} s",
        "limit: two seconds",
        f"{MOST_WAIT_SECONDS:.2f} s",
        [max(found.waits) / MOST_WAIT_SECONDS],
        at_most=1,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--folder", type=Path, help="The store in it is measured, and no new one made.")
    wanted = options.parse_args()
    found = measure_at(wanted.folder) if wanted.folder else measure(wanted.rows)
    print(
        f"check {found.check.seconds:.1f} s, {found.check.memory_mb:.0f} MB; beside refunds"
        f" {found.beside_refunds.seconds:.1f} s, {found.beside_refunds.memory_mb:.0f} MB\n"
        f"{len(found.beside)} refunds: {statistics.median(found.beside):.2f} s, {max(found.beside):.2f} s at most;"
        f" alone {statistics.median(found.alone):.2f} s; waited {max(found.waits):.2f} s at most"
    )


if __name__ == "__main__":
    main()
