"""Invoices, payments, disputes, refunds, closings and credit notes."""

from typing import TYPE_CHECKING, Any

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import Invoice, Payment, Unreviewed
from refundcli.domain.money import Money
from refundcli.domain.refund import CreditNote, Refund, TraceNumber
from refundcli.domain.tax.billing import BilledLine, billing_of
from refundcli.output.exported_list import disputed_amount, given_back
from refundcli.output.json import money_fields

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from refundcli.domain.eligibility import PossibleAction
    from refundcli.services.documents.export import Exported
    from refundcli.services.ports.documents import DocumentFormat
    from refundcli.services.ports.reads import AuditEntry


def money(amount: Money) -> dict[str, Any]:
    return money_fields(amount.minor, amount.currency.code, amount.currency.exponent)


def invoice_summary(invoice: Invoice) -> dict[str, Any]:
    return {
        "number": invoice.number,
        "status": invoice.status,
        "customer": invoice.customer,
        "customer_name": invoice.customer_name or None,
        "customer_email": invoice.customer_email or None,
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
        "invoice_reference": invoice.invoice_reference or None,
        "payments": [listed_payment(invoice_payment) for invoice_payment in invoice.payments],
        "products": list(invoice.products),
        "subscription": invoice.subscription or None,
        "billing": billing(invoice) if invoice.billing else None,
    }


def exported_documents(exported: "Exported", form: "DocumentFormat") -> dict[str, Any]:
    return {
        "documents": exported.documents,
        "confirmations": exported.confirmations,
        "format": form,
        "path": str(exported.path),
    }


def billing(invoice: Invoice) -> dict[str, Any]:
    known = billing_of(invoice.billing)
    return {
        "address": known.address or None,
        "country": known.country or None,
        "vat_id": known.vat_id or None,
        "lines": [billed_line(line, invoice.currency) for line in known.lines],
    }


def billed_line(line: BilledLine, unit: Currency) -> dict[str, Any]:
    return {
        "name": line.name or None,
        "amount": money(Money(line.amount, unit)),
        "tax_amount": money(Money(line.tax, unit)),
        "tax_rate": line.rate or None,
        "tax_category": line.category,
        "tax_exemption": line.exemption or None,
    }


def invoice_details(invoice: Invoice) -> dict[str, Any]:
    from refundcli.domain.eligibility import possible_actions

    numbered_notes = [
        stored_refund.credit_note
        for stored_refund in invoice.refunds
        if stored_refund.credit_note and stored_refund.credit_note.number
    ]
    return invoice_summary(invoice) | {
        "payments": [payment(invoice_payment) for invoice_payment in invoice.payments],
        "refunds": [refund(stored_refund) for stored_refund in invoice.refunds],
        "credit_notes": [credit_note(note) for note in numbered_notes],
        "closings": [closing(stored_closing) for stored_closing in invoice.closings],
        "actions": [action(possible_action) for possible_action in possible_actions(invoice)],
    }


def action(possible_action: "PossibleAction") -> dict[str, Any]:
    """What may be done with the invoice, or the first rule that refuses it."""
    blocker = possible_action.blocker
    return {
        "action": possible_action.action,
        "allowed": possible_action.allowed,
        "rule": blocker.context["rule"] if blocker else None,
        "code": blocker.code if blocker else None,
        "message": blocker.why if blocker else None,
        "command": possible_action.command if possible_action.allowed else None,
    }


def listed_payment(invoice_payment: Payment) -> dict[str, Any]:
    disputed = disputed_amount(invoice_payment)
    return {
        "reference": invoice_payment.reference or None,
        "provider": invoice_payment.provider,
        "method": invoice_payment.method or None,
        "card_last4": invoice_payment.card_last4 or None,
        "card_brand": invoice_payment.card_brand or None,
        "paid_on": invoice_payment.paid_on,
        "allocated": money(invoice_payment.allocated),
        "given_back": money(given_back(invoice_payment)),
        "auto_refundable": invoice_payment.auto_refundable,
        "processing": invoice_payment.processing,
        "dispute": invoice_payment.dispute or None,
        "disputed": money(disputed) if disputed else None,
        "shared_with": [share.invoice_number for share in invoice_payment.other_shares],
    }


def payment(invoice_payment: Payment) -> dict[str, Any]:
    return {
        "reference": invoice_payment.reference or None,
        "references": list(invoice_payment.references),
        "provider": invoice_payment.provider,
        "method": invoice_payment.method or None,
        "card_last4": invoice_payment.card_last4 or None,
        "card_brand": invoice_payment.card_brand or None,
        "allocated": money(invoice_payment.allocated),
        "captured": money(invoice_payment.captured),
        "shared_with": [share.invoice_number for share in invoice_payment.other_shares],
        "captured_at_provider": money(invoice_payment.provider_captured)
        if invoice_payment.provider_captured is not None
        else None,
        "refunded": money(invoice_payment.refunded),
        "refunded_externally": money(invoice_payment.refunded_externally),
        "reserved": money(invoice_payment.reserved),
        "refundable": money(invoice_payment.refundable),
        "auto_refundable": invoice_payment.auto_refundable,
        "why_not_auto_refundable": invoice_payment.why_not_auto_refundable or None,
        "processing": invoice_payment.processing,
        "dispute": invoice_payment.dispute or None,
        "lost": money(invoice_payment.lost),
        "credited": money(invoice_payment.credited),
        "disputes": [dispute(dispute_record) for dispute_record in invoice_payment.disputes],
        "unreviewed": [unreviewed_update(update) for update in invoice_payment.unreviewed],
        "unsupported": invoice_payment.unsupported or None,
        "paid_on": invoice_payment.paid_on,
    }


def unreviewed_update(update: Unreviewed) -> dict[str, Any]:
    return {"event": update.event_id, "code": update.word, "message": update.why, "waiting": update.is_waiting}


def dispute(dispute_record: DisputeRecord) -> dict[str, Any]:
    return {
        "provider": dispute_record.provider,
        "reference": dispute_record.reference or None,
        "stage": dispute_record.stage,
        "state": dispute_record.state,
        "status": dispute_record.status or None,
        "amount": money(dispute_record.amount) if dispute_record.amount else None,
        "reported_at": dispute_record.reported_at,
    }


def refund(stored_refund: Refund) -> dict[str, Any]:
    out_of_band = stored_refund.out_of_band
    return {
        "id": stored_refund.id,
        "status": stored_refund.state,
        "kind": stored_refund.kind,
        "amount": money(stored_refund.amount),
        "reason": stored_refund.reason,
        "memo": stored_refund.memo or None,
        "adopted": stored_refund.credit_note is not None if stored_refund.is_external else None,
        "needs_acknowledgement_since": stored_refund.needs_acknowledgement_since,
        "acknowledged_at": stored_refund.acknowledged_at,
        "acknowledged_by": stored_refund.acknowledged_by or None,
        "provider": stored_refund.provider,
        "provider_reference": stored_refund.provider_reference or None,
        "provider_status": stored_refund.provider_status or None,
        "trace": trace_number(stored_refund.trace) if stored_refund.trace else None,
        "failure": stored_refund.failure or None,
        "failure_code": stored_refund.failure_code or None,
        "pending_reason": stored_refund.pending_reason or None,
        "expires_at": stored_refund.expires_at,
        "reversed_amount": money(stored_refund.reversed_amount) if stored_refund.reversed_amount else None,
        "still_reserved": stored_refund.holding,
        "reserved_until": stored_refund.hold_until,
        "undecided": stored_refund.undecided,
        "request_key": stored_refund.request_key,
        "invoice": stored_refund.invoice_number,
        "operator": stored_refund.operator,
        "created_at": stored_refund.created_at,
        "method": out_of_band.method or None if out_of_band else None,
        "reference": out_of_band.reference or None if out_of_band else None,
        "refunded_on": out_of_band.refunded_on if out_of_band else None,
        "dispute_decision": stored_refund.dispute_decision or None,
        "credit_note": credit_note_reference(stored_refund.credit_note) if stored_refund.credit_note else None,
    }


def trace_number(trace: TraceNumber) -> dict[str, Any]:
    return {
        "number": trace.number or None,
        "status": trace.status or None,
        "type": trace.type or None,
        "destination": trace.destination,
    }


def credit_note_reference(note: CreditNote) -> dict[str, Any]:
    return {"number": note.number, "status": note.status}


def closing(stored_closing: Closing) -> dict[str, Any]:
    return {
        "id": stored_closing.id,
        "status": stored_closing.state,
        "kind": stored_closing.target,
        "memo": stored_closing.memo or None,
        "provider": stored_closing.provider,
        "provider_reference": stored_closing.reference,
        "failure": stored_closing.failure or None,
        "invoice": stored_closing.invoice_number,
        "operator": stored_closing.operator,
        "created_at": stored_closing.created_at,
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


def credit_note_details(note: CreditNote, refund_of_note: Refund) -> dict[str, Any]:
    out_of_band = refund_of_note.out_of_band
    return credit_note(note) | {"refunded_on": out_of_band.refunded_on if out_of_band else None}


def history_entry(entry: "AuditEntry") -> dict[str, Any]:
    return {
        "at": entry.at,
        "operator": entry.operator,
        "login": entry.login or None,
        "host": entry.host,
        "action": entry.action,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
    }


def audit_entry(entry: "AuditEntry") -> dict[str, Any]:
    return {"seq": entry.seq} | history_entry(entry)


def refund_details(
    stored_refund: Refund, entries: "Sequence[AuditEntry]", arrival: "tuple[date, date] | None", next_command: str
) -> dict[str, Any]:
    """A refund, when it is expected to arrive, its history and the next step."""
    first_day, last_day = arrival or (None, None)
    return refund(stored_refund) | {
        "run": stored_refund.run_id or None,
        "expected_from": first_day,
        "expected_until": last_day,
        "history": [history_entry(entry) for entry in entries],
        "command": next_command or None,
    }
