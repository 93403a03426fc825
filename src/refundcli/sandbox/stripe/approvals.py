"""Refunds that a second person at Stripe must approve (docs.stripe.com/account/approvals, a preview).

The request is answered with `approval_required`; once approved, Stripe itself makes the refund.
"""

from __future__ import annotations

from refundcli.sandbox.core.exchange import Call, Operation
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.records import ApprovalRequest, Json, new_id
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.events import emit_thin, iso_time
from refundcli.sandbox.stripe.form import refuse

WEEK = 7 * 86400
OBJECT = "v2.core.approval_request"
ENDS = ("rejected", "canceled", "expired", "failed")


def approval_json(approval: ApprovalRequest) -> Json:
    status = approval.status
    reviewed_at = iso_time(approval.reviewed_at) if approval.reviewed_at else None
    transitions = ("approved", "succeeded", "failed", "rejected", "canceled", "expired")
    reached_transitions = {status} | ({"approved"} if status in ("succeeded", "failed") else set())
    return {
        "id": approval.id,
        "object": OBJECT,
        "created": iso_time(approval.created),
        "action": "refund.create",
        "status": status,
        "reason": None,
        "dashboard_url": dashboard_url(approval),
        "requested_by": {"type": "api_key", "api_key": {"id": "sk_test_sandbox", "name": "Sandbox"}},
        "expires_at": iso_time(approval.created + WEEK),
        "livemode": False,
        "status_details": _details(approval),
        "status_transitions": {
            f"{transition}_at": reviewed_at if transition in reached_transitions else None for transition in transitions
        },
        "review": None,
    }


def dashboard_url(approval: ApprovalRequest) -> str:
    return f"https://dashboard.stripe.com/approval_requests/{approval.id}"


def _details(approval: ApprovalRequest) -> Json | None:
    if approval.status == "succeeded":
        return {"succeeded": {"result": {"id": approval.refund, "object": "refund"}}}
    return {approval.status: {"reason": None}} if approval.status in ENDS else None


def emit_step(state: SandboxState, approval: ApprovalRequest, step: str) -> None:
    """A thin event, as the others of Stripe's API v2."""
    related_object = {"id": approval.id, "type": OBJECT, "url": f"/v2/core/approval_requests/{approval.id}"}
    emit_thin(state, f"{OBJECT}.{step}", related_object)


def ask(state: SandboxState, params: Json, idempotency_key: str | None, fault: Fault) -> Answer:
    """The response to a refund that needs approval: the approval request instead of a refund."""
    approval = ApprovalRequest(
        id=fault.approval_id or new_id("areq", 16),
        params=params,
        created=int(state.now()),
        idempotency_key=idempotency_key,
    )
    state.approvals[approval.id] = approval
    emit_step(state, approval, "created")
    approval_fields = approval_json(approval)
    if fault.http_status < 300:
        return Answer(fault.http_status, approval_fields)
    error_fields = {
        "type": "invalid_request_error",
        "code": "approval_required",
        "message": f"This request needs an approval before it is carried out: {dashboard_url(approval)}",
        "approval_request": {
            name: approval_fields[name] for name in ("id", "object", "action", "status", "dashboard_url", "expires_at")
        },
    }
    return Answer(fault.http_status, {"error": error_fields})


def list_approvals(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    approvals = [approval_json(approval) for approval in reversed(state.approvals.values())]
    return lambda: Answer(200, {"data": approvals, "next_page_url": None, "previous_page_url": None})


def show_approval(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    def show() -> Answer:
        approval = state.approvals.get(call.path_params["id"])
        if approval is None:
            raise refuse(f"No such approval request: {call.path_params['id']}", status=404, code="not_found")
        return Answer(200, approval_json(approval))

    return show
