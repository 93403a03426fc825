"""Stripe's invoices and invoice payments: read, void, mark uncollectible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refundcli.sandbox.core.exchange import Call, Operation
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import Answer
from refundcli.sandbox.core.record_table import PageRequest
from refundcli.sandbox.core.records import CreditNote, Invoice, InvoicePayment, Json
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe.events import invoice_moved
from refundcli.sandbox.stripe.expand import expand
from refundcli.sandbox.stripe.form import Check, Params, checked, one_of, refuse, text, texts, time_range
from refundcli.sandbox.stripe.invoice_objects import credit_note_json, invoice_json, payment_json
from refundcli.sandbox.stripe.reads import PAGING, cursors, listed, missing, show

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


def list_invoices(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, INVOICES)

    def answer() -> Answer:
        page_request: PageRequest[Invoice] = PageRequest(
            **cursors(params, state.invoices),
            naming=params.get("subscription", params.get("customer")),
            matches=lambda invoice: _is_listed(invoice, params),
        )
        return listed(
            state,
            "/v1/invoices",
            state.invoices,
            page_request,
            lambda listed_invoice: invoice_json(state, listed_invoice),
            params,
        )

    return answer


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
    "gt": lambda due, bound: due > bound,
    "gte": lambda due, bound: due >= bound,
    "lt": lambda due, bound: due < bound,
    "lte": lambda due, bound: due <= bound,
}


def _find(state: SandboxState, invoice_id: str) -> Invoice:
    if invoice_id not in state.invoices:
        raise missing("invoice", invoice_id, "invoice")
    return state.invoices[invoice_id]


def show_invoice(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    return show(lambda state, invoice_id: invoice_json(state, _find(state, invoice_id)), state, call, {})


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


def list_invoice_payments(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, INVOICE_PAYMENTS)

    def answer() -> Answer:
        if "invoice" in params:
            _find(state, params["invoice"])
        page_request: PageRequest[InvoicePayment] = PageRequest(
            **cursors(params, state.invoice_payments),
            naming=params.get("invoice") or _named_payment(params),
            matches=lambda payment: _is_paid_by(payment, params),
        )
        return listed(state, "/v1/invoice_payments", state.invoice_payments, page_request, payment_json, params)

    return answer


def _named_payment(params: Params) -> str | None:
    payment = params.get("payment", {})
    payment_reference: str | None = payment.get(payment.get("type"))
    return payment_reference


def _is_paid_by(payment: InvoicePayment, params: Params) -> bool:
    payment_kind = params.get("payment", {}).get("type")
    matches_status_and_kind = params.get("status") in (None, payment.status) and payment_kind in (None, payment.kind)
    return matches_status_and_kind and _named_payment(params) in (None, payment.reference)


def show_invoice_payment(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    def find(state: SandboxState, payment_id: str) -> Json:
        if payment_id not in state.invoice_payments:
            raise missing("invoice_payment", payment_id, "invoice_payment")
        return payment_json(state.invoice_payments[payment_id])

    return show(find, state, call, {})


def list_credit_notes(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    params = checked(call.params, CREDIT_NOTES)

    def answer() -> Answer:
        if "invoice" in params:
            _find(state, params["invoice"])
        page_request: PageRequest[CreditNote] = PageRequest(
            **cursors(params, state.credit_notes),
            naming=params.get("invoice", params.get("customer")),
            matches=lambda note: "customer_account" not in params and params.get("customer") in (None, note.customer),
        )
        return listed(
            state,
            "/v1/credit_notes",
            state.credit_notes,
            page_request,
            lambda note: credit_note_json(state, note),
            params,
        )

    return answer


def show_credit_note(state: SandboxState, call: Call, fault: Fault | None) -> Operation:
    def find(state: SandboxState, note_id: str) -> Json:
        if note_id not in state.credit_notes:
            raise missing("credit_note", note_id, "id")
        return credit_note_json(state, state.credit_notes[note_id])

    return show(find, state, call, {})
