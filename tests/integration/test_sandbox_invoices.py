"""The sandbox's invoices, their payments and its long lists, through Stripe's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from refundcli.sandbox.core.records import StripeRefund
from refundcli.sandbox.testing import RunningSandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: RunningSandbox) -> stripe.StripeClient:
    transport = stripe.RequestsClient(timeout=10)
    return stripe.StripeClient("sk_test_1", base_addresses={"api": sandbox.url}, http_client=transport)


def test_an_invoice_has_its_customer_lines_and_subscription(
    sandbox: RunningSandbox, client: stripe.StripeClient
) -> None:
    stripe_invoice = sandbox.invoice(
        "100.01 EUR",
        number="INV-7",
        customer="cus_204",
        customer_name="Ada Lovelace",
        products=["Season pass", "Training kit"],
        subscription="sub_88",
        created=1_790_000_000,
        due_date=1_790_864_000,
    )
    invoice = client.v1.invoices.retrieve(stripe_invoice.id)
    assert (invoice.number, invoice.status, invoice.currency, invoice.total) == ("INV-7", "paid", "eur", 10001)
    assert (invoice.amount_due, invoice.amount_paid, invoice.amount_remaining) == (10001, 10001, 0)
    assert (invoice.customer, invoice.customer_name) == ("cus_204", "Ada Lovelace")
    assert (invoice.created, invoice.due_date, invoice.livemode) == (1_790_000_000, 1_790_864_000, False)
    assert invoice.status_transitions.paid_at == 1_790_000_000
    assert [(line.description, line.amount) for line in invoice.lines.data] == [
        ("Season pass", 5001),
        ("Training kit", 5000),
    ]
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == "sub_88"
    assert "payments" not in invoice


def test_the_payments_of_an_invoice_are_found_with_what_was_charged(
    sandbox: RunningSandbox, client: stripe.StripeClient
) -> None:
    stripe_invoice = sandbox.invoice(
        "100.00 EUR",
        payments=[
            {"amount": "60.00 EUR", "refunded": 500},
            {"amount": "30.00 EUR", "kind": "charge"},
            {"amount": 1000, "kind": "payment_record"},
        ],
    )
    expanded = ["data.payment.payment_intent.latest_charge", "data.payment.charge", "data.payment.payment_record"]
    record, charge, intent = (
        invoice_payment.payment
        for invoice_payment in client.v1.invoice_payments.list(
            {"invoice": stripe_invoice.id, "expand": expanded}
        ).auto_paging_iter()
    )
    assert isinstance(record.payment_record, stripe.PaymentRecord)
    assert isinstance(charge.charge, stripe.Charge)
    assert (charge.charge.id, charge.charge.payment_intent) == (stripe_invoice.payments[1], None)
    assert isinstance(intent.payment_intent, stripe.PaymentIntent)
    assert isinstance(intent.payment_intent.latest_charge, stripe.Charge)
    assert intent.payment_intent.latest_charge.amount_refunded == 500
    whole = client.v1.invoices.retrieve(stripe_invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert whole.payments is not None
    assert [invoice_payment.payment.type for invoice_payment in whole.payments.data] == [
        "payment_record",
        "charge",
        "payment_intent",
    ]
    assert whole.amount_paid_off_stripe == 1000


def test_an_invoice_is_found_by_its_payment(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    sandbox.invoice(500, "SEK")
    stripe_invoice = sandbox.invoice(700, "SEK")
    params: Any = {"payment": {"type": "payment_intent", "payment_intent": stripe_invoice.payments[0]}}
    (invoice_payment,) = client.v1.invoice_payments.list(params).data
    assert invoice_payment.invoice == stripe_invoice.id
    again = client.v1.invoice_payments.retrieve(
        invoice_payment.id, {"expand": ["payment.payment_intent.latest_charge.refunds"]}
    )
    assert isinstance(again.payment.payment_intent, stripe.PaymentIntent)
    charge = again.payment.payment_intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.refunds is not None


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"payment": {"type": "charge"}}, "type"),
        ({"payment": {"payment_intent": "pi_1"}}, "payment[type]"),
        ({"status": "pending"}, "status"),
        ({"expand": ["data.payment.payment_intent.latest_charge.refunds"]}, "expand"),
        ({"expand": ["data.customer"]}, "expand"),
    ],
)
def test_what_stripe_does_not_take_of_a_list_is_refused(
    sandbox: RunningSandbox, client: stripe.StripeClient, params: Any, param: str
) -> None:
    sandbox.invoice(500, "SEK")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.invoice_payments.list(params)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("status", "void", "uncollectible"),
    [
        ("open", True, True),
        ("uncollectible", True, False),
        ("paid", False, False),
        ("void", False, False),
        ("draft", False, False),
    ],
)
def test_only_some_invoices_can_be_voided_or_given_up(
    sandbox: RunningSandbox, client: stripe.StripeClient, status: str, void: bool, uncollectible: bool
) -> None:
    for allowed, act, ends in [
        (void, client.v1.invoices.void_invoice, "void"),
        (uncollectible, client.v1.invoices.mark_uncollectible, "uncollectible"),
    ]:
        stripe_invoice = sandbox.invoice(500, "SEK", status=status)
        if allowed:
            invoice = act(stripe_invoice.id)
            assert (invoice.status, invoice.amount_remaining) == (ends, 500)
            continue
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            act(stripe_invoice.id)
        assert refusal.value.http_status == 400
        assert client.v1.invoices.retrieve(stripe_invoice.id).status == status


def test_voiding_again_with_the_same_key_gives_the_same_answer(
    sandbox: RunningSandbox, client: stripe.StripeClient
) -> None:
    stripe_invoice = sandbox.invoice(500, "SEK", status="open")
    sandbox.faults("drop_after", call="invoice")
    with pytest.raises(stripe.APIConnectionError):
        client.v1.invoices.void_invoice(stripe_invoice.id, {}, {"idempotency_key": "k", "max_network_retries": 0})
    invoice = client.v1.invoices.void_invoice(stripe_invoice.id, {}, {"idempotency_key": "k"})
    assert (invoice.status, invoice.status_transitions.voided_at is None) == ("void", False)
    assert sandbox.requests[-1].replayed
    assert [event.type for event in client.v1.events.list({"type": "invoice.*"}).data] == ["invoice.voided"]


def test_invoices_are_listed_newest_first_and_filtered(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    for day in (3, 1, 2):
        sandbox.invoice(day, "SEK", customer="cus_1", created=1_790_000_000 + day, status="open", payments=[])
    stripe_invoice = sandbox.invoice(
        9, "SEK", created=1_790_000_002, subscription="sub_1", collection_method="send_invoice"
    )

    def totals(**fields: Any) -> list[int]:
        params: Any = {"limit": 2, **fields}
        return [invoice.total for invoice in client.v1.invoices.list(params).auto_paging_iter()]

    assert totals() == [3, 9, 2, 1]
    assert totals(customer="cus_1") == [3, 2, 1]
    assert totals(status="paid") == totals(subscription="sub_1") == totals(collection_method="send_invoice") == [9]
    assert totals(created={"gt": 1_790_000_001, "lt": 1_790_000_003}) == [9, 2]
    assert totals(created={"gte": 1_790_000_002, "lte": 1_790_000_003}) == [3, 9, 2]
    before = client.v1.invoices.list({"ending_before": stripe_invoice.id})
    assert [listed_invoice.total for listed_invoice in before.data] == [3]
    with pytest.raises(stripe.InvalidRequestError):
        totals(starting_after="in_nowhere")


def test_thousands_are_paged_without_a_wait(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    count = 3000
    for number in range(count):
        charge = sandbox.charge(1000, created=1_790_000_000 + number)
        refund = StripeRefund(
            id=f"re_{number}",
            charge=str(charge.charge),
            payment_intent=charge.payment_intent,
            amount=1,
            currency="eur",
            created=1_790_000_000 + number,
        )
        sandbox.state.refunds[refund.id] = refund
    # Ninety pages: rebuilding the list for each would exceed the test's timeout.
    for service in (client.v1.refunds, client.v1.charges, client.v1.payment_intents):
        listed: Any = service.list({"limit": 100})
        assert len({entry.id for entry in listed.auto_paging_iter()}) == count
    late = client.v1.charges.list({"created": {"gte": 1_790_000_000 + count - 5}})
    assert len(late.data) == 5


def test_a_payment_record_is_nothing_that_can_be_refunded(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    stripe_invoice = sandbox.invoice(500, "SEK", payments=[{"amount": 500, "kind": "payment_record"}])
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.refunds.create({"payment_intent": stripe_invoice.payments[0]})
    assert refusal.value.code == "resource_missing"


def test_a_payment_under_way_leaves_the_invoice_open(sandbox: RunningSandbox, client: stripe.StripeClient) -> None:
    stripe_invoice = sandbox.invoice(500, "SEK", status="open", payments=[{"amount": 500, "processing": True}])
    invoice = client.v1.invoices.retrieve(stripe_invoice.id, {"expand": ["payments"]})
    assert invoice.payments is not None
    (payment,) = invoice.payments.data
    assert (invoice.amount_remaining, payment.status, payment.amount_paid) == (500, "open", None)
