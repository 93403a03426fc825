"""JSON of Stripe's invoices and their payments."""

from __future__ import annotations

import hashlib

from refundcli.sandbox.core.exponents import to_major
from refundcli.sandbox.core.records import CreditNote, Invoice, InvoicePayment, Json
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.objects import overlaid


def invoice_json(state: SandboxState, invoice: Invoice) -> Json:
    paid_amount, paid_elsewhere = _paid(state, invoice)
    credited_before, credited_after = credited(state, invoice)
    shape = {
        "id": invoice.id,
        "object": "invoice",
        "account_country": "SE",
        "account_name": "Sandbox",
        "account_tax_ids": None,
        "amount_due": amount_due(state, invoice),
        "amount_overpaid": max(0, paid_amount - amount_due(state, invoice)),
        "amount_paid": paid_amount,
        "amount_paid_off_stripe": paid_elsewhere,
        "amount_remaining": max(0, amount_due(state, invoice) - paid_amount),
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 1 if invoice.status == "paid" else 0,
        "attempted": invoice.status == "paid",
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "subscription_cycle" if invoice.subscription else "manual",
        "collection_method": invoice.collection_method,
        "created": invoice.created,
        "currency": invoice.currency,
        "number": invoice.number if invoice.status != "draft" else None,
        "status": invoice.status,
        "total": invoice.total,
        "livemode": False,
        "metadata": {},
    }
    shape |= {**_customer(invoice), **_sums(invoice), **_times(invoice), **_nothing(), "lines": _lines(invoice)}
    shape |= {"pre_payment_credit_notes_amount": credited_before, "post_payment_credit_notes_amount": credited_after}
    return overlaid(shape, invoice.fields)


def credited(state: SandboxState, invoice: Invoice) -> tuple[int, int]:
    """Amounts of issued credit notes before payment and after payment."""
    notes = [note for note in state.credit_notes.naming(invoice.id) if note.status == "issued"]
    return sum(n.pre_payment_amount for n in notes), sum(n.amount - n.pre_payment_amount for n in notes)


def amount_due(state: SandboxState, invoice: Invoice) -> int:
    """The amount due: total less customer credit and credit notes, plus customer debt."""
    return max(0, invoice.total + invoice.starting_balance - credited(state, invoice)[0])


def amount_remaining(state: SandboxState, invoice: Invoice) -> int:
    return max(0, amount_due(state, invoice) - _paid(state, invoice)[0])


def _paid(state: SandboxState, invoice: Invoice) -> tuple[int, int]:
    """The amount paid, and how much of it outside Stripe."""
    payments = [payment for payment in state.invoice_payments.naming(invoice.id) if payment.status == "paid"]
    paid_amount = sum(payment.amount for payment in payments)
    paid_elsewhere = sum(payment.amount for payment in payments if payment.kind == "payment_record")
    due_amount = amount_due(state, invoice)
    if invoice.status != "paid" or paid_amount >= due_amount:
        return paid_amount, paid_elsewhere
    return due_amount, paid_elsewhere + due_amount - paid_amount


def _customer(invoice: Invoice) -> Json:
    return {
        "customer": invoice.customer,
        "customer_account": None,
        "customer_address": None,
        "customer_email": invoice.customer_email,
        "customer_name": invoice.customer_name,
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
    }


def _sums(invoice: Invoice) -> Json:
    return {
        # Credit beyond the total stays with the customer.
        "ending_balance": min(0, invoice.starting_balance + invoice.total),
        "starting_balance": invoice.starting_balance,
        "subtotal": invoice.total,
        "subtotal_excluding_tax": invoice.total,
        "total_discount_amounts": [],
        "total_excluding_tax": invoice.total,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def _times(invoice: Invoice) -> Json:
    return {
        "due_date": invoice.due_date,
        "effective_at": invoice.finalized_at,
        "period_end": invoice.created,
        "period_start": invoice.created,
        "status_transitions": {
            "finalized_at": invoice.finalized_at,
            "marked_uncollectible_at": invoice.marked_uncollectible_at,
            "paid_at": invoice.paid_at,
            "voided_at": invoice.voided_at,
        },
        "webhooks_delivered_at": invoice.finalized_at,
        "parent": _parent(invoice),
    }


def _parent(invoice: Invoice) -> Json | None:
    if invoice.subscription is None:
        return None
    return {
        "quote_details": None,
        "subscription_details": {"metadata": {}, "subscription": invoice.subscription},
        "type": "subscription_details",
    }


def _nothing() -> Json:
    null_fields = (
        "custom_fields default_payment_method default_source description footer from_invoice"
        " hosted_invoice_url invoice_pdf last_finalization_error latest_revision next_payment_attempt"
        " on_behalf_of receipt_number rendering shipping_cost shipping_details statement_descriptor test_clock"
    )
    return dict.fromkeys(null_fields.split()) | {
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
    }


def _lines(invoice: Invoice) -> Json:
    lines = [_line(invoice, line_index, *line) for line_index, line in enumerate(invoice.lines)]
    return {"object": "list", "data": lines, "has_more": False, "url": f"/v1/invoices/{invoice.id}/lines"}


def _line(invoice: Invoice, line_index: int, description: str, amount: int) -> Json:
    line_id = f"{invoice.id.removeprefix('in_')}{line_index}"
    # The same product has the same id on every invoice.
    product_id = hashlib.sha256(description.encode()).hexdigest()[:14]
    return {
        "id": f"il_{line_id}",
        "object": "line_item",
        "amount": amount,
        "currency": invoice.currency,
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice.id,
        "livemode": False,
        "metadata": {},
        "parent": _line_parent(invoice, line_id),
        "period": {"end": invoice.created, "start": invoice.created},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": f"price_{product_id}", "product": f"prod_{product_id}"},
            "type": "price_details",
            # In the minor unit, and a text.
            "unit_amount_decimal": str(amount),
        },
        "quantity": 1,
        "quantity_decimal": "1",
        "subtotal": amount,
        "taxes": [],
    }


def _line_parent(invoice: Invoice, line_id: str) -> Json:
    proration_fields = {"proration": False, "proration_details": {"credited_items": None}}
    if invoice.subscription is None:
        parent_fields = proration_fields | {"invoice_item": f"ii_{line_id}", "subscription": None}
        return {
            "invoice_item_details": parent_fields,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    parent_fields = proration_fields | {
        "invoice_item": None,
        "subscription": invoice.subscription,
        "subscription_item": f"si_{line_id}",
    }
    return {
        "invoice_item_details": None,
        "subscription_item_details": parent_fields,
        "type": "subscription_item_details",
    }


def payment_json(payment: InvoicePayment) -> Json:
    shape = {
        "id": payment.id,
        "object": "invoice_payment",
        "amount_paid": payment.amount if payment.status == "paid" else None,
        "amount_requested": payment.amount,
        "created": payment.created,
        "currency": payment.currency,
        "invoice": payment.invoice,
        "is_default": payment.is_default,
        "livemode": False,
        "payment": {"type": payment.kind, payment.kind: payment.reference},
        "status": payment.status,
        "status_transitions": {
            "canceled_at": None,
            "paid_at": payment.created if payment.status == "paid" else None,
        },
    }
    return overlaid(shape, payment.fields)


def credit_note_json(state: SandboxState, note: CreditNote) -> Json:
    shape = {
        "id": note.id,
        "object": "credit_note",
        "amount": note.amount,
        "amount_shipping": 0,
        "created": note.created,
        "currency": note.currency,
        "customer": note.customer,
        "customer_account": None,
        "customer_balance_transaction": f"cbtxn_{note.id.removeprefix('cn_')}" if note.credit_amount else None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": note.created,
        "invoice": note.invoice,
        "lines": _note_lines(note),
        "livemode": False,
        "memo": note.memo,
        "metadata": {},
        "number": note.number,
        "out_of_band_amount": note.out_of_band_amount or None,
        "pdf": f"https://pay.stripe.com/credit_notes/{note.id}/pdf",
        "post_payment_amount": note.amount - note.pre_payment_amount,
        "pre_payment_amount": note.pre_payment_amount,
        "pretax_credit_amounts": [],
        "reason": note.reason,
        "refunds": [_note_refund(refund, amount) for refund, amount in note.refunds],
        "shipping_cost": None,
        "status": note.status,
        "subtotal": note.amount,
        "subtotal_excluding_tax": note.amount,
        "total": note.amount,
        "total_excluding_tax": note.amount,
        "total_taxes": [],
        "type": _note_type(note),
        "voided_at": note.voided_at,
    }
    return overlaid(shape, note.fields)


def _note_type(note: CreditNote) -> str:
    if note.pre_payment_amount == note.amount:
        return "pre_payment"
    return "mixed" if note.pre_payment_amount else "post_payment"


def _note_refund(refund: str, amount: int) -> Json:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": refund, "type": "refund"}


def _note_lines(note: CreditNote) -> Json:
    line = {
        "id": f"cnli_{note.id.removeprefix('cn_')}",
        "object": "credit_note_line_item",
        "amount": note.amount,
        "description": note.memo or "Credit",
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "pretax_credit_amounts": [],
        "quantity": 1,
        "tax_rates": [],
        "taxes": [],
        "type": "custom_line_item",
        "unit_amount": note.amount,
        "unit_amount_decimal": str(note.amount),
    }
    return {"object": "list", "data": [line], "has_more": False, "url": f"/v1/credit_notes/{note.id}/lines"}


def record_json(payment: InvoicePayment) -> Json:
    """A payment outside Stripe that was only recorded there: Stripe cannot refund it."""
    whole_amount = {"currency": payment.currency, "value": payment.amount}
    zero_amount = whole_amount | {"value": 0}
    return {
        "id": payment.reference,
        "object": "payment_record",
        "amount": whole_amount,
        "amount_authorized": whole_amount,
        "amount_canceled": zero_amount,
        "amount_failed": zero_amount,
        "amount_guaranteed": whole_amount,
        "amount_refunded": zero_amount,
        "amount_requested": whole_amount,
        "application": None,
        "created": payment.created,
        "customer_details": None,
        "customer_presence": None,
        "description": f"Bank transfer of {to_major('stripe', payment.amount, payment.currency)}",
        "latest_payment_attempt_record": None,
        "livemode": False,
        "metadata": {},
        "payment_method_details": None,
        "processor_details": {"custom": {"payment_reference": payment.reference}, "type": "custom"},
        "reported_by": "self",
        "shipping_details": None,
    }


def associated(state: SandboxState, payment_object: Json) -> Json | None:
    recorded_payments = state.invoice_payments.naming(payment_object.get("payment_record", ""))
    return record_json(recorded_payments[0]) if recorded_payments else None
