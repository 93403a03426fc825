"""How long `reconcile --report` takes, and how much memory: as many payments in the books as rows in the report.

python -m benchmarks.reconcile [--rows 100000 1000000]
"""

import argparse
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import REFUNDCLI, Figure, Scale, figure, run, spread

SIZES = (100_000, 1_000_000)
HEADS = ("Payments and rows", "Differences", "Time", "Rows a second", "Most memory")

ACCOUNT = "Shop"
HEADER = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC)\n"
)
# Of a thousand rows one has another amount, and one is a refund that nobody here knew: it is written down.
OTHER_AMOUNT, REFUND = 1, 2
DIFFERENCES = 3  # its exit code when there are some

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
INVOICES = (
    COUNT + "INSERT INTO invoice (id, number, customer, customer_name, currency, total, paid, returned, status,"
    " issued_on, products, subscription, source, created_at, updated_at) SELECT i, printf('INV-%07d', i), 'cus', '',"
    " 'EUR', 10000, 10000, 0, 'paid', '2026-09-01', '', '', 'bench', '2026-09-01', '2026-09-01' FROM n"
)
PAYMENTS = (
    COUNT + "INSERT INTO payment (invoice_id, position, provider, method, psp_reference, reference, allocated,"
    " reserved, refunded, returned_elsewhere, auto_refundable, processing, dispute, dispute_recorded, opening_returned,"
    " paid_on) SELECT i, 0, 'adyen', 'card', printf('PSP%013d', i * 7919 % 9999991), '', 10000, 0, 0, 0, 1, 0, '', 0,"
    " 0, '2026-09-03' FROM n"
)


@dataclass(frozen=True, slots=True)
class Run:
    rows: int
    differences: int
    seconds: float
    memory_mb: float

    def row(self) -> tuple[str, ...]:
        memory = f"{self.memory_mb:.0f} MB"
        return f"{self.rows:,}", f"{self.differences:,}", f"{self.seconds:.1f} s", f"{self.per_second:,.0f}", memory

    @property
    def per_second(self) -> float:
        return self.rows / self.seconds


def measure(rows: int) -> Run:
    """One comparison in a process of its own; its memory is what the system says of that process."""
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        environ = _environ(folder)
        _make_store(folder / "books.db", rows, environ)
        report = folder / "settlement_detail_report.csv"
        with report.open("w", encoding="utf-8") as file:
            file.writelines(_report(rows))
        command = [REFUNDCLI, "--quiet", "reconcile", "--provider", "adyen", "--report", str(report), "-o", "csv"]
        ran = run(command, environ, folder, ends_with=DIFFERENCES, out=folder / "differences.csv")
        differences = len((folder / "differences.csv").read_text().splitlines()) - 1
        return Run(rows, differences, ran.seconds, ran.memory_mb)


def table_rows(sizes: Sequence[int] = SIZES) -> Iterator[tuple[str, ...]]:
    """A row for each size, in the order of HEADS."""
    for rows in sizes:
        yield measure(rows).row()


def figures(scale: Scale) -> Iterator[Figure]:
    few, many = (measure(scale.pick(full=size, small=size // 20, tiny=size // 1000)) for size in SIZES)
    yield figure(
        f"`reconcile --report`, {many.rows:,} payments and rows",
        spread([many.per_second], "rows/s"),
        f"itself of {few.rows:,}",
        spread([few.per_second], "rows/s"),
        [many.per_second / few.per_second],
    )
    memory = [each.memory_mb for each in (many, few)]
    yield figure(
        "its most memory",
        spread(memory[:1], "MB"),
        f"itself of {few.rows:,}",
        spread(memory[1:], "MB"),
        [memory[0] / memory[1]],
        at_most=1.2,
    )


def _environ(folder: Path) -> Mapping[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("REFUNDCLI_")}
    ours = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "REFUNDCLI_ADYEN_MERCHANT_ACCOUNT": ACCOUNT}
    return kept | ours | {"REFUNDCLI_STORE_URL": f"sqlite:///{folder}/books.db", "REFUNDCLI_OPERATOR_NAME": "bench"}


def _make_store(path: Path, rows: int, environ: Mapping[str, str]) -> None:
    """By the program itself, then filled behind its back: an import of a million rows is another measurement."""
    subprocess.run([REFUNDCLI, "events", "apply"], env=environ, cwd=path.parent, check=True, capture_output=True)
    with closing(sqlite3.connect(path)) as line, line:
        line.execute(INVOICES, (rows,))
        line.execute(PAYMENTS, (rows,))


def _report(rows: int) -> Iterator[str]:
    yield HEADER
    for number in range(1, rows + 1):
        payment, place = f"PSP{number * 7919 % 9999991:013d}", number % 1000
        shared = f"Co,{ACCOUNT},{payment},order-{number},visa,2026-09-04 14:03:00,CET"
        if place == REFUND:
            yield f"{shared},Refunded,REF{number:013d},EUR,30.00,\n"
        else:
            yield f"{shared},Settled,{payment},EUR,,{'90.00' if place == OTHER_AMOUNT else '100.00'}\n"


def main() -> None:
    options = argparse.ArgumentParser(description="Measure reconcile against a long report.")
    options.add_argument("--rows", type=int, nargs="+", default=SIZES)
    print("\t".join(HEADS))
    for row in table_rows(options.parse_args().rows):
        print("\t".join(row), flush=True)


if __name__ == "__main__":
    main()
