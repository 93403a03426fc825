"""An operator's desk: a store, a sandbox for both providers, and the command line."""

import csv
import json
import shlex
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, date
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import text
from typer.testing import CliRunner

from refundcli.cli.exit_codes import ALWAYS, ENDINGS, ExitCode
from refundcli.cli.main import run
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import Money, parse_money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.clock import SystemClock
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.store.databases import engine
from refundcli.store.unit_of_work import SqlBooks

MERCHANT = "Shop"
ZONE = "Europe/Stockholm"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed and how it ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.err)["error"]
        return error

    @property
    def rows(self) -> list[list[str]]:
        """Tab-separated lines, as written to a pipe."""
        return list(csv.reader(self.out.splitlines(), delimiter="\t"))


def check_ending(command: str, answer: Answer) -> None:
    """Checks the exit code of every command in every test against the table."""
    name = command_named_in(shlex.split(command))
    allowed = ALWAYS | ENDINGS.get(name, frozenset(ExitCode))
    assert answer.exit_code in allowed, f"{name} is not said to end with {answer.exit_code}: {answer}"


def command_named_in(words: list[str]) -> str:
    """`invoice show` of `-o json invoice show INV-1`; empty where no command is named."""
    named = [word for word in words if not word.startswith("-")]
    for place, word in enumerate(named):
        whole = " ".join(named[place : place + 2])
        if word in ENDINGS or whole in ENDINGS:
            return whole if whole in ENDINGS else word
    return ""


@dataclass
class Desk:
    url: str
    sandbox: RunningSandbox
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    operator: str = "Ada Lovelace"

    def __post_init__(self) -> None:
        self.environ = {
            "REFUNDCLI_STORE_URL": self.url,
            "REFUNDCLI_OPERATOR_NAME": self.operator,
            "REFUNDCLI_OPERATOR_TIMEZONE": ZONE,
            "REFUNDCLI_STRIPE_API_KEY": "env:STRIPE_API_KEY",
            "REFUNDCLI_STRIPE_API_BASE": self.sandbox.url,
            "REFUNDCLI_ADYEN_API_KEY": "env:ADYEN_API_KEY",
            "REFUNDCLI_ADYEN_API_BASE": self.sandbox.url,
            "REFUNDCLI_ADYEN_MERCHANT_ACCOUNT": MERCHANT,
            # No test waits so long; a machine that is busy may pause a provider for seconds.
            "REFUNDCLI_REFUNDS_READ_TIMEOUT": "15",
            "STRIPE_API_KEY": "sk_test_desk",
            "ADYEN_API_KEY": "desk",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "COLUMNS": "120",
        } | self.environ

    def __call__(self, command: str, *, stdin: str = "") -> Answer:
        """Runs a command without a terminal, as a script does."""
        runner = CliRunner()
        with runner.isolation(input=stdin, env=self.environ) as (out, err, _):
            code = run(shlex.split(command))
            sys.stderr.flush()
            answer = Answer(code, out.getvalue().decode(), err.getvalue().decode())
        check_ending(command, answer)
        return answer

    def json(self, command: str, *, exit_code: int = 0) -> Any:
        answer = self(f"{command} -o json")
        assert answer.exit_code == exit_code, answer
        return answer.json

    def ingest(self, deliveries: Path) -> Any:
        """`events ingest`; checks its exit code against its output: 8 where an event needs review."""
        answer = self(f"events ingest {deliveries} -o json")
        summary = answer.json
        assert answer.exit_code == (8 if summary["contradictions"] else 3 if summary["rejected"] else 0), answer
        return summary

    def refused(self, command: str, code: str, *, exit_code: int = 3) -> dict[str, Any]:
        """Runs a command that must be refused with this code, as text and as JSON, with a hint."""
        answer = self(f"{command} -o json")
        assert (answer.exit_code, answer.error["code"]) == (exit_code, code), answer
        assert answer.error["hint"], answer
        assert answer.out == ""
        output = self(command)
        assert output.exit_code == exit_code
        assert f"[{code}]" in output.err
        return answer.error

    @cached_property
    def books(self) -> SqlBooks:
        return SqlBooks(engine.store_engine(self.url), SystemClock(UTC), self.operator)

    def invoice(self, number: str) -> Invoice:
        return self.books.read(lambda tx: invoice_named(tx, number))

    def bring_in(self, *invoices: NewInvoice) -> None:
        self.books.write(lambda tx: tx.imports.add_invoices(invoices, source="test.csv"))

    def paid_by_card(
        self, number: str = "INV-1", amount: str = "100.00 EUR", *, provider: str = "stripe", **changes: Any
    ) -> str:
        """An invoice paid through the sandbox; the provider's reference of its payment."""
        charge = self.sandbox.charge(amount, provider=provider)  # type: ignore[arg-type]
        of = {name: changes.pop(name) for name in list(changes) if name in NewPayment.__dataclass_fields__}
        reference = of.pop("reference", charge.reference)
        whole = parse_money(amount)
        payment = NewPayment(whole.minor, Provider(provider), method="card", reference=reference, auto_refundable=True)
        self.bring_in(replace(new_invoice(number, whole, payments=(replace(payment, **of),)), **changes))
        return str(charge.reference)

    def paid_outside(
        self, number: str = "INV-2", amount: str = "100.00 EUR", *, method: str = "cash", **of: Any
    ) -> None:
        whole = parse_money(amount)
        payment = NewPayment(whole.minor, method=method)
        self.bring_in(new_invoice(number, whole, payments=(replace(payment, **of),)))

    def unpaid(self, number: str = "INV-3", amount: str = "100.00 EUR", **changes: Any) -> None:
        self.bring_in(replace(new_invoice(number, parse_money(amount), status=InvoiceStatus.OPEN), **changes))

    def refunded_at_provider(self, reference: str) -> list[int]:
        """The amounts refunded at the provider for a payment, in its minor units."""
        return [refund.amount for refund in self.sandbox.refunds_of(reference)]

    def count(self, table: str) -> int:
        with self.books.engine.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() or 0)


def new_invoice(number: str, total: Money, **changes: Any) -> NewInvoice:
    invoice = NewInvoice(
        line=2,
        number=number,
        customer="cus_204",
        customer_name="Grace Hopper",
        currency=total.currency.code,
        total=total.minor,
        status=InvoiceStatus.PAID,
        issued_on=date(2026, 9, 1),
        paid_on=date(2026, 9, 3),
    )
    return replace(invoice, **changes)
