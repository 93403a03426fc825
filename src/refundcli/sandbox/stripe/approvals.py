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


def approval_json(request: ApprovalRequest) -> Json:
    status = request.status
    reviewed = iso_time(request.reviewed_at) if request.reviewed_at else None
    moments = ("approved", "succeeded", "failed", "rejected", "canceled", "expired")
    reached = {status} | ({"approved"} if status in ("succeeded", "failed") else set())
    return {
        "id": request.id,
        "object": OBJECT,
        "created": iso_time(request.created),
        "action": "refund.create",
        "status": status,
        "reason": None,
        "dashboard_url": dashboard_url(request),
        "requested_by": {"type": "api_key", "api_key": {"id": "sk_test_sandbox", "name": "Sandbox"}},
        "expires_at": iso_time(request.created + WEEK),
        "livemode": False,
        "status_details": _details(request),
        "status_transitions": {f"{moment}_at": reviewed if moment in reached else None for moment in moments},
        "review": None,
    }


def dashboard_url(request: ApprovalRequest) -> str:
    return f"https://dashboard.stripe.com/approval_requests/{request.id}"


def _details(request: ApprovalRequest) -> Json | None:
    if request.status == "succeeded":
        return {"succeeded": {"result": {"id": request.refund, "object": "refund"}}}
    return {request.status: {"reason": None}} if request.status in ENDS else None


def emit_step(state: SandboxState, request: ApprovalRequest, what: str) -> None:
    """A thin event, as the others of Stripe's API v2."""
    related = {"id": request.id, "type": OBJECT, "url": f"/v2/core/approval_requests/{request.id}"}
    emit_thin(state, f"{OBJECT}.{what}", related)


def ask(state: SandboxState, params: Json, key: str | None, fault: Fault) -> Answer:
    """The response to a refund that needs approval: the approval request instead of a refund."""
    request = ApprovalRequest(fault.approval_id or new_id("areq", 16), params, int(state.now()), key)
    state.approvals[request.id] = request
    emit_step(state, request, "created")
    body = approval_json(request)
    if fault.http_status < 300:
        return Answer(fault.http_status, body)
    error = {
        "type": "invalid_request_error",
        "code": "approval_required",
        "message": f"This request needs an approval before it is carried out: {dashboard_url(request)}",
        "approval_request": {
            name: body[name] for name in ("id", "object", "action", "status", "dashboard_url", "expires_at")
        },
    }
    return Answer(fault.http_status, {"error": error})


def list_approvals(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    approvals = [approval_json(approval) for approval in reversed(state.approvals.values())]
    return lambda: Answer(200, {"data": approvals, "next_page_url": None, "previous_page_url": None})


def show_approval(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    def show() -> Answer:
        request = state.approvals.get(call.path_params["id"])
        if request is None:
            raise refuse(f"No such approval request: {call.path_params['id']}", status=404, code="not_found")
        return Answer(200, approval_json(request))

    return show
