"""The model: any sequence of operators, providers, webhooks and clocks, with every invariant checked after each step.

PYTHONPATH=tests python -m faults.model [--database sqlite|postgresql] [--examples 200] [--steps 40] [--seed 1]
"""

import argparse
import os
import random
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import built
from desk import MERCHANT, Desk, new_invoice
from engines import share_engines
from faults.databases import DATABASES, NewStore, stores
from faults.invariants import broken_audit_trail, doubled, not_committed_first, released_without_proof, was_looked_at
from faults.rows import AtProvider, Books, gave_money, name_of, read_books, share_of
from faults.verdict import summed
from memory import use_memory_for_temporary_files
from refundcli.bootstrap import Services
from refundcli.domain.errors import RefundcliError
from refundcli.domain.money import Money, parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund, WireRequest
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers.stripe import lookup as stripe_lookup
from refundcli.sandbox.core.webhooks import Delivery
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.dispatch.idempotency_keys import generated_key
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.ports.key_windows import KEY_WINDOWS
from refundcli.services.ports.providers import MaySend, PaymentProvider, RefundAnswer
from refundcli.services.ports.records import NewInvoice, NewPayment
from refundcli.services.reconciliation.against_provider import ComparisonSummary, ReconcileProvider
from refundcli.services.reconciliation.external_refunds import ExternalRefunds
from refundcli.services.recovery.resolve import Resolution
from refundcli.services.refunds.issue import RefundRequest
from refundcli.services.refunds.record import MarkRequest, RecordRefunds
from refundcli.services.webhooks.apply_events import ApplyEvents
from refundcli.services.webhooks.ingest import IngestDeliveries, IngestSummary, SavedDelivery
from refundcli.settings import load
from refundcli.store.checks.integrity import findings
from refundcli.store.unit_of_work import SqlBooks
from updates import sync_payments
from webhooks import ADYEN_KEY, STRIPE_SECRET, settle_secrets

FAULTS = ["drop_before", "drop_after", "500_before", "500_after", "409", "403", "malformed", "wrong_amount"]
FAULTS += ["pending", "failed"]
LOOKUP_FAULTS = ["", "", "drop_before", "500_before", "malformed"]
# Where the sender dies: before T1 is committed, after it, before T4, after it.
DEATHS = ["before 1", "after 1", "after 2", "before 3", "after 3"]
WHOLE = parse_money("100.00 EUR")
# None is the full amount; some exceed it.
AMOUNTS = st.one_of(st.none(), st.integers(1, 12_000))
KEYS = st.sampled_from(["", "", "a", "b"])
CASH = "CASH"
MOST_INVOICES = 4
# Pauses: within the lease, beyond it, beyond Stripe's key window, beyond Adyen's.
PAUSES = st.sampled_from([timedelta(seconds=5), timedelta(minutes=2), timedelta(hours=25), timedelta(hours=200)])
FORGOTTEN_AFTER = {Provider.STRIPE: timedelta(hours=24), Provider.ADYEN: timedelta(days=7)}
_ADYEN_WORDS = {"open": "NOTIFICATION_OF_CHARGEBACK", "won": "CHARGEBACK_REVERSED", "lost": "SECOND_CHARGEBACK"}
_PAST_THE_LEASE = timedelta(minutes=1)
_PAST_EVERY_WINDOW = timedelta(days=8)
_MOST_RESUMES = 3


class Died(BaseException):
    """Simulates kill -9 inside one process."""


class Waited(BaseException):
    """Raised in place of a wait."""


class MovingClock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def today(self) -> date:
        return self.now().date()


@dataclass
class MortalBooks:
    """The books of a process that dies before or after its nth transaction."""

    books: SqlBooks
    death: str
    writes: int = 0
    # Where it is suspended, and what happens meanwhile.
    pause: str = ""
    suspend: Callable[[], None] = lambda: None

    def read(self, work: Callable[[Any], Any]) -> Any:
        return self.books.read(work)

    def write(self, work: Callable[[Any], Any]) -> Any:
        self.writes += 1
        self._die_at(f"before {self.writes}")
        output = self.books.write(work)
        self._die_at(f"after {self.writes}")
        return output

    def _die_at(self, place: str) -> None:
        if place == self.death:
            raise Died(place)
        if place == self.pause:
            self.suspend()


@dataclass
class WatchedProvider:
    """A provider that checks I2, I8 and I12 at the moment of sending."""

    real: PaymentProvider
    check: Callable[[WireRequest, str], None]
    connects: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def refund(self, request: WireRequest, idempotency_key: str, may_send: MaySend) -> RefundAnswer:
        def checked() -> bool:
            """Just before the first byte, after connecting."""
            self.connects()
            may = may_send()
            if may:
                self.check(request, idempotency_key)
            return may

        return self.real.refund(request, idempotency_key, checked)


@dataclass
class WatchedProviders:
    services: Services
    check: Callable[[WireRequest, str], None]
    connects: Callable[[], None] = lambda: None

    def of(self, provider: Provider) -> Any:
        return WatchedProvider(self.services.providers.of(provider), self.check, self.connects)

    def records(self, provider: Provider) -> Any:
        return self.services.providers.records(provider)

    def pace(self, provider: Provider) -> Any:
        return self.services.providers.pace(provider)


@dataclass
class Tally:
    """The number of sequences, and of each step."""

    sequences: int = 0
    steps: Counter[str] = field(default_factory=Counter)


class Refunding(RuleBasedStateMachine):
    new_store: ClassVar[NewStore]
    tally: ClassVar[Tally]

    # --- the world -----------------------------------------------------------------------------------------

    @initialize()
    def open_the_books(self) -> None:
        self.tally.sequences += 1
        self.folder = Path(tempfile.mkdtemp(prefix="refundcli-model-"))
        self.sandbox = RunningSandbox(merchant_account=MERCHANT).__enter__()
        self.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
        self.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
        self.desk = Desk(type(self).new_store(), self.sandbox, self.folder)
        settle_secrets(self.desk)
        self.clock = MovingClock()
        # Stripe's snapshots are dated by this clock too.
        self.dated = patch.object(stripe_lookup, "datetime", _datetime_of(self.clock))
        self.dated.start()
        self.services = self._services(self.desk.environ)
        self.books = self.services.books
        # The first use of a key stores its mode and account; done here before any step.
        self.services.providers.of(Provider.STRIPE)
        self.payments = sync_payments(self.clock, number_format="CN-{seq}")
        self.apply_events = ApplyEvents(self.books, self.services.updates.event_readers, self.payments)
        self.policy = SendingPolicy(7, "CN-{seq}", sleep=lambda seconds: None, apply_updates=self.apply_events.about)
        self.mail: list[Delivery] = []
        self.imported: list[NewInvoice] = []
        # The first dispute of each Adyen payment.
        self.disputed: dict[str, str] = {}
        # Paid at a provider, which reports the payments; the books do not have them yet.
        self.announced: list[NewInvoice] = []
        self.desk.paid_outside(CASH, str(WHOLE))
        self._bring_in(Provider.STRIPE)
        self._bring_in(Provider.ADYEN)

    def _services(self, environ: dict[str, str]) -> Services:
        loaded = load(config=None, store_url=None, environ=environ, cwd=self.folder, user_config=self.folder / "none")
        services = Services(loaded.settings, environ)
        services.__dict__["clock"] = self.clock
        return services

    def _bring_in(self, provider: Provider) -> None:
        self.imported.append(self._paid_at(provider))
        self.desk.bring_in(self.imported[-1])

    def _paid_at(self, provider: Provider) -> NewInvoice:
        reference = self.sandbox.charge(str(WHOLE), provider=provider.value).reference
        payment = NewPayment(WHOLE.minor, provider, method="card", reference=reference, auto_refundable=True)
        return new_invoice(f"INV-{len(self.imported) + len(self.announced)}", WHOLE, payments=(payment,))

    @property
    def _tools(self) -> dict[str, Any]:
        return {
            "books": self.books,
            "providers": WatchedProviders(self.services, self._check_before_sending),
            "clock": self.clock,
            "policy": self.policy,
        }

    def _unfinished(self) -> list[Any]:
        return built.resume(**self._tools).unfinished()

    def _try(self, step: str, work: Callable[[], object]) -> object:
        """A refusal is allowed; any other error fails the test."""
        self.tally.steps[step] += 1
        with suppress(RefundcliError):
            return work()
        return None

    def _some(self, data: st.DataObject, things: Sequence[Any]) -> Any:
        return things[data.draw(st.integers(0, len(things) - 1))]

    # --- what people do ------------------------------------------------------------------------------------

    @rule(data=st.data(), minor=AMOUNTS, key=KEYS)
    def refund(self, data: st.DataObject, minor: int | None, key: str) -> None:
        self._refund(data, minor, key)

    @rule(data=st.data(), minor=AMOUNTS, key=KEYS, fault=st.sampled_from(FAULTS))
    def refund_while_the_provider_fails(self, data: st.DataObject, minor: int | None, key: str, fault: str) -> None:
        self._refund(data, minor, key, fault=fault)

    @rule(data=st.data(), minor=AMOUNTS, key=KEYS, fault=st.sampled_from(["", *FAULTS]), death=st.sampled_from(DEATHS))
    def refund_and_die(self, data: st.DataObject, minor: int | None, key: str, fault: str, death: str) -> None:
        self._refund(data, minor, key, fault=fault, death=death)

    @rule(data=st.data(), minor=AMOUNTS, key=KEYS, pause=PAUSES, at=st.sampled_from(["connecting", *DEATHS]))
    def refund_while_suspended(
        self, data: st.DataObject, minor: int | None, key: str, pause: timedelta, at: str
    ) -> None:
        """A process that is suspended and then continues."""
        invoice = self._some(data, self.imported)
        pass_time = partial(self._time_passes, pause)
        tools = self._tools | {"books": MortalBooks(self.books, "", pause=at, suspend=pass_time)}
        if at == "connecting":
            watched = WatchedProviders(self.services, self._check_before_sending, _once(pass_time))
            tools = self._tools | {"providers": watched}
        request = _request(invoice.number, minor, key)
        self._check_reported(self._try("stood still", lambda: _issue(request, tools)))

    @rule(data=st.data(), minor=AMOUNTS, key=KEYS, death=st.sampled_from(["after 1", "after 2", "before 3"]))
    def a_colleague_refunds_and_dies(self, data: st.DataObject, minor: int | None, key: str, death: str) -> None:
        """On another host, where a dead process cannot be detected, so its lease must expire."""
        invoice = self._some(data, self.imported)
        tools = self._tools | {"books": MortalBooks(self.books, death)}
        try:
            with patch.object(socket, "gethostname", lambda: "another-host"):
                self._try("other host", lambda: _issue(_request(invoice.number, minor, key), tools))
        except Died:
            self._check_that_its_lease_is_waited_for()
            self._time_passes(_PAST_THE_LEASE)

    def _check_that_its_lease_is_waited_for(self) -> None:
        sent = len(self.sandbox.refund_requests)
        now = self.clock.now()
        leased = [refund for refund in self._unfinished() if _is_leased_by_another(refund, now)]
        for refund in leased:
            with suppress(Waited):
                built.resume(**self._tools | {"policy": replace(self.policy, sleep=_do_not_wait)}).settle([refund])
                raise AssertionError(f"the lease of another host on {refund.id} was not waited for")
        assert len(self.sandbox.refund_requests) == sent, "I3: a refund was sent that another host may be sending"

    def _refund(self, data: st.DataObject, minor: int | None, key: str, *, fault: str = "", death: str = "") -> None:
        invoice = self._some(data, self.imported)
        provider = invoice.payments[0].provider
        if fault and not (fault == "failed" and provider is Provider.STRIPE and minor is None):
            self.sandbox.faults(fault, provider=provider)
        tools = self._tools | {"books": MortalBooks(self.books, death)}
        try:
            refunds = self._try("refund", lambda: _issue(_request(invoice.number, minor, key), tools))
        except Died:
            # This live process holds its lease, so the lease must expire.
            self._time_passes(_PAST_THE_LEASE)
        else:
            self._check_reported(refunds)
        self.sandbox.clear_faults()

    @rule(minor=st.integers(1, 6_000), key=st.sampled_from(["", "c"]))
    def mark(self, minor: int, key: str) -> None:
        amount = Money(minor, WHOLE.currency)
        request = MarkRequest(
            number=CASH,
            amount=amount,
            amount_text=amount.number,
            reason=RefundReason.OTHER,
            request_key=key or generated_key(),
            operator="Ada",
        )
        marking = RecordRefunds(self.books, self.clock, self.policy.credit_note_format)
        self._try("mark", lambda: marking.record(request, confirmed=amount))

    @rule(fault=st.sampled_from(LOOKUP_FAULTS), again=st.sampled_from(["", "", "403", "drop_after", "500_before"]))
    def settle_what_is_left(self, fault: str, again: str) -> None:
        if fault:
            self.sandbox.faults(fault, call="lookup")
        for provider in Provider if again else ():
            self.sandbox.faults(again, provider=provider.value)
        self._try("resume", lambda: built.resume(**self._tools).settle(self._unfinished()))
        self.sandbox.clear_faults()

    @rule(data=st.data())
    @precondition(lambda self: len(self.imported) < MOST_INVOICES)
    def another_invoice(self, data: st.DataObject) -> None:
        self._bring_in(self._some(data, list(Provider)))

    @rule(data=st.data())
    @precondition(lambda self: len(self.imported) + len(self.announced) < MOST_INVOICES)
    def a_payment_comes_before_its_invoice(self, data: st.DataObject) -> None:
        self.announced.append(self._paid_at(self._some(data, list(Provider))))

    @rule()
    @precondition(lambda self: bool(self.announced))
    def its_invoice_comes(self) -> None:
        """As at the end of `invoice import`: earlier events of its payments are applied."""
        invoice = self.announced.pop(0)
        self.imported.append(invoice)
        self.tally.steps["events before their invoice"] += 1
        self.desk.bring_in(invoice)
        provider = invoice.payments[0].provider
        assert provider
        self.services.updates.apply_events.known(provider)

    @rule(data=st.data())
    def import_it_again(self, data: st.DataObject) -> None:
        """An import never overwrites newer facts in the books."""
        self._try("import", lambda: self.desk.bring_in(self._some(data, self.imported)))

    @rule()
    def acknowledge(self) -> None:
        for refund in self.books.read(lambda tx: tx.refunds.to_acknowledge()):
            self._try("acknowledge", partial(self.services.acknowledge.refund, refund.id, memo=""))

    @rule()
    def adopt(self) -> None:
        external_refunds = ExternalRefunds(self.books, self.clock, self.policy.credit_note_format)
        for refund in self.books.read(lambda tx: tx.external_refunds.listed(adopted=False)):
            self._try("adopt", partial(external_refunds.adopt, refund.id, RefundReason.DUPLICATE, memo=""))

    @rule()
    def reconcile(self) -> None:
        self._try("reconcile", self._compare)

    @rule(data=st.data())
    def somebody_has_a_live_key(self, data: st.DataObject) -> None:
        """A live key changes nothing in a test store and sends nothing (I12)."""
        sent, before = len(self.sandbox.refund_requests), self._rows()
        live = self._services(self.desk.environ | {"STRIPE_API_KEY": "sk_live_desk"})
        request = _request(self._some(data, self.imported).number, 100, "")
        with suppress(RefundcliError):
            live.providers.of(Provider.STRIPE)
            live_tools = self._tools | {"providers": WatchedProviders(live, self._check_before_sending)}
            _issue(request, live_tools)
            raise AssertionError("I12: a live key was taken")
        assert len(self.sandbox.refund_requests) == sent, "I12: a live key sent something"
        assert not (changed := self._rows().unlike(before)), f"I12: a live key changed something: {changed}"

    # --- what providers, banks and the post do -------------------------------------------------------------

    @rule(data=st.data(), minor=st.integers(1, 5_000))
    def refund_in_the_dashboard(self, data: st.DataObject, minor: int) -> None:
        payment = self._some(data, self.imported + self.announced).payments[0]
        if minor <= WHOLE.minor - self._refunded(payment.reference):
            self.tally.steps["dashboard"] += 1
            self.sandbox.dashboard_refund(payment.reference, minor)

    @rule(data=st.data(), well=st.booleans(), word=st.sampled_from(["REFUND_FAILED", "REFUNDED_REVERSED"]))
    def the_provider_decides(self, data: st.DataObject, well: bool, word: str) -> None:
        """A pending refund ends; a succeeded one fails late or is reversed."""
        open_ = [refund for refund in self.sandbox.refunds if _may_change(refund)]
        if not open_:
            return
        self.tally.steps["decided"] += 1
        refund = self._some(data, open_)
        if refund.provider == "stripe":
            ends_well = well and refund.status != "succeeded"
            self.sandbox.settle(refund.id, status="succeeded" if ends_well else "failed")
        elif refund.success is None:
            self.sandbox.settle(refund.id, success=well, reason="" if well else "Refused")
        else:
            self.sandbox.settle(refund.id, event=word)

    @rule(data=st.data(), status=st.sampled_from(["open", "won", "lost"]))
    def a_bank_disputes(self, data: st.DataObject, status: str) -> None:
        self.tally.steps["dispute"] += 1
        reference = self._some(data, self.imported + self.announced).payments[0].reference
        if reference not in self.sandbox.state.payments:
            self.sandbox.dispute(reference, status)
            return
        self._dispute_at_adyen(reference, status, dispute=self.disputed.get(reference))

    def _dispute_at_adyen(self, reference: str, status: str, **of: Any) -> None:
        """Adyen's event times are in seconds, so two events in one second have no order."""
        self._time_passes(timedelta(minutes=1))
        dispute_id = self.sandbox.adyen_dispute(reference, [_ADYEN_WORDS[status]], **of)
        self.disputed.setdefault(reference, dispute_id)

    @rule(data=st.data(), status=st.sampled_from(["open", "won", "lost"]), minor=st.integers(1, 3_000))
    def a_bank_disputes_a_part_once_more(self, data: st.DataObject, status: str, minor: int) -> None:
        self.tally.steps["one dispute more"] += 1
        payment = self._some(data, self.imported + self.announced).payments[0]
        if payment.reference in self.sandbox.state.payments:
            self._dispute_at_adyen(payment.reference, status, amount=minor)
        else:
            self.sandbox.dispute(payment.reference, status, minor, new=True)

    @rule(hours=st.sampled_from([1, 19, 21, 200]))
    def hours_go_by(self, hours: int) -> None:
        self._time_passes(timedelta(hours=hours))

    @rule()
    def the_providers_forget_old_keys(self) -> None:
        """As early as they may: the program's key window is shorter."""
        for provider, age in FORGOTTEN_AFTER.items():
            self.sandbox.forget_keys(provider.value, age.total_seconds())

    def _time_passes(self, by: timedelta) -> None:
        self.clock.ahead += by
        self.sandbox.advance(by.total_seconds())

    @rule(picks=st.lists(st.integers(0, 10_000), min_size=1, max_size=8), fault=st.sampled_from(LOOKUP_FAULTS))
    def the_post_comes(self, picks: list[int], fault: str) -> None:
        """Delivers some of the events in any order, some repeatedly; the rest is late."""
        self._collect()
        if self.mail:
            if fault:
                self.sandbox.faults(fault, call="lookup")
            self._ingest([self.mail[pick % len(self.mail)] for pick in picks])
            self.sandbox.clear_faults()

    @rule(pick=st.integers(0, 10_000))
    def a_forged_delivery_comes(self, pick: int) -> None:
        self._collect()
        if not self.mail:
            return
        # Every ingest also applies waiting events; apply them first, so that only this delivery counts.
        self._ingest([])
        true, before = self.mail[pick % len(self.mail)], self._rows()
        # One more digit in the amount invalidates the signature.
        forged = re.sub(r'("(?:value|amount)": ?)(\d)', r"\g<1>1\2", true.body)
        summary = self._ingest([Delivery(true.provider, true.kind, true.headers, forged)])
        assert summary.new == 0, f"a forged delivery was accepted: {forged}"
        assert len(summary.rejected) == 1, f"a forged delivery was not refused: {forged}"
        assert not (changed := self._rows().unlike(before)), f"a forged delivery changed something: {changed}"

    def _collect(self) -> None:
        for provider in Provider:
            self.mail += self.sandbox.deliveries(provider.value, drain=True)

    def _ingest(self, deliveries: Sequence[Delivery]) -> IngestSummary:
        self.tally.steps["deliveries"] += len(deliveries)
        readers = self._delivery_readers()
        stored = [
            SavedDelivery(line, Provider(delivery.provider), delivery.headers, delivery.body.encode())
            for line, delivery in enumerate(deliveries, 1)
        ]
        summary = IngestDeliveries(self.books, readers, self.apply_events).ingest(stored)
        assert not summary.applied.failed, summary.applied.failed
        self.tally.steps["deliveries refused"] += len(summary.rejected)
        return summary

    def _delivery_readers(self) -> Callable[[Provider], Any]:
        real = self.services.delivery_readers(any_age=True)

        def reader(provider: Provider) -> Any:
            new_reader: Any = real(provider)
            new_reader._now = self.clock.now
            return new_reader

        return reader

    # --- what must hold ------------------------------------------------------------------------------------

    def _check_before_sending(self, request: WireRequest, key: str) -> None:
        """Just before the request is sent."""
        (row,) = [entry for entry in self._rows().refunds if entry["idempotency_key"] == key]
        refund = self.books.read(lambda tx: tx.refunds.get(row["id"]))
        assert refund is not None, f"I2: {key} is not in the books"
        assert refund.sending is not None, f"I2: {key} is not in the books"
        assert refund.state is RefundState.SUBMITTED, f"I2: {refund.id} is sent while it is {refund.state}"
        assert refund.sending.request == request, f"I2: {refund.id} is sent with another request than was stored"
        assert refund.sending.first_sent_at is not None, f"I2: nothing tells when {refund.id} was sent first"
        age = self._age_of_key(key)
        assert age < KEY_WINDOWS[request.provider], f"I8: {refund.id} is sent again after {age}"
        if age == timedelta():
            self._check_first_send(row)
        assert request.endpoint.startswith(self.sandbox.url), f"I8: {refund.id} is sent to {request.endpoint}"
        assert request.livemode is False, f"I12: {refund.id} is sent in live mode"

    def _check_first_send(self, row: dict[str, Any]) -> None:
        """No first send while a dispute or an unreviewed event bars it (R11, R13)."""
        (payment,) = [entry for entry in self._rows().payments if entry["id"] == row["payment_id"]]
        reference = payment["payment_intent"] or payment["psp_reference"]
        assert payment["dispute"] not in ("open", "unknown"), f"R11: {row['id']} is sent into a dispute"
        lost = payment["lost"] + payment["dispute_recorded"]
        if payment["provider"] == "stripe":
            # The provider was read just before the send, so its refunds are known too.
            disputes = self.sandbox.state.disputes_of(self.sandbox.state.find_charge(reference).id)
            assert not [entry for entry in disputes if entry.status == "needs_response"], (
                f"R11: {row['id']} is disputed"
            )
            lost = sum(entry.amount for entry in disputes if entry.status == "lost")
        refunded = self._refunded(reference)
        assert refunded + lost + row["amount"] <= WHOLE.minor, (
            f"I13: {row['id']} of {row['amount']} is sent after {refunded} was given and {lost} lost to disputes"
        )
        unapplied = self._events_of(reference, "waiting", "unreviewed") if payment["provider"] == "adyen" else []
        assert not unapplied, f"R13: {row['id']} is sent beside {unapplied}"

    def _events_of(self, reference: str, *states: str) -> list[str]:
        named = ", ".join(f"'{state}'" for state in states)
        query = (
            "SELECT e.event_key, e.note FROM provider_event e JOIN event_payment p ON p.event_id = e.id "
            f"WHERE p.reference = '{reference}' AND e.state IN ({named})"
        )
        with self.books.engine.connect() as line:
            return [f"{row.event_key}: {row.note}" for row in line.exec_driver_sql(query)]

    def _age_of_key(self, key: str) -> timedelta:
        """By the provider's record of the first request with it, not the books'."""
        first = next((record.first_seen for record in self.sandbox.keys if record.key == key), None)
        return timedelta() if first is None else timedelta(seconds=self.sandbox.state.now() - first)

    def _check_reported(self, refunds: Any) -> None:
        """A command reports what the books hold (I11)."""
        for refund in refunds or ():
            stored = self.books.read(lambda tx, r=refund: tx.refunds.get(r.id))  # type: ignore[misc]
            assert stored is not None, f"I11: {refund.id} was reported and is not stored"
            assert stored.state is refund.state, (
                f"I11: {refund.id} was reported as {refund.state} and is {stored.state}"
            )

    @invariant()
    def every_promise_holds(self) -> None:
        if hasattr(self, "imported"):
            broken = list(self._broken())
            assert not broken, broken

    def _broken(self) -> Iterator[str]:
        books, provider = self._rows(), self._at_provider()
        ours = [refund for refund in books.refunds if refund["kind"] == "provider"]
        yield from self._over_refunded(books)
        yield from not_committed_first(books, provider)
        yield from doubled(books, provider)
        yield from released_without_proof(books, provider)
        yield from broken_audit_trail(Books(ours, books.payments, books.invoices, books.notes, books.audit, []))
        yield from (f"I9, I10: {finding}" for finding in findings(self.books))

    def _over_refunded(self, books: Books) -> Iterator[str]:
        for payment in books.payments:
            if payment["reserved"] + payment["refunded"] > share_of(payment):
                yield f"I1: {payment['reserved']} + {payment['refunded']} of {share_of(payment)}"
        for invoice in self.imported:
            refunded = self._refunded(invoice.payments[0].reference)
            if refunded > WHOLE.minor:
                yield f"I1: the provider gave {refunded} of {WHOLE.minor} for {invoice.number}"

    def _refunded(self, reference: str) -> int:
        return sum(refund["amount"] for refund in self._at_provider().of_payment(reference) if gave_money(refund))

    def _lost(self, reference: str) -> int:
        state = self.sandbox.state
        if reference in state.payments:
            adyens = state.adyen_disputes.naming(reference)
            return sum(refund.amount for refund in adyens if refund.story[-1][0] == _ADYEN_WORDS["lost"])
        disputes = state.disputes_of(state.find_charge(reference).id)
        return sum(refund.amount for refund in disputes if refund.status == "lost")

    def _rows(self) -> Books:
        with self.books.engine.connect() as line:
            return read_books(lambda query: map(dict, line.exec_driver_sql(query).mappings().all()))

    def _at_provider(self) -> AtProvider:
        state = self.sandbox.state.snapshot()
        for refund in state["refunds"]:
            if refund["provider"] == "adyen":
                refund["status"] = {True: "succeeded", False: "failed", None: "pending"}[refund["success"]]
        return AtProvider(state["refunds"], [r for r in state["requests"] if r["provider"]], state["requests"])

    # --- the end -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "imported"):
            return
        try:
            self._settle()
            self.every_promise_holds()
            disagreeing = list(self._disagreeing())
            assert not disagreeing, disagreeing
        finally:
            self.dated.stop()
            self.books.engine.dispose()
            self.desk.books.engine.dispose()
            self.sandbox.stop()
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        """Faults stop, all deliveries arrive twice and shuffled, and an operator resolves the rest."""
        self.sandbox.clear_faults()
        self._collect()
        mail = self.mail * 2
        random.Random(len(mail)).shuffle(mail)
        self._ingest(mail)
        while self.announced:
            self.its_invoice_comes()
        for _ in range(_MOST_RESUMES):
            built.resume(**self._tools).settle(self._unfinished())
        self._time_passes(_PAST_EVERY_WINDOW)
        for refund in self._unfinished():
            self._resolve(refund)
        # The provider reports the refunds of these replays and resolutions, too.
        self._collect()
        self._ingest(self.mail)
        self._compare()
        self.acknowledge()

    def _resolve(self, refund: Refund) -> None:
        """With the evidence from the dashboard."""
        references = [provider_refund["id"] for provider_refund in self._at_provider().of(refund.id)]
        resolution = Resolution(refund.id, references[0] if references else "", "seen in the dashboard")
        built.resolve(**self._tools).resolve(resolution)

    def _compare(self) -> None:
        reconcile = ReconcileProvider(self.books, self.services.providers, self.payments, self.clock)
        reconcile.everything(Provider.STRIPE, ComparisonSummary())

    def _disagreeing(self) -> Iterator[str]:
        """Store and provider agree on every refund and every payment, both ways (I6)."""
        books, provider = self._rows(), self._at_provider()
        by_reference = {
            refund["provider_reference"]: refund for refund in books.refunds if refund["provider_reference"]
        }
        for provider_refund in provider.refunds:
            yield from _one_disagreeing(provider_refund, by_reference.pop(provider_refund["id"], None))
        for refund in by_reference.values():
            yield f"I6: {refund['id']} is {refund['provider_reference']}, which the provider does not have"
        for refund in books.refunds:
            if refund["kind"] == "provider" and not refund["provider_reference"] and refund["state"] != "failed":
                yield f"I6: {refund['id']} is {refund['state']}, and the provider never made it"
        for event in books.events:
            if not was_looked_at(event):
                yield f"I7: the event {event['event_key']} is {event['state']}: {event['note']}"
        for payment in books.payments:
            if payment["provider"]:
                counted = payment["reserved"] + payment["refunded"] + payment["returned_elsewhere"]
                refunded = self._refunded(payment["payment_intent"] or payment["psp_reference"])
                if refunded != counted:
                    yield f"I6: the provider gave {refunded}, the books say {counted}: {payment}"
                lost = self._lost(payment["payment_intent"] or payment["psp_reference"])
                if lost != payment["lost"] + payment["dispute_recorded"]:
                    yield f"I13: {lost} were lost to disputes, the books say otherwise: {payment}"


def _do_not_wait(seconds: float) -> None:
    raise Waited


def _once(work: Callable[[], None]) -> Callable[[], None]:
    pending = [work]

    def do() -> None:
        if pending:
            pending.pop()()

    return do


def _datetime_of(clock: MovingClock) -> type[datetime]:
    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return clock.now().astimezone(tz)

    return Shifted


def _is_leased_by_another(refund: Refund, now: datetime) -> bool:
    sending = refund.sending
    live = sending and sending.lease_until and sending.lease_until > now
    return bool(live and sending and sending.lease_owner.startswith("another-host|"))


def _issue(request: RefundRequest, tools: dict[str, Any]) -> list[Refund]:
    service = built.issue_refunds(**tools)
    return service.issue(service.check(request))


def _request(number: str, minor: int | None, key: str) -> RefundRequest:
    amount = None if minor is None else Money(minor, WHOLE.currency)
    return RefundRequest(
        number=number,
        amount=amount,
        amount_text=amount.number if amount else "",
        reason=RefundReason.OTHER,
        request_key=key or generated_key(),
        operator="Ada",
        allow_duplicate=True,
    )


def _may_change(refund: Any) -> bool:
    return refund.status not in ("failed", "canceled") if refund.provider == "stripe" else refund.success is not False


def _one_disagreeing(provider_refund: dict[str, Any], refund: dict[str, Any] | None) -> Iterator[str]:
    if refund is None:
        # A refund that failed before it was reported need not be known.
        if gave_money(provider_refund):
            yield f"I6: the provider has {provider_refund['id']}, which the books do not know"
        return
    states = {"pending": ["pending"], "requires_action": ["pending"], "succeeded": ["succeeded"]}
    if refund["state"] not in states.get(provider_refund["status"], ["failed", "reversed"]):
        yield f"I6: {refund['id']} is {refund['state']}, and the provider says {provider_refund['status']}"
    if refund["amount"] != provider_refund["amount"] or (name_of(provider_refund) or refund["id"]) != refund["id"]:
        yield f"I6: {refund['id']} of {refund['amount']} is not {provider_refund['id']} of {provider_refund['amount']}"


# --- a run ---------------------------------------------------------------------------------------------------


def play(new_store_: NewStore, *, examples: int, steps: int, seed_: int, shrinks: bool = True) -> Tally:
    """Raises the first violation with its shortest sequence of steps.

    `shrinks`: unless it is to be shown at once, as it was played.
    """

    @seed(seed_)
    class Machine(Refunding):
        new_store = staticmethod(new_store_)
        tally = Tally()

    run_settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=run_settings)
    return Machine.tally


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--as-played", action="store_true", help="a sequence that fails is not made shorter first")
    options = parser.parse_args(arguments)
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    use_memory_for_temporary_files()
    share_engines()
    for database in options.database or DATABASES:
        began = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="refundcli-model-") as directory,
            stores(database, Path(directory)) as new_store,
        ):
            tally = play(
                new_store,
                examples=options.examples,
                steps=options.steps,
                seed_=options.seed,
                shrinks=not options.as_played,
            )
        steps = ", ".join(f"{count} {step}" for step, count in sorted(tally.steps.items()))
        print(
            f"model on {database}: {tally.sequences} sequences, seed {options.seed}, "
            f"{time.monotonic() - began:.0f} s, 0 violations\n    {steps}\n    {summed(())}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
