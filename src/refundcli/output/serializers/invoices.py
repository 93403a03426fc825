"""Invoices, payments, disputes, refunds, closings and credit notes."""

from typing import TYPE_CHECKING, Any

from refundcli.domain.closing import Closing
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.eligibility import PossibleAction, possible_actions
from refundcli.domain.invoice import Invoice, Payment, Unreviewed
from refundcli.domain.money import Money
from refundcli.domain.refund import CreditNote, Refund
from refundcli.output.json import money_fields

if TYPE_CHECKING:
    from refundcli.services.ports.records import AuditEntry


def money(amount: Money) -> dict[str, Any]:
    return money_fields(amount.minor, amount.currency.code, amount.currency.exponent)


def invoice_summary(invoice: Invoice) -> dict[str, Any]:
    return {
        "number": invoice.number,
        "status": invoice.status,
        "customer": invoice.customer,
        "customer_name": invoice.customer_name or None,
        "currency": invoice.currency.code,
        "total": money(invoice.total),
        "paid": money(invoice.paid),
        "refunded": money(invoice.refunded),
        "reserved": money(invoice.reserved),
        "refundable": money(invoice.refundable),
        "partially_refunded": invoice.partially_refunded,
        "auto_refundable": invoice.auto_refundable,
        "processing": invoice.processing,
        "dispute": invoice.dispute or None,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "paid_on": invoice.paid_on,
    }


def invoice_details(invoice: Invoice) -> dict[str, Any]:
    notes = [r.credit_note for r in invoice.refunds if r.credit_note and r.credit_note.number]
    return invoice_summary(invoice) | {
        "invoice_reference": invoice.invoice_reference or None,
        "payments": [payment(p) for p in invoice.payments],
        "refunds": [refund(r) for r in invoice.refunds],
        "credit_notes": [credit_note(note) for note in notes],
        "closings": [closing(attempt) for attempt in invoice.closings],
        "products": list(invoice.products),
        "subscription": invoice.subscription or None,
        "actions": [action(possible) for possible in possible_actions(invoice)],
    }


def action(possible: PossibleAction) -> dict[str, Any]:
    """What may be done with the invoice, or the first rule that refuses it."""
    blocker = possible.blocker
    return {
        "action": possible.action,
        "allowed": possible.allowed,
        "rule": blocker.context["rule"] if blocker else None,
        "code": blocker.code if blocker else None,
        "message": blocker.why if blocker else None,
        "command": possible.command if possible.allowed else None,
    }


def payment(of: Payment) -> dict[str, Any]:
    return {
        "reference": of.reference or None,
        "references": list(of.references),
        "provider": of.provider,
        "method": of.method or None,
        "allocated": money(of.allocated),
        "captured": money(of.captured),
        "shared_with": [share.invoice_number for share in of.other_shares],
        "captured_at_provider": money(of.provider_captured) if of.provider_captured is not None else None,
        "refunded": money(of.refunded),
        "refunded_externally": money(of.refunded_externally),
        "reserved": money(of.reserved),
        "refundable": money(of.refundable),
        "auto_refundable": of.auto_refundable,
        "why_not_auto_refundable": of.why_not_auto_refundable or None,
        "processing": of.processing,
        "dispute": of.dispute or None,
        "lost": money(of.lost),
        "credited": money(of.credited),
        "disputes": [dispute(record) for record in of.disputes],
        "unreviewed": [unreviewed_update(update) for update in of.unreviewed],
        "unsupported": of.unsupported or None,
        "paid_on": of.paid_on,
    }


def unreviewed_update(of: Unreviewed) -> dict[str, Any]:
    return {"event": of.event_id, "code": of.word, "message": of.why, "waiting": of.is_waiting}


def dispute(of: DisputeRecord) -> dict[str, Any]:
    return {
        "provider": of.provider,
        "reference": of.reference or None,
        "stage": of.stage,
        "state": of.state,
        "status": of.status or None,
        "amount": money(of.amount) if of.amount else None,
        "reported_at": of.reported_at,
    }


def refund(of: Refund) -> dict[str, Any]:
    record = of.out_of_band
    return {
        "id": of.id,
        "status": of.state,
        "kind": of.kind,
        "amount": money(of.amount),
        "reason": of.reason,
        "memo": of.memo or None,
        "adopted": of.credit_note is not None if of.is_external else None,
        "needs_acknowledgement_since": of.needs_acknowledgement_since,
        "acknowledged_at": of.acknowledged_at,
        "acknowledged_by": of.acknowledged_by or None,
        "provider": of.provider,
        "provider_reference": of.provider_reference or None,
        "provider_status": of.provider_status or None,
        "failure": of.failure or None,
        "failure_code": of.failure_code or None,
        "pending_reason": of.pending_reason or None,
        "expires_at": of.expires_at,
        "reversed_amount": money(of.reversed_amount) if of.reversed_amount else None,
        "still_reserved": of.holding,
        "reserved_until": of.hold_until,
        "undecided": of.undecided,
        "request_key": of.request_key,
        "invoice": of.invoice_number,
        "operator": of.operator,
        "created_at": of.created_at,
        "method": record.method or None if record else None,
        "reference": record.reference or None if record else None,
        "refunded_on": record.refunded_on if record else None,
        "dispute_decision": of.dispute_decision or None,
        "credit_note": credit_note_reference(of.credit_note) if of.credit_note else None,
    }


def credit_note_reference(note: CreditNote) -> dict[str, Any]:
    return {"number": note.number, "status": note.status}


def closing(of: Closing) -> dict[str, Any]:
    return {
        "id": of.id,
        "status": of.state,
        "kind": of.target,
        "memo": of.memo or None,
        "provider": of.provider,
        "provider_reference": of.reference,
        "failure": of.failure or None,
        "invoice": of.invoice_number,
        "operator": of.operator,
        "created_at": of.created_at,
    }


def credit_note(note: CreditNote) -> dict[str, Any]:
    return {
        "number": note.number,
        "status": note.status,
        "invoice": note.invoice_number,
        "customer": note.customer,
        "refund": note.refund_id,
        "amount": money(note.amount),
        "reason": note.reason,
        "memo": note.memo or None,
        "issued_on": note.issued_on,
        "issued_at": note.issued_at,
        "voided_at": note.voided_at,
    }


def credit_note_details(note: CreditNote, of: Refund) -> dict[str, Any]:
    record = of.out_of_band
    return credit_note(note) | {"refunded_on": record.refunded_on if record else None}


def history_entry(entry: "AuditEntry") -> dict[str, Any]:
    return {
        "at": entry.at,
        "operator": entry.operator,
        "host": entry.host,
        "action": entry.action,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
    }
