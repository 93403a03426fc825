"""Stripe's invoices closed with the real SDK over real sockets: what is sent, and how a response is read."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from refundcli.domain.statuses import ClosingState, InvoiceStatus
from refundcli.providers.stripe.closings import StripeInvoiceCloser
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import ClosingAnswer
from refundcli.settings import StripeSettings
from wire import KEY, QUICK, STRIPE_KEY, Reply, Stub, allowed, refused_url

VOID, UNCOLLECTIBLE = InvoiceStatus.VOID, InvoiceStatus.UNCOLLECTIBLE
# The fault, its signal, and whether the invoice is closed afterwards.
FAULTS = [
    ("malformed", Signal.MALFORMED, True),
    ("empty_object", Signal.MALFORMED, True),
    ("401", Signal.NOT_ALLOWED, False),
    ("403", Signal.NOT_ALLOWED, False),
    ("409", Signal.IN_PROGRESS, False),
    ("429", Signal.RATE_LIMITED, False),
    ("500_before", Signal.SERVER_ERROR, False),
    ("500_after", Signal.SERVER_ERROR, True),
    ("500_stuck", Signal.SERVER_ERROR, False),
    ("503", Signal.SERVER_ERROR, False),
    ("drop_before", Signal.NO_ANSWER, False),
    ("drop_after", Signal.NO_ANSWER, True),
    ("redirect", Signal.OTHER, False),
]


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox() as running:
        yield running


def closer_at(url: str) -> StripeInvoiceCloser:
    return StripeInvoiceCloser(STRIPE_KEY, StripeSettings(api_base=url), QUICK, "acct_1")


def close(closer: StripeInvoiceCloser, reference: str, status: InvoiceStatus = VOID, key: str = KEY) -> ClosingAnswer:
    return closer.close(closer.prepare(reference, status), key, allowed)


def answer_to(reply: Reply, status: InvoiceStatus = VOID) -> ClosingAnswer:
    with Stub(reply) as stub:
        return close(closer_at(stub.url), "in_1", status)


def error(status: int, code: str = "", param: str = "", kind: str = "invalid_request_error", **headers: str) -> Reply:
    fields: dict[str, Any] = {"type": kind, "message": "No.", "code": code or None, "param": param or None}
    body = {"error": {name: value for name, value in fields.items() if value}}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(("status", "verb"), [(VOID, "void"), (UNCOLLECTIBLE, "mark_uncollectible")])
def test_one_request_with_its_key_and_no_parameters(status: InvoiceStatus, verb: str) -> None:
    with Stub(Reply(200, {"id": "in_1", "object": "invoice", "status": status.value})) as stub:
        closer = closer_at(stub.url)
        request = closer.prepare("in_1", status)
        assert request.endpoint == f"{stub.url}/v1/invoices/in_1/{verb}"
        assert closer.close(request, KEY, allowed) == ClosingAnswer(Signal.ACCEPTED, state=ClosingState.DONE)
    (sent,) = stub.requests
    assert (sent.method, sent.path, sent.body) == ("POST", f"/v1/invoices/in_1/{verb}", b"")
    assert (sent.headers["idempotency-key"], sent.headers["stripe-version"]) == (KEY, request.api_version)


@pytest.mark.parametrize(("behaviour", "signal", "closed"), FAULTS)
def test_each_fault_maps_to_the_signal_that_it_proves(
    sandbox: RunningSandbox, behaviour: str, signal: Signal, closed: bool
) -> None:
    stripe_invoice = sandbox.invoice("10.00 EUR", status="open")
    sandbox.faults(behaviour, call="invoice")
    answer = close(closer_at(sandbox.url), stripe_invoice.id)
    assert answer.signal == signal, answer
    assert (sandbox.state.invoices[stripe_invoice.id].status == "void") == closed
    assert len([request for request in sandbox.requests if request.method == "POST"]) == 1


def test_a_slow_answer_is_none(sandbox: RunningSandbox) -> None:
    stripe_invoice = sandbox.invoice("10.00 EUR", status="open")
    sandbox.faults("delay_ms", call="invoice", delay_ms=1500)
    assert close(closer_at(sandbox.url), stripe_invoice.id).signal == Signal.NO_ANSWER


def test_one_whose_lease_ended_while_it_connected_is_not_sent() -> None:
    with Stub(Reply(200, {"id": "in_1", "object": "invoice", "status": "void"})) as stub:
        closer = closer_at(stub.url)
        answer = closer.close(closer.prepare("in_1", VOID), KEY, lambda: False)
    assert (answer.signal, stub.requests) == (Signal.NOT_SENT, [])


def test_an_unreachable_server_is_sent_nothing() -> None:
    assert close(closer_at(refused_url()), "in_1").signal == Signal.NOT_SENT


def test_the_same_key_is_the_same_answer_and_for_another_invoice_an_error(sandbox: RunningSandbox) -> None:
    first, second = (sandbox.invoice("10.00 EUR", status="open").id for _ in range(2))
    closer = closer_at(sandbox.url)
    assert [close(closer, first).signal for _ in range(2)] == [Signal.ACCEPTED, Signal.ACCEPTED]
    assert [event.type for event in sandbox.state.events.values()] == ["invoice.voided"]
    assert close(closer, second).signal == Signal.KEY_REUSED
    assert close(closer, first, UNCOLLECTIBLE).signal == Signal.KEY_REUSED
    assert sandbox.state.invoices[second].status == "open"


def test_what_may_not_be_closed_is_a_definite_no(sandbox: RunningSandbox) -> None:
    closer = closer_at(sandbox.url)
    for status in ("paid", "void", "draft"):
        stripe_invoice = sandbox.invoice("10.00 EUR", status=status)
        answer = close(closer, stripe_invoice.id, key=f"{KEY}{status}")
        assert (answer.signal, answer.replayed) == (Signal.DECLINED, False)
        again = close(closer, stripe_invoice.id, key=f"{KEY}{status}")
        assert (again.signal, again.replayed) == (Signal.DECLINED, True)
    assert close(closer, "in_nowhere").signal == Signal.DECLINED


@pytest.mark.parametrize(
    "reply",
    [
        error(400),  # not in a status that allows it: Stripe has no code for it, and there is no parameter
        error(400, "invoice_not_editable"),
        error(400, "status_transition_invalid"),
        error(400, "anything_new"),
        error(400, "", "payment_settings"),
        error(404, "resource_missing", "invoice"),
        error(404),
    ],
)
def test_a_well_formed_refusal_leaves_the_invoice_as_it_was(reply: Reply) -> None:
    assert answer_to(reply).signal == Signal.DECLINED


@pytest.mark.parametrize(
    "reply",
    [
        error(400, "", kind="api_error"),
        error(400, "invoice_not_editable", kind=""),
        error(402, "card_declined", kind="card_error"),
        error(408),
        Reply(400, b"<html>"),
        Reply(404, b"<html>"),
        Reply(400, {"error": "invalid_request_error"}),
    ],
)
def test_any_other_answer_proves_nothing(reply: Reply) -> None:
    assert answer_to(reply).signal == Signal.OTHER


@pytest.mark.parametrize(
    "changed", [{"id": "in_2"}, {"status": "open"}, {"status": "uncollectible"}, {"object": "refund"}, {"id": None}]
)
def test_another_object_or_status_is_no_acceptance(changed: dict[str, Any]) -> None:
    body = {"id": "in_1", "object": "invoice", "status": "void"} | changed
    assert answer_to(Reply(200, body)).signal == Signal.MALFORMED


@pytest.mark.parametrize(
    "changed",
    [
        {"account": "acct_2"},
        {"livemode": True},
        {"endpoint": "https://api.stripe.com/v1/invoices/in_1/void"},
        {"endpoint": "{url}/v1/invoices/in_1/pay"},
        {"endpoint": "{url}/v1/invoices/in_1/lines/void"},
        {"params": {"x": "y"}},
    ],
)
def test_what_was_prepared_otherwise_is_not_sent(changed: dict[str, Any]) -> None:
    with Stub(Reply()) as stub:
        closer = closer_at(stub.url)
        changes: dict[str, Any] = {
            name: value.format(url=stub.url) if isinstance(value, str) else value for name, value in changed.items()
        }
        request = replace(closer.prepare("in_1", VOID), **changes)
        assert closer.close(request, KEY, allowed).signal == Signal.NOT_SENT
    assert stub.connections == 0


def test_a_reference_that_is_no_id_stays_in_its_place() -> None:
    with Stub(error(404, "resource_missing", "invoice")) as stub:
        assert close(closer_at(stub.url), "in_1/../../refunds").signal in (Signal.DECLINED, Signal.NOT_SENT)
    paths = [request.path.split("/") for request in stub.requests]
    assert all((path[:3], len(path), path[-1]) == (["", "v1", "invoices"], 5, "void") for path in paths)
