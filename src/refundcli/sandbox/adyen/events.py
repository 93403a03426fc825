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


def notify(
    state: SandboxState,
    payment: AdyenPayment,
    event_code: str,
    *,
    psp_reference: str | None = None,
    reference: str | None = None,
    amount: int | None = None,
    success: bool = True,
    reason: str | None = None,
    data: Mapping[str, str] | None = None,
) -> None:
    """One item about a payment, or about the modification that `psp_reference` names.

    `reference` is its merchantReference, `data` its additionalData.
    """
    send(
        *(state, event_code),
        payment=payment,
        psp_reference=psp_reference,
        merchant_reference=reference,
        amount=amount,
        success=success,
        reason=reason,
        additional_data=data,
    )


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
    notify(state, payment, "AUTHORISATION", reason="064899:4242:12/2034", data=additional_fields)
    if payment.captured:
        captured(state, payment, payment.captured_amount)


def captured(state: SandboxState, payment: AdyenPayment, amount: int | None = None) -> None:
    """All of it, or `amount` of it."""
    payment.captured, payment.processing, payment.captured_amount = True, False, amount
    notify(state, payment, "CAPTURE", psp_reference=new_psp_reference(), amount=payment.taken)


def refund_ended(state: SandboxState, refund: AdyenRefund, event_code: str = "REFUND") -> None:
    """Sends the outcome by `success`; nothing while that is None. `event_code` may be CANCEL_OR_REFUND."""
    if refund.success is None:
        return
    payment = state.payments[refund.payment]
    # A refused refund was never sent; a failed one may be retried by Adyen within ten days.
    if refund.success:
        refund.reached("REFUND", int(state.now()))
    else:
        refund.story.clear()
    _notify_of_refund(state, refund, event_code, success=refund.success, reason=refund.outcome_reason, payment=payment)


def refund_reversed(
    state: SandboxState, refund: AdyenRefund, event_code: str, reason: str | None, amount: int | None = None
) -> None:
    """REFUND_FAILED or REFUNDED_REVERSED: the money, or `amount` of it, did not reach the customer."""
    returned_amount = refund.amount if amount is None else amount
    if refund.reversed_amount + returned_amount < refund.amount:
        refund.reversed_amount += returned_amount
    else:
        refund.success, refund.outcome_reason = False, reason
    refund.reached(event_code, int(state.now()), returned_amount)
    payment = state.payments[refund.payment]
    _notify_of_refund(state, refund, event_code, success=True, reason=reason, payment=payment, amount=returned_amount)


def _notify_of_refund(
    state: SandboxState,
    refund: AdyenRefund,
    event_code: str,
    *,
    success: bool,
    reason: str | None,
    payment: AdyenPayment,
    amount: int | None = None,
) -> None:
    action_fields = {"modification.action": "refund" if payment.captured else "cancel"}
    notify(
        state,
        payment,
        event_code,
        psp_reference=refund.id,
        reference=refund.reference,
        amount=refund.amount if amount is None else amount,
        success=success,
        reason=reason,
        data=action_fields if event_code == "CANCEL_OR_REFUND" else {},
    )
