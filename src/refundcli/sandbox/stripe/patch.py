"""Set any field of any Stripe object by hand, and send any event about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refundcli.sandbox.core.records import Charge, CreditNote, Dispute, Invoice, InvoicePayment, Json, StripeRefund
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe import events
from refundcli.sandbox.stripe.invoice_objects import credit_note_json, invoice_json, payment_json
from refundcli.sandbox.stripe.objects import charge_json, dispute_json, intent_json, overlaid, refund_json


@dataclass(frozen=True, slots=True)
class Target:
    """An object of the sandbox: its JSON, where overrides are stored, and which fields are its own.

    A field in `own` changes what the sandbox does; every other one changes only what it answers.
    """

    kind: str
    record: Any
    shape: Callable[[], Json]
    overlay: Json
    own: frozenset[str]


def find(state: SandboxState, object_id: str) -> Target:
    """By re_, ch_ or py_, pi_, dp_, in_, inpay_ or cn_ id, or an invoice's number. ValueError where there is none."""
    intent = state.charge_of_intent(object_id)
    if intent is not None:
        return Target("payment_intent", intent, lambda: intent_json(intent), intent.intent_fields, frozenset())
    tables: tuple[Mapping[str, Any], ...] = (
        *(state.refunds, state.charges, state.disputes),
        *(state.invoices, state.invoice_payments, state.credit_notes),
    )
    record = next((table[object_id] for table in tables if object_id in table), None) or invoice_of(state, object_id)
    if record is None or type(record) not in _KINDS:
        raise ValueError(f"Stripe has no object {object_id}")
    object_kind, json_of_record, own_fields = _KINDS[type(record)]
    return Target(object_kind, record, lambda: json_of_record(state, record), record.fields, own_fields)


def invoice_of(state: SandboxState, id_or_number: str) -> Invoice | None:
    return next((invoice for invoice in state.invoices.values() if id_or_number in (invoice.id, invoice.number)), None)


_KINDS: dict[type, tuple[str, Callable[[SandboxState, Any], Json], frozenset[str]]] = {
    StripeRefund: (
        "refund",
        lambda _, refund: refund_json(refund),
        frozenset(["status", "amount", "reason", "metadata", "failure_reason", "pending_reason", "instructions_email"]),
    ),
    Charge: ("charge", charge_json, frozenset(["captured", "amount_captured", "description", "customer"])),
    Dispute: ("dispute", dispute_json, frozenset(["status", "amount", "reason"])),
    Invoice: ("invoice", invoice_json, frozenset(["status", "total", "starting_balance", "due_date"])),
    InvoicePayment: ("invoice_payment", lambda _, payment: payment_json(payment), frozenset(["status"])),
    CreditNote: ("credit_note", credit_note_json, frozenset(["status", "reason", "memo", "out_of_band_amount"])),
}
# The event for a change unless another is requested.
EVENTS = {
    "charge": ["charge.updated"],
    "invoice": ["invoice.updated"],
    "credit_note": ["credit_note.updated"],
    "invoice_payment": ["invoice_payment.paid"],
}
INTENT_EVENTS = {
    "canceled": "payment_intent.canceled",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "requires_payment_method": "payment_intent.payment_failed",
    "succeeded": "payment_intent.succeeded",
}


def patch(
    state: SandboxState,
    object_id: str,
    fields: Mapping[str, Any],
    *,
    remove: Sequence[str] = (),
    event: str | bool = True,
) -> Json:
    """The object after its fields were set; objects are merged, a null sets null.

    `remove` takes back what was laid over before. `event` names another event than Stripe's usual ones; False
    sends none.
    """
    with state.lock:
        target = find(state, object_id)
        object_before, status_before = target.shape(), getattr(target.record, "status", None)
        for name in remove:
            target.overlay.pop(name, None)
        overlay_fields = {name: value for name, value in fields.items() if name not in target.own}
        merged = overlaid(target.overlay, overlay_fields)
        target.overlay.clear()
        target.overlay.update(merged)
        for name in target.own & fields.keys():
            setattr(target.record, name, fields[name])
        _send(state, target, object_before, status_before, event)
        return target.shape()


def _send(
    state: SandboxState, target: Target, object_before: Json, status_before: str | None, event: str | bool
) -> None:
    shape = target.shape()
    previous_attributes = events.differences(object_before, shape)
    if event is False:
        return
    if isinstance(event, str):
        events.emit(state, event, shape, previous_attributes=previous_attributes)
    elif target.kind == "refund":
        events.refund_changed(state, target.record, object_before)
    elif target.kind == "dispute" and "status" in previous_attributes:
        events.dispute_moved(state, target.record, status_before)
    elif previous_attributes:
        event_types_of_kind = {"dispute": ["charge.dispute.updated"]} | EVENTS
        intent_event_types = [INTENT_EVENTS[shape["status"]]] if shape.get("status") in INTENT_EVENTS else []
        for event_type in event_types_of_kind.get(target.kind, intent_event_types):
            events.emit(state, event_type, shape, previous_attributes=previous_attributes)


def send_event(
    state: SandboxState,
    event_type: str,
    *,
    about: str | None = None,
    shape: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    previous_attributes: Json | None = None,
) -> None:
    """Any event type with an object of the sandbox (`about`) or any other (`shape`); nothing changes by it."""
    with state.lock:
        object_json = find(state, about).shape() if about else dict(shape or {})
        events.emit(state, event_type, overlaid(object_json, fields or {}), previous_attributes=previous_attributes)
