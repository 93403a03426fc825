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
    same = ("status", "customer", "subscription", "collection_method")
    if "customer_account" in params or not all(params.get(name) in (None, getattr(invoice, name)) for name in same):
        return False
    due, bounds = invoice.due_date, params.get("due_date", {})
    return not bounds or (due is not None and all(HOLDS[name](due, bound) for name, bound in bounds.items()))


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


def _move(state: SandboxState, call: Call, to: str, allowed: frozenset[str]) -> Operation:
    params = checked(call.params, {"expand": texts})

    def answer() -> Answer:
        invoice = _find(state, call.path_params["id"])
        if invoice.status not in allowed:
            raise refuse(
                f"Invoice {invoice.id} is {invoice.status}: only one that is {' or '.join(sorted(allowed))}"
                f" can become {to}."
            )
        # A request that fails to expand changes nothing.
        expand(state, invoice_json(state, invoice), params.get("expand", []))
        before, invoice.status = invoice.status, to
        when = int(state.now())
        if to == "void":
            invoice.voided_at = when
        else:
            invoice.marked_uncollectible_at = when
        invoice_moved(state, invoice, before, call.key)
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
    named: str | None = payment.get(payment.get("type"))
    return named


def _is_paid_by(payment: InvoicePayment, params: Params) -> bool:
    kind = params.get("payment", {}).get("type")
    same = params.get("status") in (None, payment.status) and kind in (None, payment.kind)
    return same and _named_payment(params) in (None, payment.reference)


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
