"""The machine's view: what `-o json` shows of each thing. These keys are a promise to scripts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from refundcli.domain.closing import Closing
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.eligibility import possible_actions
from refundcli.domain.errors import RefundcliError
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import CreditNote, Refund
from refundcli.output.json import money_fields
from refundcli.secrets import redact

if TYPE_CHECKING:
    from refundcli.services.ports.provider_updates import PaymentSnapshot
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
        "in_flight": money(invoice.reserved),
        "refundable": money(invoice.refundable),
        "partially_refunded": invoice.partially_refunded,
        "auto_refundable": invoice.auto_refundable,
        "processing": invoice.processing,
        "dispute": invoice.dispute or None,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "paid_on": invoice.paid_on,
    }


def invoice_whole(invoice: Invoice) -> dict[str, Any]:
    notes = [r.credit_note for r in invoice.refunds if r.credit_note and r.credit_note.number]
    return invoice_summary(invoice) | {
        "invoice_reference": invoice.invoice_reference or None,
        "payments": [payment(p) for p in invoice.payments],
        "refunds": [refund(r) for r in invoice.refunds],
        "credit_notes": [credit_note(note) for note in notes],
        "closings": [closing(each) for each in invoice.closings],
        "products": list(invoice.products),
        "subscription": invoice.subscription or None,
        "actions": actions(invoice),
    }


def actions(invoice: Invoice) -> list[dict[str, Any]]:
    return [
        {
            "action": possible.action,
            "allowed": possible.allowed,
            "rule": possible.blocker.context["rule"] if possible.blocker else None,
            "code": possible.blocker.code if possible.blocker else None,
            "why": possible.blocker.why if possible.blocker else None,
            "command": possible.command if possible.allowed else None,
        }
        for possible in possible_actions(invoice)
    ]


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
        "returned_elsewhere": money(of.refunded_externally),
        "in_flight": money(of.reserved),
        "refundable": money(of.refundable),
        "auto_refundable": of.auto_refundable,
        "why_not_auto_refundable": of.why_not_auto_refundable or None,
        "processing": of.processing,
        "dispute": of.dispute or None,
        "lost": money(of.lost),
        "credited": money(of.credited),
        "disputes": [dispute(each) for each in of.disputes],
        "unreviewed": [
            {"event": each.event_id, "word": each.word, "why": each.why, "waiting": each.is_waiting}
            for each in of.unreviewed
        ],
        "unsupported": of.unsupported or None,
        "paid_on": of.paid_on,
    }


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
    told = of.out_of_band
    return {
        "id": of.id,
        "status": of.state,
        "kind": of.kind,
        "amount": money(of.amount),
        "reason": of.reason,
        "memo": of.memo or None,
        "adopted": of.credit_note is not None if of.is_external else None,
        "came_back_at": of.needs_acknowledgement_since,
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
        "held": of.holding,
        "held_until": of.hold_until,
        "undecided": of.undecided,
        "request_key": of.request_key,
        "invoice": of.invoice_number,
        "operator": of.operator,
        "created_at": of.created_at,
        "method": told.method or None if told else None,
        "reference": told.reference or None if told else None,
        "refunded_on": told.refunded_on if told else None,
        "dispute_decision": of.dispute_decision or None,
        "credit_note": ({"number": of.credit_note.number, "status": of.credit_note.status} if of.credit_note else None),
    }


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


def refund_answer(refunds: Sequence[Refund], invoice: Invoice | None, *, dry_run: bool) -> dict[str, Any]:
    """`invoice` is null where it could not be read any more."""
    return {
        "dry_run": dry_run,
        "refunds": [refund(r) for r in refunds],
        "invoice": {
            "number": invoice.number,
            "status": invoice.status,
            "refunded": money(invoice.refunded),
            "in_flight": money(invoice.reserved),
            "refundable": money(invoice.refundable),
        }
        if invoice
        else None,
    }


def dry_run_answer(
    parts: Sequence[tuple[Money, Payment]], invoice: Invoice, *, reason: str, request_key: str, record: bool
) -> dict[str, Any]:
    """The shape of a real answer, with nothing that only a real one has."""
    answer = refund_answer((), invoice, dry_run=True)
    answer["refunds"] = [
        {
            "id": None,
            "status": None,
            "kind": "record" if record else "provider",
            "amount": money(amount),
            "reason": reason,
            "provider": None if record else of.provider,
            "provider_reference": None,
            "payment": of.reference or None,
            "request_key": request_key,
            "credit_note": None,
        }
        for amount, of in parts
    ]
    return answer


def payment_truth(of: "PaymentSnapshot") -> dict[str, Any]:
    """A payment as its provider knows it."""
    return {
        "provider": of.provider,
        "payment": of.references[0],
        "captured": money(of.captured),
        "refunded": money(of.refunded),
        "processing": of.processing,
        "disputes": [
            {"reference": dispute.reference or None, "state": dispute.state, "status": dispute.status}
            for dispute in of.disputes
        ],
        "asked_at": of.asked_at,
    }


def error(problem: RefundcliError) -> dict[str, Any]:
    return {
        "error": {
            "code": problem.code,
            "message": redact(problem.message),
            "hint": redact(problem.hint),
            "context": {name: _redacted(value) for name, value in problem.context.items()},
        }
    }


def _redacted(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_redacted(each) for each in value]
    return redact(value) if isinstance(value, str) else value
