"""Codes on no list: each blocks its payment until an operator acknowledges it, and not afterwards (R13)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

import oracle
from adyen_rows import HEADER, row
from desk import Desk
from oracle import PAID, PART, delivered
from refundcli.store.checks.integrity import findings
from webhooks import ADYEN_KEY, STRIPE_SECRET, Json, item, settle_secrets

ORDINARY = 1_000


@pytest.fixture(autouse=True)
def _webhooks(desk: Desk) -> None:
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)


@dataclass(frozen=True)
class EventCode:
    """An Adyen event code; `unnamed` uses the payment's reference as its own."""

    code: str
    decision: str = ""
    unnamed: bool = False
    provider: str = "adyen"

    def report(self, desk: Desk, payment: str) -> None:
        named = {"originalReference": None, "pspReference": payment} if self.unnamed else {"originalReference": payment}
        amount = {"currency": "EUR", "value": PART}
        notification = item(self.code, **({"pspReference": "ABOUT", "amount": amount} | named))
        oracle.ingest(desk, *delivered(notification))


@dataclass(frozen=True)
class RecordType:
    """A record type of Adyen's report."""

    kind: str
    decision: str = ""
    provider: str = "adyen"

    def report(self, desk: Desk, payment: str) -> None:
        path = desk.folder / "report.csv"
        line = row(self.kind, payment, "MODIFICATION", at="2026-10-02 14:03:00")
        path.write_text(f"{HEADER}\n{line}\n")
        assert desk(f"reconcile --report {path}").exit_code in (0, 3, 8)


@dataclass(frozen=True)
class DisputeStatus:
    """A Stripe dispute in an unlisted status, as fetched."""

    status: str
    decision: str = ""
    provider: str = "stripe"

    def report(self, desk: Desk, payment: str) -> None:
        desk.sandbox.dispute(payment, self.status, PART)
        assert desk("reconcile").exit_code in (0, 3, 8)


@dataclass(frozen=True)
class RefundStatus:
    status: str | None
    decision: str = ""
    provider: str = "stripe"

    def report(self, desk: Desk, payment: str) -> None:
        if not desk.sandbox.refunds_of(payment):
            desk.sandbox.dashboard_refund(payment, PART, status=self.status)
        assert desk("reconcile").exit_code in (0, 3, 8)


@dataclass(frozen=True)
class EventType:
    kind: str
    decision: str = ""
    provider: str = "stripe"

    def report(self, desk: Desk, payment: str) -> None:
        path = desk.folder / f"{payment}.jsonl"
        if not path.exists():
            charge = desk.sandbox.stripe_object(payment)["latest_charge"]
            named = {"charge": charge, "payment_intent": payment}
            desk.sandbox.stripe_event(
                self.kind, shape={"id": "re_pigeon", "object": "refund", "status": "odd", **named}
            )
            deliveries = desk.sandbox.deliveries("stripe", drain=True)
            path.write_text("".join(f"{json.dumps(asdict(delivery))}\n" for delivery in deliveries))
        # The same delivery, repeated.
        desk.ingest(path)


@dataclass(frozen=True)
class PaymentStatus:
    """A Stripe payment in an unlisted status, with an unknown captured amount."""

    about: str
    decision: str = ""
    provider: str = "stripe"

    def report(self, desk: Desk, payment: str) -> None:
        target = payment if self.about == "payment_intent" else desk.sandbox.stripe_object(payment)["latest_charge"]
        desk.sandbox.patch(target, {"status": "limbo"})
        # Stripe's list holds charges; a payment's own status is only in its snapshot.
        assert desk("reconcile --invoice INV-1").exit_code in (0, 3, 8)


# An unlisted code, its acknowledgement, and every way in which it recurs.
Word: TypeAlias = EventCode | RecordType | DisputeStatus | RefundStatus | PaymentStatus | EventType

WORDS: dict[str, Word] = {
    "event code DISPUTE_FOO": EventCode("DISPUTE_FOO", "open"),
    "event code DISPUTE_FOO, of the payment itself": EventCode("DISPUTE_FOO", "won", unnamed=True),
    "event code FOO": EventCode("FOO"),
    "record type RefundedByPigeon": RecordType("RefundedByPigeon"),
    "record type ChargebackByPigeon": RecordType("ChargebackByPigeon", "lost"),
    "dispute status limbo": DisputeStatus("limbo", "lost"),
    "refund status odd": RefundStatus("odd"),
    "refund status null": RefundStatus(None),
    "payment status limbo": PaymentStatus("payment_intent"),
    "charge status limbo": PaymentStatus("charge"),
    "event type refund.teleported": EventType("refund.teleported"),
    "event type charge.dispute.teleported": EventType("charge.dispute.teleported", "won"),
}
every_word = pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)


def refused_as(desk: Desk) -> str:
    answer = desk("refund INV-1 --full --reason other --yes -o json")
    return "" if answer.exit_code == 0 else str(answer.error["code"])


def unreviewed(desk: Desk) -> list[Json]:
    unreviewed: list[Json] = desk("status -o json").json["unreviewed"]
    return unreviewed


def compared(desk: Desk, word: Word) -> int:
    """The exit code of a comparison without other findings."""
    if word.provider == "stripe":
        return desk("reconcile").exit_code
    path = Path(desk.folder) / "quiet.csv"
    path.write_text(f"{HEADER}\n{row('Fee', '', '', side='debit')}\n")
    return desk(f"reconcile --report {path}").exit_code


@every_word
def test_an_unlisted_code_blocks_its_payment_and_no_other(desk: Desk, word: Word) -> None:
    payment, second = (desk.paid_by_card(number, provider=word.provider) for number in ("INV-1", "INV-2"))
    word.report(desk, payment)
    assert desk("status").exit_code == 8
    (event,) = unreviewed(desk)
    assert compared(desk, word) == 8
    assert refused_as(desk) == "unreviewed-event"
    assert [entry for entry in desk.refunded_at_provider(payment) if entry == PAID] == []
    # Delivered again, it is the same event.
    word.report(desk, payment)
    assert [entry["id"] for entry in unreviewed(desk)] == [event["id"]]
    desk.json("refund INV-2 --full --reason other --yes")
    assert desk.refunded_at_provider(second) == [PAID]
    assert findings(desk.books) == []


@every_word
def test_an_acknowledged_code_no_longer_blocks_however_often_it_comes(desk: Desk, word: Word) -> None:
    payment = desk.paid_by_card("INV-1", provider=word.provider)
    word.report(desk, payment)
    (event,) = unreviewed(desk)
    if word.decision:
        desk.refused(f"events acknowledge {event['id']}", "dispute-decision-needed", exit_code=2)
        desk.json(f"events acknowledge {event['id']} --as {word.decision}")
    else:
        desk.json(f"events acknowledge {event['id']} --memo 'asked the provider, case 4711'")
    for _ in range(2):
        word.report(desk, payment)
        assert unreviewed(desk) == []
        assert compared(desk, word) != 8
    expected = {"open": "disputed", "won": "dispute-closed", "lost": "", "": ""}[word.decision]
    assert refused_as(desk) == expected
    sent = [amount for amount in desk.refunded_at_provider(payment) if amount > PART]
    if word.decision == "lost":
        assert sent == [PAID - PART]
    assert findings(desk.books) == []


@pytest.mark.parametrize("word", ["event code FOO", "record type RefundedByPigeon", "event type refund.teleported"])
def test_a_code_is_decided_once_for_the_store(desk: Desk, word: str) -> None:
    unlisted = WORDS[word]
    first, later = (desk.paid_by_card(number, provider=unlisted.provider) for number in ("INV-2", "INV-1"))
    unlisted.report(desk, first)
    (event,) = unreviewed(desk)
    answer = desk.json(f"events acknowledge --code {event['kind']} --as none")
    assert answer["acknowledged"] == 1
    unlisted.report(desk, later)
    assert unreviewed(desk) == []
    assert refused_as(desk) == ""
    assert desk.refunded_at_provider(later)[-1:] == [PAID]


@pytest.mark.parametrize("word", ["event code DISPUTE_FOO", "dispute status limbo"])
def test_a_dispute_code_is_never_decided_for_the_store(desk: Desk, word: str) -> None:
    unlisted = WORDS[word]
    payment = desk.paid_by_card("INV-1", provider=unlisted.provider)
    unlisted.report(desk, payment)
    (event,) = unreviewed(desk)
    desk.refused(f"events acknowledge --code '{event['kind']}' --as none", "dispute-decision-needed", exit_code=2)
    assert refused_as(desk) == "unreviewed-event"


@pytest.mark.parametrize("turned", [False, True])
def test_an_unlisted_dispute_code_that_names_only_the_dispute_blocks(desk: Desk, turned: bool) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    amount = {"currency": "EUR", "value": PART}
    won = item("CHARGEBACK_REVERSED", originalReference=payment, pspReference="DISPUTE1", amount=amount)
    odd = item("DISPUTE_FOO", originalReference=None, pspReference="DISPUTE1", amount=amount)
    oracle.ingest(desk, *delivered(*([odd, won] if turned else [won, odd])))
    answer = desk("refund INV-1 --full --reason other --dispute-decision won --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "unreviewed-event")
    assert desk("status").exit_code == 8


def test_a_dispute_in_an_unlisted_status_blocks_until_a_listed_one(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1")
    desk.sandbox.dispute(payment, "limbo", PART)
    desk("reconcile")
    (event,) = unreviewed(desk)
    desk.json(f"events acknowledge {event['id']} --as lost")
    assert oracle.sums(desk, "INV-1").lost == PART
    # Another status of the same dispute is a new update.
    desk.sandbox.dispute(payment, "purgatory", PART)
    assert desk("reconcile").exit_code == 8
    assert refused_as(desk) == "unreviewed-event"
    desk.sandbox.dispute(payment, "needs_response", PART)
    desk("reconcile")
    assert desk.invoice("INV-1").dispute == "open"


LEARNT = {"dispute status limbo": "dispute", "refund status odd": "refund", "refund status null": "refund"}


@pytest.mark.parametrize("way", ["refund", "webhook", "pull"])
@pytest.mark.parametrize("word", LEARNT)
def test_an_unlisted_status_blocks_by_whichever_way_it_is_learnt(desk: Desk, word: str, way: str) -> None:
    unlisted = WORDS[word]
    if way == "pull":
        payment = "pi_pulled"
        desk.sandbox.invoice("100.00 EUR", number="INV-1", payments=[{"amount": PAID, "reference": payment}])
    else:
        payment = desk.paid_by_card("INV-1")
    if isinstance(unlisted, DisputeStatus):
        desk.sandbox.dispute(payment, unlisted.status, PART)
    elif isinstance(unlisted, RefundStatus):
        desk.sandbox.dashboard_refund(payment, PART, status=unlisted.status)
    if way == "webhook":
        path = desk.folder / "stripe.jsonl"
        deliveries = desk.sandbox.deliveries("stripe", drain=True)
        path.write_text("".join(f"{json.dumps(asdict(entry))}\n" for entry in deliveries))
        desk.ingest(path)
    elif way == "pull":
        desk("invoice pull stripe")
    first = refused_as(desk)
    # Only this look-up shows the difference at Stripe.
    assert first == "unreviewed-event" or (way == "refund" and first == "differs-from-provider")
    assert [entry for entry in desk.refunded_at_provider(payment) if entry != PART] == []
    assert desk("status").exit_code == 8
    assert len(unreviewed(desk)) == 1
    assert desk("reconcile").exit_code == 8
    assert refused_as(desk) == "unreviewed-event"


def test_a_thousand_ordinary_events_block_nothing(desk: Desk) -> None:
    payments = [desk.paid_by_card(f"INV-{place}", provider="adyen") for place in range(5)]
    whole = {"currency": "EUR", "value": PAID}
    notifications = []
    for place in range(ORDINARY):
        payment = payments[place % len(payments)]
        at = f"2026-10-02T{place % 24:02}:{place % 60:02}:{place // 60:02}+02:00"
        notifications.append(item("AUTHORISATION", originalReference=None, pspReference=payment, eventDate=at))
        # Adyen repeats a capture under its own reference.
        notifications.append(item("CAPTURE", originalReference=payment, pspReference=f"CAPTURE{payment}", amount=whole))
    summary = oracle.ingest(desk, *delivered(*notifications))
    assert summary["new"] == ORDINARY + len(payments)
    assert desk("status").exit_code == 0
    assert refused_as(desk) == ""
    assert desk.refunded_at_provider(payments[1]) == [PAID]
