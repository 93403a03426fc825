"""Stripe's GET endpoints: refunds, charges, payment intents and disputes."""

from __future__ import annotations

from collections.abc import Callable

from .exchange import Call, Operation
from .faults import Fault
from .idempotency import Answer
from .state import Charge, Dispute, SandboxState, StripeRefund
from .stripe_form import Check, Params, checked, page_size, refuse, text, texts, time_range
from .stripe_objects import (
    Json,
    charge_json,
    dispute_json,
    expand,
    intent_json,
    list_json,
    refund_json,
)

PAGING: dict[str, Check] = {
    "limit": page_size,
    "starting_after": text,
    "ending_before": text,
    "created": time_range,
    "expand": texts,
}
BY_PAYMENT: dict[str, Check] = {"charge": text, "payment_intent": text}


def missing(kind: str, wanted: str, param: str) -> Exception:
    return refuse(f"No such {kind}: '{wanted}'", status=404, code="resource_missing", param=param)


def find_refund(state: SandboxState, wanted: str) -> StripeRefund:
    found = state.refunds.get(wanted)
    if not isinstance(found, StripeRefund):
        raise missing("refund", wanted, "id")
    return found


def _find_charge(state: SandboxState, wanted: str) -> Json:
    if wanted not in state.charges:
        raise missing("charge", wanted, "id")
    return charge_json(state, state.charges[wanted])


def _find_intent(state: SandboxState, wanted: str) -> Json:
    charge = state.charge_of_intent(wanted)
    if charge is None:
        raise missing("payment_intent", wanted, "intent")
    return intent_json(charge)


def _find_dispute(state: SandboxState, wanted: str) -> Json:
    if wanted not in state.disputes:
        raise missing("dispute", wanted, "dispute")
    return dispute_json(state, state.disputes[wanted])


def _show(
    find: Callable[[SandboxState, str], Json], state: SandboxState, call: Call, extra: dict[str, Check]
) -> Operation:
    params = checked(call.params, {"expand": texts} | extra)

    def show() -> Answer:
        found = find(state, call.path_params["id"])
        return Answer(200, expand(state, found, params.get("expand", [])))

    return show


def show_refund(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return _show(lambda state, wanted: refund_json(find_refund(state, wanted)), state, call, {})


def show_charge(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return _show(_find_charge, state, call, {})


def show_intent(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return _show(_find_intent, state, call, {"client_secret": text})


def show_dispute(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return _show(_find_dispute, state, call, {})


def _listed(state: SandboxState, url: str, items: list[Json], params: Params) -> Answer:
    within = [item for item in items if _in_range(item["created"], params.get("created", {}))]
    page = list_json(url, within[::-1], params)
    return Answer(200, expand(state, page, params.get("expand", [])))


def _in_range(created: int, bounds: dict[str, int]) -> bool:
    holds = {
        "gt": lambda bound: created > bound,
        "gte": lambda bound: created >= bound,
        "lt": lambda bound: created < bound,
        "lte": lambda bound: created <= bound,
    }
    return all(holds[name](bound) for name, bound in bounds.items())


def list_refunds(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, PAGING | BY_PAYMENT)

    def listed() -> Answer:
        _payment_exists(state, params)
        made = [refund_json(r) for r in state.stripe_refunds() if _is_about(state, r, params)]
        return _listed(state, "/v1/refunds", made, params)

    return listed


def list_charges(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, PAGING | {"payment_intent": text, "customer": text, "transfer_group": text})

    def listed() -> Answer:
        _payment_exists(state, params)
        made = [charge_json(state, c) for c in state.charges.values() if _is_listed(c, params)]
        return _listed(state, "/v1/charges", made, params)

    return listed


def _is_listed(charge: Charge, params: Params) -> bool:
    # The sandbox knows neither customers nor transfers: nothing is of the one asked for.
    if "customer" in params or "transfer_group" in params:
        return False
    return "payment_intent" not in params or charge.payment_intent == params["payment_intent"]


def list_disputes(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, PAGING | BY_PAYMENT)

    def listed() -> Answer:
        _payment_exists(state, params)
        made = [dispute_json(state, d) for d in state.disputes.values() if _is_about(state, d, params)]
        return _listed(state, "/v1/disputes", made, params)

    return listed


def _payment_exists(state: SandboxState, params: Params) -> None:
    if "charge" in params and params["charge"] not in state.charges:
        raise missing("charge", params["charge"], "charge")
    if "payment_intent" in params and state.charge_of_intent(params["payment_intent"]) is None:
        raise missing("payment_intent", params["payment_intent"], "payment_intent")


def _is_about(state: SandboxState, item: StripeRefund | Dispute, params: Params) -> bool:
    intent = state.charges[item.charge].payment_intent
    wanted_charge, wanted_intent = params.get("charge"), params.get("payment_intent")
    return wanted_charge in (None, item.charge) and wanted_intent in (None, intent)
