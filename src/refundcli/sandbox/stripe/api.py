"""Simulates Stripe: credentials, error responses, and the endpoints."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refundcli.sandbox.core.exchange import Call, Operation, Plan, Vendor, exchange
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


class Stripe(Vendor):
    provider: Provider = "stripe"
    key_lifetime = 24 * 3600.0
    stores_failures = True
    replay_headers: Mapping[str, str] = {"Idempotent-Replayed": "true"}

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

    def error(self, behaviour: str, call: Call) -> Answer:
        status, error_type, message, error_code = _ERRORS[behaviour]
        error_fields = {"type": error_type, "message": message.format(key=call.key)}
        return Answer(status, {"error": error_fields | ({"code": error_code} if error_code else {})})

    def spoil(self, body: Json, behaviour: str) -> None:
        if behaviour == "wrong_amount":
            body["amount"] += 100
        elif behaviour == "wrong_currency":
            body["currency"] = "nok" if body["currency"] == "sek" else "sek"
        else:
            body |= {"charge": "ch_somebodyElse", "payment_intent": "pi_somebodyElse"}

    def headers(self, call: Call) -> Mapping[str, str]:
        version = call.headers.get("stripe-version", API_VERSION)
        return {"Request-Id": new_request_id(), "Stripe-Version": version, **super().headers(call)}


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


INVALID = "invalid_request_error"
# Status, type, message and code of what is not processed.
_ERRORS: dict[str, tuple[int, str, str, str | None]] = {
    "400": (400, INVALID, "This payment can no longer be refunded: its refund window is over.", None),
    "401": (401, INVALID, "Invalid API Key provided.", None),
    "403": (403, INVALID, "The provided key does not have the required permissions.", None),
    "409": (409, "api_error", "This object is being changed by another request.", "lock_timeout"),
    "429": (429, INVALID, "Too many requests hit the API too quickly.", "rate_limit"),
    "500_before": (500, "api_error", "An unknown error occurred.", None),
    "503": (503, "api_error", "Stripe is temporarily unavailable.", None),
    "key_in_use": (
        409,
        INVALID,
        "There is currently another in-progress request using this Idempotent Key.",
        "idempotency_key_in_use",
    ),
    "key_used_otherwise": (
        400,
        "idempotency_error",
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a"
        " key other than '{key}' if you meant to execute a different request.",
        None,
    ),
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
    vendor = Stripe()

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
    return Call(method, path, request.headers, params, request.path_params, call_kind, named_ids)
