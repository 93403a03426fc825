"""Lists, and expanded objects in place of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refundcli.sandbox.core.idempotency import Refusal
from refundcli.sandbox.core.records import Json, StripeRefund
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.form import refuse
from refundcli.sandbox.stripe.invoice_objects import associated, invoice_json, payment_json
from refundcli.sandbox.stripe.objects import charge_json, intent_json, refund_json

# The vendor counts the `data` of a list as a level.
DEPTH = 4


def list_json(url: str, page: list[Json], more: bool) -> Json:
    return {"object": "list", "data": page, "has_more": more, "url": url}


def expand(state: SandboxState, shape: Json, paths: Sequence[str]) -> Json:
    """Replaces ids by objects, along paths such as `latest_charge.payment_intent` or `data.charge`."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEPTH:
            raise refuse(f"You cannot expand more than {DEPTH} levels of a property. Property: {path}", param="expand")
        _expand(state, shape, steps, path)
    return shape


def _expand(state: SandboxState, shape: Json, steps: list[str], path: str) -> None:
    head, rest = steps[0], steps[1:]
    kind = shape.get("object", "associated_payment")
    if head == "data" and kind == "list":
        for member in shape["data"]:
            _expand(state, member, rest or [""], path)
        return
    if (kind, head, rest) == ("credit_note", "refunds", ["refund"]):
        shape[head] = _linked_refunds(state, shape)
        return
    if (kind, head) == ("invoice_payment", "payment") and rest:
        _expand(state, shape[head], rest, path)
        return
    fill = EXPANDABLE.get((kind, head))
    if fill is None:
        raise _not_expandable(path)
    if not isinstance(shape.get(head), dict):
        filled = fill(state, shape)
        if filled is None:
            return
        shape[head] = filled
    if rest:
        _expand(state, shape[head], rest, path)


def _not_expandable(path: str) -> Refusal:
    return refuse(f"This property cannot be expanded ({path}).", param="expand")


def _charge_of(field: str) -> Callable[[SandboxState, Json], Json | None]:
    return lambda state, shape: charge_json(state, state.charges[shape[field]]) if shape.get(field) else None


def _intent_of(state: SandboxState, shape: Json) -> Json | None:
    charge = state.charge_of_intent(shape["payment_intent"]) if shape.get("payment_intent") else None
    return intent_json(charge) if charge else None


def _refunds_of(state: SandboxState, shape: Json) -> Json:
    refunds = [refund_json(refund) for refund in state.refunds_of(shape["id"])][::-1]
    return list_json(f"/v1/charges/{shape['id']}/refunds", refunds[:10], len(refunds) > 10)


def _payments_of(state: SandboxState, shape: Json) -> Json:
    payments = [payment_json(payment) for payment in state.invoice_payments.naming(shape["id"])][::-1]
    return list_json("/v1/invoice_payments", payments[:10], len(payments) > 10)


def _invoice_of(state: SandboxState, shape: Json) -> Json | None:
    return invoice_json(state, state.invoices[shape["invoice"]])


def _linked_refunds(state: SandboxState, shape: Json) -> list[Json]:
    linked = [(refund, state.refunds.get(refund["refund"])) for refund in shape["refunds"]]
    return [refund | {"refund": refund_json(r)} if isinstance(r, StripeRefund) else refund for refund, r in linked]


def _record_of(state: SandboxState, shape: Json) -> Json | None:
    return associated(state, shape)


EXPANDABLE: dict[tuple[str, str], Callable[[SandboxState, Json], Json | None]] = {
    ("refund", "charge"): _charge_of("charge"),
    ("refund", "payment_intent"): _intent_of,
    ("dispute", "charge"): _charge_of("charge"),
    ("dispute", "payment_intent"): _intent_of,
    ("charge", "payment_intent"): _intent_of,
    ("charge", "refunds"): _refunds_of,
    ("payment_intent", "latest_charge"): _charge_of("latest_charge"),
    ("invoice", "payments"): _payments_of,
    ("credit_note", "invoice"): _invoice_of,
    ("associated_payment", "payment_intent"): _intent_of,
    ("associated_payment", "charge"): _charge_of("charge"),
    ("associated_payment", "payment_record"): _record_of,
}
