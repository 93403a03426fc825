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
    code: str,
    *,
    payment: str | None = None,
    success: bool = True,
    amount: int | None = None,
    psp_reference: str | None = None,
    additional_data: Mapping[str, Any] | None = None,
    effect: bool = True,
    **fields: Any,
) -> Json:
    """Sends an item of any code, listed or not; returns it, unsigned.

    `amount` is the payment's where none is given, and `psp_reference` the payment's own, or a new one for what
    Adyen gives one. With effect=False only words are sent. The rest as `adyen_events.send` takes it.
    """
    with state.lock:
        paid = state.payments[payment] if payment else None
        data: Json = dict(additional_data or {})
        own = psp_reference or (new_psp_reference() if code in _REFERENCED else None)
        if paid is not None and effect:
            worth = paid.amount if amount is None else amount
            data = _effect(state, paid, code, success, worth, own or "", data)
        if paid is not None and code == "AUTHORISATION":
            data = split_data(paid) | data
        if effect and code == "ORDER_CLOSED" and not success:
            _order_closed(state, data)
        return send(
            *(state, code),
            payment=paid,
            psp_reference=own,
            amount=amount,
            success=success,
            additional_data=data,
            **fields,
        )


_REFERENCED = REFUNDS | UNTAKEN | disputes.CODES | {"CAPTURE"}


def _effect(
    state: SandboxState, paid: AdyenPayment, code: str, success: bool, amount: int, own: str, data: Json
) -> Json:
    now = int(state.now())
    if code in disputes.CODES:
        return _disputed(state, paid, code, own, amount) | data
    canceled = code == "CANCEL_OR_REFUND" and data.get("modification.action") == "cancel"
    if canceled or (code in UNTAKEN and success) or (code == "CAPTURE" and not success):
        take(paid, paid.taken - amount)
        paid.story.append(("CANCELLATION" if canceled else code, now, amount))
    elif code == "CAPTURE":
        take(paid, paid.taken + amount)
        paid.processing = False
    elif code == "AUTHORISATION" and not success:
        take(paid, 0)
    elif code == "EXPIRE":
        paid.story.append((code, now, amount))
    elif code in REFUNDS:
        _refunded(state, paid, code, success, amount, own, data)
    return data


def take(paid: AdyenPayment, amount: int) -> None:
    """Sets the captured amount, between zero and the authorised amount."""
    paid.captured = amount > 0
    paid.captured_amount = amount if 0 < amount < paid.amount else None


def _disputed(state: SandboxState, paid: AdyenPayment, code: str, own: str, amount: int) -> Json:
    dispute = state.adyen_disputes.get(own) or state.new_adyen_dispute(paid, own, amount)
    disputes.step(state, dispute, code, amount)
    state.mirror_first_dispute(paid)
    return disputes.details(dispute, code)


def _refunded(
    state: SandboxState, paid: AdyenPayment, code: str, success: bool, amount: int, own: str, data: Json
) -> None:
    refund = state.refunds.get(own)
    if refund is None:
        if code not in OUT or not success or (code == "CANCEL_OR_REFUND" and "modification.action" not in data):
            return
        refund = AdyenRefund(own, paid.psp_reference, amount, paid.currency, int(state.now()), merchant_of(state, paid))
        refund.success = None
        state.refunds[own] = refund
    if not isinstance(refund, AdyenRefund):
        raise ValueError(f"{own} is no refund of Adyen's")
    if code != "POSTPONED_REFUND":
        refund.ending = None
    if code in OUT:
        refund.success = success
        if not success:
            refund.story.clear()
    if success and code not in ("POSTPONED_REFUND", "VOID_PENDING_REFUND"):
        refund.reached("REFUND" if code in OUT else code, int(state.now()), amount)
    if success and code == "REFUNDED_REVERSED" and refund.reversed_amount + amount < refund.amount:
        refund.reversed_amount += amount
    elif success and code in ("REFUND_FAILED", "REFUNDED_REVERSED", "VOID_PENDING_REFUND"):
        refund.success = False


def _order_closed(state: SandboxState, data: Mapping[str, Any]) -> None:
    """All payments of the order are canceled or refunded: `order-1-pspReference`, `order-2-pspReference`…"""
    for name, value in data.items():
        if name.startswith("order-") and name.endswith("-pspReference") and value in state.payments:
            take(state.payments[value], 0)


def split_data(paid: AdyenPayment) -> dict[str, str]:
    """Splits as additionalData carries them: `split.item1.account`…"""
    splits = {"split.api": "1", "split.nrOfItems": str(len(paid.splits))} if paid.splits else {}
    for number, split in enumerate(paid.splits, start=1):
        amount = split.get("amount") or {}
        cells = {"type": split.get("type"), "account": split.get("account"), "reference": split.get("reference")}
        cells |= {"amount": amount.get("value"), "currencyCode": amount.get("currency")}
        splits |= {f"split.item{number}.{name}": str(value) for name, value in cells.items() if value is not None}
    return splits
