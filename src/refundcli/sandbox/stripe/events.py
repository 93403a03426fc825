"""Stripe's events, each with its object as it was at that time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from refundcli.sandbox.core.exchange import Call, Operation
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.outbox import Notice
from refundcli.sandbox.core.record_table import PageRequest
from refundcli.sandbox.core.records import CreditNote, Dispute, Event, Invoice, Json, StripeRefund, new_id
from refundcli.sandbox.core.state import LOST_DISPUTES, OPEN_DISPUTES, UNDONE, SandboxState
from refundcli.sandbox.stripe.expand import list_json
from refundcli.sandbox.stripe.form import Check, boolean, checked, refuse, text, texts
from refundcli.sandbox.stripe.invoice_objects import credit_note_json, invoice_json
from refundcli.sandbox.stripe.objects import API_VERSION, charge_json, dispute_json, new_request_id, refund_json
from refundcli.sandbox.stripe.reads import PAGING, cursors, missing

# In these statuses the bank has taken the money; an inquiry (warning_…) takes nothing.
TAKING = OPEN_DISPUTES | LOST_DISPUTES
CLOSED = frozenset(["won", "lost", "warning_closed", "prevented"])

EVENTS: dict[str, Check] = {**PAGING, "type": text, "types": texts, "delivery_success": boolean}


def emit(state: SandboxState, kind: str, shape: Json, *, before: Json | None = None, key: str | None = None) -> None:
    event_id = new_id("evt")
    created = int(state.now())
    body: Json = {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": {"object": shape} | ({"previous_attributes": before} if before is not None else {}),
        "livemode": False,
        "pending_webhooks": len(state.outbox.endpoints_of("stripe")),
        "request": {"id": new_request_id() if key else None, "idempotency_key": key},
        "type": kind,
    }
    # As Stripe writes its deliveries; the signature is over these very bytes.
    written = json.dumps(body, indent=2, ensure_ascii=False).encode()
    state.events[event_id] = Event(event_id, kind, created, written)
    state.outbox.put(Notice("stripe", kind, written))


def refund_made(state: SandboxState, refund: StripeRefund) -> None:
    key = refund.idempotency_key
    emit(state, "refund.created", refund_json(refund), key=key)
    if refund.status == "failed":
        emit(state, "refund.failed", refund_json(refund), key=key)
    if refund.status not in UNDONE:
        charge = charge_json(state, state.charges[refund.charge])
        before: Json = {"amount_refunded": charge["amount_refunded"] - refund.amount}
        before |= {"refunded": False} if charge["refunded"] else {}
        emit(state, "charge.refunded", charge, before=before, key=key)


def refund_changed(state: SandboxState, refund: StripeRefund, before: Json) -> None:
    """`before` is the refund's earlier JSON; no event if nothing changed."""
    now = refund_json(refund)
    previous = differences(before, now)
    if not previous:
        return
    kinds = ["refund.updated", "charge.refund.updated"]
    for kind in kinds + (["refund.failed"] if refund.status == "failed" and "status" in previous else []):
        emit(state, kind, now, before=previous)


def differences(before: Json, now: Json) -> Json:
    """The earlier values of the changed fields; null for a new field."""
    return {name: before.get(name) for name in now.keys() | before.keys() if before.get(name) != now.get(name)}


def dispute_moved(state: SandboxState, dispute: Dispute, before: str | None, reinstated: int = 0) -> None:
    """`before` is the status it had, None for a new one; `reinstated` is what a lost one gives back."""
    if before is None:
        emit(state, "charge.dispute.created", dispute_json(state, dispute))
    elif before != dispute.status and dispute.status not in CLOSED:
        emit(state, "charge.dispute.updated", dispute_json(state, dispute), before={"status": before})
    if dispute.status in TAKING and not dispute.withdrawn:
        _move_funds(state, dispute, -dispute.amount)
    if dispute.status in CLOSED and before != dispute.status:
        previous = {"status": before} if before else None
        emit(state, "charge.dispute.closed", dispute_json(state, dispute), before=previous)
    back = dispute.withdrawn if dispute.status == "won" else reinstated
    if back:
        _move_funds(state, dispute, back)


def _move_funds(state: SandboxState, dispute: Dispute, amount: int) -> None:
    dispute.movements.append((amount, int(state.now())))
    kind = "funds_withdrawn" if amount < 0 else "funds_reinstated"
    emit(state, f"charge.dispute.{kind}", dispute_json(state, dispute))


def invoice_moved(state: SandboxState, invoice: Invoice, before: str | None = None, key: str | None = None) -> None:
    kinds = {"paid": "invoice.paid", "void": "invoice.voided", "uncollectible": "invoice.marked_uncollectible"}
    if invoice.status in kinds:
        previous = {"status": before} if before else None
        emit(state, kinds[invoice.status], invoice_json(state, invoice), before=previous, key=key)


def emit_thin(state: SandboxState, kind: str, related: Json) -> None:
    """An event of Stripe's API v2: it names the object and does not show it."""
    body = {
        "id": new_id("evt"),
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "created": iso_time(state.now()),
        "reason": None,
        "related_object": related,
    }
    state.outbox.put(Notice("stripe", kind, json.dumps(body).encode()))


def iso_time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", ".000Z")


def credit_note_changed(state: SandboxState, note: CreditNote, kind: str) -> None:
    emit(state, f"credit_note.{kind}", credit_note_json(state, note))


def list_events(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, EVENTS)
    if "type" in params and "types" in params:
        raise refuse("You may only specify one of these parameters: type, types.")
    if params.get("expand"):
        raise refuse(f"This property cannot be expanded ({params['expand'][0]}).", param="expand")
    kinds = [params["type"]] if "type" in params else params.get("types", ["*"])

    def listed() -> Answer:
        page_request: PageRequest[Event] = PageRequest(
            **cursors(params, state.events),
            matches=lambda event: any(fnmatchcase(event.type, kind) for kind in kinds),
        )
        page, more = state.events.page(page_request)
        return Answer(200, list_json("/v1/events", [json.loads(event.body) for event in page], more))

    return listed


def show_event(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    checked(call.params, {"expand": texts})

    def show() -> Answer:
        event = state.events.get(call.path_params["id"])
        if event is None:
            raise missing("event", call.path_params["id"], "id")
        return Answer(200, json.loads(event.body))

    return show
