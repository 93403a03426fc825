"""Simulates Adyen's Checkout v72 refunds. The response is "received"; the outcome follows by webhook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refundcli.sandbox.adyen.disputes import disputed_amount
from refundcli.sandbox.adyen.events import refund_ended
from refundcli.sandbox.adyen.schema import Invalid, check_refund_request
from refundcli.sandbox.core.exchange import Call, Operation, Plan, Vendor, exchange
from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.faults import OUTCOMES, Fault
from refundcli.sandbox.core.idempotency import Answer, Refusal
from refundcli.sandbox.core.state import AdyenPayment, AdyenRefund, SandboxState, new_psp_reference

KEY_LENGTH = 64
INSUFFICIENT = "Insufficient balance on payment"
NOT_CAPTURED = "Transaction hasn't been captured, refund not possible"
CHARGED_BACK = "Transaction has been charged back, refund not possible"


def error(
    status: int, error_code: str, message: str, error_type: str = "validation", headers: Mapping[str, str] | None = None
) -> Answer:
    error_body = {"status": status, "errorCode": error_code, "message": message, "errorType": error_type}
    # A rejected request has no reference.
    return Answer(
        status, error_body if status == 401 else error_body | {"pspReference": new_psp_reference()}, headers or {}
    )


class Adyen(Vendor):
    provider: Provider = "adyen"
    key_lifetime = 7 * 86400.0
    stores_failures = False

    def authenticate(self, call: Call) -> None:
        if not call.headers.get("x-api-key"):
            raise Refusal(self.error("401", call))
        if len(call.key or "") > KEY_LENGTH:
            raise Refusal(error(422, "702", f"Idempotency-Key takes up to {KEY_LENGTH} characters"))

    def error(self, behaviour: str, call: Call) -> Answer:
        headers = {"transient-error": "true"} if behaviour == "adyen_703" else {}
        return error(*_ERRORS[behaviour], headers=headers)

    def spoil(self, body: dict[str, Any], behaviour: str) -> None:
        amount = body["amount"]
        if behaviour == "wrong_amount":
            body["amount"] = amount | {"value": amount["value"] + 100}
        elif behaviour == "wrong_currency":
            body["amount"] = amount | {"currency": "NOK" if amount["currency"] == "SEK" else "SEK"}
        else:
            body["paymentPspReference"] = "SOMEBODYELSE0000"


IN_PROGRESS = "request already processed or in progress"
# Status, code, message and type of what is not processed.
_ERRORS: dict[str, tuple[int, str, str, str]] = {
    "400": (400, "907", "The refund window of this payment is over", "validation"),
    "401": (401, "000", "HTTP Status Response - Unauthorized", "security"),
    "403": (403, "010", "Not allowed", "security"),
    "409": (409, "704", IN_PROGRESS, "validation"),
    "429": (429, "902", "Too many requests", "validation"),
    "500_before": (500, "905", "Payment details are not supported", "internal"),
    "503": (503, "903", "Service unavailable", "internal"),
    "adyen_703": (503, "703", "required resource temporarily unavailable", "internal"),
    "adyen_704": (422, "704", IN_PROGRESS, "validation"),
    "key_in_use": (422, "704", IN_PROGRESS, "validation"),
    "key_used_otherwise": (422, "704", "The Idempotency-Key was used before with another request", "validation"),
}


def refund(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    body = _checked_body(call)
    if state.merchant_account and body["merchantAccount"] != state.merchant_account:
        raise Refusal(error(403, "901", "Invalid Merchant Account", "security"))

    def receive() -> Answer:
        payment = state.payments.get(call.path_params["psp"])
        if payment is None:
            raise Refusal(error(422, "167", "Original pspReference required for this operation"))
        if body["amount"]["currency"] != payment.currency:
            raise Refusal(error(422, "139", "The currency is not the payment's"))
        _refuse_what_its_method_needs(payment, body)
        success, outcome_reason = _outcome(state, payment, body["amount"]["value"], fault)
        new_refund = state.add_adyen_refund(
            payment,
            body["amount"]["value"],
            merchant_account=body["merchantAccount"],
            reference=body.get("reference"),
            merchant_refund_reason=body.get("merchantRefundReason"),
            idempotency_key=call.key,
            success=success,
            outcome_reason=outcome_reason,
        )
        payment.merchant_account = new_refund.merchant_account
        if fault and fault.behaviour == "pending" and success is None:
            new_refund.ending = fault.ending(state.now())
        refund_ended(state, new_refund)
        return Answer(201, _received(new_refund, body))

    return receive


def _checked_body(call: Call) -> dict[str, Any]:
    if not isinstance(call.params, dict):
        raise Refusal(error(400, "702", "The request is not a JSON object"))
    try:
        check_refund_request(call.params)
    except Invalid as problem:
        raise Refusal(error(422, problem.code, problem.message)) from None
    return call.params


# Of these a part is refunded only with lineItems (PaymentRefundRequest of Checkout v72): 3x 4x Oney, Affirm,
# Afterpay, Atome, Clearpay, Klarna, Ratepay, Walley, Zip, by the beginnings of their names.
BY_LINE_ITEMS = ("facilypay", "oney", "affirm", "afterpay", "atome", "clearpay", "klarna", "ratepay", "walley", "zip")


def _refuse_what_its_method_needs(payment: AdyenPayment, body: Mapping[str, Any]) -> None:
    is_partial = body["amount"]["value"] < payment.amount
    if is_partial and payment.method.startswith(BY_LINE_ITEMS) and not body.get("lineItems"):
        raise Refusal(error(422, "130", "Required field 'lineItems' is not provided."))
    if "store" in body and body["store"] != payment.store:
        raise Refusal(error(422, "702", "The store is not the payment's"))


def _outcome(
    state: SandboxState, payment: AdyenPayment, amount: int, fault: Fault | None
) -> tuple[bool | None, str | None]:
    """The outcome that the webhook will report; the response does not contain it."""
    if not payment.captured:
        return False, NOT_CAPTURED
    balance, disputed_minor = state.adyen_balance(payment), disputed_amount(state, payment)
    if disputed_minor and balance - disputed_minor <= 0:
        return False, CHARGED_BACK
    if amount > balance - disputed_minor:
        return False, INSUFFICIENT
    planned_behaviour = fault.behaviour if fault and fault.behaviour in OUTCOMES else None
    if planned_behaviour in ("failed", "canceled"):
        return False, (fault.failure_reason if fault else None) or "Refused"
    return (None, None) if planned_behaviour else (True, None)


ECHOED = ("merchantAccount", "amount", "reference", "merchantRefundReason", "lineItems", "splits", "store")


def _received(refund: AdyenRefund, body: Mapping[str, Any]) -> dict[str, Any]:
    echoed_fields = {name: body[name] for name in (*ECHOED, "capturePspReference") if name in body}
    return echoed_fields | {"paymentPspReference": refund.payment, "pspReference": refund.id, "status": refund.status}


def _unknown_url(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    raise Refusal(error(404, "000", "Not found"))


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(state: SandboxState) -> list[Route]:
    return [
        _route(state, ["POST"], "/v72/payments/{psp}/refunds", refund, "refund"),
        _route(state, METHODS, "/v72/{rest:path}", _unknown_url, "other"),
    ]


def _route(state: SandboxState, methods: list[str], path: str, plan: Plan, call_kind: str) -> Route:
    vendor = Adyen()

    async def endpoint(request: Request) -> Response:
        call = Call(
            method=request.method,
            path=request.url.path,
            headers=request.headers,
            params=_parse(await request.body()),
            path_params=request.path_params,
            kind=call_kind,
            payments=frozenset(request.path_params.values()),
        )
        return await exchange(state, vendor, call, plan)

    return Route(path, endpoint, methods=methods, name=f"adyen {path}")


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
