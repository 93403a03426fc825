"""Send any Adyen event, and apply its effect to the sandbox's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refundcli.sandbox.adyen import disputes
from refundcli.sandbox.adyen.events import merchant_of, send
from refundcli.sandbox.core.records import AdyenPayment, AdyenRefund, Json, new_psp_reference
from refundcli.sandbox.core.state import SandboxState

OUT = frozenset(["REFUND", "REFUND_WITH_DATA", "CANCEL_OR_REFUND"])
REFUNDS = OUT | {"REFUND_FAILED", "REFUNDED_REVERSED", "VOID_PENDING_REFUND", "POSTPONED_REFUND"}
# The money was not captured, or no longer is.
UNTAKEN = frozenset(["CAPTURE_FAILED", "CANCELLATION", "TECHNICAL_CANCEL"])


def event(
    state: SandboxState,
    event_code: str,
    *,
    payment: str | None = None,
    success: bool = True,
    amount: int | None = None,
    psp_reference: str | None = None,
    additional_data: Mapping[str, Any] | None = None,
    effect: bool = True,
    **fields: Any,
) -> Json:
    """Sends an item of any code, listed or not, about the payment with the reference `payment`; returns it, unsigned.

    `amount` is the payment's where none is given, and `psp_reference` the payment's own, or a new one for what
    Adyen gives one. With effect=False only words are sent. The rest as `adyen_events.send` takes it.
    """
    with state.lock:
        adyen_payment = state.payments[payment] if payment else None
        additional_fields: Json = dict(additional_data or {})
        own_reference = psp_reference or (new_psp_reference() if event_code in _REFERENCED else None)
        if adyen_payment is not None and effect:
            event_amount = adyen_payment.amount if amount is None else amount
            additional_fields = _effect(
                state, adyen_payment, event_code, success, event_amount, own_reference or "", additional_fields
            )
        if adyen_payment is not None and event_code == "AUTHORISATION":
            additional_fields = split_data(adyen_payment) | additional_fields
        if effect and event_code == "ORDER_CLOSED" and not success:
            _order_closed(state, additional_fields)
        return send(
            *(state, event_code),
            payment=adyen_payment,
            psp_reference=own_reference,
            amount=amount,
            success=success,
            additional_data=additional_fields,
            **fields,
        )


_REFERENCED = REFUNDS | UNTAKEN | disputes.CODES | {"CAPTURE"}


def _effect(
    state: SandboxState,
    payment: AdyenPayment,
    event_code: str,
    success: bool,
    amount: int,
    own_reference: str,
    additional_fields: Json,
) -> Json:
    """Changes the state; returns the item's additionalData. `own_reference` is the item's pspReference."""
    now = int(state.now())
    if event_code in disputes.CODES:
        return _disputed(state, payment, event_code, own_reference, amount) | additional_fields
    is_cancellation = event_code == "CANCEL_OR_REFUND" and additional_fields.get("modification.action") == "cancel"
    if is_cancellation or (event_code in UNTAKEN and success) or (event_code == "CAPTURE" and not success):
        take(payment, payment.taken - amount)
        payment.story.append(("CANCELLATION" if is_cancellation else event_code, now, amount))
    elif event_code == "CAPTURE":
        take(payment, payment.taken + amount)
        payment.processing = False
    elif event_code == "AUTHORISATION" and not success:
        take(payment, 0)
    elif event_code == "EXPIRE":
        payment.story.append((event_code, now, amount))
    elif event_code in REFUNDS:
        _refunded(state, payment, event_code, success, amount, own_reference, additional_fields)
    return additional_fields


def take(payment: AdyenPayment, captured_amount: int) -> None:
    """Sets the captured amount, between zero and the authorised amount."""
    payment.captured = captured_amount > 0
    payment.captured_amount = captured_amount if 0 < captured_amount < payment.amount else None


def _disputed(state: SandboxState, payment: AdyenPayment, event_code: str, own_reference: str, amount: int) -> Json:
    """Adds the code to the dispute whose pspReference is `own_reference`; returns the item's additionalData."""
    dispute = state.adyen_disputes.get(own_reference) or state.new_adyen_dispute(payment, own_reference, amount)
    disputes.step(state, dispute, event_code, amount)
    state.mirror_first_dispute(payment)
    return disputes.details(dispute, event_code)


def _refunded(
    state: SandboxState,
    payment: AdyenPayment,
    event_code: str,
    success: bool,
    amount: int,
    own_reference: str,
    additional_fields: Json,
) -> None:
    """Changes the refund whose pspReference is `own_reference`; `additional_fields` are the item's additionalData."""
    refund = state.refunds.get(own_reference)
    if refund is None:
        if (
            event_code not in OUT
            or not success
            or (event_code == "CANCEL_OR_REFUND" and "modification.action" not in additional_fields)
        ):
            return
        refund = state.add_adyen_refund(
            payment,
            amount,
            psp_reference=own_reference,
            merchant_account=merchant_of(state, payment),
            success=None,
        )
    if not isinstance(refund, AdyenRefund):
        raise ValueError(f"{own_reference} is no refund of Adyen's")
    if event_code != "POSTPONED_REFUND":
        refund.ending = None
    if event_code in OUT:
        refund.success = success
        if not success:
            refund.story.clear()
    if success and event_code not in ("POSTPONED_REFUND", "VOID_PENDING_REFUND"):
        refund.reached("REFUND" if event_code in OUT else event_code, int(state.now()), amount)
    if success and event_code in ("REFUND_FAILED", "REFUNDED_REVERSED", "VOID_PENDING_REFUND"):
        refund.reverse(amount if event_code == "REFUNDED_REVERSED" else refund.amount)


def _order_closed(state: SandboxState, additional_fields: Mapping[str, Any]) -> None:
    """All payments of the order are canceled or refunded: `order-1-pspReference`, `order-2-pspReference`…"""
    for name, value in additional_fields.items():
        if name.startswith("order-") and name.endswith("-pspReference") and value in state.payments:
            take(state.payments[value], 0)


def split_data(payment: AdyenPayment) -> dict[str, str]:
    """Splits as additionalData carries them: `split.item1.account`…"""
    additional_fields = {"split.api": "1", "split.nrOfItems": str(len(payment.splits))} if payment.splits else {}
    for split_number, split in enumerate(payment.splits, start=1):
        amount = split.get("amount") or {}
        split_fields = {"type": split.get("type"), "account": split.get("account"), "reference": split.get("reference")}
        split_fields |= {"amount": amount.get("value"), "currencyCode": amount.get("currency")}
        additional_fields |= {
            f"split.item{split_number}.{name}": str(value) for name, value in split_fields.items() if value is not None
        }
    return additional_fields
