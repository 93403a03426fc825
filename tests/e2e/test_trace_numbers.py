"""The number by which the customer's bank finds a refund."""

import json
from dataclasses import asdict

import pytest

from desk import Desk
from webhooks import STRIPE_SECRET, settle_secrets

DAY = 86400


def refunded(desk: Desk) -> dict[str, str]:
    desk.paid_by_card("INV-1")
    refund: dict[str, str] = desk.json("refund INV-1 --amount 1 --reason duplicate --yes")["refunds"][0]
    return refund


def test_the_number_is_pending_until_the_provider_knows_it(desk: Desk) -> None:
    refund = refunded(desk)
    show = f"refunds show {refund['id']}"
    assert desk.json(show)["trace"] == {
        "number": None, "status": "pending", "type": "acquirer_reference_number", "destination": "card",
    }  # fmt: skip
    desk.sandbox.advance(4 * DAY)
    assert desk.json(show)["trace"]["status"] == "pending"
    trace = desk.json(f"{show} --refresh")["trace"]
    assert (trace["status"], len(trace["number"])) == ("available", 23)
    assert desk.json(f"refunds show {trace['number']}")["id"] == refund["id"]
    assert desk.json("refunds list")[0]["trace"] == trace


@pytest.mark.parametrize("status", ["unavailable", "sent_by_pigeon"])
def test_words_of_the_provider_are_shown_as_reported(desk: Desk, status: str) -> None:
    refund = refunded(desk)
    details = {
        "destination_details": {"type": "teleport", "teleport": {"reference": "T 1", "reference_status": status}}
    }
    desk.sandbox.settle(refund["provider_reference"], **details)
    trace = desk.json(f"refunds show {refund['id']} --refresh")["trace"]
    assert trace == {"number": "T 1", "status": status, "type": None, "destination": "teleport"}


def test_an_adyen_refund_has_no_number(desk: Desk) -> None:
    desk.paid_by_card("INV-1", provider="adyen")
    refund = desk.json("refund INV-1 --amount 1 --reason duplicate --yes")["refunds"][0]
    assert desk.json(f"refunds show {refund['id']} --refresh")["trace"] is None


def test_a_number_that_several_refunds_have_is_refused(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    details = {"card": {"reference": "123456", "reference_type": "system_trace_audit_number"}}
    for amount in (1, 2):
        refund = desk.json(f"refund INV-1 --amount {amount} --reason duplicate --yes")["refunds"][0]
        desk.sandbox.settle(refund["provider_reference"], destination_details=details)
    desk.json(f"refunds show {refund['id']} --refresh")
    assert "belongs to several refunds" in desk.refused("refunds show 123456", "several-refunds")["message"]


@pytest.mark.parametrize("newest_first", [True, False])
def test_events_in_any_order_leave_the_number(desk: Desk, newest_first: bool) -> None:
    settle_secrets(desk)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
    refund = refunded(desk)
    desk.sandbox.advance(4 * DAY)
    lines = [json.dumps(asdict(delivery)) for delivery in desk.sandbox.deliveries("stripe", drain=True)]
    path = desk.folder / "deliveries.jsonl"
    path.write_text("\n".join(reversed(lines) if newest_first else lines) + "\n")
    desk.ingest(path)
    trace = desk.json(f"refunds show {refund['id']}")["trace"]
    assert (trace["status"], len(trace["number"])) == ("available", 23)
