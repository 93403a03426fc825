"""Approve or decline a refund at Stripe."""

from __future__ import annotations

from refundcli.sandbox.core.idempotency import Refusal
from refundcli.sandbox.core.records import ApprovalRequest
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.approvals import ENDS, emit_step
from refundcli.sandbox.stripe.refunds import make_refund


def end(state: SandboxState, approval_id: str, status: str) -> ApprovalRequest:
    """`approved`, after which Stripe makes the refund (or cannot: `failed`); or rejected, canceled, expired.

    ValueError where it ended before.
    """
    with state.lock:
        approval = state.approvals[approval_id]
        if approval.status != "requires_review":
            raise ValueError(f"{approval_id} is {approval.status} already")
        if status not in ("approved", *ENDS):
            raise ValueError(f"unknown end {status!r}: one of approved, {', '.join(ENDS)}")
        approval.status, approval.reviewed_at = status, int(state.now())
        emit_step(state, approval, status)
        if status == "approved":
            _carry_out(state, approval)
            emit_step(state, approval, approval.status)
        return approval


def _carry_out(state: SandboxState, approval: ApprovalRequest) -> None:
    try:
        refund = make_refund(state, approval.params, None, None)
    except Refusal:
        approval.status = "failed"
    else:
        approval.status, approval.refund = "succeeded", refund.id
