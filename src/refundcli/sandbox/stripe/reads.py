"""Stripe's GET endpoints: refunds, charges, payment intents and disputes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from refundcli.sandbox.core.exchange import Call, Operation
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.record_table import PageRequest, RecordTable, StoredRecord
from refundcli.sandbox.core.records import Json
from refundcli.sandbox.core.state import Charge, Dispute, Refund, SandboxState, StripeRefund
from refundcli.sandbox.stripe.expand import expand, list_json
from refundcli.sandbox.stripe.form import Check, Params, checked, page_size, refuse, text, texts, time_range
from refundcli.sandbox.stripe.objects import charge_json, dispute_json, intent_json, refund_json

PAGING: dict[str, Check] = {
    "limit": page_size,
    "starting_after": text,
    "ending_before": text,
    "created": time_range,
    "expand": texts,
}
BY_PAYMENT: dict[str, Check] = {"charge": text, "payment_intent": text}
INTENTS: dict[str, Check] = {**PAGING, "customer": text, "customer_account": text}


def missing(kind: str, object_id: str, param: str) -> Exception:
    return refuse(f"No such {kind}: '{object_id}'", status=404, code="resource_missing", param=param)


def find_refund(state: SandboxState, refund_id: str) -> StripeRefund:
    refund = state.refunds.get(refund_id)
    if not isinstance(refund, StripeRefund):
        raise missing("refund", refund_id, "id")
    return refund


def _find_charge(state: SandboxState, charge_id: str) -> Json:
    if charge_id not in state.charges:
        raise missing("charge", charge_id, "id")
    return charge_json(state, state.charges[charge_id])


def _find_intent(state: SandboxState, intent_id: str) -> Json:
    charge = state.charge_of_intent(intent_id)
    if charge is None:
        raise missing("payment_intent", intent_id, "intent")
    return intent_json(charge)


def _find_dispute(state: SandboxState, dispute_id: str) -> Json:
    if dispute_id not in state.disputes:
        raise missing("dispute", dispute_id, "dispute")
    return dispute_json(state, state.disputes[dispute_id])


def show(
    find_json: Callable[[SandboxState, str], Json], state: SandboxState, call: Call, extra_checks: Mapping[str, Check]
) -> Operation:
    params = checked(call.params, {"expand": texts, **extra_checks})

    def answer() -> Answer:
        object_json = find_json(state, call.path_params["id"])
        return Answer(200, expand(state, object_json, params.get("expand", [])))

    return answer


def show_refund(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return show(lambda state, refund_id: refund_json(find_refund(state, refund_id)), state, call, {})


def show_charge(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return show(_find_charge, state, call, {})


def show_intent(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return show(_find_intent, state, call, {"client_secret": text})


def show_dispute(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return show(_find_dispute, state, call, {})


Item = TypeVar("Item", bound=StoredRecord)


def cursors(
    params: Params,
    record_of_id: Mapping[str, object],
    id_of_cursor: Callable[[str], str | None] = lambda cursor: cursor,
) -> Params:
    """The page's parameters; `id_of_cursor` maps a cursor to an id in the table."""
    page_params: Params = {name: params[name] for name in ("limit", "created") if name in params}
    for name in ("starting_after", "ending_before"):
        if name in params:
            page_params[name] = id_of_cursor(params[name])
            if page_params[name] not in record_of_id:
                raise refuse(f"No such object: '{params[name]}'", code="resource_missing", param=name)
    return page_params


def listed(
    state: SandboxState,
    url: str,
    table: RecordTable[Item],
    page_request: PageRequest[Item],
    json_of_record: Callable[[Item], Json],
    params: Params,
) -> Answer:
    page, has_more = table.page(page_request)
    body = list_json(url, [json_of_record(record) for record in page], has_more)
    return Answer(200, expand(state, body, params.get("expand", [])))


def list_refunds(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, PAGING | BY_PAYMENT)

    def answer() -> Answer:
        payment_reference = _payment_exists(state, params)
        page_request: PageRequest[Refund] = PageRequest(
            **cursors(params, state.refunds),
            naming=payment_reference,
            matches=lambda record: isinstance(record, StripeRefund) and _is_about(record, params),
        )
        return listed(state, "/v1/refunds", state.refunds, page_request, _refund_shape, params)

    return answer


def _refund_shape(refund: Refund) -> Json:
    assert isinstance(refund, StripeRefund)
    return refund_json(refund)


def list_charges(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, PAGING | {"payment_intent": text, "customer": text, "transfer_group": text})

    def answer() -> Answer:
        intent_id = _payment_exists(state, params)
        page_request: PageRequest[Charge] = PageRequest(
            **cursors(params, state.charges), naming=intent_id, matches=lambda charge: _is_listed(charge, params)
        )
        return listed(
            state, "/v1/charges", state.charges, page_request, lambda charge: charge_json(state, charge), params
        )

    return answer


def list_intents(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, INTENTS)

    def charge_id(intent_id: str) -> str | None:
        charge = state.charge_of_intent(intent_id)
        return charge.id if charge else None

    def answer() -> Answer:
        page_request: PageRequest[Charge] = PageRequest(
            **cursors(params, state.charges, charge_id),
            matches=lambda charge: charge.payment_intent is not None and _is_listed(charge, params),
        )
        return listed(state, "/v1/payment_intents", state.charges, page_request, intent_json, params)

    return answer


def _is_listed(charge: Charge, params: Params) -> bool:
    # The sandbox has no transfers and no customer accounts, so nothing matches.
    if "transfer_group" in params or "customer_account" in params:
        return False
    return params.get("customer") in (None, charge.customer)


def list_disputes(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, PAGING | BY_PAYMENT)

    def answer() -> Answer:
        payment_reference = _payment_exists(state, params)
        page_request: PageRequest[Dispute] = PageRequest(
            **cursors(params, state.disputes),
            naming=payment_reference,
            matches=lambda record: _is_about(record, params),
        )
        return listed(
            state, "/v1/disputes", state.disputes, page_request, lambda record: dispute_json(state, record), params
        )

    return answer


def _payment_exists(state: SandboxState, params: Params) -> str | None:
    """The named payment, or None."""
    if "charge" in params and params["charge"] not in state.charges:
        raise missing("charge", params["charge"], "charge")
    if "payment_intent" in params and state.charge_of_intent(params["payment_intent"]) is None:
        raise missing("payment_intent", params["payment_intent"], "payment_intent")
    payment_reference: str | None = params.get("charge", params.get("payment_intent"))
    return payment_reference


def _is_about(record: StripeRefund | Dispute, params: Params) -> bool:
    references = (params.get("charge"), params.get("payment_intent"))
    return references[0] in (None, record.charge) and references[1] in (None, record.payment_intent)
