"""Convert rows of refunds, credit notes and closings to domain objects, and nothing else."""

import json
from collections.abc import Mapping
from typing import Any

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import currency
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, OutOfBand, Refund, Sending, TraceNumber, WireRequest
from refundcli.domain.statuses import (
    ClosingState,
    CreditNoteStatus,
    InvoiceStatus,
    Provider,
    RefundKind,
    RefundState,
)
from refundcli.store.databases.rows import Row, columns_of, day_or_none, moment, moment_or_none

_REFUND = (
    "id", "invoice_id", "payment_id", "kind", "amount", "currency", "reason", "memo", "state", "request_key", "content",
    "try_number", "operator", "provider", "account", "livemode", "idempotency_key", "endpoint", "api_version",
    "request", "fence", "lease_owner", "lease_until", "first_sent_at", "provider_reference", "provider_status",
    "failure", "failure_code", "pending_reason", "expires_at", "succeeded_at", "failed_at", "reversed_amount",
    "holding", "hold_until", "undecided", "dispute_decision", "method", "reference", "refunded_on", "after_failed",
    "evidence", "came_back_at", "acknowledged_at", "acknowledged_by", "run_id", "created_at",
    "trace_destination", "trace_type", "trace_number", "trace_status",
)  # fmt: skip
_NOTE = (
    "id", "refund_id", "number", "status", "amount", "currency", "reason", "memo", "issued_on", "issued_at",
    "voided_at",
)  # fmt: skip
_CLOSING = (
    "id", "invoice_id", "action", "state", "memo", "operator", "provider", "account", "livemode", "idempotency_key",
    "endpoint", "api_version", "fence", "lease_owner", "lease_until", "first_sent_at", "failure", "created_at",
)  # fmt: skip
_OWNER = ("owner_number", "owner_customer")
_OWNER_COLUMNS = columns_of("invoice", ("number", "customer"))
# A refund's credit note, and the invoice of both, have names of their own in a joined row.
_NOTE_KEYS = (*(f"note_{name}" for name in _NOTE), *_OWNER)
_REFUND_KEYS = (*_REFUND, *_NOTE_KEYS)
_CLOSING_KEYS = (*_CLOSING, *_OWNER)

CREDIT_NOTE_COLUMNS = f"{columns_of('credit_note', _NOTE)}, {_OWNER_COLUMNS}"
REFUND_COLUMNS = f"{columns_of('refund', _REFUND)}, {CREDIT_NOTE_COLUMNS}"
CLOSING_COLUMNS = f"{columns_of('closing', _CLOSING)}, {_OWNER_COLUMNS}"


def credit_note_of(note_row: Row) -> CreditNote:
    """From CREDIT_NOTE_COLUMNS."""
    return _credit_note(dict(zip(_NOTE_KEYS, note_row, strict=True)))


def refund_of(refund_row: Row) -> Refund:
    """From REFUND_COLUMNS; those of the credit note are empty if it has none."""
    cells = dict(zip(_REFUND_KEYS, refund_row, strict=True))
    return Refund(
        id=cells["id"],
        invoice_id=cells["invoice_id"],
        invoice_number=cells["owner_number"],
        payment_id=cells["payment_id"],
        kind=RefundKind(cells["kind"]),
        amount=_money(cells, "amount"),
        reason=RefundReason(cells["reason"]) if cells["reason"] else None,
        state=RefundState(cells["state"]),
        request_key=cells["request_key"],
        content=cells["content"],
        created_at=moment(cells["created_at"]),
        operator=cells["operator"],
        memo=cells["memo"],
        attempt=cells["try_number"],
        sending=_sending(cells, json.loads(cells["request"])) if cells["request"] is not None else None,
        provider_reference=cells["provider_reference"] or "",
        provider_status=cells["provider_status"],
        failure=cells["failure"],
        dispute_decision=cells["dispute_decision"],
        out_of_band=_out_of_band(cells) if cells["kind"] == RefundKind.RECORD else None,
        credit_note=_credit_note(cells) if cells["note_id"] else None,
        seen_at=Provider(cells["provider"]) if cells["provider"] and cells["request"] is None else None,
        needs_acknowledgement_since=moment_or_none(cells["came_back_at"]),
        acknowledged_at=moment_or_none(cells["acknowledged_at"]),
        acknowledged_by=cells["acknowledged_by"],
        run_id=cells["run_id"] or "",
        failure_code=cells["failure_code"],
        pending_reason=cells["pending_reason"],
        expires_at=moment_or_none(cells["expires_at"]),
        succeeded_at=moment_or_none(cells["succeeded_at"]),
        failed_at=moment_or_none(cells["failed_at"]),
        reversed_amount=_money(cells, "reversed_amount") if cells["reversed_amount"] else None,
        holding=bool(cells["holding"]),
        hold_until=moment_or_none(cells["hold_until"]),
        undecided=bool(cells["undecided"]),
        trace=_trace(cells),
    )


def closing_of(closing_row: Row) -> Closing:
    """From CLOSING_COLUMNS."""
    cells = dict(zip(_CLOSING_KEYS, closing_row, strict=True))
    return Closing(
        id=cells["id"],
        invoice_id=cells["invoice_id"],
        invoice_number=cells["owner_number"],
        target=InvoiceStatus(cells["action"]),
        state=ClosingState(cells["state"]),
        created_at=moment(cells["created_at"]),
        operator=cells["operator"],
        sending=_sending(cells, {}),
        memo=cells["memo"],
        failure=cells["failure"],
    )


def _credit_note(cells: Mapping[str, Any]) -> CreditNote:
    return CreditNote(
        id=cells["note_id"],
        refund_id=cells["note_refund_id"],
        invoice_number=cells["owner_number"],
        customer=cells["owner_customer"],
        status=CreditNoteStatus(cells["note_status"]),
        amount=_money(cells, "note_amount", "note_currency"),
        reason=RefundReason(cells["note_reason"]),
        memo=cells["note_memo"],
        number=cells["note_number"],
        issued_on=day_or_none(cells["note_issued_on"]),
        issued_at=moment_or_none(cells["note_issued_at"]),
        voided_at=moment_or_none(cells["note_voided_at"]),
    )


def _trace(cells: Mapping[str, Any]) -> TraceNumber | None:
    if not cells["trace_destination"]:
        return None
    return TraceNumber(cells["trace_destination"], cells["trace_type"], cells["trace_number"], cells["trace_status"])


def _money(cells: Mapping[str, Any], amount: str, unit: str = "currency") -> Money:
    return Money(cells[amount], currency(cells[unit]))


def _sending(cells: Mapping[str, Any], params: dict[str, object]) -> Sending:
    """The request of a refund or of a closing, which has no parameters."""
    request = WireRequest(
        provider=Provider(cells["provider"]),
        endpoint=cells["endpoint"] or "",
        account=cells["account"] or "",
        livemode=bool(cells["livemode"]),
        api_version=cells["api_version"] or "",
        params=params,
    )
    return Sending(
        idempotency_key=cells["idempotency_key"] or "",
        request=request,
        fence=cells["fence"],
        lease_owner=cells["lease_owner"],
        lease_until=moment_or_none(cells["lease_until"]),
        first_sent_at=moment_or_none(cells["first_sent_at"]),
    )


def _out_of_band(cells: Mapping[str, Any]) -> OutOfBand:
    return OutOfBand(
        method=cells["method"],
        reference=cells["reference"],
        refunded_on=day_or_none(cells["refunded_on"]),
        after_failed=cells["after_failed"] or "",
        evidence=cells["evidence"],
    )
