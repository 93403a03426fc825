"""Responses of Stripe and Adyen that are valid but differ from the sandbox's."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from desk import MERCHANT, Desk
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.store.checks.integrity import findings
from webhooks import settle_secrets, stripe, stripe_event
from wire import Reply, Stub

Body = dict[str, Any]
Answer = Body | Reply | Callable[[dict[str, str]], Body]


class Server(Stub):
    """Scripted replies by method and path; anything else is the vendor's 404."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        super().__init__(Reply())
        self.answers = answers

    def next_reply(self) -> Reply:
        request = self.requests[-1]
        where = urlsplit(request.path)
        answer = self.answers.get(f"{request.method} {where.path}")
        if isinstance(answer, Reply):
            return answer
        if answer is None:
            error = {"type": "invalid_request_error", "message": f"Nothing at {where.path}", "doc_url": None}
            is_of_one = where.path.startswith(("/v1/charges/", "/v1/payment_intents/"))
            return Reply(404, {"error": error | ({"code": "resource_missing"} if is_of_one else {})})
        params = dict(parse_qsl(where.query or request.body.decode(), keep_blank_values=True))
        return Reply(body=answer(params) if callable(answer) else answer)

    def queries_to(self, path: str) -> list[dict[str, str]]:
        """The query of every request for this path."""
        urls = [urlsplit(request.path) for request in self.requests]
        return [dict(parse_qsl(request.query)) for request in urls if request.path == path]


def listed(*items: Body, **more: Any) -> Body:
    return {"object": "list", "url": "/v1/of", "has_more": False, "data": list(items), "new_in_2027": None, **more}


def in_pages(*items: Body) -> Callable[[dict[str, str]], Body]:
    """One object per page: the vendor only promises at most `limit`."""

    def page(params: dict[str, str]) -> Body:
        ids = [entry["id"] for entry in items]
        at = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
        return listed(*items[at : at + 1], has_more=at + 1 < len(items))

    return page


def charge(name: str = "ch_1", amount: int = 10_000, **fields: Any) -> Body:
    """Only the schema's required fields, plus unknown ones."""
    body = {"id": name, "object": "charge", "amount": amount, "amount_captured": amount, "amount_refunded": 0}
    body |= {"billing_details": {}, "captured": True, "created": 1_790_000_000, "currency": "eur", "disputed": False}
    body |= {"livemode": False, "metadata": {}, "paid": True, "refunded": False, "status": "succeeded"}
    return {**body, "outcome": None, "payment_intent": None, "presentment": {"currency": "sek"}, **fields}


def intent(name: str = "pi_1", amount: int = 10_000, **fields: Any) -> Body:
    body = {"id": name, "object": "payment_intent", "amount": amount, "amount_received": amount, "currency": "eur"}
    return {**body, "created": 1_790_000_000, "livemode": False, "status": "succeeded", "latest_charge": None, **fields}


def refund(name: str = "re_1", amount: int = 2500, **fields: Any) -> Body:
    body = {"id": name, "object": "refund", "amount": amount, "created": 1_790_000_100, "currency": "eur"}
    return {**body, "status": "succeeded", "charge": None, "payment_intent": None, "metadata": None, **fields}


def dispute(status: str, **fields: Any) -> Body:
    body = {"id": "dp_1", "object": "dispute", "amount": 10_000, "charge": "ch_1", "currency": "eur", "status": status}
    return {**body, "created": 1_790_000_200, "is_charge_refundable": False, "payment_intent": None, **fields}


def invoice(name: str = "in_1", number: str | None = "INV-1", **fields: Any) -> Body:
    body: Body = {
        "id": name,
        "object": "invoice",
        "number": number,
        "currency": "eur",
        "total": 10_000,
        "status": "paid",
    }
    body |= {"amount_paid": 10_000, "created": 1_790_000_000, "customer": {"id": "cus_7", "object": "customer"}}
    body |= {"customer_name": None, "due_date": None, "parent": None, "lines": listed({"id": "il_1"})}
    return {**body, "livemode": False, "status_transitions": {"paid_at": None, "finalized_at": None}, **fields}


def paid_with(name: str, of: Body, amount: int | None = 10_000, **fields: Any) -> Body:
    body = {"id": name, "object": "invoice_payment", "status": "paid", "amount_paid": amount, "currency": "eur"}
    return {**body, "amount_requested": 10_000, "invoice": "in_1", "payment": of, **fields}


@pytest.fixture
def server(desk: Desk) -> Iterator[Server]:
    with Server({}) as running:
        desk.environ["REFUNDCLI_STRIPE_API_BASE"] = desk.environ["REFUNDCLI_ADYEN_API_BASE"] = running.url
        yield running


def only_refund(desk: Desk) -> Refund:
    (refund,) = desk.invoice("INV-1").refunds
    return refund


def made_of(params: dict[str, str], **fields: Any) -> Body:
    """The refund as requested, with the payment expanded."""
    metadata = {name[9:-1]: value for name, value in params.items() if name.startswith("metadata[")}
    body = refund(amount=int(params["amount"]), metadata=metadata, reason="brand_new_reason", next_action=None)
    return {**body, "payment_intent": intent(params["payment_intent"]), **fields}


# --- reading -----------------------------------------------------------------------------------------------------


def test_an_invoice_with_expanded_objects_and_paged_lists_is_pulled(desk: Desk, server: Server) -> None:
    lines = [{"id": f"il_{number}", "object": "line_item", "description": f"Ticket {number}"} for number in range(12)]
    more = listed(*lines[:10], has_more=True)
    server.answers |= {
        "GET /v1/invoices": in_pages(
            invoice(number="INV-1", lines=more, parent={"type": "quote_details", "subscription_details": None}),
            invoice("in_2", "INV-2", status="half_paid"),
            invoice("in_3", None, status=None, amount_paid=0, customer=None, lines=None),
        ),
        "GET /v1/invoices/in_1/lines": in_pages(*lines),
        "GET /v1/invoice_payments": lambda params: listed(
            *[
                paid_with("inpay_3", {"type": "barter"}, 1000),
                paid_with("inpay_2", {"type": "payment_record", "payment_record": "pr_1"}, 2000),
                paid_with("inpay_1", {"type": "payment_intent", "payment_intent": intent()}, 7000),
            ][: 3 if params["invoice"] == "in_1" else 0]
        ),
        "GET /v1/payment_intents/pi_1": intent(amount=7000, latest_charge="ch_1"),
        "GET /v1/charges/ch_1": charge(amount=7000, amount_refunded=2500, payment_intent=intent()),
        "GET /v1/refunds": in_pages(refund("re_1", 1500, charge=charge()), refund("re_2", 1000, status="pending")),
    }
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], [conflict["number"] for conflict in counts["conflicts"]]) == (2, ["INV-2"])
    answer = desk.json("invoice show INV-1")
    assert answer["products"] == [f"Ticket {number}" for number in range(12)]
    assert [number["captured"]["amount"] for number in answer["payments"]] == ["70.00", "20.00", "10.00"]
    assert (answer["refundable"]["amount"], len(answer["refunds"])) == ("75.00", 2)
    assert desk.json("invoice show in_3")["status"] == "draft"
    assert findings(desk.books) == []


def test_an_invoice_without_its_payment_is_omitted_and_reported(desk: Desk, server: Server) -> None:
    server.answers |= {
        "GET /v1/invoices": listed(invoice()),
        "GET /v1/invoice_payments": listed(paid_with("inpay_1", {"type": "charge", "charge": "ch_gone"})),
    }
    counts = desk.json("invoice pull stripe")
    assert "ch_gone" in counts["conflicts"][0]["message"]
    assert desk.count("invoice") == 0


# --- refunds -----------------------------------------------------------------------------------------------------


def bring_in(desk: Desk, reference: str = "pi_1", amount: str = "100.00 EUR", provider: str = "stripe") -> None:
    desk.paid_by_card("INV-1", amount, provider=provider, reference=reference)


@pytest.mark.parametrize("received", [10_000, None])
def test_a_payment_that_names_no_charge_is_refunded_and_compared(
    desk: Desk, server: Server, received: int | None
) -> None:
    bring_in(desk)
    server.answers |= {
        "GET /v1/payment_intents/pi_1": intent(amount_received=received),
        "GET /v1/refunds": listed(),
        "GET /v1/disputes": listed(),
        "POST /v1/refunds": made_of,
    }
    desk.json("refund INV-1 --amount 25 --reason other --yes")
    assert only_refund(desk).state is RefundState.SUCCEEDED
    assert {"payment_intent": "pi_1", "limit": "100"} in server.queries_to("/v1/disputes")
    server.answers["GET /v1/refunds"] = listed(refund("re_1", payment_intent="pi_1"))
    server.answers["GET /v1/charges"] = listed()
    assert desk.json("reconcile")["differences"] == []


def test_a_payment_that_names_no_charge_and_has_a_dispute_is_not_refunded(desk: Desk, server: Server) -> None:
    bring_in(desk)
    server.answers |= {
        "GET /v1/payment_intents/pi_1": intent(),
        "GET /v1/refunds": listed(),
        "GET /v1/disputes": listed(dispute("escalated", charge=charge(), payment_intent=intent())),
    }
    refusal = desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")
    assert "events acknowledge" in refusal["hint"]
    assert not any(request.method == "POST" for request in server.requests)


@pytest.mark.parametrize(
    ("disputed", "disputes", "there"),
    [
        pytest.param(True, [], "open", id="disputed, and nobody says how it stands"),
        pytest.param(None, [dispute("needs_response")], "open", id="disputed is null"),
        pytest.param(True, [dispute("prevented")], "lost", id="the bank gave it back"),
        pytest.param(True, [dispute("warning_needs_response")], "open", id="an inquiry that forbids a refund"),
    ],
)
def test_whatever_a_charge_says_that_may_mean_a_dispute_stops_the_refund(
    desk: Desk, server: Server, disputed: bool | None, disputes: list[Body], there: str
) -> None:
    bring_in(desk)
    disputed_charge = charge(payment_intent="pi_1", disputed=disputed, refunds=listed())
    server.answers |= {
        "GET /v1/payment_intents/pi_1": intent(latest_charge=disputed_charge),
        "GET /v1/disputes": listed(*disputes),
    }
    refusal = desk.refused("refund INV-1 --full --reason other --yes", "differs-from-provider")
    assert refusal["context"]["differences"][0]["at_provider"] == there
    assert not any(request.method == "POST" for request in server.requests)
    answer = desk("refund INV-1 --full --reason other --dry-run")
    assert there in answer.out + answer.err


def test_a_dispute_in_a_status_that_is_not_known_needs_a_person(desk: Desk, server: Server) -> None:
    bring_in(desk)
    disputed = charge(payment_intent="pi_1", disputed=True, refunds=listed())
    server.answers |= {
        "GET /v1/payment_intents/pi_1": intent(latest_charge=disputed),
        "GET /v1/disputes": listed(dispute("brand_new")),
    }
    assert desk("refund INV-1 --full --reason other --dry-run").exit_code == 3
    assert desk.json("events list") == []
    desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")
    assert desk("status").exit_code == 8
    assert not any(request.method == "POST" for request in server.requests)


def test_adyens_response_may_omit_optional_fields(desk: Desk, server: Server) -> None:
    bring_in(desk, "PAYMENT000000001", provider="adyen")

    def received(params: dict[str, str]) -> Body:
        answer = json.loads(server.requests[-1].body)
        body = {"pspReference": "REFUND0000000001", "paymentPspReference": "PAYMENT000000001", "status": "received"}
        return {**body, "amount": answer["amount"], "merchantAccount": MERCHANT, "reference": None, "splits": None}

    server.answers["POST /v72/payments/PAYMENT000000001/refunds"] = received
    desk.json("refund INV-1 --full --reason other --yes")
    assert only_refund(desk).state is RefundState.PENDING
    (request,) = server.requests
    assert request.headers["idempotency-key"]
    assert json.loads(request.body)["reference"] == only_refund(desk).id


# --- events ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "about",
    [
        pytest.param({"charge": "ch_gone", "payment_intent": intent()}, id="its charge is not there"),
        pytest.param({"charge": None, "payment_intent": None}, id="it names no payment"),
    ],
)
def test_a_refund_event_is_looked_up_by_any_of_its_ids(desk: Desk, server: Server, about: Body) -> None:
    settle_secrets(desk)
    bring_in(desk)
    stripe_refund = refund("re_9", payment_intent="pi_1")
    server.answers |= {
        "GET /v1/payment_intents/pi_1": intent(),
        "GET /v1/refunds": listed(stripe_refund),
        "GET /v1/refunds/re_9": stripe_refund,
        "GET /v1/disputes": listed(),
    }
    path = desk.folder / "deliveries.jsonl"
    path.write_text(
        f"{stripe(stripe_event(data={'object': stripe_refund | about, 'previous_attributes': None})).as_line}\n"
    )
    summary = desk.json(f"events ingest {path}")
    assert summary["by_state"]["applied"] == 1
    assert desk.invoice("INV-1").refundable.number == "75.00"


# --- refusals and approvals ------------------------------------------------------------------------------------


@pytest.fixture
def paid(desk: Desk, server: Server) -> Server:
    """An invoice of 100.00 EUR, paid with pi_1 at the test's own Stripe server."""
    desk.paid_by_card(reference="pi_1")
    server.answers |= {
        "GET /v1/account": {"id": "acct_1", "object": "account"},
        "GET /v1/payment_intents/pi_1": intent(latest_charge=charge(payment_intent="pi_1")),
        "GET /v1/refunds": listed(),
        "GET /v1/disputes": listed(),
    }
    return server


def posts(server: Server) -> int:
    return sum(request.method == "POST" for request in server.requests)


@pytest.mark.parametrize("status", [400, 403])
def test_a_refund_that_a_second_person_must_approve_is_waited_for(desk: Desk, paid: Server, status: int) -> None:
    error = {"type": "invalid_request_error", "code": "approval_required", "message": "See areq_7."}
    paid.answers["POST /v1/refunds"] = Reply(status, {"error": error})
    command = "refund INV-1 --amount 75 --reason duplicate --request-key K --yes -o json"
    for _ in range(2):
        answer = desk(command)
        assert (answer.exit_code, answer.error["code"]) == (8, "awaiting-approval")
        assert answer.error["message"] == (
            "Stripe requires a second person to approve this refund. "
            "Nothing has been refunded yet, and 75.00 EUR stays reserved."
        )
        ours = only_refund(desk)
        assert answer.error["hint"] == f"Approve it in the Stripe dashboard. Then: refundcli resume {ours.id}"
    assert (ours.state, ours.provider_status) == (RefundState.AWAITING_APPROVAL, "approval_required areq_7")
    assert (ours.provider_reference, desk.invoice("INV-1").refundable.number) == ("", "25.00")
    output = desk("refund INV-1 --amount 75 --reason duplicate --request-key K --yes")
    assert "Refunded" not in output.out
    for resume in ("resume", f"resume {ours.id}"):
        desk(resume)
    assert (posts(paid), only_refund(desk).state) == (1, RefundState.AWAITING_APPROVAL)
    assert findings(desk.books) == []
    # After approval Stripe makes the refund itself.
    metadata = {"refundcli_refund": ours.id}
    paid.answers["GET /v1/refunds"] = listed(refund("re_7", 7500, payment_intent="pi_1", metadata=metadata))
    assert desk.json(f"resume {ours.id}")[0]["status"] == "succeeded"
    assert (posts(paid), only_refund(desk).provider_reference) == (1, "re_7")
    assert findings(desk.books) == []


def test_a_refusal_without_a_code_is_a_definite_no(desk: Desk, paid: Server) -> None:
    error = {"type": "invalid_request_error", "message": "This payment is too old to be refunded."}
    paid.answers["POST /v1/refunds"] = Reply(400, {"error": error})
    answer = desk("refund INV-1 --full --reason duplicate --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (6, "provider-declined")
    assert "too old to be refunded" in answer.error["message"]
    assert (only_refund(desk).state, desk.invoice("INV-1").refundable.number) == (RefundState.FAILED, "100.00")


def test_a_refused_replay_proves_something_only_if_it_is_the_stored_response(desk: Desk, paid: Server) -> None:
    refusal = {"error": {"type": "invalid_request_error", "message": "No."}}
    paid.answers["POST /v1/refunds"] = Reply(body=None)
    assert desk("refund INV-1 --full --reason duplicate --yes").exit_code == 8
    paid.answers["POST /v1/refunds"] = Reply(400, refusal)
    assert desk("resume").exit_code == 8
    assert only_refund(desk).state is RefundState.SUBMITTED
    paid.answers["POST /v1/refunds"] = Reply(400, refusal, {"Idempotent-Replayed": "true"})
    assert desk("resume").exit_code == 6
    assert (only_refund(desk).state, posts(paid)) == (RefundState.FAILED, 3)


def test_an_unlisted_refusal_of_adyen_is_a_definite_no(desk: Desk, server: Server) -> None:
    desk.paid_by_card(provider="adyen", reference="PSP1")
    refusal = {"status": 422, "errorCode": "130", "message": "Required field 'lineItems' is not provided."}
    server.answers["POST /v72/payments/PSP1/refunds"] = Reply(422, {**refusal, "errorType": "validation"})
    answer = desk("refund INV-1 --full --reason duplicate --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (6, "provider-declined")
    assert (only_refund(desk).state, desk.invoice("INV-1").refundable.number) == (RefundState.FAILED, "100.00")
