"""What a second terminal's `refund` waits for while a long file of records is written.

python -m benchmarks.second_terminal [--rows 200000]
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bulk_records import RECORDS, make_file, make_store
from benchmarks.figures import REFUNDCLI, Figure, Scale, environ, figure, run, spread
from benchmarks.provider_runs import desk_of, fill, sandbox_process

ROWS = 200_000
ALONE = 5
# What the goals of the project ask for.
MOST_WAIT_SECONDS = 2.0
# Through Stripe, a cent each time: three transactions and two requests.
REFUND = [REFUNDCLI, "refund", "INV-0", "--amount", "0.01", "--reason", "other", "--allow-duplicate", "--yes"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each refund from the start of its process to its end, with the books to itself and beside the run."""

    alone: list[float]
    beside: list[float]

    @property
    def waits(self) -> list[float]:
        """What each took longer than one that has the books to itself."""
        return [max(0.0, each - statistics.median(self.alone)) for each in self.beside]


def measure(rows: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name, sandbox_process(1, 0) as sandbox:
        folder = Path(name)
        url = f"sqlite:///{folder / 'books.db'}"
        make_store(folder / "books.db", rows)
        fill(url, 1)
        make_file(folder / "transfers.csv", rows)
        desk = desk_of(folder, url, sandbox, 1, 0)
        alone = [refund_once(desk, folder) for _ in range(ALONE)]
        beside = []
        with ThreadPoolExecutor(1) as terminal:
            records = terminal.submit(run, RECORDS, environ(folder), folder)
            while not records.done():
                beside.append(refund_once(desk, folder))
                time.sleep(0.5)
            records.result()
        return Measured(alone, beside)


def refund_once(desk: Mapping[str, str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(REFUND, env=desk, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def figures(scale: Scale) -> Iterator[Figure]:
    rows = scale.pick(full=ROWS, small=50_000, tiny=20)
    found = measure(rows)
    yield figure(
        f"a second terminal's `refund` during {rows:,} records, how much longer than by itself, the slowest of"
        f" {len(found.beside)}",
        f"{max(found.waits):.2f} s",
        "limit: two seconds",
        f"{MOST_WAIT_SECONDS:.2f} s",
        [max(found.waits) / MOST_WAIT_SECONDS],
        at_most=1,
    )
    yield figure(
        "the same, its whole command",
        spread(found.beside, "s", digits=2),
        "itself with the books to itself",
        spread(found.alone, "s", digits=2),
        [each / statistics.median(found.alone) for each in found.beside],
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    found = measure(options.parse_args().rows)
    print(
        f"{len(found.beside)} refunds: {statistics.median(found.beside):.2f} s, {max(found.beside):.2f} s at most;"
        f" alone {statistics.median(found.alone):.2f} s; waited {max(found.waits):.2f} s at most"
    )


if __name__ == "__main__":
    main()
