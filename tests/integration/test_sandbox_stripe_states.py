"""The sandbox produces every Stripe status: any field of any object, with its events."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from refundcli.sandbox.testing import RunningSandbox

SECRET = "whsec_" + "practice"
DISPUTE_STATUSES = [
    *("needs_response", "under_review", "won", "lost", "prevented"),
    *("warning_needs_response", "warning_under_review", "warning_closed", "limbo"),
]


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: RunningSandbox) -> stripe.StripeClient:
    transport = stripe.RequestsClient(timeout=10)
    return stripe.StripeClient("sk_test_1", base_addresses={"api": sandbox.url}, http_client=transport)


def types(client: stripe.StripeClient) -> list[str]:
    """Oldest first."""
    return [str(event.type) for event in client.v1.events.list({"limit": 100}).auto_paging_iter()][::-1]


def control(sandbox: RunningSandbox, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{sandbox.url}/_sandbox/{path}", content)) as answer:
        return json.load(answer)


# --- disputes ---


@pytest.mark.parametrize("status", DISPUTE_STATUSES)
def test_a_dispute_has_any_status(sandbox: RunningSandbox, client: stripe.StripeClient, status: str) -> None:
    paid = sandbox.charge(1000)
    dispute_id = control(sandbox, "disputes", {"charge": paid.reference, "status": status, "amount": 300})["id"]
    dispute = client.v1.disputes.retrieve(dispute_id)
    assert (dispute.status, dispute.amount) == (status, 300)
    assert types(client)[0] == "charge.dispute.created"


def test_a_charge_has_several_disputes_each_with_its_events(
    sandbox: RunningSandbox, client: stripe.StripeClient
) -> None:
    paid = sandbox.charge(10000)
    first = sandbox.dispute(paid.reference, "needs_response", 3000)
    second = sandbox.dispute(paid.reference, "needs_response", 2000, new=True)
    sandbox.dispute(paid.reference, "lost", dispute=first)
    sandbox.dispute(paid.reference, "won", dispute=second)
    disputes = {
        dispute.id: (dispute.status, dispute.amount)
        for dispute in client.v1.disputes.list({"charge": str(paid.charge)}).data
    }
    assert disputes == {first: ("lost", 3000), second: ("won", 2000)}
    events = [(event.type, event.data.object["id"]) for event in client.v1.events.list({"limit": 100}).data][::-1]
    assert events == [
        ("charge.dispute.created", first),
        ("charge.dispute.funds_withdrawn", first),
        ("charge.dispute.created", second),
        ("charge.dispute.funds_withdrawn", second),
        ("charge.dispute.closed", first),
        ("charge.dispute.closed", second),
        ("charge.dispute.funds_reinstated", second),
    ]
    assert client.v1.refunds.create({"payment_intent": paid.reference}).amount == 7000


def test_balance_transactions_say_what_was_lost(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(10000)
    dispute_id = sandbox.dispute(paid.reference, "needs_response")
    sandbox.dispute(paid.reference, "lost", reinstated=7000)
    moved = [
        balance_transaction.amount
        for balance_transaction in client.v1.disputes.retrieve(dispute_id).balance_transactions
    ]
    assert moved == [-10000, 7000]
    assert types(client)[-2:] == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
    assert sandbox.state.unrefunded(sandbox.state.find_charge(paid.reference)) == 7000


def test_an_inquiry_takes_nothing_and_a_prevented_dispute_does(
    sandbox: RunningSandbox, client: stripe.StripeClient
) -> None:
    inquiry, prevented = sandbox.charge(1000), sandbox.charge(1000)
    inquiry_dispute = sandbox.dispute(inquiry.reference, "warning_needs_response")
    sandbox.dispute(inquiry.reference, "warning_closed")
    assert client.v1.disputes.retrieve(inquiry_dispute).balance_transactions == []
    prevented_dispute = sandbox.dispute(prevented.reference, "prevented", 400)
    assert [
        balance_transaction.amount
        for balance_transaction in client.v1.disputes.retrieve(prevented_dispute).balance_transactions
    ] == [-400]
    assert client.v1.refunds.create({"payment_intent": prevented.reference}).amount == 600


# --- refunds ---


@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded", "failed", "canceled", None, "odd"])
def test_a_refund_has_any_status(sandbox: RunningSandbox, client: stripe.StripeClient, status: str | None) -> None:
    paid = sandbox.charge(1000)
    refund_id = control(sandbox, "refunds", {"payment": paid.reference, "amount": 400, "status": status})["id"]
    assert client.v1.refunds.retrieve(refund_id).status == status
    later = sandbox.dashboard_refund(paid.reference, 400)
    control(sandbox, f"refunds/{later}", {"status": status})
    assert client.v1.refunds.retrieve(later).status == status


@pytest.mark.parametrize("reason", ["processing", "insufficient_funds", "charge_pending"])
def test_a_pending_refund_says_why(sandbox: RunningSandbox, client: stripe.StripeClient, reason: str) -> None:
    paid = sandbox.charge(1000)
    sandbox.faults("pending", pending_reason=reason)
    refund = client.v1.refunds.create({"payment_intent": paid.reference})
    assert (refund.status, refund.pending_reason) == ("pending", reason)
    by_hand = sandbox.dashboard_refund(sandbox.charge(1000).reference, 1, status="pending", pending_reason=reason)
    assert client.v1.refunds.retrieve(by_hand).pending_reason == reason


@pytest.mark.parametrize(("ends", "failure"), [("failed", "expired_or_canceled_card"), ("canceled", None)])
def test_a_refund_that_waits_for_the_customer_ends(
    sandbox: RunningSandbox, client: stripe.StripeClient, ends: str, failure: str | None
) -> None:
    paid = sandbox.charge(1000, method="konbini")
    sandbox.faults("requires_action", ends=ends, ends_after=45 * 86400)
    refund = client.v1.refunds.create({"payment_intent": paid.reference, "instructions_email": "ada@example.com"})
    next_action: Any = refund.next_action
    assert next_action.display_details.email_sent.email_sent_to == refund.instructions_email == "ada@example.com"
    assert next_action.display_details.expires_at == refund.created + 45 * 86400
    sandbox.patch(refund.id, {"next_action": {"display_details": {"expires_at": refund.created + 60}}})
    now: Any = client.v1.refunds.retrieve(refund.id).next_action
    assert now.display_details.expires_at == refund.created + 60
    sandbox.advance(45 * 86400 + 1)
    ended = client.v1.refunds.retrieve(refund.id)
    assert (ended.status, getattr(ended, "failure_reason", None)) == (ends, failure)
    assert "next_action" not in ended


def test_some_methods_need_an_email_and_some_cannot(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    for method, code in (("customer_balance", "parameter_missing"), ("boleto", "charge_not_refundable")):
        paid = sandbox.charge(1000, method=method)
        charge: Any = client.v1.charges.retrieve(str(paid.charge))
        assert charge.payment_method_details.type == method
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            client.v1.refunds.create({"payment_intent": paid.reference})
        assert refusal.value.code == code


def test_the_reference_for_the_bank_is_known_later(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    refund_id = sandbox.dashboard_refund(sandbox.charge(1000).reference, 1000)
    control(
        sandbox,
        f"stripe/objects/{refund_id}",
        {"fields": {"destination_details": {"card": {"reference": "7" * 23, "reference_status": "available"}}}},
    )
    card: Any = client.v1.refunds.retrieve(refund_id).destination_details
    assert (card.card.reference, card.card.reference_status) == ("7" * 23, "available")
    assert card.card.reference_type == "acquirer_reference_number"
    (event,) = client.v1.events.list({"type": "refund.updated"}).data
    before: Any = event.data.previous_attributes
    assert before["destination_details"]["card"]["reference_status"] == "pending"


# --- captured and not ---


def test_what_was_not_captured_looks_like_a_refund(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    payment = sandbox.charge(10000, captured=False)
    control(sandbox, "captures", {"payment": payment.reference, "amount": 6000})
    charge = client.v1.charges.retrieve(str(payment.charge), {"expand": ["refunds"]})
    assert (charge.amount, charge.amount_captured, charge.amount_refunded) == (10000, 6000, 4000)
    assert (charge.captured, charge.refunded) == (True, False)
    (released,) = client.v1.refunds.list({"payment_intent": payment.reference}).data
    assert (released.amount, released.status, released.reason, released.balance_transaction) == (
        *(4000, "succeeded"),
        *(None, None),
    )
    intent = client.v1.payment_intents.retrieve(payment.reference)
    assert (intent.status, intent.amount_received) == ("succeeded", 6000)
    assert client.v1.refunds.create({"payment_intent": payment.reference}).amount == 6000
    assert sandbox.charge(10000, captured_amount=6000).reference
    assert types(client)[:2] == ["charge.captured", "payment_intent.succeeded"]


def test_an_authorisation_expires(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    payment = sandbox.charge(10000, captured=False)
    assert client.v1.payment_intents.retrieve(payment.reference).status == "requires_capture"
    control(sandbox, f"payments/{payment.reference}", {"status": "expired"})
    charge = client.v1.charges.retrieve(str(payment.charge))
    assert (charge.captured, charge.amount_captured, charge.refunded) == (False, 0, True)
    (released,) = client.v1.refunds.list({"charge": str(payment.charge)}).data
    assert (released.amount, released.reason) == (10000, "expired_uncaptured_charge")
    intent = client.v1.payment_intents.retrieve(payment.reference)
    assert (intent.status, intent.amount_received) == ("canceled", 0)
    assert types(client) == ["charge.expired", "payment_intent.canceled"]


@pytest.mark.parametrize(
    ("status", "intent_status", "event"),
    [
        ("canceled", "canceled", "payment_intent.canceled"),
        ("failed", "requires_payment_method", "payment_intent.payment_failed"),
        ("requires_payment_method", "requires_payment_method", "payment_intent.payment_failed"),
        ("processing", "processing", "payment_intent.processing"),
        ("requires_capture", "requires_capture", "payment_intent.amount_capturable_updated"),
    ],
)
def test_a_payment_that_is_not_paid_cannot_be_refunded(
    sandbox: RunningSandbox, client: stripe.StripeClient, status: str, intent_status: str, event: str
) -> None:
    paid = sandbox.charge(1000, status=status)
    intent = client.v1.payment_intents.retrieve(paid.reference)
    assert (intent.status, intent.amount_received) == (intent_status, 0)
    assert types(client)[-1] == event
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": paid.reference})
    sandbox.payment_becomes(paid.reference, "succeeded")
    assert client.v1.payment_intents.retrieve(paid.reference).status == "succeeded"


def test_a_charge_may_be_for_a_connected_account(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    data = {"destination": "acct_club1", "amount": None}
    paid = sandbox.charge(1000, transfer_data=data, application_fee_amount=50, on_behalf_of="acct_club1")
    charge: Any = client.v1.charges.retrieve(str(paid.charge))
    assert (charge.transfer_data.destination, charge.application_fee_amount) == ("acct_club1", 50)
    intent: Any = client.v1.payment_intents.retrieve(paid.reference)
    assert (intent.transfer_data.destination, intent.on_behalf_of) == ("acct_club1", "acct_club1")
    client.v1.refunds.create({"payment_intent": paid.reference, "amount": 1, "reverse_transfer": True})
    plain = sandbox.charge(1000)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": plain.reference, "reverse_transfer": True})


# --- invoices and credit notes ---


def test_one_payment_pays_several_invoices(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    first = sandbox.invoice(6000, payments=[{"amount": 6000, "payment_amount": 10000}])
    (intent,) = first.payments
    second = sandbox.invoice(4000, payments=[{"amount": 4000, "reference": intent}])
    assert client.v1.payment_intents.retrieve(intent).amount_received == 10000
    invoice_payments = client.v1.invoice_payments.list(
        {"payment": {"type": "payment_intent", "payment_intent": intent}}
    ).data
    assert {invoice_payment.invoice: invoice_payment.amount_paid for invoice_payment in invoice_payments} == {
        first.id: 6000,
        second.id: 4000,
    }


def test_credit_is_used_on_an_invoice(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    invoice = client.v1.invoices.retrieve(sandbox.invoice(10000, starting_balance=-2000).id)
    assert (invoice.total, invoice.starting_balance, invoice.amount_due, invoice.amount_paid) == (
        10000,
        -2000,
        8000,
        8000,
    )
    owed = client.v1.invoices.retrieve(sandbox.invoice(10000, starting_balance=500).id)
    assert (owed.amount_due, owed.amount_paid) == (10500, 10500)


def test_an_invoice_may_be_overpaid(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    stripe_invoice = sandbox.invoice(10000, payments=[{"amount": 15000}])
    assert client.v1.invoices.retrieve(stripe_invoice.id).amount_overpaid == 5000


def test_a_credit_note_gives_credit_to_the_balance(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    stripe_invoice = sandbox.invoice(10000, number="S-1")
    control(sandbox, "credit_notes", {"invoice": "S-1", "amount": 3000, "reason": "order_change"})
    (note,) = client.v1.credit_notes.list({"invoice": stripe_invoice.id}).data
    assert (note.amount, note.post_payment_amount, note.pre_payment_amount) == (3000, 3000, 0)
    assert (note.type, note.refunds, note.reason) == ("post_payment", [], "order_change")
    assert str(note.customer_balance_transaction).startswith("cbtxn_")
    assert client.v1.invoices.retrieve(stripe_invoice.id).post_payment_credit_notes_amount == 3000
    control(sandbox, f"credit_notes/{note.id}", {"status": "void"})
    assert client.v1.credit_notes.retrieve(note.id).status == "void"
    assert client.v1.invoices.retrieve(stripe_invoice.id).post_payment_credit_notes_amount == 0
    assert types(client)[-2:] == ["credit_note.created", "credit_note.voided"]


def test_a_credit_note_is_linked_to_refunds(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    stripe_invoice = sandbox.invoice(10000)
    before = sandbox.dashboard_refund(stripe_invoice.payments[0], 1000)
    sandbox.credit_note(
        stripe_invoice.id,
        3500,
        refunds=[{"refund": before, "amount_refunded": 1000}],
        refund_amount=2000,
        out_of_band_amount=500,
    )
    (note,) = client.v1.credit_notes.list({"invoice": stripe_invoice.id}).data
    assert [(refund.refund, refund.amount_refunded) for refund in note.refunds] == [
        (before, 1000),
        (sandbox.refunds[-1].id, 2000),
    ]
    assert (note.out_of_band_amount, note.customer_balance_transaction) == (500, None)
    with pytest.raises(ValueError, match="add up"):
        sandbox.credit_note(stripe_invoice.id, 1000, out_of_band_amount=300, credit_amount=500)


def test_a_credit_note_before_payment_lowers_what_is_due(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    opened = sandbox.invoice(10000, status="open", payments=[])
    sandbox.credit_note(opened.id, 3000)
    invoice = client.v1.invoices.retrieve(opened.id)
    assert (invoice.amount_due, invoice.amount_remaining, invoice.pre_payment_credit_notes_amount) == (7000, 7000, 3000)


# --- approvals ---


def test_a_refund_waits_for_an_approval(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(1000)
    sandbox.webhooks("stripe", secret=SECRET)
    sandbox.faults("approval_required")
    order: Any = ({"payment_intent": paid.reference, "metadata": {"refund": "rf_1"}}, {"idempotency_key": "k"})
    for _ in range(2):
        with pytest.raises(stripe.StripeError) as refusal:
            client.v1.refunds.create(*order)
        assert (refusal.value.http_status, refusal.value.code) == (402, "approval_required")
    (approval,) = sandbox.approvals
    assert approval.id.startswith("areq_")
    assert approval.id in str(refusal.value)
    assert sandbox.refunds == []
    refund = control(sandbox, f"approvals/{approval.id}", {"status": "approved"})["refund"]
    approved = client.v1.refunds.retrieve(refund)
    assert approved.metadata is not None
    assert (approved.amount, approved.metadata["refund"]) == (1000, "rf_1")
    answer = json.loads(client.raw_request("get", f"/v2/core/approval_requests/{approval.id}").body)
    assert (answer["status"], answer["status_details"]["succeeded"]["result"]["id"]) == ("succeeded", refund)
    deliveries = [delivery for delivery in sandbox.deliveries("stripe") if delivery.kind.startswith("v2.")]
    assert [delivery.kind.rpartition(".")[2] for delivery in deliveries] == ["created", "approved", "succeeded"]
    for delivery in deliveries:
        event = client.parse_event_notification(delivery.body, delivery.headers["Stripe-Signature"], SECRET)
        assert event.type == delivery.kind


def test_a_refund_that_is_declined_is_never_made(sandbox: RunningSandbox) -> None:
    paid = sandbox.charge(1000)
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": sandbox.url})
    sandbox.faults("approval_required", http_status=400)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": paid.reference})
    (approval,) = sandbox.approvals
    sandbox.decline(approval.id)
    assert (sandbox.approvals[0].status, sandbox.refunds) == ("rejected", [])
    with pytest.raises(ValueError, match="rejected already"):
        sandbox.approve(approval.id)


def test_the_request_for_an_approval_may_be_the_answer(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(1000)
    sandbox.faults("approval_required", http_status=200, approval_id="apreq_test_1")
    answer = client.v1.refunds.create({"payment_intent": paid.reference})
    assert (answer.id, str(answer.object), answer.status) == (
        *("apreq_test_1", "v2.core.approval_request"),
        "requires_review",
    )
    assert sandbox.refunds == []


def test_an_approval_may_come_too_late(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(1000)
    sandbox.faults("approval_required")
    with pytest.raises(stripe.StripeError):
        client.v1.refunds.create({"payment_intent": paid.reference})
    sandbox.dashboard_refund(paid.reference, 600)
    sandbox.dispute(paid.reference)
    assert sandbox.approve(sandbox.approvals[0].id) is None
    assert sandbox.approvals[0].status == "failed"


# --- anything else ---


def test_any_field_of_any_object_can_be_set(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    stripe_invoice = sandbox.invoice(1000, "EUR", number="S-1")
    paid = stripe_invoice.payments[0]
    charge = sandbox.state.find_charge(paid).id
    refund, dispute = sandbox.dashboard_refund(paid, 1), sandbox.dispute(paid)
    payment = next(iter(sandbox.state.invoice_payments))
    before = len(types(client))
    changes: list[tuple[str, dict[str, Any], str]] = [
        (charge, {"outcome": {"type": "authorized"}}, "charge.updated"),
        (paid, {"status": "canceled"}, "payment_intent.canceled"),
        (refund, {"status": "odd"}, "charge.refund.updated"),
        (dispute, {"reason": "fraudulent"}, "charge.dispute.updated"),
        ("S-1", {"amount_overpaid": 5}, "invoice.updated"),
        (payment, {"amount_paid": 7}, "invoice_payment.paid"),
    ]
    for object_id, fields, event in changes:
        shape = sandbox.patch(object_id, fields)
        assert fields.items() <= shape.items()
        assert types(client)[-1] == event
        assert control(sandbox, f"stripe/objects/{object_id}") == shape
    assert client.v1.payment_intents.retrieve(paid).status == "canceled"
    assert len(types(client)) == before + 7
    sandbox.patch(paid, {}, remove=["status"], event="payment_intent.restored")
    assert client.v1.payment_intents.retrieve(paid).status == "succeeded"
    assert types(client)[-1] == "payment_intent.restored"
    sandbox.patch(charge, {"review": "prv_1"}, event=False)
    assert types(client)[-1] == "payment_intent.restored"


def test_any_event_can_be_sent(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    paid = sandbox.charge(1000)
    sandbox.webhooks("stripe", secret=SECRET)
    control(sandbox, "stripe/events", {"type": "charge.dispute.pigeon", "id": paid.charge, "fields": {"status": "odd"}})
    sandbox.stripe_event("refund.odd", shape={"id": "re_elsewhere", "object": "refund", "status": "odd"})
    first, second = sandbox.deliveries("stripe")
    for delivery, object_id in ((first, paid.charge), (second, "re_elsewhere")):
        event: Any = client.construct_event(delivery.body, delivery.headers["Stripe-Signature"], SECRET)
        assert (event.data.object["id"], event.data.object["status"]) == (object_id, "odd")
    assert client.v1.charges.retrieve(str(paid.charge)).status == "succeeded"


@pytest.mark.parametrize("by", ["charge", "payment_intent"])
def test_a_list_is_whole_however_many_pages_it_has(
    sandbox: RunningSandbox, client: stripe.StripeClient, by: str
) -> None:
    paid, second = sandbox.charge(100_000), sandbox.charge(100_000)
    refunds = [sandbox.dashboard_refund(paid.reference, 1) for _ in range(130)]
    disputes = [sandbox.dispute(paid.reference, "warning_closed", 1, new=True) for _ in range(120)]
    sandbox.dashboard_refund(second.reference, 1)
    sandbox.dispute(second.reference)
    params: Any = {by: getattr(paid, by), "limit": 100}
    assert [entry.id for entry in client.v1.refunds.list(params).auto_paging_iter()] == refunds[::-1]
    assert [entry.id for entry in client.v1.disputes.list(params).auto_paging_iter()] == disputes[::-1]
    short: Any = {by: params[by]}
    first = client.v1.refunds.list(short)
    assert (len(first.data), first.has_more) == (10, True)
