"""The processor time of one `refund` through Stripe, against a bare script that makes the same two requests.

python -m benchmarks.single_refund [--scale small]
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import REFUNDCLI, Figure, Scale, figure, print_figures, run, spread
from benchmarks.provider_runs import KEY, desk_of, fill, sandbox_process

# Imports the SDK, asks for the payment, refunds a cent of it, and commits a row before, between and after.
BARE = """
import sqlite3, sys
import stripe
sandbox, key, payment = sys.argv[1:]
client = stripe.StripeClient(key, base_addresses={"api": sandbox})
books = sqlite3.connect("bare.db")
books.execute("PRAGMA synchronous = EXTRA")
books.execute("CREATE TABLE IF NOT EXISTS step (what TEXT)")
def commit(what):
    books.execute("INSERT INTO step VALUES (?)", (what,))
    books.commit()
commit("reserved")
client.v1.payment_intents.retrieve(payment, {"expand": ["latest_charge.refunds"]})
commit("submitted")
refund = client.v1.refunds.create({"payment_intent": payment, "amount": 1})
commit(refund.id)
"""


def figures(scale: Scale) -> Iterator[Figure]:
    """In turn, the first of each pair changing; one round before is thrown away, so that all is compiled and cached."""
    rounds = scale.pick(full=21, small=7, tiny=1)
    # A payment for each: the snapshot of one with many refunds would be a larger answer.
    payments = 2 * (rounds + 1)
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="refundcli-bench-") as name, sandbox_process(payments, 0) as sandbox:
        folder = Path(name)
        url = f"sqlite:///{folder / 'books.db'}"
        fill(url, payments)
        desk = desk_of(folder, url, sandbox, 1, 0)

        def milliseconds(command: Sequence[str]) -> float:
            return 1000 * run(command, desk, folder).cpu_seconds

        for turn in range(rounds + 1):
            ours = _refund(f"INV-{2 * turn}")
            bare = [sys.executable, "-c", BARE, sandbox, KEY, f"pi_benchmark{2 * turn + 1}"]
            if turn % 2:
                theirs = milliseconds(bare)
                pairs.append((milliseconds(ours), theirs))
            else:
                pairs.append((milliseconds(ours), milliseconds(bare)))
    del pairs[0]
    yield figure(
        "one `refund` through Stripe: processor time",
        spread([mine for mine, _ in pairs], "ms"),
        "limit: a script that imports the SDK, makes the same two requests and commits three rows",
        spread([theirs for _, theirs in pairs], "ms"),
        [mine / theirs for mine, theirs in pairs],
        at_most=2.4,
    )


def _refund(invoice: str) -> list[str]:
    return [REFUNDCLI, "refund", invoice, "--amount", "0.01", "--reason", "other", "--yes"]


if __name__ == "__main__":
    print_figures(figures)
