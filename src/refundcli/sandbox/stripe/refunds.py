"""Stripe's refund endpoints that write: create, update, cancel."""

from __future__ import annotations

from refundcli.sandbox.core.exchange import Call, Operation
from refundcli.sandbox.core.exponents import step
from refundcli.sandbox.core.faults import APPROVAL, OUTCOMES, Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.state import Charge, SandboxState, StripeRefund
from refundcli.sandbox.stripe.approvals import ask
from refundcli.sandbox.stripe.events import refund_changed, refund_made
from refundcli.sandbox.stripe.expand import expand
from refundcli.sandbox.stripe.form import (
    Check,
    Params,
    boolean,
    checked,
    metadata,
    one_of,
    positive,
    refuse,
    text,
    texts,
)
from refundcli.sandbox.stripe.methods import BY_EMAIL, NO_REFUNDS
from refundcli.sandbox.stripe.objects import amount_text, refund_json
from refundcli.sandbox.stripe.reads import find, find_intent, find_refund

CREATE: dict[str, Check] = {
    "amount": positive,
    "charge": text,
    "currency": text,
    "customer": text,
    "expand": texts,
    "instructions_email": text,
    "metadata": metadata,
    "origin": one_of("customer_balance"),
    "payment_intent": text,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
    "refund_application_fee": boolean,
    "reverse_transfer": boolean,
}


def create_refund(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, CREATE)
    if "charge" not in params and "payment_intent" not in params:
        raise refuse("One of the following params should be provided for this request: payment_intent or charge.")
    _refuse_what_is_not_played(params)

    def create() -> Answer:
        if fault is not None and fault.behaviour == APPROVAL:
            _amount_to_refund(state, _charge_to_refund(state, params), params)
            return ask(state, params, call.key, fault)
        refund = make_refund(state, params, call.key, fault)
        return Answer(200, expand(state, refund_json(refund), params.get("expand", [])))

    return create


def make_refund(state: SandboxState, params: Params, idempotency_key: str | None, fault: Fault | None) -> StripeRefund:
    """The requested refund. Raises Refusal where Stripe would refuse it."""
    charge = _charge_to_refund(state, params)
    amount = _amount_to_refund(state, charge, params)
    _refuse_what_its_method_cannot(charge, params)
    refund = state.add_refund(
        charge,
        amount,
        reason=params.get("reason"),
        metadata={name: text for name, text in params.get("metadata", {}).items() if text},
        idempotency_key=idempotency_key,
        instructions_email=params.get("instructions_email"),
        status="requires_action" if charge.method in BY_EMAIL else "succeeded",
    )
    _turn_out(refund, fault, state.now())
    refund_made(state, refund)
    return refund


def _refuse_what_its_method_cannot(charge: Charge, params: Params) -> None:
    if charge.method in NO_REFUNDS:
        raise refuse(f"Payments with {charge.method} cannot be refunded.", code="charge_not_refundable")
    email = charge.fields.get("billing_details", {}).get("email")
    if charge.method in BY_EMAIL and not email and "instructions_email" not in params:
        raise refuse(
            "Stripe sends the customer instructions by e-mail: instructions_email is missing.",
            code="parameter_missing",
            param="instructions_email",
        )
    for name, needed_field in (
        ("reverse_transfer", "transfer_data"),
        ("refund_application_fee", "application_fee_amount"),
    ):
        if params.get(name) and not charge.fields.get(needed_field):
            raise refuse(f"{name} needs a charge made for a connected account.", param=name)


def _refuse_what_is_not_played(params: Params) -> None:
    """Refunds of a customer's cash balance: no customer here has one."""
    for name in ("origin", "currency", "customer"):
        if name in params:
            raise refuse("The sandbox has no customer balances.", param=name)


def _charge_to_refund(state: SandboxState, params: Params) -> Charge:
    charge = _named_charge(state, params)
    if charge.processing or not charge.captured:
        raise _not_captured(charge)
    if any(not state.is_charge_refundable(dispute) for dispute in state.disputes_of(charge.id)):
        raise refuse(
            f"Charge {charge.id} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            param="charge",
        )
    if state.unrefunded(charge) == 0:
        raise refuse(f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    return charge


def _named_charge(state: SandboxState, params: Params) -> Charge:
    by_charge = find(state.charges, "charge", params["charge"], "charge") if "charge" in params else None
    by_intent = find_intent(state, params["payment_intent"], "payment_intent") if "payment_intent" in params else None
    if by_charge and by_intent and by_charge is not by_intent:
        raise refuse("The charge does not belong to the payment_intent.", param="charge")
    charge = by_charge or by_intent
    assert charge is not None
    return charge


def _not_captured(charge: Charge) -> Exception:
    if charge.payment_intent:
        return refuse(
            f"This PaymentIntent ({charge.payment_intent}) does not have a successful charge to refund.",
            code="payment_intent_unexpected_state",
            param="payment_intent",
        )
    return refuse(f"Charge {charge.id} is not captured yet.", code="charge_not_refundable", param="charge")


def _amount_to_refund(state: SandboxState, charge: Charge, params: Params) -> int:
    refundable_amount = state.unrefunded(charge)
    amount: int = params.get("amount", refundable_amount)
    amount_step = step("stripe", charge.currency)
    if amount % amount_step:
        raise refuse(
            f"Invalid amount: in {charge.currency} it must be a multiple of {amount_step}.",
            code="parameter_invalid_integer",
            param="amount",
        )
    if amount > refundable_amount:
        raise refuse(
            f"Refund amount ({amount_text(amount, charge.currency)}) is greater than unrefunded amount"
            f" on charge ({amount_text(refundable_amount, charge.currency)})",
            param="amount",
        )
    return amount


def _turn_out(refund: StripeRefund, fault: Fault | None, now: float) -> None:
    if fault is None or fault.behaviour not in OUTCOMES:
        return
    refund.status, refund.pending_reason = fault.behaviour, fault.pending_reason
    if refund.status == "failed":
        refund.failure_reason = fault.failure_reason or "expired_or_canceled_card"
    refund.ending = fault.ending(now)


def update_refund(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, {"metadata": metadata, "expand": texts})

    def update() -> Answer:
        refund = find_refund(state, call.path_params["id"])
        refund_before = refund_json(refund)
        if "metadata" in params:
            merged_metadata = refund.metadata | params["metadata"] if params["metadata"] else {}
            refund.metadata = {name: text for name, text in merged_metadata.items() if text}
        refund_changed(state, refund, refund_before)
        return Answer(200, expand(state, refund_json(refund), params.get("expand", [])))

    return update


def cancel_refund(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, {"expand": texts})

    def cancel() -> Answer:
        refund = find_refund(state, call.path_params["id"])
        if refund.status != "requires_action":
            raise refuse(f"Refund {refund.id} is {refund.status}: only one that requires action can be canceled.")
        refund_before = refund_json(refund)
        refund.status = "canceled"
        refund_changed(state, refund, refund_before)
        return Answer(200, expand(state, refund_json(refund), params.get("expand", [])))

    return cancel
