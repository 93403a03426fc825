"""Adyen's notification items: events of payments, refunds and disputes, sent after the response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from refundcli.sandbox.core.outbox import Notice
from refundcli.sandbox.core.records import AdyenPayment, AdyenRefund, Json, new_psp_reference
from refundcli.sandbox.core.state import SandboxState

ZONE = ZoneInfo("Europe/Amsterdam")
MERCHANT = "SandboxMerchant"
# Events of a refund after its success was reported.
LATER = frozenset(["REFUND_FAILED", "REFUNDED_REVERSED"])


def merchant_of(state: SandboxState, payment: AdyenPayment | None) -> str:
    return (payment.merchant_account if payment else None) or state.merchant_account or MERCHANT


# `original_reference`: the payment's reference in an item about a modification, else omitted.
USUAL = "usual"


def send(
    state: SandboxState,
    event_code: str,
    *,
    payment: AdyenPayment | None = None,
    psp_reference: str | None = None,
    original_reference: str | None = USUAL,
    merchant_reference: str | None = None,
    amount: int | None = None,
    currency: str | None = None,
    success: bool = True,
    reason: str | None = None,
    additional_data: Mapping[str, Any] | None = None,
    event_date: str | None = None,
    payment_method: str | None = None,
    merchant_account: str | None = None,
    item: Mapping[str, Any] | None = None,
    live: bool = False,
) -> Json:
    """Queues one item of any event code and returns it; it is signed when it is delivered.

    `original_reference` None leaves the field out. `item` sets any field of it as it stands, and a null takes
    the field away. `event_date` is ISO 8601; now where none is given. `live` is what the envelope says.
    """
    modified_payment = payment.psp_reference if payment and psp_reference not in (None, payment.psp_reference) else None
    notification: Json = {
        "additionalData": dict(additional_data or {}),
        "amount": _amount(payment, amount, currency),
        "eventCode": event_code,
        "eventDate": event_date or datetime.fromtimestamp(int(state.now()), ZONE).isoformat(),
        "merchantAccountCode": merchant_account or merchant_of(state, payment),
        "merchantReference": _reference(payment, merchant_reference),
        "originalReference": modified_payment if original_reference == USUAL else original_reference,
        "paymentMethod": payment_method or (payment.method if payment else "visa"),
        "pspReference": psp_reference or (payment.psp_reference if payment else new_psp_reference()),
        "reason": reason or "",
        "success": "true" if success else "false",
    }
    return _queued(state, notification | dict(item or {}), live)


def _queued(state: SandboxState, notification: Json, is_live: bool) -> Json:
    present_fields = {name: value for name, value in notification.items() if value is not None}
    body_bytes = json.dumps(present_fields, ensure_ascii=False).encode()
    state.outbox.put(Notice("adyen", str(present_fields.get("eventCode", "")), body_bytes, live=is_live))
    return present_fields


def _amount(payment: AdyenPayment | None, amount: int | None, currency: str | None) -> Json:
    """The payment's amount unless overridden, in minor units."""
    payment_amount, payment_currency = (payment.amount, payment.currency) if payment else (0, "EUR")
    return {"currency": currency or payment_currency, "value": payment_amount if amount is None else amount}


def _reference(payment: AdyenPayment | None, override: str | None) -> str:
    """The payment's merchant reference unless overridden."""
    return (payment.reference if payment and override is None else override) or ""


def send_other(state: SandboxState, body: Mapping[str, Any]) -> None:
    """A webhook of Adyen's other shape (`type`, `data`), whose HMAC is in a header: ach.notificationOfChange…"""
    body_bytes = json.dumps(dict(body), ensure_ascii=False).encode()
    with state.lock:
        state.outbox.put(Notice("adyen", str(body.get("type", "")), body_bytes, whole=True))


def payment_made(state: SandboxState, payment: AdyenPayment, additional_fields: Mapping[str, str]) -> None:
    send(state, "AUTHORISATION", payment=payment, reason="064899:4242:12/2034", additional_data=additional_fields)
    if payment.captured:
        captured(state, payment, payment.captured_amount)


def captured(state: SandboxState, payment: AdyenPayment, amount: int | None = None) -> None:
    """All of it, or `amount` of it."""
    payment.captured, payment.processing, payment.captured_amount = True, False, amount
    send(state, "CAPTURE", payment=payment, psp_reference=new_psp_reference(), amount=payment.taken)


def refund_ended(state: SandboxState, refund: AdyenRefund, event_code: str = "REFUND") -> None:
    """Sends the outcome by `success`; nothing while that is None. `event_code` may be CANCEL_OR_REFUND."""
    if refund.success is None:
        return
    # A refused refund was never sent; a failed one may be retried by Adyen within ten days.
    if refund.success:
        refund.reached("REFUND", int(state.now()))
    else:
        refund.story.clear()
    _send_of_refund(state, refund, event_code, refund.amount, success=refund.success, reason=refund.outcome_reason)


def refund_reversed(
    state: SandboxState, refund: AdyenRefund, event_code: str, reason: str | None, amount: int | None = None
) -> None:
    """REFUND_FAILED or REFUNDED_REVERSED: the money, or `amount` of it, did not reach the customer."""
    returned_amount = refund.amount if amount is None else amount
    if not refund.reverse(returned_amount):
        refund.outcome_reason = reason
    refund.reached(event_code, int(state.now()), returned_amount)
    _send_of_refund(state, refund, event_code, returned_amount, success=True, reason=reason)


def _send_of_refund(
    state: SandboxState, refund: AdyenRefund, event_code: str, amount: int, *, success: bool, reason: str | None
) -> None:
    payment = state.payments[refund.payment]
    action_fields = {"modification.action": "refund" if payment.captured else "cancel"}
    send(
        *(state, event_code),
        payment=payment,
        psp_reference=refund.id,
        merchant_reference=refund.reference,
        amount=amount,
        success=success,
        reason=reason,
        additional_data=action_fields if event_code == "CANCEL_OR_REFUND" else {},
    )
