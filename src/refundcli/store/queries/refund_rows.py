"""Convert rows of refunds, credit notes and closings to domain objects, and nothing else."""

import json
from collections.abc import Mapping
from typing import Any

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import currency
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import CreditNote, OutOfBand, Refund, Sending, WireRequest
from refundcli.domain.statuses import (
    ClosingState,
    CreditNoteStatus,
    InvoiceStatus,
    Provider,
    RefundKind,
    RefundState,
)
from refundcli.store.rows import Row, columns_of, day_or_none, moment, moment_or_none

_REFUND = (
    "id", "invoice_id", "payment_id", "kind", "amount", "currency", "reason", "memo", "state", "request_key", "content",
    "try_number", "operator", "provider", "account", "livemode", "idempotency_key", "endpoint", "api_version",
    "request", "fence", "lease_owner", "lease_until", "first_sent_at", "provider_reference", "provider_status",
    "failure", "failure_code", "pending_reason", "expires_at", "succeeded_at", "failed_at", "reversed_amount",
    "holding", "hold_until", "undecided", "dispute_decision", "method", "reference", "refunded_on", "after_failed",
    "evidence", "came_back_at", "acknowledged_at", "acknowledged_by", "run_id", "created_at",
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
    of = dict(zip(_REFUND_KEYS, refund_row, strict=True))
    unit = currency(of["currency"])
    return Refund(
        id=of["id"],
        invoice_id=of["invoice_id"],
        invoice_number=of["owner_number"],
        payment_id=of["payment_id"],
        kind=RefundKind(of["kind"]),
        amount=Money(of["amount"], unit),
        reason=RefundReason(of["reason"]) if of["reason"] else None,
        state=RefundState(of["state"]),
        request_key=of["request_key"],
        content=of["content"],
        created_at=moment(of["created_at"]),
        operator=of["operator"],
        memo=of["memo"],
        attempt=of["try_number"],
        sending=_sending(of, json.loads(of["request"])) if of["request"] is not None else None,
        provider_reference=of["provider_reference"] or "",
        provider_status=of["provider_status"],
        failure=of["failure"],
        dispute_decision=of["dispute_decision"],
        out_of_band=_out_of_band(of) if of["kind"] == RefundKind.RECORD else None,
        credit_note=_credit_note(of) if of["note_id"] else None,
        seen_at=Provider(of["provider"]) if of["provider"] and of["request"] is None else None,
        needs_acknowledgement_since=moment_or_none(of["came_back_at"]),
        acknowledged_at=moment_or_none(of["acknowledged_at"]),
        acknowledged_by=of["acknowledged_by"],
        run_id=of["run_id"] or "",
        failure_code=of["failure_code"],
        pending_reason=of["pending_reason"],
        expires_at=moment_or_none(of["expires_at"]),
        succeeded_at=moment_or_none(of["succeeded_at"]),
        failed_at=moment_or_none(of["failed_at"]),
        reversed_amount=Money(of["reversed_amount"], unit) if of["reversed_amount"] else None,
        holding=bool(of["holding"]),
        hold_until=moment_or_none(of["hold_until"]),
        undecided=bool(of["undecided"]),
    )


def closing_of(closing_row: Row) -> Closing:
    """From CLOSING_COLUMNS."""
    of = dict(zip(_CLOSING_KEYS, closing_row, strict=True))
    return Closing(
        id=of["id"],
        invoice_id=of["invoice_id"],
        invoice_number=of["owner_number"],
        target=InvoiceStatus(of["action"]),
        state=ClosingState(of["state"]),
        created_at=moment(of["created_at"]),
        operator=of["operator"],
        sending=_sending(of, {}),
        memo=of["memo"],
        failure=of["failure"],
    )


def _credit_note(of: Mapping[str, Any]) -> CreditNote:
    return CreditNote(
        id=of["note_id"],
        refund_id=of["note_refund_id"],
        invoice_number=of["owner_number"],
        customer=of["owner_customer"],
        status=CreditNoteStatus(of["note_status"]),
        amount=Money(of["note_amount"], currency(of["note_currency"])),
        reason=RefundReason(of["note_reason"]),
        memo=of["note_memo"],
        number=of["note_number"],
        issued_on=day_or_none(of["note_issued_on"]),
        issued_at=moment_or_none(of["note_issued_at"]),
        voided_at=moment_or_none(of["note_voided_at"]),
    )


def _sending(of: Mapping[str, Any], params: dict[str, object]) -> Sending:
    """The request of a refund or of a closing, which has no parameters."""
    request = WireRequest(
        provider=Provider(of["provider"]),
        endpoint=of["endpoint"] or "",
        account=of["account"] or "",
        livemode=bool(of["livemode"]),
        api_version=of["api_version"] or "",
        params=params,
    )
    return Sending(
        idempotency_key=of["idempotency_key"] or "",
        request=request,
        fence=of["fence"],
        lease_owner=of["lease_owner"],
        lease_until=moment_or_none(of["lease_until"]),
        first_sent_at=moment_or_none(of["first_sent_at"]),
    )


def _out_of_band(of: Mapping[str, Any]) -> OutOfBand:
    return OutOfBand(
        method=of["method"],
        reference=of["reference"],
        refunded_on=day_or_none(of["refunded_on"]),
        after_failed=of["after_failed"] or "",
        evidence=of["evidence"],
    )
