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


def list_json(url: str, page: list[Json], has_more: bool) -> Json:
    return {"object": "list", "data": page, "has_more": has_more, "url": url}


def expand(state: SandboxState, object_json: Json, paths: Sequence[str]) -> Json:
    """Replaces ids by objects, along paths such as `latest_charge.payment_intent` or `data.charge`."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEPTH:
            raise refuse(f"You cannot expand more than {DEPTH} levels of a property. Property: {path}", param="expand")
        _expand(state, object_json, steps, path)
    return object_json


def _expand(state: SandboxState, object_json: Json, steps: list[str], path: str) -> None:
    """Expands the field that `steps` lead to; `path` is the whole path, for the message of a refusal."""
    field_name, remaining_steps = steps[0], steps[1:]
    object_type = object_json.get("object", "associated_payment")
    if field_name == "data" and object_type == "list":
        for member in object_json["data"]:
            _expand(state, member, remaining_steps or [""], path)
        return
    if (object_type, field_name, remaining_steps) == ("credit_note", "refunds", ["refund"]):
        object_json[field_name] = _linked_refunds(state, object_json)
        return
    if (object_type, field_name) == ("invoice_payment", "payment") and remaining_steps:
        _expand(state, object_json[field_name], remaining_steps, path)
        return
    json_of_field = EXPANDABLE.get((object_type, field_name))
    if json_of_field is None:
        raise _not_expandable(path)
    if not isinstance(object_json.get(field_name), dict):
        field_json = json_of_field(state, object_json)
        if field_json is None:
            return
        object_json[field_name] = field_json
    if remaining_steps:
        _expand(state, object_json[field_name], remaining_steps, path)


def _not_expandable(path: str) -> Refusal:
    return refuse(f"This property cannot be expanded ({path}).", param="expand")


def _charge_of(field_name: str) -> Callable[[SandboxState, Json], Json | None]:
    return lambda state, object_json: (
        charge_json(state, state.charges[object_json[field_name]]) if object_json.get(field_name) else None
    )


def _intent_of(state: SandboxState, object_json: Json) -> Json | None:
    charge = state.charge_of_intent(object_json["payment_intent"]) if object_json.get("payment_intent") else None
    return intent_json(charge) if charge else None


def _refunds_of(state: SandboxState, object_json: Json) -> Json:
    refunds = [refund_json(refund) for refund in state.refunds_of(object_json["id"])][::-1]
    return list_json(f"/v1/charges/{object_json['id']}/refunds", refunds[:10], len(refunds) > 10)


def _payments_of(state: SandboxState, object_json: Json) -> Json:
    payments = [payment_json(payment) for payment in state.invoice_payments.naming(object_json["id"])][::-1]
    return list_json("/v1/invoice_payments", payments[:10], len(payments) > 10)


def _invoice_of(state: SandboxState, object_json: Json) -> Json | None:
    return invoice_json(state, state.invoices[object_json["invoice"]])


def _linked_refunds(state: SandboxState, object_json: Json) -> list[Json]:
    links_and_refunds = [
        (refund_link, state.refunds.get(refund_link["refund"])) for refund_link in object_json["refunds"]
    ]
    return [
        refund_link | {"refund": refund_json(stripe_refund)} if isinstance(stripe_refund, StripeRefund) else refund_link
        for refund_link, stripe_refund in links_and_refunds
    ]


def _record_of(state: SandboxState, object_json: Json) -> Json | None:
    return associated(state, object_json)


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
