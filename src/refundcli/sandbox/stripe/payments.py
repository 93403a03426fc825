"""Change the status of a Stripe payment: captured in full or in part, canceled, failed."""

from __future__ import annotations

from refundcli.sandbox.core.records import Charge
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.events import emit
from refundcli.sandbox.stripe.objects import charge_json, intent_json

EXPIRED = "expired_uncaptured_charge"
STATUSES = ("succeeded", "processing", "requires_capture", "canceled", "expired", "failed", "requires_payment_method")


def capture(state: SandboxState, charge: Charge, amount: int | None) -> None:
    """`amount` None captures all. What is not captured is released, and Stripe lists it as a refund."""
    if amount is not None and not 0 < amount <= charge.amount:
        raise ValueError(f"{amount} cannot be captured of {charge.amount}")
    charge.captured, charge.processing, charge.failed, charge.canceled = True, False, False, None
    if amount is not None and amount < charge.amount:
        release(state, charge, amount)
    emit(state, "charge.captured", charge_json(state, charge))
    if charge.payment_intent:
        emit(state, "payment_intent.succeeded", intent_json(charge))


def release(state: SandboxState, charge: Charge, captured_amount: int, reason: str | None = None) -> None:
    """Release the part that was not captured. No money moves, but Stripe shows it as a refund."""
    charge.amount_captured = captured_amount
    charge.captured = captured_amount > 0
    # No money moved, so there is no balance transaction.
    state.add_refund(charge, charge.amount - captured_amount, reason=reason, fields={"balance_transaction": None})


def becomes(state: SandboxState, charge: Charge, status: str) -> None:
    """Sets a PaymentIntent's status; `expired` means canceled because it was not captured in time."""
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}: one of {', '.join(STATUSES)}")
    with state.lock:
        if status == "succeeded":
            capture(state, charge, None)
            return
        charge.captured, charge.processing = False, status == "processing"
        charge.failed = status in ("failed", "requires_payment_method")
        charge.canceled = {"canceled": "requested_by_customer", "expired": "expired"}.get(status)
        charge.amount_captured = None
        if charge.canceled:
            release(state, charge, 0, EXPIRED if status == "expired" else None)
        _tell(state, charge, status)


EVENTS = {
    "processing": ("charge.pending", "payment_intent.processing"),
    "requires_capture": ("charge.updated", "payment_intent.amount_capturable_updated"),
    "canceled": ("charge.refunded", "payment_intent.canceled"),
    "expired": ("charge.expired", "payment_intent.canceled"),
    "failed": ("charge.failed", "payment_intent.payment_failed"),
    "requires_payment_method": ("charge.failed", "payment_intent.payment_failed"),
}


def _tell(state: SandboxState, charge: Charge, status: str) -> None:
    of_charge, of_intent = EVENTS[status]
    emit(state, of_charge, charge_json(state, charge))
    if charge.payment_intent:
        emit(state, of_intent, intent_json(charge))
