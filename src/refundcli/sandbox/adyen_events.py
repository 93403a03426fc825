"""Adyen's notification items: what is told of payments, refunds and disputes, later than the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from .outbox import Notice
from .records import AdyenPayment, AdyenRefund, new_psp_reference
from .state import SandboxState

ZONE = ZoneInfo("Europe/Amsterdam")
MERCHANT = "SandboxMerchant"
# What becomes of a refund after it was said to have succeeded.
LATER = frozenset(["REFUND_FAILED", "REFUNDED_REVERSED"])
DISPUTE_STATES = {"won": "Won", "lost": "Lost", "under_review": "Pending", "needs_response": "Undefended"}


def merchant_of(state: SandboxState, payment: AdyenPayment) -> str:
    return payment.merchant_account or state.merchant_account or MERCHANT


def tell(
    state: SandboxState,
    payment: AdyenPayment,
    code: str,
    *,
    psp_reference: str | None = None,
    reference: str | None = None,
    amount: int | None = None,
    success: bool = True,
    reason: str | None = None,
    data: Mapping[str, str] | None = None,
) -> None:
    """One item about a payment, or where `psp_reference` is told about what was done to it."""
    item: dict[str, Any] = {
        "additionalData": dict(data or {}),
        "amount": {"currency": payment.currency, "value": payment.amount if amount is None else amount},
        "eventCode": code,
        "eventDate": datetime.fromtimestamp(int(state.now()), ZONE).isoformat(),
        "merchantAccountCode": merchant_of(state, payment),
        "merchantReference": (payment.reference if reference is None else reference) or "",
        "paymentMethod": "visa",
        "pspReference": psp_reference or payment.psp_reference,
        "reason": reason or "",
        "success": "true" if success else "false",
    }
    if psp_reference:
        item["originalReference"] = payment.psp_reference
    state.outbox.put(Notice("adyen", code, json.dumps(item, ensure_ascii=False).encode()))


def payment_made(state: SandboxState, payment: AdyenPayment) -> None:
    tell(state, payment, "AUTHORISATION", reason="064899:4242:12/2034")
    if payment.captured:
        captured(state, payment)


def captured(state: SandboxState, payment: AdyenPayment) -> None:
    payment.captured, payment.processing = True, False
    tell(state, payment, "CAPTURE", psp_reference=new_psp_reference())


def refund_ended(state: SandboxState, refund: AdyenRefund, code: str = "REFUND") -> None:
    """As `success` says; nothing while that is open. `code` may be CANCEL_OR_REFUND."""
    if refund.success is None:
        return
    payment = state.payments[refund.payment]
    # One that is refused went nowhere.
    refund.story = [("REFUND", int(state.now()))] if refund.success else []
    _told(state, refund, code, success=refund.success, reason=refund.outcome_reason, payment=payment)


def refund_came_back(state: SandboxState, refund: AdyenRefund, code: str, reason: str | None) -> None:
    """REFUND_FAILED or REFUNDED_REVERSED: the money is not with the customer after all."""
    refund.success, refund.outcome_reason = False, reason
    refund.story.append((code, int(state.now())))
    _told(state, refund, code, success=True, reason=reason, payment=state.payments[refund.payment])


def _told(
    state: SandboxState,
    refund: AdyenRefund,
    code: str,
    *,
    success: bool,
    reason: str | None,
    payment: AdyenPayment,
) -> None:
    action = {"modification.action": "refund" if payment.captured else "cancel"}
    tell(
        state,
        payment,
        code,
        psp_reference=refund.id,
        reference=refund.reference,
        amount=refund.amount,
        success=success,
        reason=reason,
        data=action if code == "CANCEL_OR_REFUND" else {},
    )


def dispute_moved(state: SandboxState, payment: AdyenPayment, before: str | None) -> None:
    status = payment.dispute
    if status is None or status == before:
        return
    payment.dispute_reference = payment.dispute_reference or new_psp_reference()
    debited = [code for code, _ in payment.story if code in ("CHARGEBACK", "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK")]
    for code in _dispute_codes(status, before, debited[-1] if debited else None):
        payment.story.append((code, int(state.now())))
        tell(
            state,
            payment,
            code,
            psp_reference=payment.dispute_reference,
            amount=payment.dispute_amount,
            reason="Other Fraud-Card Absent Environment",
            data={
                "chargebackReasonCode": "10.4",
                "chargebackSchemeCode": "visa",
                "disputeStatus": DISPUTE_STATES.get(status, "Undefended"),
            },
        )


def _dispute_codes(status: str, before: str | None, money: str | None) -> list[str]:
    """`money` is what last moved it: CHARGEBACK took it, CHARGEBACK_REVERSED gave it back."""
    if status == "warning_needs_response":
        return ["REQUEST_FOR_INFORMATION"]
    if status == "needs_response":
        return ["NOTIFICATION_OF_CHARGEBACK"]
    if status == "won":
        taken = money in ("CHARGEBACK", "SECOND_CHARGEBACK")
        return ["CHARGEBACK_REVERSED" if taken else "ISSUER_RESPONSE_TIMEFRAME_EXPIRED"]
    if status not in ("under_review", "lost"):
        return ["INFORMATION_SUPPLIED"]
    if money is None:
        return ["CHARGEBACK"] if before else ["NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK"]
    if money == "CHARGEBACK_REVERSED":
        return ["SECOND_CHARGEBACK"]
    return ["DISPUTE_DEFENSE_PERIOD_ENDED"] if status == "lost" else []
