"""Invoices by the million: `invoice import` against the `.import` of the sqlite3 shell, which checks nothing.

python -m benchmarks.importing [--rows 1000000]
"""

import argparse
import csv
import random
import shutil
import string
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from benchmarks.figures import REFUNDCLI, Figure, Measured, Scale, environ, figure, run, spread

SHELL = ["sqlite3", "plain.db", ".mode csv", ".import invoices.csv invoices"]
OURS = [REFUNDCLI, "--quiet", "invoice", "import", "invoices.csv", "-o", "json"]
ROWS = 1_000_000
SEED = 20_261_031
# What the goals of the project ask for.
MOST_OF_RIVAL, MOST_MEMORY_MB = 10, 200

COLUMNS = (
    "number", "customer", "customer_name", "currency", "total", "status", "issued_on", "due_on", "paid_on",
    "paid_amount", "payment_method", "provider", "payment_reference", "invoice_reference", "auto_refundable",
    "dispute", "refunded_amount", "products", "subscription",
)  # fmt: skip
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
FIRST_DAY, DAYS = date(2024, 1, 1), 900
NAMES = ("Ada Lovelace", "Grace Hopper", "Katherine Johnson", "Ørsted & Søn", "Müller, Maier und Co.", "Zoë O’Neill")
PRODUCTS = ("", "Season pass 2026", "Season pass 2026;Training kit", "Membership", "Training kit")


def measure(rows: int) -> Measured:
    """Seconds of one file."""
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name:
        folder = Path(name)
        make_file(folder / "invoices.csv", rows)
        # Before and after: over the minutes of ours the machine itself may become slower or faster.
        before = _rival(folder)
        ours = run(OURS, environ(folder), folder)
        return Measured(rows, ours.seconds, (before + _rival(folder)) / 2, ours.memory_mb)


def _rival(folder: Path) -> float:
    (folder / "plain.db").unlink(missing_ok=True)
    return run(SHELL, environ(folder), folder).seconds


def make_file(path: Path, rows: int) -> None:
    """The same file each time. Of ten invoices three are open, one was paid by transfer, and six through a provider."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(_invoices(rows))


def _invoices(rows: int) -> Iterator[tuple[object, ...]]:
    chance = random.Random(SEED)
    for n in range(1, rows + 1):
        issued = FIRST_DAY + timedelta(days=n * DAYS // rows)
        customer = chance.randrange(1, max(rows // 5, 2))
        total = f"{chance.randrange(1, 2000)}.{chance.randrange(100):02}"
        yield (
            f"INV-{n:07}", f"cus_{customer}", NAMES[customer % len(NAMES)], ("EUR", "USD", "GBP")[customer % 3], total,
            *_payment(n, chance, total, issued), PRODUCTS[n % len(PRODUCTS)], f"sub_{customer}" if n % 2 else "",
        )  # fmt: skip


def _payment(n: int, chance: random.Random, total: str, issued: date) -> Sequence[object]:
    """The columns from the status to what was given back before."""
    days, reference = (issued, issued + timedelta(days=14)), _stripe_id("in_1", n, chance)
    paid_on = issued + timedelta(days=chance.randrange(1, 20))
    kind = n % 10
    if kind < 3:
        return ("open", *days, "", "", "", "", "", reference, "", "", "")
    if kind == 3:
        return ("paid", *days, paid_on, total, "bank transfer", "", f"SEPA {n}", reference, "", "", "")
    paid_by = ("adyen", f"{chance.getrandbits(64):016X}") if kind < 7 else ("stripe", _stripe_id("pi_3", n, chance))
    dispute, back = ("open" if n % 500 == 9 else ""), (total if n % 50 == 8 else "")
    return ("paid", *days, paid_on, total, "card", *paid_by, reference, "true", dispute, back)


def _stripe_id(start: str, n: int, chance: random.Random) -> str:
    """As the ones in Stripe's examples: when it was made, whose it is, and chance. (Adyen's are all chance.)"""
    made = "".join(DIGITS[n // 62**place % 62] for place in (3, 2, 1, 0))
    return f"{start}M{made}LkdIwHu7ix{chance.getrandbits(32):08x}"


def figures(scale: Scale) -> Iterator[Figure]:
    """Raises where the shell is not there: nothing else is the rival that is named."""
    if shutil.which(SHELL[0]) is None:
        raise FileNotFoundError("the sqlite3 shell, which `invoice import` is measured against")
    count = scale.pick(full=ROWS, small=100_000, tiny=20)
    few = [measure(max(count // 10, 1)) for _ in range(scale.rounds)]
    many = [measure(count) for _ in range(scale.rounds)]
    for found in (few, many):
        yield figure(
            f"`invoice import` of {found[0].rows:,} rows of {len(COLUMNS)} columns",
            spread([each.ours for each in found], "s", digits=1),
            "rival: `.import` of the sqlite3 shell into one unchecked table",
            spread([each.rival for each in found], "s", digits=1),
            [each.ratio for each in found],
            at_most=MOST_OF_RIVAL,
        )
    yield figure(
        "its most memory",
        spread([each.memory_mb for each in many], "MB"),
        f"limit: {MOST_MEMORY_MB} MB",
        f"{MOST_MEMORY_MB} MB",
        [each.memory_mb / MOST_MEMORY_MB for each in many],
        at_most=1,
    )


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
