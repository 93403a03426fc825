"""Bulk runs killed repeatedly: whatever the instant, each row is done once, in the books and at the provider.

PYTHONPATH=tests python -m faults.bulk_kills [--kind refund] [--database sqlite] [--workers 3] [--kills 50] [--seed 1]
    [--at-once 2] [--store URL, of an empty database]

With --stops, workers are not killed but put to sleep until others have taken over what they had, and then woken; and
no two of them agree on what time it is.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from faults.contention import database
from faults.invariants import broken_audit_trail, doubled, not_committed_first, released_without_proof
from faults.processes import (
    HMAC_KEY,
    Command,
    Ended,
    Sandbox,
    ShiftedClock,
    become_an_operator,
    forked,
    operator_environ,
)
from faults.rows import AtProvider, Books, gave_money, name_of
from faults.verdict import summed
from refundcli import bootstrap
from refundcli.bootstrap import Services
from refundcli.cli.main import run
from refundcli.domain.bulk_run import RunKind
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.stripe.keys import fingerprint
from refundcli.services.bulk import refund_run, validation
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.clock import SystemClock
from refundcli.services.dispatch import leases
from refundcli.services.ports.books import Writing
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.services.webhooks.deliveries import store_events, verify
from refundcli.settings import load
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.migrate import ensure_schema
from refundcli.store.unit_of_work import SqlBooks

CAPTURED = 10_000
STRIPE_KEY = "sk_test_kills"
# Done, finished by another worker, unknown outcome, some rows refused, killed.
ALLOWED = (0, 3, 8, 9, -9)
_MOST_TRIES = 40
# The share of kills during work; the others come at any instant.
_AT_WORK = 0.7
# A worker that takes longer is hanging.
_LONGEST_SECONDS = 300
# Longer than a suspended worker's lease, shorter than the wait for the store.
_ASLEEP_SECONDS = 5.0
_LONGEST_SENTENCE = 500
# Below the skew that the books report as a wrong clock.
_CLOCKS = (timedelta(0), timedelta(minutes=4), timedelta(minutes=-4))
# How often a worker is killed between reserving and claiming, and how many updates arrive then.
_MEDDLES, _MEDDLINGS = 0.3, 2
_ACCEPTED = ("pending", "succeeded", "recorded")


@dataclass(frozen=True, slots=True)
class RequestedRow:
    """One row of the file and its expected outcome: the amount refunded from each payment, or a refusal."""

    invoice: str
    amount: str
    gives: dict[str, int]
    refused: bool = False
    # Equal rows need keys of their own.
    key: str = ""


@dataclass
class Siege:
    """One database and a provider; each file is run and killed until it is done."""

    kind: RunKind
    url: str
    folder: Path
    sandbox: Sandbox
    rows: int
    workers: int
    rng: random.Random
    # Longest life of a worker in seconds, from its start or its first work.
    longest: float = 0.5
    sleepy: bool = False
    broken: list[str] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    # Kills of workers that had done some work.
    at_work: int = 0
    stops: int = 0
    files: int = 0
    requested: list[RequestedRow] = field(default_factory=list)
    # Ready refunds of the current file that were barred, and by what.
    meddled: dict[str, str] = field(default_factory=dict)
    spoilt: set[str] = field(default_factory=set)
    meddlings: int = 0

    @property
    def environ(self) -> dict[str, str]:
        return operator_environ(
            self.folder,
            self.url,
            self.sandbox.url,
            stripe_key=STRIPE_KEY,
            adyen_key="kills",
            REFUNDCLI_REFUNDS_STRIPE_RATE="0",
            REFUNDCLI_REFUNDS_ADYEN_RATE="0",
            REFUNDCLI_REFUNDS_CONNECT_TIMEOUT="1" if self.sleepy else "5",
            REFUNDCLI_REFUNDS_READ_TIMEOUT="1" if self.sleepy else "30",
            REFUNDCLI_ADYEN_HMAC_KEY="env:ADYEN_HMAC_KEY",
            ADYEN_HMAC_KEY=HMAC_KEY,
        )

    @property
    def file(self) -> Path:
        return self.folder / f"file-{self.files}.csv"

    # --- the world -----------------------------------------------------------------------------------------

    def open(self) -> None:
        engine = store_engine(self.url)
        ensure_schema(engine, at=datetime.now(UTC), writing=True)
        engine.dispose()

        def pin(tx: Writing) -> None:
            tx.store.pin_livemode(False)
            tx.accounts.remember(Provider.STRIPE, fingerprint(STRIPE_KEY), "acct_kills", livemode=False)

        self._write(pin)
        self.sandbox.register_webhooks("adyen")

    def new_file(self) -> None:
        """Every second file has rows that are refused: the run reports them and does not attempt them again."""
        self.files += 1
        self.meddled, self.spoilt = {}, set()
        world = _World(f"{self.files}", self.rows, with_refusals=self.files % 2 == 0)
        marks = self.kind is RunKind.MARK_REFUNDED
        invoices = world.of_records() if marks else world.of_refunds(self.sandbox, self.rng)
        self._write(lambda tx: tx.imports.add_invoices(invoices, source="kills.csv"))
        self.requested = world.requested
        lines = (f"{row.invoice},{row.amount},other,{row.key}" for row in self.requested)
        self.file.write_text("\n".join(["invoice,amount,reason,key", *lines]) + "\n")

    def _write(self, work: Any) -> None:
        books = SqlBooks(store_engine(self.url), SystemClock(UTC), "Ada Lovelace")
        books.write(work)
        books.engine.dispose()

    # --- the siege -----------------------------------------------------------------------------------------

    def press(self, most: int) -> None:
        """Runs files until enough workers were killed or stopped and the last file is done."""
        while self.kills + self.stops < most and not self.broken:
            self.new_file()
            if self.sleepy:
                self._run_and_stop(most)
            else:
                self._run_and_kill(most)
            self._finish()
            if not self.broken:
                self.broken += self.verdict()

    def _run_and_kill(self, kills: int) -> None:
        workers = [self.start()]
        # Two workers may each stage a run at the same time; the second finds all rows done.
        self._wait_until(workers[0], lambda: self.run_of_the_file() is not None)
        workers += [self.start() for _ in range(self.workers - 1)]
        while self.kills < kills:
            before = self._made()
            place = self.rng.randrange(self.workers)
            if self._meddles and self.rng.random() < _MEDDLES:
                self.note(workers[place].kill())
                workers[place] = self.start(dies_with_ready_refunds=True)
                self._wait_until(workers[place], lambda: False)
            # At any instant or during work: starting takes a worker longer than working.
            elif self.rng.random() < _AT_WORK:
                self._wait_until(workers[place], partial(self._more_than, before))
            time.sleep(self.rng.uniform(0, self.longest / self.workers))
            ended = workers[place].ended_by_now() or workers[place].kill()
            self._count(ended, self._made() - before)
            if ended.code == -9:
                self.broken += self.broken_now()
                self._meddle()
            self.note(ended)
            if self.broken or self.state() == "finished":
                workers.pop(place)
                break
            workers[place] = self.start()
        for worker in workers:
            self.note(worker.ended())

    def _wait_until(self, worker: Command, it_is_so: Callable[[], bool]) -> None:
        """Or until the worker has ended."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not it_is_so() and not worker.has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _more_than(self, before: int) -> bool:
        return self._made() > before

    def _made(self) -> int:
        return int(self.query("SELECT count(*) AS made FROM refund")[0]["made"])

    def _count(self, ended: Ended, refunds: int) -> None:
        """Adapts the kill times so that a file lasts for several kills."""
        if ended.code == -9:
            self.kills += 1
            self.at_work += refunds > 0
            self.longest *= 0.8 if refunds > self.rows / 10 else 1.1

    def _run_and_stop(self, stops: int) -> None:
        workers = [self.start() for _ in range(self.workers)]
        while self.stops < stops and self.state() != "finished" and not self.broken:
            time.sleep(self.rng.uniform(0, 1))
            asleep = self.rng.sample(workers, self.rng.randrange(1, self.workers))
            for worker in asleep:
                worker.stop()
            # A worker may hold the store's lock, which blocks reading.
            time.sleep(_ASLEEP_SECONDS)
            for worker in asleep:
                worker.wake()
            self.stops += len(asleep)
            workers = [self._still_at_work(worker) for worker in workers]
            self.broken += self.broken_now()
        for worker in workers:
            self.note(worker.ended())

    def _still_at_work(self, worker: Command) -> Command:
        """The worker or its replacement."""
        ended = worker.ended_by_now()
        if ended is None:
            return worker
        self.note(ended)
        return self.start()

    def _finish(self) -> None:
        for _ in range(_MOST_TRIES):
            if self.state() == "finished" or self.broken:
                return
            self.note(self.start().ended())
        self.broken.append(f"after {_MOST_TRIES} tries the run is {self.state()}: {self.items()}")

    def start(self, *, dies_with_ready_refunds: bool = False) -> Command:
        """Starts a worker with the same file or with the run's id."""
        begun = self.run_of_the_file()
        file = ["--from", str(self.file), "--reason", "other"]
        how = ["--resume", str(begun["id"])] if begun and (self._has_refusals or self.rng.random() < 0.5) else file
        arguments = [str(self.kind), *how, "--yes", "-o", "json"]
        ahead = self.rng.choice(_CLOCKS)

        def work() -> int:
            become_an_operator(self.folder, self.environ, longest=_LONGEST_SECONDS)
            os.chdir(self.folder)
            patch.object(validation, "CHUNK", max(10, self.rows // 20)).start()
            if dies_with_ready_refunds:
                # Amounts are reserved, nothing is claimed yet.
                patch.object(RefundSending, "_claim", _die).start()
            if self.sleepy:
                _have_short_leases()
                patch.object(bootstrap, "books_clock", lambda services: ShiftedClock(ahead)).start()
            return run(arguments)

        return Command(forked(work), tuple(arguments), self.folder)

    @property
    def _has_refusals(self) -> bool:
        return bool(self.meddled) or any(row.refused for row in self.requested)

    # --- what comes between reserve and claim --------------------------------------------------------------

    @property
    def _meddles(self) -> bool:
        """Only while no worker runs, so that ready refunds stay ready."""
        return self.kind is RunKind.REFUND and self.workers == 1 and not self.sleepy

    def _ready(self) -> list[dict[str, Any]]:
        columns = "r.id, r.provider, r.idempotency_key, i.number, p.payment_intent, p.psp_reference"
        joined = "refund r JOIN payment p ON p.id = r.payment_id JOIN invoice i ON i.id = r.invoice_id"
        return self.query(f"SELECT {columns} FROM {joined} WHERE r.state = 'ready' ORDER BY r.id")

    def _meddle(self) -> None:
        """While no worker runs, a dispute or a dashboard refund bars a ready refund."""
        ready = [entry for entry in self._ready() if entry["id"] not in self.meddled] if self._meddles else []
        for refund in self.rng.sample(ready, min(_MEDDLINGS, len(ready))):
            reference = refund["payment_intent"] or refund["psp_reference"]
            if refund["provider"] == Provider.STRIPE and self.rng.random() < 0.5:
                self.sandbox.refund_in_the_dashboard(reference, 100)
                what = "a refund in the dashboard"
            else:
                self.sandbox.dispute(reference)
                what = "a dispute"
            if refund["provider"] == Provider.ADYEN:
                what = "an event that is not applied yet"
                self._store_deliveries()
            self.meddled[refund["id"]] = what
            self.spoilt.add(refund["number"])
            self.meddlings += 1

    def _store_deliveries(self) -> None:
        """Stores Adyen's deliveries as the listener does; they are applied later."""
        loaded = load(
            config=None, store_url=None, environ=self.environ, cwd=self.folder, user_config=self.folder / "none"
        )
        services = Services(loaded.settings, self.environ)
        reader = services.delivery_readers(any_age=True)(Provider.ADYEN)
        for delivery in self.sandbox.deliveries("adyen", drain=True):
            verified = verify(Provider.ADYEN, reader, delivery["body"].encode(), delivery["headers"])
            store_events(verified.events, books=services.books)
        services.books.engine.dispose()

    def _sent_all_the_same(self, provider: AtProvider) -> Iterator[str]:
        keys = {row["id"]: row["idempotency_key"] for row in self.query("SELECT id, idempotency_key FROM refund")}
        sent = {request["headers"].get("idempotency-key") for request in provider.refund_requests}
        for refund, what in self.meddled.items():
            if keys[refund] in sent:
                yield f"I1: {refund} was sent although {what} had come since it was reserved"

    def note(self, ended: Ended) -> None:
        self.codes[ended.code] += 1
        if ended.code not in ALLOWED or "Traceback" in ended.said:
            self.broken.append(f"a worker ended badly: {ended}")
        if ended.code == 3 and "run-finished" not in ended.said:
            self.broken.append(f"a worker was refused: {ended}")
        if ended.code == 9 and not self._has_refusals and '"state": "finished"' in ended.said:
            self.broken.append(f"rows were reported as refused or unfinished, and none is: {ended}")
        if ended.code == 0 and self._has_refusals and self.state() == "finished":
            self.broken.append(f"reported as done, and rows were refused: {ended}")

    # --- what is so ----------------------------------------------------------------------------------------

    def query(self, statement: str) -> list[dict[str, Any]]:
        engine = store_engine(self.url)
        try:
            with engine.connect() as line:
                return [dict(row) for row in line.exec_driver_sql(statement).mappings()]
        finally:
            engine.dispose()

    def run_of_the_file(self) -> dict[str, Any] | None:
        runs = self.query(f"SELECT * FROM bulk_run WHERE source = '{self.file}'")
        assert len(runs) < 2, f"one file, and {len(runs)} runs"
        return runs[0] if runs else None

    def state(self) -> str:
        run = self.run_of_the_file()
        return str(run["state"]) if run else ""

    def items(self) -> list[dict[str, Any]]:
        run = self.run_of_the_file()
        assert run
        return self.query(f"SELECT * FROM bulk_item WHERE run_id = '{run['id']}' ORDER BY n")

    def books(self) -> Books:
        # Only the current file; earlier ones were checked.
        prefix = f"F{self.files}-"
        invoices = f"SELECT id FROM invoice WHERE substr(number, 1, {len(prefix)}) = '{prefix}'"
        mine = f"SELECT id FROM refund WHERE invoice_id IN ({invoices})"
        audit = f"SELECT * FROM audit_entry WHERE subject IN ({mine}) ORDER BY seq"
        notes = self.query(f"SELECT * FROM credit_note WHERE refund_id IN ({mine})")
        return Books(
            self.query(f"SELECT * FROM refund WHERE id IN ({mine}) ORDER BY created_at, id"),
            self.query("SELECT * FROM payment"),
            [],
            {note["refund_id"]: note for note in notes},
            self.query(audit),
            [],
        )

    def at_provider(self) -> AtProvider:
        state = self.sandbox.state()
        mine = {reference for row in self.requested for reference in row.gives}
        refunds = [refund for refund in state["refunds"] if refund["payment"] in mine]
        requests = [r for r in state["requests"] if r["provider"]]
        return AtProvider(refunds, requests, state["requests"])

    def broken_now(self) -> Iterator[str]:
        """What must hold at every instant, with a dead worker and no clean-up."""
        if self.kind is RunKind.MARK_REFUNDED:
            yield from self._recorded_twice()
            return
        # Read the provider first: refunds sent meanwhile must then be in the books.
        provider = self.at_provider()
        books = self.books()
        keys = {refund["idempotency_key"] for refund in books.refunds}
        mine = [r for r in provider.requests if r["headers"].get("idempotency-key") in keys or _names(r, self.files)]
        yield from not_committed_first(books, AtProvider(provider.refunds, mine, []))
        yield from doubled(books, provider)
        yield from released_without_proof(books, provider)
        refunded: Counter[str] = Counter()
        for provider_refund in filter(gave_money, provider.refunds):
            refunded[provider_refund["payment"]] += provider_refund["amount"]
        yield from self._sent_all_the_same(provider)
        yield from (f"I1: {reference} gave {sum_}" for reference, sum_ in refunded.items() if sum_ > CAPTURED)

    def _recorded_twice(self) -> Iterator[str]:
        twice = "SELECT request_key, payment_id, count(*) AS times FROM refund GROUP BY 1, 2 HAVING count(*) > 1"
        yield from (f"I4: {row['request_key']} was recorded {row['times']} times" for row in self.query(twice))
        if self.sandbox.state()["requests"]:
            yield "R2: a provider was asked for something"

    # --- the peace -----------------------------------------------------------------------------------------

    def verdict(self) -> Iterator[str]:
        """What must hold once the file is done."""
        yield from self.broken_now()
        books = SqlBooks(store_engine(self.url), SystemClock(UTC), "Ada")
        yield from (f"I9, I10: {sentence}" for sentence in findings(books))
        books.engine.dispose()
        yield from self._records_made() if self.kind is RunKind.MARK_REFUNDED else self._refunds_made()
        yield from self._again()

    def _records_made(self) -> Iterator[str]:
        books = self.books()
        numbers = {row["id"]: row["number"] for row in self.query("SELECT id, number FROM invoice")}
        records = Counter(
            (numbers[refund["invoice_id"]], refund["amount"], refund["state"]) for refund in books.refunds
        )
        expected = Counter((row.invoice, amount, "recorded") for row in self.requested for amount in row.gives.values())
        yield from (f"I4: {count} too many of {record}" for record, count in (records - expected).items())
        yield from (f"I6, lost: {count} too few of {record}" for record, count in (expected - records).items())
        unnoted = [refund["id"] for refund in books.refunds if refund["id"] not in books.notes]
        yield from (f"R7: {refund} has no credit note" for refund in unnoted)
        entries = Counter((entry["subject"], entry["action"]) for entry in books.audit)
        for (refund, action), times in entries.items():
            if times > 1:
                yield f"I10: the trail of {refund} tells {times} times of: {action}"
        if len(entries) < len(records):
            yield f"I10: {len(records)} records, and {len(entries)} entries"

    def _refunds_made(self) -> Iterator[str]:
        books, provider = self.books(), self.at_provider()
        yield from broken_audit_trail(books)
        references = {row["id"]: row["payment_intent"] or row["psp_reference"] for row in books.payments}
        for request, item in zip(self.requested, self.items(), strict=True):
            row = f"row {item['n']} ({request.invoice} {request.amount}, {item['state']} {item['code']})"
            if request.invoice in self.spoilt:
                # Rows not sent because of it are refused; rows sent before are done.
                if item["state"] not in ("done", "refused"):
                    yield f"I6: {row} did not end: {item['message']}"
                continue
            if item["state"] != ("refused" if request.refused else "done"):
                yield f"I6: {row} did not end as it should: {item['message']}"
            refunds = [refund for refund in books.of_key(item["request_key"]) if refund["state"] != "failed"]
            amounts = {references[refund["payment_id"]]: refund["amount"] for refund in refunds}
            if amounts != ({} if request.refused else request.gives) or len(amounts) != len(refunds):
                yield f"I6: {row} made {amounts} in the books"
            if any(refund["state"] not in _ACCEPTED or refund["run_id"] != item["run_id"] for refund in refunds):
                yield f"I6: {row} has refunds that are not finished, or not of this run"
        # A dashboard refund has no id of ours.
        names = Counter(name_of(refund) for refund in provider.refunds if gave_money(refund) and name_of(refund))
        live = {refund["id"] for refund in books.refunds if refund["state"] in _ACCEPTED}
        if set(names) != live or any(times > 1 for times in names.values()):
            yield f"I6: the provider made {len(names)} refunds, and the books know {len(live)}"

    def _again(self) -> Iterator[str]:
        """The same file once more does nothing."""
        if self._has_refusals or self.broken:
            return
        before = len(self.sandbox.state()["requests"]), self.query("SELECT count(*) AS n FROM refund")
        begun = self.run_of_the_file()
        assert begun
        arguments = [str(self.kind), "--from", str(self.file), "--reason", "other", "--yes", "-o", "json"]

        def work() -> int:
            become_an_operator(self.folder, self.environ, longest=_LONGEST_SECONDS)
            return run(arguments)

        ended = Command(forked(work), tuple(arguments), self.folder).ended()
        if ended.code or json.loads(ended.said)["done_before"] != len(self.requested):
            yield f"I4: the same file again did not find all done: {ended}"
        if before != (len(self.sandbox.state()["requests"]), self.query("SELECT count(*) AS n FROM refund")):
            yield f"I4: the same file again did something: {ended}"


def _have_short_leases() -> None:
    """In a separate process. Another worker soon takes over from a suspended one."""
    patch.object(leases, "_MARGIN_SECONDS", 0.2).start()
    patch.object(refund_run, "_ROW_LEASE_SECONDS", 1.5).start()
    patch.object(refund_run, "_HOLD_SECONDS", 0.4).start()
    patch.object(refund_run, "_PATIENCE_WITH_OTHERS_SECONDS", 30).start()


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _names(request: dict[str, Any], file: int) -> bool:
    """Whether the request is about a payment of this file."""
    path = json.dumps(request["params"]) + request["path"]
    # With its prefix: a random refund id may contain "F3X".
    return any(f"{before}F{file}X" in path for before in ("pi_", "PSP"))


@dataclass
class _World:
    """The invoices of one file and its rows."""

    name: str
    rows: int
    with_refusals: bool
    requested: list[RequestedRow] = field(default_factory=list)
    invoices: list[NewInvoice] = field(default_factory=list)

    def of_records(self) -> list[NewInvoice]:
        while len(self.requested) < self.rows:
            number = f"F{self.name}-{len(self.invoices)}"
            payment = NewPayment(CAPTURED, method="cash")
            match len(self.invoices) % 5:
                case 0:
                    self._ask(number, [payment], ("40.00", {"": 4000}), ("", {"": 6000}))
                case 1:
                    self._ask(number, [payment], ("25.00", {"": 2500}), ("25.00", {"": 2500}))
                case _:
                    self._ask(number, [payment], ("", {"": CAPTURED}))
        return self.invoices

    def of_refunds(self, sandbox: Sandbox, rng: random.Random) -> list[NewInvoice]:
        while len(self.requested) < self.rows:
            self._of_refund(sandbox, rng)
        return self.invoices

    def _of_refund(self, sandbox: Sandbox, rng: random.Random) -> None:
        place = len(self.invoices)
        number, kind = f"F{self.name}-{place}", place % 12
        provider = Provider.ADYEN if kind in (0, 4, 8) else Provider.STRIPE
        names = [self._reference(provider, place, n) for n in range(2 if kind == 5 else 1)]
        payments = [NewPayment(CAPTURED, provider, "card", name, auto_refundable=True) for name in names]
        for name in names:
            sandbox.charge(provider, CAPTURED, "EUR", name)
        refused = self.with_refusals and kind in (3, 11)
        if refused and kind == 11:
            sandbox.dispute(names[0])
        elif refused:
            sandbox.plan({"provider": provider, "behaviour": "failed", "payment": names[0]})
        elif rng.random() < 0.1:
            behaviour = rng.choice(["drop_after", "drop_before", "500_before", "429"])
            sandbox.plan({"provider": provider, "behaviour": behaviour, "payment": names[0], "retry_after": 0.05})
        match kind:
            case 6:
                self._ask(number, payments, ("40.00", {names[0]: 4000}), ("60.00", {names[0]: 6000}))
            case 9:
                self._ask(number, payments, ("25.00", {names[0]: 2500}), ("25.00", {names[0]: 2500}))
            case _:
                self._ask(number, payments, ("", dict.fromkeys(names, CAPTURED)), refused=refused)

    def _reference(self, provider: Provider, place: int, nth: int) -> str:
        name = f"F{self.name}X{place}N{nth}"
        return f"PSP{name}" if provider is Provider.ADYEN else f"pi_{name}"

    def _ask(
        self, number: str, payments: list[NewPayment], *amounts: tuple[str, dict[str, int]], refused: bool = False
    ) -> None:
        total = sum(payment.captured for payment in payments)
        self.invoices.append(
            NewInvoice(
                line=2,
                number=number,
                customer="cus_1",
                currency="EUR",
                total=total,
                status=InvoiceStatus.PAID,
                issued_on=date(2026, 9, 1),
                payments=tuple(payments),
            )
        )
        equal = len({amount for amount, _ in amounts}) < len(amounts)
        keys = [f"{number}-{place}" if equal else "" for place in range(len(amounts))]
        self.requested += [RequestedRow(number, *pair, refused, key) for pair, key in zip(amounts, keys, strict=True)]


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of one siege. `url` is an empty database, or "" for a temporary one."""

    kind: RunKind
    database: str
    workers: int
    strikes: int
    rows: int
    sleepy: bool
    seed: int
    url: str = ""


def besiege(plan: Plan) -> list[str]:
    """The violations."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="refundcli-kills-") as directory,
        nullcontext(plan.url) if plan.url else database(plan.database, Path(directory)) as url,
    ):
        sandbox = Sandbox()
        try:
            rng = random.Random(plan.seed)
            siege = Siege(plan.kind, url, Path(directory), sandbox, plan.rows, plan.workers, rng, sleepy=plan.sleepy)
            siege.open()
            siege.press(plan.strikes)
        finally:
            sandbox.stop()
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(siege.codes.items()))
    struck = f"{siege.stops} stops" if plan.sleepy else f"{siege.kills} kills, {siege.at_work} of them at work"
    struck += f", {siege.meddlings} updates between reserve and claim" if siege.meddlings else ""
    report = [
        f"bulk kills: {plan.kind} on {plan.database}, {plan.workers} at once: {struck}; {siege.files} files of "
        f"{plan.rows:,} rows, seed {plan.seed}, {time.monotonic() - began:.0f} s, ended with ({codes}), "
        f"{len(siege.broken)} violations: {summed(siege.broken)}"
    ]
    report += [f"    {sentence[:_LONGEST_SENTENCE]}" for sentence in siege.broken[:20]]
    # One write, since other processes print too.
    sys.stdout.write("\n".join(report) + "\n")
    sys.stdout.flush()
    return siege.broken


def _all(plans: Sequence[Plan], at_once: int) -> int:
    """Each in a separate process, `at_once` in parallel; the number that failed."""
    waiting, running, failed = list(plans), set[int](), 0
    while waiting or running:
        while waiting and len(running) < at_once:
            plan = waiting.pop(0)
            running.add(forked(lambda plan=plan: bool(besiege(plan))))  # type: ignore[misc]
        pid, status = os.wait()
        running.discard(pid)
        failed += os.waitstatus_to_exitcode(status) != 0
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", type=RunKind, choices=list(RunKind), action="append")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stops", type=int, help="workers put to sleep instead of killed")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=2, help="sieges at the same time")
    parser.add_argument("--store", default="", help="an empty database, for one siege")
    options = parser.parse_args(arguments)
    databases = [options.store.partition(":")[0]] if options.store else options.database or ["sqlite", "postgresql"]
    plans = [
        Plan(
            kind,
            name,
            workers,
            options.stops or options.kills,
            options.rows or (1_000 if kind is RunKind.MARK_REFUNDED else 240),
            bool(options.stops),
            options.seed,
            options.store,
        )
        for kind, name in product(options.kind or list(RunKind), databases)
        # Records are written by one worker; refund runs may have several.
        for workers in ((options.workers or [1, 3]) if kind is RunKind.REFUND else [1])
    ]
    return 1 if _all(plans, options.at_once) else 0


if __name__ == "__main__":
    sys.exit(main())
