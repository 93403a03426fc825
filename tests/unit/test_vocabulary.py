"""Every code of the vendors' lists has a row in our tables, with the effect that tests/data expects (R13)."""

from collections.abc import Mapping
from itertools import chain
from typing import get_args

import pytest
import stripe

from refundcli.domain.dispute import DisputeStage
from refundcli.providers.adyen import vocabulary as adyen
from refundcli.providers.stripe import vocabulary as stripe_table
from refundcli.services.ports.vocabulary import Effect, Meaning
from vendor_codes import (
    adyen_event_examples,
    adyen_events,
    adyen_report_types,
    described,
    rows_without_meaning_or_source,
    stripe_words,
)

STRIPE_TABLES: Mapping[str, Mapping[str, Meaning]] = {
    "dispute_status": stripe_table.DISPUTE_STATUSES,
    "refund_status": stripe_table.REFUND_STATUSES,
    "pending_reason": stripe_table.PENDING_REASONS,
    "failure_reason": stripe_table.FAILURE_REASONS,
    "refund_reason": stripe_table.REFUND_REASONS,
    "payment_intent_status": stripe_table.PAYMENT_INTENT_STATUSES,
    "charge_status": stripe_table.CHARGE_STATUSES,
}


def test_every_row_of_the_vendors_lists_has_a_meaning_and_a_source() -> None:
    assert rows_without_meaning_or_source() == []


def test_every_row_of_our_tables_names_its_source() -> None:
    stripe_meanings = chain.from_iterable(table.values() for table in STRIPE_TABLES.values())
    meanings = [*adyen.EVENTS.values(), *adyen.REPORT_TYPES.values(), *stripe_table.EVENT_TYPES.values()]
    assert [meaning for meaning in (*meanings, *stripe_meanings) if not meaning.source] == []


# --- Adyen events


@pytest.mark.parametrize(("code", "success"), sorted(adyen_events()))
def test_adyen_event_means_what_the_vendor_says(code: str, success: bool) -> None:
    meaning = adyen.event_meaning(code, success)
    assert meaning is not None
    assert described(meaning) == adyen_events()[code, success]


def test_our_adyen_events_are_the_vendors_list() -> None:
    assert set(adyen.EVENTS) == set(adyen_events())


def test_every_event_of_adyens_specification_is_listed() -> None:
    assert len(adyen_event_examples()) == 48
    assert set(adyen_event_examples()) <= {code for code, _ in adyen.EVENTS}


def test_every_example_payload_has_a_row() -> None:
    deliveries = chain.from_iterable(adyen_event_examples().values())
    items = [
        item["NotificationRequestItem"] for delivery in deliveries for item in delivery.get("notificationItems", ())
    ]
    assert len(items) > 35
    assert [
        item["eventCode"] for item in items if not adyen.event_meaning(item["eventCode"], item["success"] == "true")
    ] == []


def test_an_invented_event_code_has_no_meaning() -> None:
    assert adyen.event_meaning("DISPUTE_FOO", True) is None
    assert adyen.event_meaning("refund", True) is None
    assert adyen.event_meaning("", False) is None


def test_a_dispute_code_without_success_never_moves_a_dispute() -> None:
    disputes = {
        code for (code, success), meaning in adyen.EVENTS.items() if success and meaning.effect is Effect.DISPUTE
    }
    assert {adyen.EVENTS[code, False].effect for code in disputes} == {Effect.BLOCK}


def test_a_supplied_defence_closes_nothing() -> None:
    meaning = adyen.EVENTS["INFORMATION_SUPPLIED", True]
    assert (meaning.dispute, meaning.stage) == (None, DisputeStage.ANSWERED_INQUIRY)


@pytest.mark.parametrize(
    ("action", "success", "expected"),
    [
        ("refund", True, "refund succeeded"),
        ("refund", False, "refund failed"),
        ("cancel", True, "capture cancelled"),
        ("cancel", False, "note"),
        ("", True, "block"),
        ("", False, "block"),
        ("capture", True, "block"),
    ],
)
def test_a_reversal_means_what_its_action_says(action: str, success: bool, expected: str) -> None:
    assert described(adyen.cancel_or_refund(action, success)) == expected


# --- Adyen reports


@pytest.mark.parametrize("word", sorted(adyen_report_types()))
def test_adyen_record_type_means_what_the_vendor_says(word: str) -> None:
    meaning = adyen.report_meaning(word)
    assert meaning is not None
    assert (described(meaning), meaning.direction) == adyen_report_types()[word]


def test_our_adyen_record_types_are_the_vendors_list() -> None:
    assert set(adyen.REPORT_TYPES) == set(adyen_report_types())


def test_an_invented_record_type_has_no_meaning() -> None:
    assert adyen.report_meaning("RefundedByPigeon") is None
    assert adyen.report_meaning("PaidOutByPigeon") is None
    assert adyen.report_meaning("") is None


def test_a_record_type_is_read_in_any_case() -> None:
    assert adyen.report_meaning(" BalanceTransfer ") is adyen.REPORT_TYPES["Balancetransfer"]
    assert adyen.report_meaning("EpaPaid") is adyen.REPORT_TYPES["EPAPaid"]


# --- Stripe


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind in STRIPE_TABLES for word in stripe_words(kind)])
def test_each_stripe_status_means_what_the_vendor_says(kind: str, word: str) -> None:
    assert described(STRIPE_TABLES[kind][word]) == stripe_words(kind)[word]


@pytest.mark.parametrize("kind", STRIPE_TABLES)
def test_our_stripe_statuses_are_the_vendors_list(kind: str) -> None:
    assert set(STRIPE_TABLES[kind]) == set(stripe_words(kind))


def test_our_stripe_event_types_are_the_vendors_list() -> None:
    expected = stripe_words("event_type")
    assert {event_type: meaning.effect for event_type, meaning in stripe_table.EVENT_TYPES.items()} == expected


def literals(annotation: object) -> set[str]:
    """The values of the Literal types in an annotation of Stripe's package."""
    words: set[str] = set()
    for part in get_args(annotation):
        words |= {part} if isinstance(part, str) else literals(part)
    return words


@pytest.mark.parametrize(
    ("resource", "field", "kind"),
    [
        (stripe.Dispute, "status", "dispute_status"),
        (stripe.Refund, "pending_reason", "pending_reason"),
        (stripe.Refund, "reason", "refund_reason"),
        (stripe.PaymentIntent, "status", "payment_intent_status"),
        (stripe.Charge, "status", "charge_status"),
    ],
)
def test_the_statuses_are_those_of_the_installed_stripe_package(resource: type, field: str, kind: str) -> None:
    assert literals(resource.__annotations__[field]) == set(stripe_words(kind))


def test_no_event_type_of_the_installed_stripe_package_blocks() -> None:
    assert [
        literal for literal in literals(stripe.Event.__annotations__["type"]) if stripe_table.event_blocks(literal)
    ] == []


@pytest.mark.parametrize(
    "event_type",
    [
        "refund.returned",
        "charge.refund.created",
        "charge.refunds.closed",
        "charge.dispute.escalated",
        "charge.disputed",
    ],
)
def test_an_unlisted_stripe_event_about_refunds_or_disputes_blocks(event_type: str) -> None:
    assert stripe_table.event_blocks(event_type)


@pytest.mark.parametrize(
    "event_type", ["", "refunds", "invoice.paid", "charge.rerouted", "payment_intent.frozen", "issuing_dispute.created"]
)
def test_any_other_unlisted_stripe_event_blocks_nothing(event_type: str) -> None:
    assert not stripe_table.event_blocks(event_type)


def test_an_invented_or_missing_stripe_status_has_no_meaning() -> None:
    assert stripe_table.dispute_meaning("limbo") is None
    assert stripe_table.refund_meaning("odd") is None
    assert stripe_table.refund_meaning("") is None
    assert stripe_table.dispute_meaning("") is None
    assert stripe_table.event_meaning("refund.odd") is None
