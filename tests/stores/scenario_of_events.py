"""What providers reported by webhook, and refunds made at the provider (schema 0002 and later)."""

import json
from dataclasses import asdict
from typing import Any

from stores.scenario import Story

EUR_30 = {"currency": "EUR", "value": 3000}
EUR_20 = {"currency": "EUR", "value": 2000}
EUR_40 = {"currency": "EUR", "value": 4000}
OF_ADYEN = (
    "DONE", "DECLINED", "LATE", "LATE-KNOWN", "REVERSED", "ELSEWHERE", "ADOPTED", "ELSEWHERE-BACK", "CHARGEBACK",
    "CHARGEBACK-30", "CLEARED", "INQUIRY", "NOTIFIED", "LOST-30", "WON", "TWO", "CAPTURE-FAILED", "WRONG",
    "WRONG-KNOWN", "ORDINARY",
)  # fmt: skip
OF_STRIPE = ("LATE", "ELSEWHERE", "ADOPTED", "WAITING", "DISPUTED", "LOST-30")
_SHORT: dict[str, Any] = {"at": "2026-10-04T10:00:00+02:00", "paymentMethod": None, "reason": None}
ORDINARY = 26  # of each of two kinds


def invoices_of_events(story: Story) -> None:
    for name in OF_ADYEN:
        story.card(f"A-{name}", provider="adyen")
    for name in OF_STRIPE:
        story.card(f"S-{name}")


def news_of_refunds(story: Story) -> None:
    from webhooks import ADYEN_KEY, STRIPE_SECRET, settle_secrets

    settle_secrets(story.desk)
    story.desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    story.desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
    # Events from before there was an endpoint.
    story.desk.sandbox.deliveries("stripe", drain=True)
    for name in ("DONE", "DECLINED", "LATE", "LATE-KNOWN", "REVERSED", "WRONG", "WRONG-KNOWN"):
        story.refund(f"A-{name}", "40")
    outcome = _of_refund(story)
    story.ingest(
        *(outcome(name, "REFUND") for name in ("DONE", "LATE", "LATE-KNOWN", "REVERSED")),
        outcome("DECLINED", "REFUND", success="false", reason="Transaction hasn't been captured"),
    )
    story.ingest(
        outcome("LATE", "REFUND_FAILED", at="2026-10-04T12:00:00+02:00", reason="refused"),
        outcome("LATE-KNOWN", "REFUND_FAILED", at="2026-10-04T12:00:00+02:00", reason="refused"),
        outcome("REVERSED", "REFUNDED_REVERSED", at="2026-10-04T12:00:00+02:00", reason="closed account"),
    )
    (late,) = story.do("invoice show A-LATE-KNOWN")["refunds"]
    story.do(f"acknowledge {late['id']} --yes")
    story.ingest(
        *(outcome(name, "REFUND", amount={"currency": "EUR", "value": 4100}) for name in ("WRONG", "WRONG-KNOWN"))
    )
    if story.has("0003"):
        state = "unreviewed" if story.has("0006") else "contradicts"
        listed = story.do(f"events list --state {state}")
        (event,) = [entry for entry in listed if _about(story, entry, "A-WRONG-KNOWN")]
        story.do(f"events acknowledge {event['id']} --memo 'case 4711'")
    _made_elsewhere(story)
    _late_at_stripe(story)


def _of_refund(story: Story) -> Any:
    def outcome(name: str, code: str, at: str = "2026-10-04T10:00:00+02:00", **changes: Any) -> dict[str, Any]:
        (refund,) = story.do(f"invoice show A-{name}")["refunds"]
        fields = {
            "pspReference": refund["provider_reference"],
            "merchantReference": refund["id"],
            "amount": EUR_40,
        } | changes
        return story.event(code, story.references[f"A-{name}"], at, **fields)

    return outcome


def _about(story: Story, event: dict[str, Any], number: str) -> bool:
    (refund,) = story.do(f"invoice show {number}")["refunds"]
    return bool(event["about"] == refund["provider_reference"])


def _made_elsewhere(story: Story) -> None:
    notifications = [
        story.event("REFUND", story.references[f"A-{name}"], amount=EUR_30)
        for name in ("ELSEWHERE", "ADOPTED", "ELSEWHERE-BACK")
    ]
    back = notifications[2] | {"eventCode": "REFUNDED_REVERSED", "eventDate": "2026-10-04T12:00:00+02:00"}
    story.ingest(*notifications, back)
    for name in ("ELSEWHERE", "ADOPTED"):
        story.desk.sandbox.dashboard_refund(story.references[f"S-{name}"], 3000)
        story.do(f"reconcile --invoice S-{name}", 0, 3)
    for first in "AS":
        (refund,) = story.do(f"invoice show {first}-ADOPTED")["refunds"]
        story.do(f"reconcile --adopt {refund['id']} --reason duplicate")


def _late_at_stripe(story: Story) -> None:
    story.refund("S-LATE", "40")
    story.desk.sandbox.settle(story.desk.sandbox.refunds_of(story.references["S-LATE"])[0].id, status="failed")
    _ingest_stripe(story)
    story.desk.sandbox.dispute(story.references["S-DISPUTED"], "needs_response")
    story.desk.sandbox.dispute(story.references["S-LOST-30"], "lost", 3000)
    _ingest_stripe(story)


def _ingest_stripe(story: Story) -> None:
    deliveries = story.desk.sandbox.deliveries("stripe", drain=True, signed_at=int(story.desk.sandbox.state.now()))
    path = story.desk.folder / "deliveries.jsonl"
    path.write_text("".join(f"{json.dumps(asdict(delivery))}\n" for delivery in deliveries))
    story.do(f"events ingest {path}", 0, 3, 8)


def other_events(story: Story) -> None:
    def about(name: str, code: str, hour: int = 10, **changes: Any) -> dict[str, Any]:
        return story.event(code, story.references[f"A-{name}"], f"2026-10-04T{hour}:00:00+02:00", **changes)

    story.ingest(
        about("CHARGEBACK", "CHARGEBACK"),
        about("CHARGEBACK-30", "CHARGEBACK", amount=EUR_30),
        about("CLEARED", "CHARGEBACK", pspReference="DISPUTE000000005"),
        about("CLEARED", "INFORMATION_SUPPLIED", 12, pspReference="DISPUTE000000005"),
        about("INQUIRY", "REQUEST_FOR_INFORMATION", pspReference="DISPUTE000000006"),
        about("INQUIRY", "INFORMATION_SUPPLIED", 12, pspReference="DISPUTE000000006"),
        about("NOTIFIED", "NOTIFICATION_OF_CHARGEBACK"),
        about("LOST-30", "CHARGEBACK", amount=EUR_30, pspReference="DISPUTE000000001"),
        about("LOST-30", "DISPUTE_DEFENSE_PERIOD_ENDED", 12, amount=EUR_30, pspReference="DISPUTE000000001"),
        about("WON", "CHARGEBACK", pspReference="DISPUTE000000002"),
        about("WON", "CHARGEBACK_REVERSED", 12, pspReference="DISPUTE000000002"),
        about("TWO", "CHARGEBACK", amount=EUR_30, pspReference="DISPUTE000000003"),
        about("TWO", "CHARGEBACK", 11, amount=EUR_20, pspReference="DISPUTE000000004"),
        about("TWO", "DISPUTE_DEFENSE_PERIOD_ENDED", 12, amount=EUR_30, pspReference="DISPUTE000000003"),
        about("TWO", "DISPUTE_DEFENSE_PERIOD_ENDED", 13, amount=EUR_20, pspReference="DISPUTE000000004"),
        about("CAPTURE-FAILED", "CAPTURE_FAILED", reason="Capture failed"),
        story.event("CHARGEBACK", "NOTINTHEBOOKS001"),
        story.event("REFUND", "NOTINTHEBOOKS002"),
        story.event("REPORT_AVAILABLE", "", originalReference=None, reason="https://adyen.example/report.csv"),
    )
    # Of a payment of ours, of one that is refunded in part, and of many that are not in the books.
    ours = [story.references["A-ORDINARY"], story.references["A-PART"]]
    paid = [*ours, *(f"PAYMENT{n:09}" for n in range(ORDINARY - len(ours)))]
    story.ingest(
        *(story.event("AUTHORISATION", "", originalReference=None, pspReference=payment, **_SHORT) for payment in paid),
        *(story.event("CAPTURE", payment, **_SHORT) for payment in paid),
    )


def event_that_waits(story: Story) -> None:
    """Last, since the next delivery would apply it too."""
    # Stripe's event only names the refund: it waits while Stripe is unreachable.
    story.desk.sandbox.dashboard_refund(story.references["S-WAITING"], 3000)
    there = story.desk.environ["REFUNDCLI_STRIPE_API_BASE"]
    story.desk.environ["REFUNDCLI_STRIPE_API_BASE"] = "http://127.0.0.1:9"
    _ingest_stripe(story)
    story.desk.environ["REFUNDCLI_STRIPE_API_BASE"] = there
