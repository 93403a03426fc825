"""Any sequence of refunds, faults, look-ups and hours: the books stay sound and agree with the provider in the end."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from desk import MERCHANT, Desk
from refundcli.bootstrap import ConnectedProviders
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.statuses import InvoiceStatus, RefundState
from refundcli.sandbox.state import AdyenRefund, StripeRefund
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.issue_refund import RefundRequest, issue_refund
from refundcli.services.keys import generated_key
from refundcli.services.mark_refunded import MarkRequest, mark_refunded
from refundcli.services.resume import resume, unfinished
from refundcli.services.sending import SendingPolicy
from refundcli.settings import load
from refundcli.store.checking import unsound
from refundcli.store.engine import store_engine
from refundcli.store.unit_of_work import SqlBooks

FAULTS = ["", "", "", "drop_before", "drop_after", "500_before", "500_after", "409", "403", "malformed", "wrong_amount"]
FAULTS += ["pending", "failed"]
STRIPE_ONLY = {"pending", "failed"}
NUMBERS = {"CARD": "stripe", "WALLET": "adyen"}


class MovingClock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def today(self) -> date:
        return self.now().date()


class Refunding(RuleBasedStateMachine):
    template: ClassVar[Path]
    sandbox: ClassVar[RunningSandbox]

    @initialize()
    def open_the_books(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="refundcli-model-"))
        url = f"sqlite:///{shutil.copy(self.template, self.folder / 'books.db')}"
        self.clock = MovingClock()
        self.desk = Desk(url, self.sandbox, self.folder)
        self.books = SqlBooks(store_engine(url), self.clock, "Ada")
        self.sandbox.clear_faults()
        self.references = {
            number: self.desk.paid_by_card(number, "100.00 EUR", provider=provider)
            for number, provider in NUMBERS.items()
        }
        self.desk.paid_outside("CASH", "100.00 EUR")
        environ = self.desk.environ
        made = load(config=None, store_url=None, environ=environ, cwd=self.folder, user_config=self.folder / "none")
        self.providers = ConnectedProviders(made.settings, environ, self.books)
        self.policy = SendingPolicy(7, "CN-{seq}", sleep=lambda seconds: None)

    @rule(
        number=st.sampled_from(sorted(NUMBERS)),
        minor=st.integers(1, 12_000),
        key=st.sampled_from(["", "", "a", "b"]),
        fault=st.sampled_from(FAULTS),
    )
    def refund(self, number: str, minor: int, key: str, fault: str) -> None:
        amount = parse_money(f"{minor // 100}.{minor % 100:02} EUR")
        if fault and not (fault in STRIPE_ONLY and NUMBERS[number] == "adyen"):
            self.sandbox.faults(fault, provider=NUMBERS[number])  # type: ignore[arg-type]
        request = RefundRequest(
            number=number,
            amount=amount,
            amount_text=amount.number,
            reason=RefundReason.OTHER,
            request_key=key or generated_key(),
            operator="Ada",
            allow_duplicate=True,
        )
        self._try(lambda: issue_refund(request, confirmed=None, **self._tools))
        self.sandbox.clear_faults()

    @rule(minor=st.integers(1, 6_000), key=st.sampled_from(["", "c"]))
    def mark(self, minor: int, key: str) -> None:
        amount = parse_money(f"{minor // 100}.{minor % 100:02} EUR")
        request = MarkRequest(
            number="CASH",
            amount=amount,
            amount_text=amount.number,
            reason=RefundReason.OTHER,
            request_key=key or generated_key(),
            operator="Ada",
        )
        self._try(
            lambda: mark_refunded(
                request, confirmed=amount, books=self.books, clock=self.clock, number_format="CN-{seq}"
            )
        )

    @rule(fault=st.sampled_from(["", "drop_before", "500_before", "malformed"]))
    def settle_what_is_left(self, fault: str) -> None:
        if fault:
            self.sandbox.faults(fault, call="lookup")
        self._try(lambda: resume(unfinished(self.books, None), **self._tools))
        self.sandbox.clear_faults()

    @rule(hours=st.sampled_from([1, 19, 21, 200]))
    def hours_go_by(self, hours: int) -> None:
        self.clock.ahead += timedelta(hours=hours)
        self.sandbox.advance(hours * 3600)

    @invariant()
    def the_books_are_sound(self) -> None:
        if not hasattr(self, "books"):
            return
        assert self.books.inspect(lambda session: list(unsound(session))) == []
        for number in (*NUMBERS, "CASH"):
            for payment in self.desk.invoice(number).payments:
                assert payment.reserved + payment.refunded <= payment.captured

    @invariant()
    def no_money_left_twice(self) -> None:
        if not hasattr(self, "books"):
            return
        for number, reference in self.references.items():
            returned = sum(refund.amount for refund in self.sandbox.refunds_of(reference) if _returned(refund))
            invoice = self.desk.invoice(number)
            assert returned <= (invoice.refunded + invoice.in_flight).minor

    def teardown(self) -> None:
        if not hasattr(self, "books"):
            return
        self.sandbox.clear_faults()
        for _ in range(3):
            resume(unfinished(self.books, None), **self._tools)
        for number, reference in self.references.items():
            self._agree(number, reference)
        self.books.engine.dispose()
        self.desk.books.engine.dispose()
        shutil.rmtree(self.folder)

    def _agree(self, number: str, reference: str) -> None:
        """Each refund that the provider made is in the books, and none that it did not make counts (I6)."""
        invoice = self.desk.invoice(number)
        at_provider = sorted(refund.amount for refund in self.sandbox.refunds_of(reference) if _returned(refund))
        known = [r for r in invoice.refunds if r.state in (RefundState.PENDING, RefundState.SUCCEEDED)]
        in_doubt = [r for r in invoice.refunds if r.state.unfinished]
        assert len(known) <= len(at_provider) <= len(known) + len(in_doubt)
        if not in_doubt:
            assert sorted(r.amount.minor for r in known) == at_provider
            whole = not invoice.refundable and not invoice.in_flight
            assert invoice.status is (InvoiceStatus.REFUNDED if whole else InvoiceStatus.PAID)

    @property
    def _tools(self) -> dict[str, Any]:
        return {"books": self.books, "providers": self.providers, "clock": self.clock, "policy": self.policy}

    def _try(self, work: Callable[[], object]) -> None:
        """A refusal is a fine answer; whatever else goes wrong fails the test."""
        with suppress(RefundcliError):
            work()


def _returned(refund: AdyenRefund | StripeRefund) -> bool:
    return refund.status not in ("failed", "canceled")


@pytest.fixture
def shared_sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox(merchant_account=MERCHANT) as running:
        yield running


def test_any_sequence_of_events_ends_in_agreement(sqlite_template: Path, shared_sandbox: RunningSandbox) -> None:
    Refunding.template, Refunding.sandbox = sqlite_template, shared_sandbox
    Refunding.TestCase.settings = settings(
        max_examples=30,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    Refunding.TestCase("runTest").runTest()
