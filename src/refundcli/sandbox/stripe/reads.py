"""Stripe's GET endpoints: one object and lists; refunds, charges, payment intents and disputes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from refundcli.sandbox.core.exchange import Call, Operation, Plan
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.record_table import PageRequest, RecordTable
from refundcli.sandbox.core.records import Json
from refundcli.sandbox.core.state import Charge, Dispute, SandboxState, StripeRefund
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

T = TypeVar("T")


def missing(kind: str, object_id: str, param: str) -> Exception:
    return refuse(f"No such {kind}: '{object_id}'", status=404, code="resource_missing", param=param)


def find(table: Mapping[str, T], kind: str, object_id: str, param: str = "id") -> T:
    if object_id not in table:
        raise missing(kind, object_id, param)
    return table[object_id]


def find_refund(state: SandboxState, refund_id: str) -> StripeRefund:
    refund = state.refunds.get(refund_id)
    if not isinstance(refund, StripeRefund):
        raise missing("refund", refund_id, "id")
    return refund


def find_intent(state: SandboxState, intent_id: str, param: str = "intent") -> Charge:
    charge = state.charge_of_intent(intent_id)
    if charge is None:
        raise missing("payment_intent", intent_id, param)
    return charge


def showing(find_json: Callable[[SandboxState, str], Json], extra_checks: Mapping[str, Check] | None = None) -> Plan:
    """The plan of a GET of one object."""

    def plan(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
        params = checked(call.params, {"expand": texts, **(extra_checks or {})})
        return lambda: Answer(200, expand(state, find_json(state, call.path_params["id"]), params.get("expand", [])))

    return plan


def listing(
    url: str,
    checks: Mapping[str, Check],
    table_of: Callable[[SandboxState], RecordTable[Any]],
    json_of_record: Callable[[SandboxState, Any], Json],
    *,
    naming: Callable[[SandboxState, Params], str | None] = lambda state, params: None,
    matches: Callable[[Any, Params], bool] = lambda record, params: True,
    id_of_cursor: Callable[[SandboxState, str], str | None] = lambda state, cursor: cursor,
) -> Plan:
    """The plan of a GET of a list.

    `naming` gives the id that the records name, if any; `id_of_cursor` maps a cursor to an id in the table.
    """

    def plan(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
        params = checked(call.params, checks)

        def answer() -> Answer:
            table = table_of(state)
            page_request = PageRequest[Any](
                naming=naming(state, params),
                matches=lambda record: matches(record, params),
                **_cursors(params, table, lambda cursor: id_of_cursor(state, cursor)),
            )
            page, has_more = table.page(page_request)
            body = list_json(url, [json_of_record(state, record) for record in page], has_more)
            return Answer(200, expand(state, body, params.get("expand", [])))

        return answer

    return plan


def _cursors(params: Params, table: Mapping[str, object], id_of_cursor: Callable[[str], str | None]) -> Params:
    """The page's parameters."""
    page_params: Params = {name: params[name] for name in ("limit", "created") if name in params}
    for name in ("starting_after", "ending_before"):
        if name in params:
            page_params[name] = id_of_cursor(params[name])
            if page_params[name] not in table:
                raise refuse(f"No such object: '{params[name]}'", code="resource_missing", param=name)
    return page_params


def _payment_exists(state: SandboxState, params: Params) -> str | None:
    """The named payment, or None."""
    if "charge" in params:
        find(state.charges, "charge", params["charge"], "charge")
    if "payment_intent" in params:
        find_intent(state, params["payment_intent"], "payment_intent")
    payment_reference: str | None = params.get("charge", params.get("payment_intent"))
    return payment_reference


def _is_about(record: StripeRefund | Dispute, params: Params) -> bool:
    references = (params.get("charge"), params.get("payment_intent"))
    return references[0] in (None, record.charge) and references[1] in (None, record.payment_intent)


def _is_listed(charge: Charge, params: Params) -> bool:
    # The sandbox has no transfers and no customer accounts, so nothing matches.
    if "transfer_group" in params or "customer_account" in params:
        return False
    return params.get("customer") in (None, charge.customer)


def _charge_id(state: SandboxState, intent_id: str) -> str | None:
    charge = state.charge_of_intent(intent_id)
    return charge.id if charge else None


show_refund = showing(lambda state, refund_id: refund_json(find_refund(state, refund_id)))
show_charge = showing(lambda state, charge_id: charge_json(state, find(state.charges, "charge", charge_id)))
show_intent = showing(lambda state, intent_id: intent_json(find_intent(state, intent_id)), {"client_secret": text})
show_dispute = showing(
    lambda state, dispute_id: dispute_json(state, find(state.disputes, "dispute", dispute_id, "dispute"))
)
list_refunds = listing(
    "/v1/refunds",
    PAGING | BY_PAYMENT,
    lambda state: state.refunds,
    lambda _, refund: refund_json(refund),
    naming=_payment_exists,
    matches=lambda refund, params: isinstance(refund, StripeRefund) and _is_about(refund, params),
)
list_charges = listing(
    "/v1/charges",
    PAGING | {"payment_intent": text, "customer": text, "transfer_group": text},
    lambda state: state.charges,
    charge_json,
    naming=_payment_exists,
    matches=_is_listed,
)
list_intents = listing(
    "/v1/payment_intents",
    INTENTS,
    lambda state: state.charges,
    lambda _, charge: intent_json(charge),
    matches=lambda charge, params: charge.payment_intent is not None and _is_listed(charge, params),
    id_of_cursor=_charge_id,
)
list_disputes = listing(
    "/v1/disputes",
    PAGING | BY_PAYMENT,
    lambda state: state.disputes,
    dispute_json,
    naming=_payment_exists,
    matches=_is_about,
)
