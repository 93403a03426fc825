"""Every event code of Adyen, signed, from the delivery to the next refund: the sums before and after it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import oracle
from desk import MERCHANT, Desk
from oracle import PAID, PART, Outcome, Sums, delivered, outcome_of, sums
from vendor_codes import AdyenCode, adyen_event_examples, adyen_events
from webhooks import Json, Post, adyen, item, listening, settle_secrets, signed, until

CODES = adyen_events()
# Without an action in its additionalData its effect is unknown.
CODES |= {("CANCEL_OR_REFUND", True): "block", ("CANCEL_OR_REFUND", False): "block"}
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
# One of each meaning, for both databases.
SAMPLE = {
    ("REFUND", True), ("REFUND", False), ("REFUND_FAILED", True), ("REFUNDED_REVERSED", True), ("CAPTURE", True),
    ("CAPTURE_FAILED", True), ("CANCELLATION", True), ("CHARGEBACK", True), ("CHARGEBACK_REVERSED", True),
    ("SECOND_CHARGEBACK", True), ("INFORMATION_SUPPLIED", True), ("CHARGEBACK", False), ("AUTHORISATION", True),
    ("NOTIFICATION_OF_FRAUD", True),
}  # fmt: skip


def paid(desk: Desk, words: Iterable[Any], amount: str = "100.00 EUR") -> dict[Any, tuple[str, str]]:
    """An invoice for each code, paid through Adyen: its number and its payment."""
    numbers = {word: f"INV-{place:03}" for place, word in enumerate(words)}
    return {word: (number, desk.paid_by_card(number, amount, provider="adyen")) for word, number in numbers.items()}


def event(word: AdyenCode, payment: str, number: str, amount: int = PART, **changes: Any) -> Json:
    """An event about part of the payment, with its own reference."""
    code, success = word
    of = {"amount": {"currency": "EUR", "value": amount}, "eventDate": YESTERDAY, "pspReference": f"EVENT{number}"}
    return item(code, success=str(success).lower(), **({"originalReference": payment} | of | changes))


def split(outcomes: Mapping[Any, Outcome], needs_a_person: bool) -> dict[Any, Outcome]:
    """The events by whether they need review, as the exit code of `status` shows."""
    return {word: outcome for word, outcome in outcomes.items() if outcome.needs_a_person is needs_a_person}


by_exit_code = pytest.mark.parametrize("needs_a_person", [True, False], ids=["exit 8", "exit 0"])


@by_exit_code
@pytest.mark.parametrize("amount", [PART, PAID], ids=["part", "whole"])
def test_each_event_code_ends_in_the_right_sums(sqlite_desk: Desk, amount: int, needs_a_person: bool) -> None:
    settle_secrets(sqlite_desk)
    # Where the amount does not matter, one is enough.
    words = {word: text for word, text in CODES.items() if amount == PART or text not in ("none", "note", "block")}
    outcomes = split({word: outcome_of(text, amount) for word, text in words.items()}, needs_a_person)
    invoices = paid(sqlite_desk, outcomes)
    reported = [event(word, payment, number, amount) for word, (number, payment) in invoices.items()]
    oracle.ingest(sqlite_desk, *delivered(*reported))
    oracle.check(sqlite_desk, invoices, outcomes)


@by_exit_code
def test_a_sample_of_event_codes_on_both_databases(desk: Desk, needs_a_person: bool) -> None:
    settle_secrets(desk)
    outcomes = split({word: outcome_of(CODES[word]) for word in sorted(SAMPLE)}, needs_a_person)
    invoices = paid(desk, outcomes)
    reported = [event(word, payment, number) for word, (number, payment) in invoices.items()]
    oracle.ingest(desk, *delivered(*reported, *reported))
    oracle.check(desk, invoices, outcomes)


@by_exit_code
def test_an_event_before_its_invoice_ends_as_after_it(sqlite_desk: Desk, needs_a_person: bool) -> None:
    desk = sqlite_desk
    settle_secrets(desk)
    outcomes = split({word: outcome_of(text) for word, text in CODES.items()}, needs_a_person)
    payments = [desk.sandbox.charge("100.00 EUR", provider="adyen").reference for _ in outcomes]
    invoices = {word: (f"INV-{place:03}", payments[place]) for place, word in enumerate(outcomes)}
    reported = [event(word, payment, number) for word, (number, payment) in invoices.items()]
    oracle.ingest(desk, *delivered(*reported))
    assert oracle.status(desk).exit_code == 0
    desk.json(f"invoice import {oracle.invoice_file(desk, invoices.values())}")
    oracle.check(desk, invoices, outcomes)


# --- about a refund of ours ----------------------------------------------------------------------------------

_ACCEPTED = Sums(reserved=PART, refundable=PAID - PART)
_DONE = Sums(refunded=PART, refundable=PAID - PART)
_FREE = Sums()
OURS = {
    ("REFUND", True): Outcome(_DONE),
    # An accepted refund that is then refused is released and needs acknowledgement (R14).
    ("REFUND", False): Outcome(_FREE, needs_a_person=True),
    ("REFUND_WITH_DATA", True): Outcome(_DONE),
    ("REFUND_WITH_DATA", False): Outcome(_FREE, needs_a_person=True),
    # Adyen may retry it: reserved for ten days, or until it is acknowledged.
    ("REFUND_FAILED", True): Outcome(_ACCEPTED, needs_a_person=True),
    ("REFUND_FAILED", False): Outcome(_ACCEPTED, "unreviewed-event", needs_a_person=True),
    ("REFUNDED_REVERSED", True): Outcome(_FREE, needs_a_person=True),
    ("REFUNDED_REVERSED", False): Outcome(_ACCEPTED, "unreviewed-event", needs_a_person=True),
    ("POSTPONED_REFUND", True): Outcome(_ACCEPTED),
    ("POSTPONED_REFUND", False): Outcome(_ACCEPTED, "unreviewed-event", needs_a_person=True),
    ("VOID_PENDING_REFUND", True): Outcome(_FREE, needs_a_person=True),
    ("VOID_PENDING_REFUND", False): Outcome(_ACCEPTED),
    ("CANCEL_OR_REFUND", True): Outcome(_ACCEPTED, "unreviewed-event", needs_a_person=True),
    ("CANCEL_OR_REFUND", False): Outcome(_ACCEPTED, "unreviewed-event", needs_a_person=True),
}


def test_every_refund_code_has_its_outcome_for_a_refund_of_ours() -> None:
    about_refunds = {code for (code, _), text in adyen_events().items() if text.startswith("refund")}
    assert {code for code, _ in OURS} == about_refunds


@by_exit_code
def test_each_code_about_a_refund_of_ours_moves_it_and_no_other(desk: Desk, needs_a_person: bool) -> None:
    settle_secrets(desk)
    outcomes = split(OURS, needs_a_person)
    invoices = paid(desk, outcomes)
    reported = []
    for word, (number, payment) in invoices.items():
        (ours,) = desk.json(f"refund {number} --amount 30 --reason other --yes")["refunds"]
        assert sums(desk, number) == _ACCEPTED
        reported.append(event(word, payment, number, pspReference=ours["provider_reference"]))
    oracle.ingest(desk, *delivered(*reported))
    oracle.check(desk, invoices, outcomes)


# --- what the additional data decides ------------------------------------------------------------------------

ACTIONS = {
    ("refund", True): outcome_of("refund succeeded"),
    ("refund", False): outcome_of("refund failed"),
    ("cancel", True): outcome_of("capture cancelled", PAID),
    ("cancel", False): outcome_of("note"),
    ("pigeon", True): outcome_of("block"),
    ("", False): outcome_of("block"),
}


@by_exit_code
def test_a_reversal_is_what_its_action_says(desk: Desk, needs_a_person: bool) -> None:
    settle_secrets(desk)
    outcomes = split(ACTIONS, needs_a_person)
    invoices = paid(desk, outcomes)
    reported = [
        event(("CANCEL_OR_REFUND", success), payment, number, PAID if action == "cancel" else PART,
              additionalData={"modification.action": action})
        for (action, success), (number, payment) in invoices.items()
    ]  # fmt: skip
    oracle.ingest(desk, *delivered(*reported))
    oracle.check(desk, invoices, outcomes)


def test_a_closed_order_that_failed_blocks_each_of_its_payments(desk: Desk) -> None:
    settle_secrets(desk)
    invoices = paid(desk, ["first", "second", "other"])
    (_, first), (_, second), _ = invoices.values()
    parts = {"order-1-pspReference": first, "order-2-pspReference": second, "order-1-success": "true"}
    order = item("ORDER_CLOSED", success="false", originalReference=None, additionalData=parts, eventDate=YESTERDAY)
    oracle.ingest(desk, *delivered(order))
    blocked, free = outcome_of("block"), outcome_of("none")
    oracle.check(desk, invoices, {"first": blocked, "second": blocked, "other": free})


def test_a_defended_dispute_is_refunded_by_decision_only(desk: Desk) -> None:
    settle_secrets(desk)
    won = [word for word, text in CODES.items() if text.startswith("dispute won")]
    invoices = paid(desk, won)
    reported = [event(word, payment, number) for word, (number, payment) in invoices.items()]
    oracle.ingest(desk, *delivered(*reported))
    for number, payment in invoices.values():
        ending = oracle.ending_of(desk, number, payment, "--dispute-decision 'won, and still refunded'")
        assert (ending.refused, ending.sent, ending.after.reserved) == ("", [PAID], PAID)


# --- the vendor's own examples, over HTTP --------------------------------------------------------------------


def example(body: Json, payment: str, place: int) -> Json:
    """About one of our payments. An example that names no payment has the payment's own reference."""
    names = {"merchantAccountCode": MERCHANT, "pspReference": f"EXAMPLE{place:09}", "originalReference": payment}
    if "originalReference" not in body:
        names = {"merchantAccountCode": MERCHANT, "pspReference": payment}
    data = dict(body.get("additionalData") or {})
    data |= {name: payment for name in data if name == "order-1-pspReference"}
    return body | names | {"additionalData": data}


def post_of(body: Json, payment: str, place: int) -> Post:
    if "notificationItems" not in body:
        return Post("/adyen", json.dumps(body).encode(), {"Content-Type": "application/json"})
    (only,) = body["notificationItems"]
    return adyen(signed(example(only["NotificationRequestItem"], payment, place)))


@dataclass(frozen=True, slots=True)
class LapsedHold(Outcome):
    """A failure older than Adyen's ten days of retries: the next refund releases its amount."""

    @property
    def sent(self) -> list[int]:
        return [self.before.reserved]

    @property
    def after(self) -> Sums:
        return self.before


OLD_FAILURE = LapsedHold(Sums(1000, 1000, reserved=1000, refundable=0), needs_a_person=True)


def outcome_of_example(code: str, body: Json) -> Outcome:
    """Each is about 10.00 of a payment of 10.00; an amount in another currency counts as all of it."""
    of = body["notificationItems"][0]["NotificationRequestItem"]
    success = of["success"] == "true"
    if of.get("additionalData", {}).get("modification.action") == "cancel":
        return outcome_of("capture cancelled", 1000, paid=1000)
    expectation = adyen_events()[code, success]
    if expectation == "refund failed retried":
        return OLD_FAILURE
    return outcome_of(expectation, 1000, paid=1000)


def test_the_vendors_examples_signed_and_posted_end_in_the_right_sums(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    settle_secrets(desk)
    examples = {(code, n): body for code, bodies in adyen_event_examples().items() for n, body in enumerate(bodies)}
    outcomes = {key: outcome_of_example(key[0], body) for key, body in examples.items() if "notificationItems" in body}
    invoices = paid(desk, outcomes, "10.00 EUR")
    with listening(desk) as listener:
        for place, (key, body) in enumerate(examples.items()):
            payment = invoices[key][1] if key in invoices else ""
            status, _ = listener.post(post_of(body, payment, place))
            # Unsigned items are rejected; the other shape is signed in a header.
            assert status == (200 if key in outcomes else status), key
        until(lambda: "waiting" not in oracle.event_counts(desk))
        assert listener.stop() == 0
    oracle.check(desk, invoices, outcomes)
