"""The sandbox's Stripe events and Adyen notifications, checked with the vendors' own SDKs."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import Adyen
import pytest
import stripe
from Adyen.util import is_valid_hmac_notification

from refundcli.sandbox.core.webhooks import adyen_signature
from refundcli.sandbox.testing import RunningSandbox
from wire import refused_url

DAY = 86400
SECRET = "whsec_" + "practice"
HMAC_KEY = "0123456789abcdef" * 4


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox(merchant_account="Shop") as running:
        yield running


@pytest.fixture
def client(sandbox: RunningSandbox) -> stripe.StripeClient:
    transport = stripe.RequestsClient(timeout=10)
    return stripe.StripeClient("sk_test_1", base_addresses={"api": sandbox.url}, http_client=transport)


@pytest.fixture
def adyen(sandbox: RunningSandbox) -> Any:
    api = Adyen.Adyen(xapikey="key", platform="test", http_timeout=10).checkout.modifications_api
    api.baseUrl = sandbox.url + "/v72"
    return api


class Receiver:
    """Stores every POST and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?from=sandbox"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append((dict(self.headers.items()), body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def types(client: stripe.StripeClient, **fields: Any) -> list[str]:
    """Oldest first."""
    params: Any = {"limit": 2, **fields}
    return [str(event.type) for event in client.v1.events.list(params).auto_paging_iter()][::-1]


def items(sandbox: RunningSandbox, *, drain: bool = True) -> list[dict[str, Any]]:
    bodies = [json.loads(delivery.body) for delivery in sandbox.deliveries("adyen", drain=drain)]
    assert all(notification["live"] == "false" for notification in bodies)
    return [notification["NotificationRequestItem"] for body in bodies for notification in body["notificationItems"]]


def codes(sandbox: RunningSandbox) -> list[str]:
    return [item["eventCode"] + ("" if item["success"] == "true" else "!") for item in items(sandbox)]


# --- Stripe ---


def test_a_refund_makes_events_that_hold_it_as_it_was(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge("100.00 EUR")
    created = client.v1.refunds.create({"payment_intent": paid.reference, "amount": 3000}, {"idempotency_key": "k-1"})
    client.v1.refunds.update(created.id, {"metadata": {"a": "1"}})
    sandbox.settle(created.id, status="failed", failure_reason="declined")
    changed = ["refund.updated", "charge.refund.updated"]
    assert types(client) == ["refund.created", "charge.refunded", *changed, *changed, "refund.failed"]
    (first,) = client.v1.events.list({"type": "refund.created"}).data
    refund: Any = first.data.object
    assert (refund["id"], refund["status"], refund["metadata"].to_dict()) == (created.id, "succeeded", {})
    assert first.request is not None
    assert first.request.idempotency_key == "k-1"
    failed = client.v1.events.list({"types": ["refund.failed", "refund.lost"]}).data[0]
    assert failed.data.previous_attributes is not None
    assert failed.data.previous_attributes["status"] == "succeeded"
    assert client.v1.events.retrieve(failed.id).type == "refund.failed"
    assert types(client, type="charge.*", created={"gte": 0}) == ["charge.refunded", changed[1], changed[1]]


def test_a_refund_that_was_never_made_emits_no_event(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(1000)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": paid.reference, "amount": 2000})
    form: Any = ({"payment_intent": paid.reference, "amount": 100}, {"idempotency_key": "k"})
    client.v1.refunds.create(*form)
    client.v1.refunds.create(*form)
    assert types(client) == ["refund.created", "charge.refunded"]


@pytest.mark.parametrize(
    ("statuses", "kinds"),
    [
        (["open", "under_review", "lost"], ["created", "funds_withdrawn", "updated", "closed"]),
        (["open", "won"], ["created", "funds_withdrawn", "closed", "funds_reinstated"]),
        (["warning_needs_response", "warning_closed"], ["created", "closed"]),
        (["warning_needs_response", "open"], ["created", "updated", "funds_withdrawn"]),
    ],
)
def test_each_step_of_a_stripe_dispute_emits_an_event(
    sandbox: RunningSandbox, client: stripe.StripeClient, statuses: list[str], kinds: list[str]
) -> None:
    paid = sandbox.charge(1000)
    for status in statuses:
        sandbox.dispute(paid.reference, status)
    assert types(client) == [f"charge.dispute.{kind}" for kind in kinds]


def test_closed_invoices_emit_events(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    sandbox.invoice(100, "SEK")
    opened = sandbox.invoice(100, "SEK", status="open")
    client.v1.invoices.mark_uncollectible(opened.id)
    client.v1.invoices.void_invoice(opened.id)
    assert types(client) == ["invoice.paid", "invoice.marked_uncollectible", "invoice.voided"]


def test_a_pending_refund_ends_as_planned_when_a_day_has_passed(
    sandbox: RunningSandbox, client: stripe.StripeClient
) -> None:
    paid = sandbox.charge(1000)
    refunds = []
    for ends in ("succeeded", "failed", None):
        sandbox.faults("pending", ends=ends)
        refunds.append(client.v1.refunds.create({"payment_intent": paid.reference, "amount": 100}).id)
    sandbox.advance(DAY - 60)
    assert {client.v1.refunds.retrieve(refund_id).status for refund_id in refunds} == {"pending"}
    sandbox.advance(120)
    assert [client.v1.refunds.retrieve(refund_id).status for refund_id in refunds] == ["succeeded", "failed", "pending"]
    assert types(client)[-1] == "refund.failed"


def test_a_refund_made_in_the_dashboard_has_no_key(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(1000)
    refund_id = sandbox.dashboard_refund(paid.reference, 400, status="pending", metadata={"by": "hand"})
    assert client.v1.refunds.retrieve(refund_id).status == "pending"
    (event,) = client.v1.events.list({"type": "refund.created"}).data
    assert event.request is not None
    assert (event.request.id, event.request.idempotency_key) == (None, None)


def test_a_delivery_passes_the_check_of_stripes_sdk(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge("12.00 EUR", description="Räkning 🧾")
    client.v1.refunds.create({"payment_intent": paid.reference})
    sandbox.webhooks("stripe", secret=SECRET)
    delivered = sandbox.deliveries("stripe")
    for delivery in delivered:
        event: Any = client.construct_event(delivery.body, delivery.headers["Stripe-Signature"], SECRET)
        assert event.type == delivery.kind
    assert [delivery.kind for delivery in delivered] == ["refund.created", "charge.refunded"]
    (stale, _) = sandbox.deliveries("stripe", drain=True, signed_at=int(time.time()) - 3600)
    with pytest.raises(stripe.SignatureVerificationError):
        client.construct_event(stale.body, stale.headers["Stripe-Signature"], SECRET)
    with pytest.raises(stripe.SignatureVerificationError):
        client.construct_event(stale.body + " ", delivered[0].headers["Stripe-Signature"], SECRET)
    assert sandbox.deliveries("stripe") == []


# --- Adyen ---


def test_the_signature_is_adyens() -> None:
    item = {
        "pspReference": "pspReference",
        "originalReference": "originalReference",
        "merchantAccountCode": "merchantAccount",
        "merchantReference": "reference",
        "amount": {"value": 1000, "currency": "EUR"},
        "eventCode": "EVENT",
        "success": "true",
    }
    key = "DFB1EB5485895CFA84146406857104AB" + "B4CBCABDC8AAF103A624C8F6A3EAAB00"
    assert adyen_signature(item, key) == "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="


def test_a_refund_notification_has_its_own_reference(sandbox: RunningSandbox, adyen: Any) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen", merchant_reference="INV-7")
    order = {"merchantAccount": "Shop", "amount": {"currency": "EUR", "value": 700}, "reference": "rf_1"}
    references = [adyen.refund_captured_payment(order, paid.reference).psp for _ in range(2)]
    authorised, captured, first, second = items(sandbox)
    assert (authorised["eventCode"], authorised["merchantReference"]) == ("AUTHORISATION", "INV-7")
    assert (captured["eventCode"], captured["originalReference"]) == ("CAPTURE", paid.reference)
    assert [
        (notification["eventCode"], notification["success"], notification["reason"]) for notification in (first, second)
    ] == [
        ("REFUND", "true", ""),
        ("REFUND", "false", "Insufficient balance on payment"),
    ]
    assert [first["pspReference"], second["pspReference"]] == references
    assert first["originalReference"] == paid.reference
    assert (first["merchantReference"], first["merchantAccountCode"]) == ("rf_1", "Shop")
    assert first["amount"] == {"value": 700, "currency": "EUR"}
    assert first["eventDate"][-6:] in ("+01:00", "+02:00")


def test_a_refund_may_be_reversed_later(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen")
    refund_id = sandbox.dashboard_refund(paid.reference, 1000)
    sandbox.settle(refund_id, event="REFUND_FAILED", reason="Refused by the scheme")
    sandbox.settle(refund_id, event="REFUNDED_REVERSED")
    assert codes(sandbox)[2:] == ["REFUND", "REFUND_FAILED", "REFUNDED_REVERSED"]
    assert sandbox.state.adyen_balance(sandbox.state.payments[paid.reference]) == 1000
    with pytest.raises(ValueError, match="unknown event"):
        sandbox.settle(refund_id, event="REFUND_LOST")


def test_a_pending_refund_emits_a_notification_when_it_ends(sandbox: RunningSandbox, adyen: Any) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen")
    order = {"merchantAccount": "Shop", "amount": {"currency": "EUR", "value": 100}}
    for ends in (None, "succeeded", "failed"):
        sandbox.faults("pending", provider="adyen", ends=ends, ends_after=3600)
        adyen.refund_captured_payment(order, paid.reference)
    assert codes(sandbox) == ["AUTHORISATION", "CAPTURE"]
    sandbox.advance(3601)
    assert codes(sandbox) == ["REFUND", "REFUND!"]
    sandbox.settle(sandbox.refunds[0].id, success=True)
    assert codes(sandbox) == ["REFUND"]


@pytest.mark.parametrize(
    ("statuses", "codes"),
    [
        (["open", "lost"], ["NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"]),
        (
            ["open", "under_review", "won", "lost"],
            ["NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK"],
        ),
        (["warning_needs_response", "warning_closed"], ["REQUEST_FOR_INFORMATION", "INFORMATION_SUPPLIED"]),
        (["lost"], ["NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"]),
    ],
)
def test_each_step_of_an_adyen_dispute_sends_a_notification(
    sandbox: RunningSandbox, statuses: list[str], codes: list[str]
) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen")
    items(sandbox)
    for status in statuses:
        sandbox.dispute(paid.reference, status, 400)
    notifications = items(sandbox)
    assert [item["eventCode"] for item in notifications] == codes
    assert {(item["amount"]["value"], item["originalReference"]) for item in notifications} == {(400, paid.reference)}


def test_other_notifications_of_a_payment_can_be_sent(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen", captured=False)
    sandbox.dashboard_refund(paid.reference, 1000, event="CANCEL_OR_REFUND")
    sandbox.capture(paid.reference)
    sandbox.notify(paid.reference, "CAPTURE_FAILED", success=False, reason="Balance")
    notifications = items(sandbox)
    assert [item["eventCode"] for item in notifications] == [
        "AUTHORISATION",
        "CANCEL_OR_REFUND",
        "CAPTURE",
        "CAPTURE_FAILED",
    ]
    assert notifications[1]["additionalData"]["modification.action"] == "cancel"


def test_every_item_passes_the_check_of_adyens_sdk(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge("10.00 EUR", provider="adyen", merchant_reference="A:B\\C åäö")
    sandbox.dashboard_refund(paid.reference, 100)
    sandbox.dispute(paid.reference, "lost")
    sandbox.webhooks("adyen", hmac_key=HMAC_KEY)
    notifications = items(sandbox, drain=False)
    assert len(notifications) == 5
    for item in notifications:
        assert is_valid_hmac_notification(item, HMAC_KEY)
        assert not is_valid_hmac_notification(item | {"success": "false"}, HMAC_KEY)


# --- deliveries ---


def refund_three(sandbox: RunningSandbox) -> list[str]:
    paid = sandbox.charge(1000)
    return [sandbox.dashboard_refund(paid.reference, amount) for amount in (1, 2, 3)]


def received(receiver: Receiver) -> list[Any]:
    bodies = [json.loads(body) for _, body in receiver.taken]
    return [body["data"]["object"]["amount"] for body in bodies if body["type"] == "refund.created"]


def test_queued_deliveries_are_sent_on_request(
    sandbox: RunningSandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    sandbox.webhooks("stripe", url=receiver.url, secret=SECRET)
    refund_three(sandbox)
    assert receiver.taken == []
    assert sandbox.deliver() == [200] * 6
    assert received(receiver) == [1, 2, 3]
    for headers, body in receiver.taken:
        assert client.construct_event(body, headers["Stripe-Signature"], SECRET)
    assert sandbox.deliver() == []


@pytest.mark.parametrize(
    ("options", "amounts"),
    [
        ({"order": "reverse"}, [3, 2, 1]),
        ({"times": 2}, [1, 2, 3, 1, 2, 3]),
        ({"order": "shuffled", "seed": 7, "times": 2}, [1, 1, 2, 2, 3, 3]),
    ],
)
def test_deliveries_come_twice_and_in_any_order(
    sandbox: RunningSandbox, receiver: Receiver, options: Any, amounts: list[int]
) -> None:
    sandbox.webhooks("stripe", url=receiver.url, secret=SECRET)
    refund_three(sandbox)
    sandbox.deliver(**options)
    if options.get("order") == "shuffled":
        assert received(receiver) != amounts
        assert sorted(received(receiver)) == amounts
    else:
        assert received(receiver) == amounts


def test_what_was_not_taken_is_sent_again(sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.webhooks("adyen", url=receiver.url, hmac_key=HMAC_KEY, username="hook", password="open sesame")
    sandbox.charge(1000, provider="adyen", captured=False)
    receiver.status = 500
    assert sandbox.deliver() == [500]
    receiver.status = 202
    assert sandbox.deliver(provider="stripe") == []
    assert sandbox.deliver() == [202]
    assert sandbox.deliver() == []
    assert receiver.taken[0] == receiver.taken[1]
    assert receiver.taken[0][0]["Authorization"].startswith("Basic ")


def test_an_unreachable_endpoint_is_recorded_as_no_response(sandbox: RunningSandbox) -> None:
    sandbox.webhooks("adyen", url=refused_url())
    sandbox.charge(1000, provider="adyen", captured=False)
    assert sandbox.deliver() == sandbox.deliver() == [0]


def test_an_endpoint_may_receive_deliveries_at_once(sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.webhooks("stripe", url=receiver.url, secret=SECRET, auto=True)
    refund_three(sandbox)
    deadline = time.monotonic() + 5
    while len(receiver.taken) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(received(receiver)) == [1, 2, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"provider": "stripe", "url": "http://example.com/hook"},
        {"provider": "paypal", "url": "http://127.0.0.1:1/hook"},
        {"provider": "adyen", "hmac_key": "not hex"},
        {"provider": "stripe", "auto": True},
    ],
)
def test_an_endpoint_is_on_this_machine(sandbox: RunningSandbox, options: Any) -> None:
    with pytest.raises(ValueError, match=r"machine|provider|hex|url"):
        sandbox.webhooks(**options)


def test_control_does_the_same_over_http(sandbox: RunningSandbox, receiver: Receiver) -> None:
    def post(path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else b""
        request = urllib.request.Request(f"{sandbox.url}/_sandbox/{path}", data=data, method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{sandbox.url}/_sandbox/{path}") as answer:
            return json.load(answer)

    post("webhooks", {"provider": "stripe", "url": receiver.url, "secret": SECRET})
    invoice = post("invoices", {"total": 1000, "currency": "EUR", "number": "INV-1", "payments": [{"amount": 1000}]})
    refund = post("refunds", {"payment": invoice["payments"][0], "amount": 100})
    post(f"refunds/{refund['id']}", {"status": "failed"})
    paid = post("charges", {"provider": "adyen", "amount": 1000, "currency": "EUR", "captured": False})
    post("captures", {"payment": paid["reference"]})
    post("notifications", {"payment": paid["reference"], "event_code": "EXPIRE"})
    assert [delivery["kind"] for delivery in get("deliveries?provider=adyen&drain=true")][1:] == ["CAPTURE", "EXPIRE"]
    assert get("deliveries?provider=adyen") == []
    queued = get("deliveries?provider=stripe")
    assert set(queued[0]) == {"provider", "kind", "headers", "body"}
    assert post("deliver", {"order": "reverse"}) == [200] * len(queued)
    assert json.loads(receiver.taken[-1][1])["type"] == "invoice.paid"
    assert post("deliver") == []
