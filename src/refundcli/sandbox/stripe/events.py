"""Stripe's events, each with its object as it was at that time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from refundcli.sandbox.core.outbox import Notice
from refundcli.sandbox.core.records import CreditNote, Dispute, Event, Invoice, Json, StripeRefund, new_id
from refundcli.sandbox.core.state import LOST_DISPUTES, OPEN_DISPUTES, UNDONE, SandboxState
from refundcli.sandbox.stripe.form import Check, Params, boolean, refuse, text, texts
from refundcli.sandbox.stripe.invoice_objects import credit_note_json, invoice_json
from refundcli.sandbox.stripe.methods import REFERENCE_DAYS
from refundcli.sandbox.stripe.objects import API_VERSION, charge_json, dispute_json, new_request_id, refund_json
from refundcli.sandbox.stripe.reads import PAGING, find, listing, showing

# In these statuses the bank has taken the money; an inquiry (warning_…) takes nothing.
TAKING = OPEN_DISPUTES | LOST_DISPUTES
CLOSED = frozenset(["won", "lost", "warning_closed", "prevented"])

EVENTS: dict[str, Check] = {**PAGING, "type": text, "types": texts, "delivery_success": boolean}


def emit(
    state: SandboxState,
    event_type: str,
    object_json: Json,
    *,
    previous_attributes: Json | None = None,
    idempotency_key: str | None = None,
) -> None:
    event_id = new_id("evt")
    created = int(state.now())
    body: Json = {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": {"object": object_json}
        | ({"previous_attributes": previous_attributes} if previous_attributes is not None else {}),
        "livemode": False,
        "pending_webhooks": len(state.outbox.endpoints_of("stripe")),
        "request": {"id": new_request_id() if idempotency_key else None, "idempotency_key": idempotency_key},
        "type": event_type,
    }
    # As Stripe writes its deliveries; the signature is over these very bytes.
    body_bytes = json.dumps(body, indent=2, ensure_ascii=False).encode()
    state.events[event_id] = Event(id=event_id, type=event_type, created=created, body=body_bytes)
    state.outbox.put(Notice("stripe", event_type, body_bytes))


def refund_made(state: SandboxState, refund: StripeRefund) -> None:
    idempotency_key = refund.idempotency_key
    emit(state, "refund.created", refund_json(refund), idempotency_key=idempotency_key)
    if refund.status == "failed":
        emit(state, "refund.failed", refund_json(refund), idempotency_key=idempotency_key)
    if refund.status not in UNDONE:
        charge = charge_json(state, state.charges[refund.charge])
        previous_attributes: Json = {"amount_refunded": charge["amount_refunded"] - refund.amount}
        previous_attributes |= {"refunded": False} if charge["refunded"] else {}
        emit(state, "charge.refunded", charge, previous_attributes=previous_attributes, idempotency_key=idempotency_key)


def refund_changed(state: SandboxState, refund: StripeRefund, refund_before: Json) -> None:
    """`refund_before` is the refund's earlier JSON; no event if nothing changed."""
    refund_now = refund_json(refund)
    previous_attributes = differences(refund_before, refund_now)
    if not previous_attributes:
        return
    event_types = ["refund.updated", "charge.refund.updated"]
    for event_type in event_types + (
        ["refund.failed"] if refund.status == "failed" and "status" in previous_attributes else []
    ):
        emit(state, event_type, refund_now, previous_attributes=previous_attributes)


def report_trace_numbers(state: SandboxState) -> None:
    """The numbers for the customers' banks, of refunds that succeeded days ago."""
    for refund in state.refunds.values():
        is_due = refund.created + REFERENCE_DAYS * 86400 <= state.now()
        if isinstance(refund, StripeRefund) and is_due and refund.status == "succeeded" and not refund.is_traceable:
            refund_before = refund_json(refund)
            refund.is_traceable = True
            refund_changed(state, refund, refund_before)


def differences(object_before: Json, object_now: Json) -> Json:
    """The earlier values of the changed fields; null for a new field."""
    return {
        name: object_before.get(name)
        for name in object_now.keys() | object_before.keys()
        if object_before.get(name) != object_now.get(name)
    }


def dispute_moved(state: SandboxState, dispute: Dispute, status_before: str | None, reinstated: int = 0) -> None:
    """`status_before` is the status it had, None for a new one; `reinstated` is what a lost one gives back."""
    if status_before is None:
        emit(state, "charge.dispute.created", dispute_json(state, dispute))
    elif status_before != dispute.status and dispute.status not in CLOSED:
        emit(
            state, "charge.dispute.updated", dispute_json(state, dispute), previous_attributes={"status": status_before}
        )
    if dispute.status in TAKING and not dispute.withdrawn:
        _move_funds(state, dispute, -dispute.amount)
    if dispute.status in CLOSED and status_before != dispute.status:
        previous_attributes = {"status": status_before} if status_before else None
        emit(state, "charge.dispute.closed", dispute_json(state, dispute), previous_attributes=previous_attributes)
    returned_amount = dispute.withdrawn if dispute.status == "won" else reinstated
    if returned_amount:
        _move_funds(state, dispute, returned_amount)


def _move_funds(state: SandboxState, dispute: Dispute, amount: int) -> None:
    dispute.movements.append((amount, int(state.now())))
    event_ending = "funds_withdrawn" if amount < 0 else "funds_reinstated"
    emit(state, f"charge.dispute.{event_ending}", dispute_json(state, dispute))


def invoice_moved(
    state: SandboxState, invoice: Invoice, status_before: str | None = None, idempotency_key: str | None = None
) -> None:
    event_type_of_status = {
        "paid": "invoice.paid",
        "void": "invoice.voided",
        "uncollectible": "invoice.marked_uncollectible",
    }
    if invoice.status in event_type_of_status:
        previous_attributes = {"status": status_before} if status_before else None
        emit(
            state,
            event_type_of_status[invoice.status],
            invoice_json(state, invoice),
            previous_attributes=previous_attributes,
            idempotency_key=idempotency_key,
        )


def emit_thin(state: SandboxState, event_type: str, related_object: Json) -> None:
    """An event of Stripe's API v2: it names the object and does not show it."""
    body = {
        "id": new_id("evt"),
        "object": "v2.core.event",
        "type": event_type,
        "livemode": False,
        "created": iso_time(state.now()),
        "reason": None,
        "related_object": related_object,
    }
    state.outbox.put(Notice("stripe", event_type, json.dumps(body).encode()))


def iso_time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", ".000Z")


def credit_note_changed(state: SandboxState, credit_note: CreditNote, change: str) -> None:
    emit(state, f"credit_note.{change}", credit_note_json(state, credit_note))


def _refuse_both(state: SandboxState, params: Params) -> None:
    if "type" in params and "types" in params:
        raise refuse("You may only specify one of these parameters: type, types.")


def _type_patterns(params: Params) -> list[str]:
    return [params["type"]] if "type" in params else params.get("types", ["*"])


list_events = listing(
    "/v1/events",
    EVENTS,
    lambda state: state.events,
    lambda _, event: json.loads(event.body),
    naming=_refuse_both,
    matches=lambda event, params: any(fnmatchcase(event.type, pattern) for pattern in _type_patterns(params)),
)
show_event = showing(lambda state, event_id: json.loads(find(state.events, "event", event_id).body))
