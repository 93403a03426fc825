"""Convert new refunds and closings to rows, and to the facts of their audit entries."""

import json
from typing import Any

from refundcli.domain.closing import Closing
from refundcli.domain.refund import Refund, TraceNumber


def trace_values(trace: TraceNumber | None) -> dict[str, str]:
    trace = trace or TraceNumber("")
    return {
        "trace_destination": trace.destination,
        "trace_type": trace.type,
        "trace_number": trace.number,
        "trace_status": trace.status,
    }


def refund_values(refund: Refund) -> dict[str, Any]:
    """The columns of a new refund, the same for every kind of refund."""
    columns: dict[str, Any] = {
        "id": refund.id,
        "invoice_id": refund.invoice_id,
        "payment_id": refund.payment_id,
        "kind": refund.kind.value,
        "amount": refund.amount.minor,
        "currency": refund.amount.currency.code,
        "reason": refund.reason.value if refund.reason else "",
        "memo": refund.memo,
        "state": refund.state.value,
        "request_key": refund.request_key,
        "content": refund.content,
        "try_number": refund.attempt,
        "operator": refund.operator,
        "fence": 0,
        "lease_owner": "",
        "provider_status": refund.provider_status,
        "failure": refund.failure,
        "dispute_decision": refund.dispute_decision,
        "method": "",
        "reference": "",
        "evidence": "",
        "acknowledged_by": "",
        "failure_code": refund.failure_code,
        "pending_reason": refund.pending_reason,
        "expires_at": refund.expires_at,
        **trace_values(refund.trace),
        "reversed_amount": 0,
        "holding": refund.holding,
        "undecided": refund.undecided,
        "run_id": refund.run_id or None,
        "created_at": refund.created_at,
        "updated_at": refund.created_at,
    }
    if refund.sending:
        request = refund.sending.request
        columns |= {
            "provider": request.provider,
            "account": request.account,
            "livemode": request.livemode,
            "endpoint": request.endpoint,
            "api_version": request.api_version,
            "idempotency_key": refund.sending.idempotency_key,
            "request": json.dumps(request.params, sort_keys=True, separators=(",", ":")),
            "lease_owner": refund.sending.lease_owner,
            "lease_until": refund.sending.lease_until,
        }
    if refund.out_of_band:
        out_of_band = refund.out_of_band
        columns |= {
            "method": out_of_band.method,
            "reference": out_of_band.reference,
            "refunded_on": out_of_band.refunded_on,
        }
        columns |= {"after_failed": out_of_band.after_failed or None, "evidence": out_of_band.evidence}
    if refund.seen_at:
        columns |= {"provider": refund.seen_at, "provider_reference": refund.provider_reference}
        columns |= {"came_back_at": refund.needs_acknowledgement_since, "hold_until": refund.hold_until}
        columns |= {"succeeded_at": refund.succeeded_at, "failed_at": refund.failed_at}
    return columns


def facts_of(refund: Refund) -> dict[str, object]:
    """The audit entry of a new refund."""
    facts: dict[str, object] = {
        "invoice": refund.invoice_number,
        "amount": str(refund.amount),
        "reason": refund.reason,
        "state": refund.state,
        "kind": refund.kind,
        "request_key": refund.request_key,
        "memo": refund.memo,
        "dispute_decision": refund.dispute_decision,
        "run": refund.run_id,
    }
    if refund.sending:
        facts |= {
            "provider": refund.sending.request.provider,
            "idempotency_key": refund.sending.idempotency_key,
        }
    if refund.out_of_band:
        out_of_band = refund.out_of_band
        facts |= {"method": out_of_band.method, "reference": out_of_band.reference}
        facts |= {"refunded_on": out_of_band.refunded_on and out_of_band.refunded_on.isoformat()}
        facts |= {"after_failed": out_of_band.after_failed, "evidence": out_of_band.evidence}
    return {name: fact for name, fact in facts.items() if fact}


def closing_values(closing: Closing) -> dict[str, Any]:
    """The columns of a new closing. Later changes of state set the other columns."""
    sending, request = closing.sending, closing.sending.request
    assert not request.params, "an invoice is closed without parameters, and there is no column for any"
    return {
        "id": closing.id,
        "invoice_id": closing.invoice_id,
        "action": closing.target,
        "state": closing.state,
        "memo": closing.memo,
        "operator": closing.operator,
        "provider": request.provider,
        "account": request.account,
        "livemode": request.livemode,
        "idempotency_key": sending.idempotency_key,
        "endpoint": request.endpoint,
        "api_version": request.api_version,
        "lease_owner": sending.lease_owner,
        "lease_until": sending.lease_until,
        "created_at": closing.created_at,
        "updated_at": closing.created_at,
        "fence": 0,
        "failure": "",
    }
