"""Stripe invoices made to order, with the payments they were paid with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import changes, stripe_events
from .records import Invoice, InvoicePayment, PaymentKind, new_id
from .state import SandboxState

STATUSES = ("draft", "open", "paid", "uncollectible", "void")
KINDS: tuple[PaymentKind, ...] = ("payment_intent", "charge", "payment_record")
GIVEN = frozenset(
    {"id", "number", "currency", "total", "status", "customer", "customer_name", "payments", "products"}
    | {"subscription", "collection_method", "created", "due_date"}
)


@dataclass(frozen=True, slots=True)
class MadeInvoice:
    """`payments` are the references, in order: pi_…, ch_… or pr_…."""

    id: str
    number: str
    customer: str
    payments: tuple[str, ...]


def make_invoice(state: SandboxState, given: Mapping[str, Any]) -> MadeInvoice:
    """As `POST /_sandbox/invoices` describes it; amounts are in Stripe's minor units.

    A paid invoice without `payments` gets one payment_intent over its total. Each of `payments` has an
    `amount`, a `kind` and the rest of what a charge may have; one with the `reference` of a payment that
    exists is linked to that.
    """
    unknown = set(given) - GIVEN
    if unknown or not {"currency", "total"} <= set(given):
        raise ValueError(f"an invoice needs currency and total and knows {', '.join(sorted(GIVEN))}")
    with state.lock:
        invoice = _invoice(state, given)
        wanted = given.get("payments")
        if wanted is None:
            wanted = [{"amount": invoice.total}] if invoice.status == "paid" and invoice.total else []
        # What cannot be paid so is not made at all.
        made = [_payment(state, invoice, payment, first=not index) for index, payment in enumerate(wanted)]
        state.invoices[invoice.id] = invoice
        for payment in made:
            state.invoice_payments[payment.id] = payment
        if invoice.status == "paid":
            stripe_events.invoice_moved(state, invoice)
        return MadeInvoice(invoice.id, invoice.number, invoice.customer, tuple(p.reference for p in made))


def _invoice(state: SandboxState, given: Mapping[str, Any]) -> Invoice:
    status = given.get("status", "paid")
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}: one of {', '.join(STATUSES)}")
    created = int(given.get("created") or state.now())
    own = given.get("id") or new_id("in")
    if own in state.invoices:
        raise ValueError(f"{own} exists already")
    return Invoice(
        id=own,
        number=given.get("number") or f"SBX-{len(state.invoices) + 1:04}",
        currency=given["currency"].lower(),
        total=given["total"],
        status=status,
        customer=given.get("customer") or new_id("cus", 14),
        customer_name=given.get("customer_name"),
        created=created,
        subscription=given.get("subscription"),
        collection_method=given.get("collection_method", "charge_automatically"),
        due_date=given.get("due_date"),
        finalized_at=None if status == "draft" else created,
        paid_at=created if status == "paid" else None,
        voided_at=created if status == "void" else None,
        marked_uncollectible_at=created if status == "uncollectible" else None,
        lines=_lines(given.get("products") or ["Service"], given["total"]),
    )


def _lines(products: Sequence[str], total: int) -> list[tuple[str, int]]:
    """Evenly, and what is left over with the first."""
    each = total // len(products)
    amounts = [total - each * (len(products) - 1)] + [each] * (len(products) - 1)
    return list(zip(products, amounts, strict=True))


def _payment(state: SandboxState, invoice: Invoice, given: Mapping[str, Any], *, first: bool) -> InvoicePayment:
    wanted = dict(given)
    kind = wanted.pop("kind", "payment_intent")
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: one of {', '.join(KINDS)}")
    amount = wanted.pop("amount")
    reference, paid = _paid_with(state, invoice, kind, amount, wanted)
    return InvoicePayment(
        id=new_id("inpay"),
        invoice=invoice.id,
        kind=kind,
        reference=reference,
        amount=amount,
        currency=invoice.currency,
        created=invoice.created,
        status="paid" if paid else "open",
        is_default=first,
    )


def _paid_with(
    state: SandboxState, invoice: Invoice, kind: PaymentKind, amount: int, wanted: dict[str, Any]
) -> tuple[str, bool]:
    """The reference of the payment, and whether the money is there."""
    if kind == "payment_record":
        return wanted.get("reference") or new_id("pr"), True
    reference = wanted.get("reference")
    if not reference or (reference not in state.charges and state.charge_of_intent(reference) is None):
        if not reference and kind == "charge":
            wanted["reference"] = new_id("ch")
        told = {"currency": invoice.currency, "created": invoice.created, "customer": invoice.customer}
        told |= {"amount": amount, "description": f"Payment for Invoice {invoice.number}"}
        reference = changes.make_payment(state, told | wanted).reference
    return reference, state.find_charge(reference).captured
