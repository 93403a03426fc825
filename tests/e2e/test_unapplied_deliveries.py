"""Verified deliveries of an unknown shape block each payment that they name, even one imported later (R13)."""

import json

import pytest

import oracle
from desk import Desk
from webhooks import ADYEN_KEY, STRIPE_SECRET, Post, item, settle_secrets, stripe_body

PROVIDERS = ("stripe", "adyen")


@pytest.fixture(autouse=True)
def _webhooks(desk: Desk) -> None:
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)


def odd(provider: str, payment: str, more: str = "") -> Post:
    """An unreadable delivery that names the payment."""
    if provider == "stripe":
        return stripe_body(json.dumps({"about": payment, "more": more}).encode())
    (line,) = oracle.delivered(item("ODD WORD", originalReference=payment, pspReference=f"ODD{more}", success="maybe"))
    return line


def refused_and_acknowledged(desk: Desk, payment: str) -> None:
    answer = desk("refund INV-1 --full --reason other --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "unreviewed-event"), answer
    assert desk.refunded_at_provider(payment) == []
    (event,) = desk.json("events list")
    desk.json(f"events acknowledge {event['id']} --memo 'asked the provider'")
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.refunded_at_provider(payment) == [10_000]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_one_that_came_before_the_import_of_its_payment_blocks_it(desk: Desk, provider: str) -> None:
    payment = desk.sandbox.charge("100.00 EUR", provider=provider).reference  # type: ignore[arg-type]
    oracle.ingest(desk, odd(provider, payment))
    assert oracle.event_counts(desk) == {"noted": 1}
    desk.json(f"invoice import {oracle.invoice_file(desk, [('INV-1', payment)], provider=provider)}")
    assert oracle.event_counts(desk) == {"unreviewed": 1}
    assert desk("status").exit_code == 8
    refused_and_acknowledged(desk, payment)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_blocks_although_the_import_was_stopped_before_it_looked(desk: Desk, provider: str) -> None:
    payment = desk.sandbox.charge("100.00 EUR", provider=provider).reference  # type: ignore[arg-type]
    oracle.ingest(desk, odd(provider, payment))
    desk.paid_by_card("INV-1", provider=provider, reference=payment)
    assert oracle.event_counts(desk) == {"noted": 1}
    refused_and_acknowledged(desk, payment)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_status_counts_it_and_events_apply_looks_again(desk: Desk, provider: str) -> None:
    payment = desk.sandbox.charge("100.00 EUR", provider=provider).reference  # type: ignore[arg-type]
    oracle.ingest(desk, odd(provider, payment), odd(provider, "somebody_else"))
    desk.paid_by_card("INV-1", provider=provider, reference=payment)
    status = desk.json("status", exit_code=8)
    assert (status["attention"], status["not_applied"]["blocking"]) == (1, 1)
    assert status["not_applied"]["command"] == "refundcli events apply"
    applied = desk.json("events apply", exit_code=8)
    assert (applied["by_state"]["unreviewed"], len(applied["contradictions"])) == (1, 1)
    assert oracle.event_counts(desk) == {"unreviewed": 1, "noted": 1}
    status = desk.json("status", exit_code=8)
    assert (status["attention"], status["not_applied"]["blocking"]) == (1, 0)


def test_one_that_names_no_payment_of_ours_cannot_be_acknowledged(desk: Desk) -> None:
    oracle.ingest(desk, odd("stripe", "pi_of_somebody_else"))
    desk.refused("events acknowledge 1 --memo seen", "nothing-to-review")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_could_not_be_read_is_never_decided_for_the_store(desk: Desk, provider: str) -> None:
    payment = desk.paid_by_card("INV-1", provider=provider)
    oracle.ingest(desk, odd(provider, payment))
    (event,) = desk.json("events list --state unreviewed")
    desk.refused(f"events acknowledge --code '{event['kind']}' --as none", "word-not-to-decide")
    desk.json(f"events acknowledge {event['id']} --memo 'asked the provider'")
    oracle.ingest(desk, odd(provider, payment, "more"))
    answer = desk("refund INV-1 --full --reason other --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "unreviewed-event"), answer


def test_a_listed_code_is_never_decided_for_the_store(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    lines = oracle.delivered(item("REFUND_FAILED", originalReference=payment, success="maybe"))
    oracle.ingest(desk, *lines)
    (event,) = desk.json("events list --state unreviewed")
    assert event["kind"] == "REFUND_FAILED"
    desk.refused("events acknowledge --code REFUND_FAILED --as none", "word-not-to-decide")


def test_a_decided_code_does_not_cover_an_unreadable_delivery(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    oracle.ingest(desk, *oracle.delivered(item("FOO", originalReference=payment)))
    desk.json("events acknowledge --code FOO --as none")
    lines = oracle.delivered(item("FOO", originalReference=payment, pspReference="LATER", success="maybe"))
    oracle.ingest(desk, *lines)
    assert [event["kind"] for event in desk.json("events list --state unreviewed")] == ["FOO"]


def test_a_record_is_decided_on_with_what_is_stored_about_its_payment(desk: Desk) -> None:
    payment = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    refund = item(
        "REFUND", originalReference=payment, pspReference="REFUNDED0000001", amount={"currency": "EUR", "value": 4000}
    )
    oracle.ingest(desk, *oracle.delivered(refund))
    # The import was stopped before it looked for stored events.
    desk.paid_by_card(
        "INV-1", provider="adyen", reference=payment, auto_refundable=False, auto_refundable_is_explicit=True
    )
    error = desk.refused("mark-refunded INV-1 --amount 40 --reason other --yes", "possible-duplicate")
    assert "REFUNDED0000001" in error["message"]
    assert desk.invoice("INV-1").refunded.number == "40.00"
