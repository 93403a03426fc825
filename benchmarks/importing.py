"""Invoices by the million: `invoice import` against the `.import` of the sqlite3 shell, which checks nothing.

python -m benchmarks.importing [--rows 1000000]
"""

import argparse
import csv
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.figures import run

REFUNDCLI = str(Path(sys.executable).parent / "refundcli")
SHELL = "sqlite3"
ROWS = 1_000_000
SEED = 20_261_031
# What the goals of the project ask for.
MOST_OF_RIVAL, MOST_MEMORY_MB = 10, 200

COLUMNS = (
    "number", "customer", "customer_name", "currency", "total", "status", "issued_on", "due_on", "paid_on",
    "paid_amount", "payment_method", "provider", "payment_reference", "invoice_reference", "auto_refundable",
    "dispute", "refunded_amount", "products", "subscription",
)  # fmt: skip
FIRST_DAY = date(2024, 1, 1)
NAMES = ("Ada Lovelace", "Grace Hopper", "Katherine Johnson", "Ørsted & Søn", "Müller, Maier und Co.", "Zoë O’Neill")
PRODUCTS = ("", "Season pass 2026", "Season pass 2026;Training kit", "Membership", "Training kit")


@dataclass(frozen=True, slots=True)
class Measured:
    """One file: seconds of ours and of the rival's, and our most memory."""

    rows: int
    ours: float
    rival: float
    memory_mb: float

    @property
    def ratio(self) -> float:
        return self.ours / self.rival


def measure(rows: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        make_file(folder / "invoices.csv", rows)
        plain = [SHELL, "plain.db", ".mode csv", ".import invoices.csv invoices"]
        rival, _ = _run(plain, folder, os.environ)
        import_ours = [REFUNDCLI, "--quiet", "invoice", "import", "invoices.csv", "-o", "json"]
        ours, memory = _run(import_ours, folder, os.environ | _settings(folder))
        return Measured(rows, ours, rival, memory)


def make_file(path: Path, rows: int) -> None:
    """The same file each time. Of ten invoices three are open; of seven paid ones, one was taken outside."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(_invoices(rows))


def _invoices(rows: int) -> Iterator[tuple[object, ...]]:
    chance = random.Random(SEED)
    for n in range(1, rows + 1):
        issued = FIRST_DAY + timedelta(days=n * 900 // rows)
        customer = chance.randrange(1, max(rows // 5, 2))
        total = f"{chance.randrange(1, 2000)}.{chance.randrange(100):02}"
        paid_on = issued + timedelta(days=chance.randrange(1, 20))
        yield (
            f"INV-{n:07}", f"cus_{customer}", NAMES[customer % len(NAMES)], ("EUR", "USD", "GBP")[customer % 3], total,
            *_payment(n, chance, total, issued, paid_on), PRODUCTS[n % len(PRODUCTS)],
            f"sub_{customer}" if n % 2 else "",
        )  # fmt: skip


def _payment(n: int, chance: random.Random, total: str, issued: date, paid_on: date) -> Sequence[object]:
    """From the status to what was given back before."""
    days, reference = (issued, issued + timedelta(days=14)), f"in_{chance.getrandbits(96):024x}"
    kind = n % 10
    if kind < 3:
        return ("open", *days, "", "", "", "", "", reference, "", "", "")
    if kind == 3:
        return ("paid", *days, paid_on, total, "bank transfer", "", f"SEPA {n}", reference, "", "", "")
    if kind < 7:
        paid_by = ("adyen", f"{chance.getrandbits(64):016X}")
    else:
        paid_by = ("stripe", f"pi_{chance.getrandbits(96):024x}")
    dispute, back = ("open" if n % 500 == 9 else ""), (total if n % 50 == 8 else "")
    return ("paid", *days, paid_on, total, "card", *paid_by, reference, "true", dispute, back)


def _settings(folder: Path) -> dict[str, str]:
    return {
        "REFUNDCLI_STORE_URL": f"sqlite:///{folder / 'books.db'}",
        "REFUNDCLI_OPERATOR_NAME": "Ada Lovelace",
        "REFUNDCLI_OPERATOR_TIMEZONE": "UTC",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


def _run(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from the start of the process to its end, and its most memory in MB."""
    ran = run(command, environ, folder)
    return ran.seconds, ran.memory_mb


def rows(*, count: int = ROWS) -> list[tuple[str, str, str, str, str]]:
    """For the table of figures: what was measured, the figure, what it is held against, that figure, the ratio."""
    few, many = measure(max(count // 10, 1)), measure(count)
    return [
        (
            f"`invoice import` of {many.rows:,} rows of {len(COLUMNS)} columns",
            f"{many.ours:.1f} s",
            "rival: `.import` of the sqlite3 shell",
            f"{many.rival:.1f} s",
            f"{many.ratio:.2f}",
        ),
        (
            "its most memory",
            f"{many.memory_mb:.0f} MB",
            f"itself at {few.rows:,} rows",
            f"{few.memory_mb:.0f} MB",
            f"{many.memory_mb / few.memory_mb:.2f}",
        ),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    found = measure(options.parse_args().rows)
    print(
        f"{found.rows:,} rows of {len(COLUMNS)} columns: {found.ours:.1f} s ({found.rows / found.ours:,.0f} rows/s) "
        f"against {found.rival:.1f} s, ratio {found.ratio:.2f}; {found.memory_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
