"""The world of one case: a store, a provider, operators who type commands, and everything observed of them."""

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

from faults.cases import Case
from faults.points import Fault
from faults.processes import HMAC_KEY, WEBHOOK_SECRET, Command, Ended, Sandbox, operator_environ, start
from faults.rows import AtProvider, Books, read_books
from refundcli.cli.main import run
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.stripe.keys import fingerprint
from refundcli.sandbox.core.exponents import to_minor
from refundcli.services.clock import SystemClock
from refundcli.services.ports.books import Writing
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.unit_of_work import SqlBooks

# No, two and three decimals: amounts must agree to the minor unit.
CURRENCIES = ("EUR", "JPY", "KWD")
# A part that fits twice, so that a second refund is visible; and an amount too large beside it.
CAPTURED, PART, REST, TOO_MUCH = "100", "40", "60", "70"
REFERENCES = {"stripe": ("pi_sweep1", "pi_sweep2"), "adyen": ("SWEEPSWEEPSWEEP1", "SWEEPSWEEPSWEEP2")}
INVOICE = "in_sweep1"
STRIPE_KEY = "sk_test_sweep"


def make_templates(folder: Path) -> None:
    """Template stores with one paid invoice and the keys' account already known."""
    for provider, currency, payments in product(REFERENCES, CURRENCIES, (1, 2)):
        engine = store_engine(f"sqlite:///{folder / _template(provider, currency, payments)}")
        books = SqlBooks(engine, SystemClock(UTC), "Ada")
        invoice = _paid_invoice(Provider(provider), currency, REFERENCES[provider][:payments])
        _fill(books, invoice)
    for currency in CURRENCIES:
        engine = store_engine(f"sqlite:///{folder / _template('stripe', currency, 0)}")
        _fill(SqlBooks(engine, SystemClock(UTC), "Ada"), _open_invoice(currency))


def _template(provider: str, currency: str, payments: int) -> str:
    return f"{provider}-{currency}-{payments}.db"


def _fill(books: SqlBooks, invoice: NewInvoice) -> None:
    def write(tx: Writing) -> None:
        tx.store.pin_livemode(False)
        tx.accounts.remember(Provider.STRIPE, fingerprint(STRIPE_KEY), "acct_sweep", livemode=False)
        tx.imports.add_invoices([invoice], source="sweep.csv")

    books.write(write)


def _paid_invoice(provider: Provider, currency: str, references: Sequence[str]) -> NewInvoice:
    captured = parse_money(f"{CAPTURED} {currency}").minor
    return NewInvoice(
        line=2,
        number="INV-1",
        customer="cus_204",
        currency=currency,
        total=captured * len(references),
        status=InvoiceStatus.PAID,
        issued_on=date(2026, 9, 1),
        paid_on=date(2026, 9, 3),
        payments=tuple(
            NewPayment(captured, provider, "card", reference, auto_refundable=True) for reference in references
        ),
    )


def _open_invoice(currency: str) -> NewInvoice:
    return NewInvoice(
        line=2,
        number="INV-1",
        customer="cus_204",
        currency=currency,
        total=parse_money(f"{CAPTURED} {currency}").minor,
        status=InvoiceStatus.OPEN,
        issued_on=date(2026, 9, 1),
        invoice_reference=INVOICE,
    )


@dataclass
class World:
    case: Case
    folder: Path
    templates: Path
    mutate: Callable[[], None] | None = None
    ended: list[Ended] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    resolved: bool = False
    is_told: bool = False

    def __post_init__(self) -> None:
        number = crc32(str(self.case).encode())
        self.currency = CURRENCIES[number % len(CURRENCIES)]
        # The full amount, where no remainder is needed.
        self.whole = self.case.payments > 1 or (number % 4 == 0 and self.case.then not in ("rest", "rivals"))
        self.references = REFERENCES[self.case.provider][: self.case.payments]
        self.store = self.folder / "store.db"
        shutil.copy(self.templates / _template(self.case.provider, self.currency, self.case.payments), self.store)
        self.ahead = timedelta(0)
        self.sandbox = Sandbox()
        for reference in self.references:
            self.sandbox.charge(self.case.provider, self.in_minor(CAPTURED), self.currency, reference)
        if self.case.closes:
            self.sandbox.invoice(INVOICE, self.in_minor(CAPTURED), self.currency)
            self.sandbox.register_webhooks("stripe")

    def close(self) -> None:
        self.sandbox.stop()

    def in_minor(self, amount: str) -> int:
        """As the provider counts."""
        return to_minor(self.case.provider, amount, self.currency)  # type: ignore[arg-type]

    # --- commands ------------------------------------------------------------------------------------------

    def start(self, *arguments: str, fault: Fault | None = None, host: str = "") -> Command:
        return start(
            [*arguments, "-o", "json"],
            folder=self.folder,
            environ=self._environ(),
            faults=_with_what_leads_to_it(fault),
            ahead=self.ahead,
            mutate=self.mutate,
            host=host,
        )

    def start_refund(
        self, *, amount: str = "", key: str = "job-7", fault: Fault | None = None, host: str = ""
    ) -> Command:
        how_much = ["--full"] if self.whole and not amount else ["--amount", amount or PART]
        command = ["refund", "INV-1", *how_much, "--reason", "other", "--request-key", key, "--yes"]
        return self.start(*command, fault=fault, host=host)

    def start_closing(self, action: str = "", *, fault: Fault | None = None) -> Command:
        return self.start(action or self.case.story, "INV-1", "--yes", fault=fault)

    def do(self, *, fault: Fault | None = None) -> None:
        """What the case is about, from the start."""
        self.end(self.start_closing(fault=fault) if self.case.closes else self.start_refund(fault=fault))

    def end(self, *commands: Command) -> None:
        self.ended_with(*[command.ended() for command in commands])

    def ended_with(self, *ended: Ended) -> None:
        self.ended.extend(ended)

    def refund(self, *, amount: str = "", key: str = "job-7", fault: Fault | None = None) -> None:
        self.end(self.start_refund(amount=amount, key=key, fault=fault))

    def resume(self, *, fault: Fault | None = None) -> None:
        self.end(self.start("resume", "--yes", fault=fault))

    def rehearse(self) -> None:
        """Runs in this process, so that its forks have everything imported and compiled."""
        with (
            patch.dict(os.environ, self._environ(), clear=True),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            refund = "refund INV-1 --amount 1 --reason other --request-key first --yes"
            for command in (f"{self.case.story} INV-1 --yes" if self.case.closes else refund, "resume --yes"):
                self.provider_does("drop_after")
                run([*command.split(), "-o", "json"])

    def _environ(self) -> dict[str, str]:
        return operator_environ(
            self.folder,
            f"sqlite:///{self.store}",
            self.sandbox.url,
            stripe_key=STRIPE_KEY,
            adyen_key="sweep",
            REFUNDCLI_REFUNDS_READ_TIMEOUT="5",
            REFUNDCLI_STRIPE_WEBHOOK_SECRET="env:STRIPE_WEBHOOK_SECRET",
            REFUNDCLI_ADYEN_HMAC_KEY="env:ADYEN_HMAC_KEY",
            STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
            ADYEN_HMAC_KEY=HMAC_KEY,
        )

    # --- the provider --------------------------------------------------------------------------------------

    def provider_does(self, behaviour: str) -> None:
        if behaviour == "dashboard":
            self.sandbox.close_in_the_dashboard(INVOICE, self.case.story)
        elif behaviour == "declined":
            self.sandbox.dispute(self.references[0])
        elif behaviour != "fine":
            call, _, what = behaviour.rpartition(":")
            self.sandbox.plan(_planned(self.case.provider, what) | {"call": call or self._call})

    @property
    def _call(self) -> str:
        return "invoice" if self.case.closes else "refund"

    def provider_changes_its_mind(self, end: str) -> None:
        """About the refund that it made."""
        self.sandbox.register_webhooks(self.case.provider)
        (refund,) = self.sandbox.state()["refunds"]
        stripe = self.case.provider == "stripe"
        words = {"fails late": "REFUND_FAILED", "reversed": "REFUNDED_REVERSED"}
        if end in words:
            failed = {"status": "failed", "failure_reason": "declined"}
            self.sandbox.settle(refund["id"], failed if stripe else {"event": words[end]})

    def save_deliveries(self) -> Path:
        """Saves the deliveries to a file; from now on the provider's outcome counts."""
        self.is_told = True
        file = self.folder / "deliveries.jsonl"
        deliveries = self.sandbox.deliveries(self.case.provider)
        file.write_text("".join(json.dumps(delivery) + "\n" for delivery in deliveries))
        return file

    def acknowledge(self) -> None:
        """An operator acknowledges the reversed refunds."""
        for refund in self.books().refunds:
            if refund["came_back_at"] and not refund["acknowledged_at"]:
                self.end(self.start("acknowledge", refund["id"], "--yes"))

    def time_passes(self, by: timedelta) -> None:
        """For everybody."""
        self.ahead += by
        self.sandbox.advance(by)

    def customer_disputes(self) -> None:
        """As an import would record it."""
        engine = store_engine(f"sqlite:///{self.store}")

        def record(tx: Any) -> None:
            tx.audit_trail.rows.touch_new("dispute")
            columns = "payment_id, provider, account, stage, state, status"
            added = f"INSERT INTO dispute ({columns}) SELECT id, '', '', 'chargeback', 'open', '' FROM payment"
            tx.connection.exec_driver_sql(added)
            tx.connection.exec_driver_sql("UPDATE payment SET dispute = 'open'")
            tx.audit_trail.write("dispute changed", "dispute", {}, {"state": "open"})

        SqlBooks(engine, SystemClock(UTC), "Ada").write(record)
        engine.dispose()

    # --- what is so ----------------------------------------------------------------------------------------

    def books(self) -> Books:
        with closing(sqlite3.connect(self.store)) as line:
            line.row_factory = sqlite3.Row
            return read_books(lambda query: map(dict, line.execute(query)))

    def unsound(self) -> list[str]:
        engine = store_engine(f"sqlite:///{self.store}")
        return findings(SqlBooks(engine, SystemClock(UTC), "Ada"))

    def at_provider(self) -> AtProvider:
        state = self.sandbox.state()
        for refund in state["refunds"] if self.is_told else ():
            if refund["provider"] == "adyen":
                refund["status"] = "failed" if refund["success"] is False else "succeeded"
            refund["taken_back"] = refund["status"] == "failed"
        requests = [r for r in state["requests"] if r["provider"]]
        return AtProvider(state["refunds"], requests, state["requests"], state["invoices"], self._closed_by())

    def _closed_by(self) -> Counter[str]:
        if not self.case.closes:
            return Counter()
        events = [json.loads(delivery["body"]) for delivery in self.sandbox.deliveries("stripe")]
        closed = [
            delivery for delivery in events if delivery["type"] in ("invoice.voided", "invoice.marked_uncollectible")
        ]
        return Counter(delivery["request"]["idempotency_key"] or "" for delivery in closed)


def _with_what_leads_to_it(fault: Fault | None) -> list[Fault]:
    """An unsent refund is dropped only after Ctrl-C."""
    if fault is None:
        return []
    return [Fault("send", "after", "sigint"), fault] if fault.step == "drop" else [fault]


def _planned(provider: str, what: str) -> dict[str, Any]:
    planned: dict[str, Any] = {"provider": provider, "behaviour": what, "retry_after": 0.01}
    if what == "slow":
        return planned | {"behaviour": "delay_ms", "delay_ms": 120}
    if what == "429x9":
        return planned | {"behaviour": "429", "times": 9}
    return planned
