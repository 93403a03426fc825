"""Stripe's invoices and invoice payments: read, void, mark uncollectible."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from refundcli.sandbox.core.exchange import Call, Operation
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.records import Invoice, InvoicePayment
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.events import invoice_moved
from refundcli.sandbox.stripe.expand import expand
from refundcli.sandbox.stripe.form import Check, Params, checked, one_of, refuse, text, texts, time_range
from refundcli.sandbox.stripe.invoice_objects import credit_note_json, invoice_json, payment_json
from refundcli.sandbox.stripe.reads import PAGING, find, listing, showing

INVOICES: dict[str, Check] = {
    **PAGING,
    "status": one_of("draft", "open", "paid", "uncollectible", "void"),
    "customer": text,
    "customer_account": text,
    "subscription": text,
    "collection_method": one_of("charge_automatically", "send_invoice"),
    "due_date": time_range,
}
# The vendor has no look-up by charge.
PAYMENT: dict[str, Check] = {
    "type": one_of("payment_intent", "payment_record"),
    "payment_intent": text,
    "payment_record": text,
}


def _payment(name: str, value: Any) -> Params:
    if not isinstance(value, dict):
        raise refuse("Invalid object", param=name)
    payment = checked(value, PAYMENT)
    if "type" not in payment:
        raise refuse("Missing required param: payment[type].", code="parameter_missing", param="payment[type]")
    return payment


INVOICE_PAYMENTS: dict[str, Check] = {
    **PAGING,
    "invoice": text,
    "payment": _payment,
    "status": one_of("canceled", "open", "paid"),
}

CREDIT_NOTES: dict[str, Check] = {**PAGING, "invoice": text, "customer": text, "customer_account": text}


def _is_listed(invoice: Invoice, params: Params) -> bool:
    exact_fields = ("status", "customer", "subscription", "collection_method")
    if "customer_account" in params or not all(
        params.get(name) in (None, getattr(invoice, name)) for name in exact_fields
    ):
        return False
    due_date, due_date_bounds = invoice.due_date, params.get("due_date", {})
    return not due_date_bounds or (
        due_date is not None and all(HOLDS[name](due_date, bound) for name, bound in due_date_bounds.items())
    )


HOLDS: dict[str, Callable[[int, int], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _find(state: SandboxState, invoice_id: str) -> Invoice:
    return find(state.invoices, "invoice", invoice_id, "invoice")


def void_invoice(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return _move(state, call, "void", frozenset(["open", "uncollectible"]))


def mark_uncollectible(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return _move(state, call, "uncollectible", frozenset(["open"]))


def _move(state: SandboxState, call: Call, new_status: str, allowed_statuses: frozenset[str]) -> Operation:
    params = checked(call.params, {"expand": texts})

    def answer() -> Answer:
        invoice = _find(state, call.path_params["id"])
        if invoice.status not in allowed_statuses:
            raise refuse(
                f"Invoice {invoice.id} is {invoice.status}: only one that is {' or '.join(sorted(allowed_statuses))}"
                f" can become {new_status}."
            )
        # A request that fails to expand changes nothing.
        expand(state, invoice_json(state, invoice), params.get("expand", []))
        status_before, invoice.status = invoice.status, new_status
        changed_at = int(state.now())
        if new_status == "void":
            invoice.voided_at = changed_at
        else:
            invoice.marked_uncollectible_at = changed_at
        invoice_moved(state, invoice, status_before, call.key)
        return Answer(200, expand(state, invoice_json(state, invoice), params.get("expand", [])))

    return answer


def _named_in_payments(state: SandboxState, params: Params) -> str | None:
    """The invoice, which must exist, or the payment."""
    return _find(state, params["invoice"]).id if "invoice" in params else _named_payment(params)


def _named_in_notes(state: SandboxState, params: Params) -> str | None:
    """The invoice, which must exist, or the customer."""
    return _find(state, params["invoice"]).id if "invoice" in params else params.get("customer")


def _named_payment(params: Params) -> str | None:
    payment = params.get("payment", {})
    payment_reference: str | None = payment.get(payment.get("type"))
    return payment_reference


def _is_paid_by(payment: InvoicePayment, params: Params) -> bool:
    payment_kind = params.get("payment", {}).get("type")
    matches_status_and_kind = params.get("status") in (None, payment.status) and payment_kind in (None, payment.kind)
    return matches_status_and_kind and _named_payment(params) in (None, payment.reference)


show_invoice = showing(lambda state, invoice_id: invoice_json(state, _find(state, invoice_id)))
show_invoice_payment = showing(
    lambda state, payment_id: payment_json(
        find(state.invoice_payments, "invoice_payment", payment_id, "invoice_payment")
    )
)
show_credit_note = showing(
    lambda state, note_id: credit_note_json(state, find(state.credit_notes, "credit_note", note_id))
)
list_invoices = listing(
    "/v1/invoices",
    INVOICES,
    lambda state: state.invoices,
    invoice_json,
    naming=lambda _, params: params.get("subscription", params.get("customer")),
    matches=_is_listed,
)
list_invoice_payments = listing(
    "/v1/invoice_payments",
    INVOICE_PAYMENTS,
    lambda state: state.invoice_payments,
    lambda _, payment: payment_json(payment),
    naming=_named_in_payments,
    matches=_is_paid_by,
)
list_credit_notes = listing(
    "/v1/credit_notes",
    CREDIT_NOTES,
    lambda state: state.credit_notes,
    credit_note_json,
    naming=_named_in_notes,
    matches=lambda note, params: "customer_account" not in params and params.get("customer") in (None, note.customer),
)
