"""Simulates Stripe: credentials, error responses, and the endpoints."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refundcli.sandbox.core.exchange import Call, Operation, Plan, exchange, lower_headers
from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer, Refusal
from refundcli.sandbox.core.records import Json
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.approvals import list_approvals, show_approval
from refundcli.sandbox.stripe.events import list_events, show_event
from refundcli.sandbox.stripe.form import Params, checked, decode, refuse, texts
from refundcli.sandbox.stripe.invoices import (
    list_credit_notes,
    list_invoice_payments,
    list_invoices,
    mark_uncollectible,
    show_credit_note,
    show_invoice,
    show_invoice_payment,
    void_invoice,
)
from refundcli.sandbox.stripe.objects import API_VERSION, account_json, new_request_id
from refundcli.sandbox.stripe.reads import (
    list_charges,
    list_disputes,
    list_intents,
    list_refunds,
    show_charge,
    show_dispute,
    show_intent,
    show_refund,
)
from refundcli.sandbox.stripe.refunds import cancel_refund, create_refund, update_refund

KEY_LENGTH = 255


class StripeWire:
    provider: Provider = "stripe"
    key_lifetime = 24 * 3600.0
    stores_failures = True

    def __init__(self, state: SandboxState) -> None:
        self.state = state

    def authenticate(self, call: Call) -> None:
        api_key = _api_key(call.headers.get("authorization", ""))
        if not api_key:
            raise refuse("You did not provide an API key.", status=401)
        if "live" in api_key:
            raise refuse("This is a sandbox: it takes test keys only.", status=401)
        if not api_key.startswith(("sk_test_", "rk_test_")):
            raise refuse("Invalid API Key provided.", status=401)
        if len(call.key or "") > KEY_LENGTH:
            raise refuse(f"Idempotency keys take up to {KEY_LENGTH} characters.")

    def account(self, call: Call) -> str:
        return call.headers.get("stripe-account", self.state.account_id)

    def early(self, fault: Fault) -> Answer:
        return _early_answers(fault)[fault.behaviour]

    def server_error(self) -> Answer:
        return _error(500, "api_error", "An unknown error occurred.")

    def key_in_use(self, call: Call) -> Answer:
        return _error(
            409,
            "invalid_request_error",
            "There is currently another in-progress request using this Idempotent Key.",
            "idempotency_key_in_use",
        )

    def key_used_otherwise(self, call: Call) -> Answer:
        return _error(
            400,
            "idempotency_error",
            "Keys for idempotent requests can only be used with the same parameters they were first used"
            f" with. Try using a key other than '{call.key}' if you meant to execute a different request.",
        )

    def replayed(self, answer: Answer) -> Answer:
        return Answer(answer.status, answer.body, {**answer.headers, "Idempotent-Replayed": "true"})

    def spoil(self, answer: Answer, behaviour: str) -> Answer:
        body: Json = dict(answer.body)
        if behaviour == "wrong_amount":
            body["amount"] += 100
        elif behaviour == "wrong_currency":
            body["currency"] = "nok" if body["currency"] == "sek" else "sek"
        else:
            body |= {"charge": "ch_somebodyElse", "payment_intent": "pi_somebodyElse"}
        return Answer(answer.status, body, answer.headers)

    def headers(self, call: Call) -> Mapping[str, str]:
        headers = {
            "Request-Id": new_request_id(),
            "Stripe-Version": call.headers.get("stripe-version", API_VERSION),
        }
        return headers | ({"Idempotency-Key": call.key} if call.key else {})


def _api_key(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _error(status: int, error_type: str, message: str, error_code: str | None = None) -> Answer:
    error_fields = {"type": error_type, "message": message} | ({"code": error_code} if error_code else {})
    return Answer(status, {"error": error_fields})


def _early_answers(fault: Fault) -> dict[str, Answer]:
    invalid_request = "invalid_request_error"
    rate_limit_answer = _error(429, invalid_request, "Too many requests hit the API too quickly.", "rate_limit")
    return {
        "400": _error(400, invalid_request, "This payment can no longer be refunded: its refund window is over."),
        "401": _error(401, invalid_request, "Invalid API Key provided."),
        "403": _error(403, invalid_request, "The provided key does not have the required permissions."),
        "409": _error(409, "api_error", "This object is being changed by another request.", "lock_timeout"),
        "429": Answer(429, rate_limit_answer.body, {"Retry-After": str(fault.retry_after)}),
        "500_before": _error(500, "api_error", "An unknown error occurred."),
        "503": _error(503, "api_error", "Stripe is temporarily unavailable."),
        "redirect": Answer(307, {}, {"Location": fault.location or "/_sandbox/elsewhere"}),
    }


def _show_account(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    checked(call.params, {"expand": texts})
    return lambda: Answer(200, account_json(state))


def _unknown_url(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    raise refuse(f"Unrecognized request URL ({call.method}: {call.path}).", status=404)


PLANS: list[tuple[str, str, Plan]] = [
    ("POST", "/v1/refunds", create_refund),
    ("GET", "/v1/refunds", list_refunds),
    ("GET", "/v1/refunds/{id}", show_refund),
    ("POST", "/v1/refunds/{id}", update_refund),
    ("POST", "/v1/refunds/{id}/cancel", cancel_refund),
    ("GET", "/v1/charges", list_charges),
    ("GET", "/v1/charges/{id}", show_charge),
    ("GET", "/v1/payment_intents", list_intents),
    ("GET", "/v1/payment_intents/{id}", show_intent),
    ("GET", "/v1/invoices", list_invoices),
    ("GET", "/v1/invoices/{id}", show_invoice),
    ("POST", "/v1/invoices/{id}/void", void_invoice),
    ("POST", "/v1/invoices/{id}/mark_uncollectible", mark_uncollectible),
    ("GET", "/v1/invoice_payments", list_invoice_payments),
    ("GET", "/v1/invoice_payments/{id}", show_invoice_payment),
    ("GET", "/v1/credit_notes", list_credit_notes),
    ("GET", "/v1/credit_notes/{id}", show_credit_note),
    ("GET", "/v2/core/approval_requests", list_approvals),
    ("GET", "/v2/core/approval_requests/{id}", show_approval),
    ("GET", "/v1/events", list_events),
    ("GET", "/v1/events/{id}", show_event),
    ("GET", "/v1/disputes", list_disputes),
    ("GET", "/v1/disputes/{id}", show_dispute),
    ("GET", "/v1/account", _show_account),
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(state: SandboxState) -> list[Route]:
    endpoints = [_route(state, [method], path, plan) for method, path, plan in PLANS]
    return [*endpoints, _route(state, METHODS, "/v1/{rest:path}", _unknown_url)]


def _route(state: SandboxState, methods: list[str], path: str, plan: Plan) -> Route:
    vendor = StripeWire(state)

    async def endpoint(request: Request) -> Response:
        params, refusal = await _params(request)
        call = _call(request, params)
        return await exchange(state, vendor, call, plan if refusal is None else _refusing(refusal))

    return Route(path, endpoint, methods=methods, name=f"stripe {methods[0]} {path}")


def _refusing(refusal: Refusal) -> Plan:
    def plan(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
        raise refusal

    return plan


async def _params(request: Request) -> tuple[Params, Refusal | None]:
    try:
        query = decode(request.url.query)
        body = (await request.body()).decode()
        return query | decode(body), None
    except Refusal as refusal:
        return {}, refusal
    except UnicodeDecodeError:
        return {}, refuse("Invalid request: the body is not UTF-8.")


def _call(request: Request, params: Params) -> Call:
    method, path = request.method, request.url.path
    call_kind = "lookup" if method == "GET" else "other"
    if (method, path) == ("POST", "/v1/refunds"):
        call_kind = "refund"
    elif method == "POST" and path.startswith("/v1/invoices/"):
        call_kind = "invoice"
    id_fields: list[Any] = [params.get("charge"), params.get("payment_intent"), *request.path_params.values()]
    named_ids = frozenset(
        payment_or_object_id for payment_or_object_id in id_fields if isinstance(payment_or_object_id, str)
    )
    return Call(method, path, lower_headers(request), params, request.path_params, call_kind, named_ids)
