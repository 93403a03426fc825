"""Creates Stripe invoices with their payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refundcli.sandbox.core import changes
from refundcli.sandbox.core.records import CreditNote, Invoice, InvoicePayment, PaymentKind, new_id
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe import events
from refundcli.sandbox.stripe.invoice_objects import amount_remaining
from refundcli.sandbox.stripe.patch import invoice_of

STATUSES = ("draft", "open", "paid", "uncollectible", "void")
KINDS: tuple[PaymentKind, ...] = ("payment_intent", "charge", "payment_record")
GIVEN = frozenset(
    {
        "id",
        "number",
        "currency",
        "total",
        "status",
        "customer",
        "customer_email",
        "customer_name",
        "payments",
        "products",
    }
    | {"customer_email", "subscription", "collection_method", "created", "due_date", "starting_balance", "fields"}
)
NOTE_GIVEN = frozenset(
    {"id", "number", "invoice", "amount", "refund_amount", "refunds", "credit_amount", "out_of_band_amount"}
    | {"reason", "memo", "fields"}
)


@dataclass(frozen=True, slots=True)
class InvoiceIds:
    """`payments` are the references, in order: pi_…, ch_… or pr_…."""

    id: str
    number: str
    customer: str
    payments: tuple[str, ...]


def make_invoice(state: SandboxState, body: Mapping[str, Any]) -> InvoiceIds:
    """As `POST /_sandbox/invoices` describes it; amounts are in Stripe's minor units.

    A paid invoice without `payments` gets one payment_intent over what is due. Each of `payments` has an
    `amount` (this invoice's share), a `kind` and the rest of what a charge may have; one with the `reference` of
    a payment that exists is linked to that, so that one payment may pay several invoices. `payment_amount` makes a
    payment of more than this invoice's share.
    """
    unknown_fields = set(body) - GIVEN
    if unknown_fields or not {"currency", "total"} <= set(body):
        raise ValueError(f"an invoice needs currency and total and knows {', '.join(sorted(GIVEN))}")
    with state.lock:
        invoice = _invoice(state, body)
        payment_bodies = body.get("payments")
        if payment_bodies is None:
            due_amount = max(0, invoice.total + invoice.starting_balance)
            payment_bodies = [{"amount": due_amount}] if invoice.status == "paid" and due_amount else []
        # An invoice that cannot be paid this way is not created at all.
        payments = [
            _payment(state, invoice, payment, is_default=not index) for index, payment in enumerate(payment_bodies)
        ]
        state.invoices[invoice.id] = invoice
        for payment in payments:
            state.invoice_payments[payment.id] = payment
        if invoice.status == "paid":
            events.invoice_moved(state, invoice)
        return InvoiceIds(
            invoice.id, invoice.number, invoice.customer, tuple(payment.reference for payment in payments)
        )


def _invoice(state: SandboxState, body: Mapping[str, Any]) -> Invoice:
    status = body.get("status", "paid")
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}: one of {', '.join(STATUSES)}")
    created = int(body.get("created") or state.now())
    invoice_id = body.get("id") or new_id("in")
    if invoice_id in state.invoices:
        raise ValueError(f"{invoice_id} exists already")
    return Invoice(
        id=invoice_id,
        number=body.get("number") or f"SBX-{len(state.invoices) + 1:04}",
        currency=body["currency"].lower(),
        total=body["total"],
        status=status,
        customer=body.get("customer") or new_id("cus", 14),
        customer_email=body.get("customer_email"),
        customer_name=body.get("customer_name"),
        created=created,
        subscription=body.get("subscription"),
        collection_method=body.get("collection_method", "charge_automatically"),
        due_date=body.get("due_date"),
        finalized_at=None if status == "draft" else created,
        paid_at=created if status == "paid" else None,
        voided_at=created if status == "void" else None,
        marked_uncollectible_at=created if status == "uncollectible" else None,
        lines=_lines(body.get("products") or ["Service"], body["total"]),
        starting_balance=body.get("starting_balance", 0),
        fields=dict(body.get("fields") or {}),
    )


def _lines(products: Sequence[str], total: int) -> list[tuple[str, int]]:
    """Split evenly; the remainder goes to the first line."""
    line_amount = total // len(products)
    amounts = [total - line_amount * (len(products) - 1)] + [line_amount] * (len(products) - 1)
    return list(zip(products, amounts, strict=True))


def _payment(state: SandboxState, invoice: Invoice, body: Mapping[str, Any], *, is_default: bool) -> InvoicePayment:
    options = dict(body)
    payment_kind = options.pop("kind", "payment_intent")
    if payment_kind not in KINDS:
        raise ValueError(f"unknown kind {payment_kind!r}: one of {', '.join(KINDS)}")
    amount, status = options.pop("amount"), options.pop("status", None)
    reference, is_captured = _paid_with(state, invoice, payment_kind, amount, options)
    return InvoicePayment(
        id=new_id("inpay"),
        invoice=invoice.id,
        kind=payment_kind,
        reference=reference,
        amount=amount,
        currency=invoice.currency,
        created=invoice.created,
        status=status or ("paid" if is_captured else "open"),
        is_default=is_default,
    )


def _paid_with(
    state: SandboxState, invoice: Invoice, payment_kind: PaymentKind, amount: int, options: dict[str, Any]
) -> tuple[str, bool]:
    """The payment's reference, and whether it is captured."""
    if payment_kind == "payment_record":
        return options.get("reference") or new_id("pr"), True
    reference = options.get("reference")
    if not reference or (reference not in state.charges and state.charge_of_intent(reference) is None):
        if not reference and payment_kind == "charge":
            options["reference"] = new_id("ch")
        charge_fields = {"currency": invoice.currency, "created": invoice.created, "customer": invoice.customer}
        charge_fields |= {
            "amount": options.pop("payment_amount", amount),
            "description": f"Payment for Invoice {invoice.number}",
        }
        reference = changes.make_payment(state, charge_fields | options).reference
    return reference, state.find_charge(reference).captured


def make_credit_note(state: SandboxState, body: Mapping[str, Any]) -> CreditNote:
    """As `POST /_sandbox/credit_notes` describes it; amounts are in Stripe's minor units.

    Of its `amount`, what is still to be paid is taken off the invoice first. The rest is the sum of
    `refund_amount` (a new refund), `refunds` ({"refund": "re_…", "amount_refunded": 100}),
    `out_of_band_amount` and `credit_amount`: credit to the customer's balance, the default for all of it.
    ValueError where they do not add up (docs.stripe.com/api/credit_notes/create).
    """
    unknown_fields = set(body) - NOTE_GIVEN
    if unknown_fields or not {"invoice", "amount"} <= set(body):
        raise ValueError(f"a credit note needs invoice and amount and knows {', '.join(sorted(NOTE_GIVEN))}")
    with state.lock:
        invoice = invoice_of(state, body["invoice"])
        if invoice is None:
            raise ValueError(f"no invoice {body['invoice']}")
        credit_note = _credit_note(state, invoice, body)
        balance_credit = (
            credit_note.amount - credit_note.pre_payment_amount - sum(amount for _, amount in credit_note.refunds)
        )
        balance_credit -= credit_note.out_of_band_amount + body.get("refund_amount", 0)
        credit_note.credit_amount = body.get("credit_amount", balance_credit)
        if credit_note.credit_amount != balance_credit or balance_credit < 0:
            raise ValueError("refunds, credit and out-of-band amounts must add up to the amount after payment")
        if body.get("refund_amount"):
            credit_note.refunds.append((_refund_of(state, invoice, body["refund_amount"]), body["refund_amount"]))
        state.credit_notes[credit_note.id] = credit_note
        events.credit_note_changed(state, credit_note, "created")
        return credit_note


def _credit_note(state: SandboxState, invoice: Invoice, body: Mapping[str, Any]) -> CreditNote:
    refunds = [
        (linked_refund["refund"], linked_refund["amount_refunded"]) for linked_refund in body.get("refunds") or []
    ]
    for refund_id, _ in refunds:
        if refund_id not in state.refunds:
            raise ValueError(f"no refund {refund_id}")
    return CreditNote(
        id=body.get("id") or new_id("cn"),
        number=body.get("number") or f"{invoice.number}-CN-{len(state.credit_notes) + 1:02}",
        invoice=invoice.id,
        customer=invoice.customer,
        amount=body["amount"],
        currency=invoice.currency,
        created=int(state.now()),
        pre_payment_amount=min(body["amount"], amount_remaining(state, invoice)),
        out_of_band_amount=body.get("out_of_band_amount", 0),
        refunds=refunds,
        reason=body.get("reason"),
        memo=body.get("memo"),
        fields=dict(body.get("fields") or {}),
    )


def _refund_of(state: SandboxState, invoice: Invoice, amount: int) -> str:
    refundable_payments = [
        payment for payment in state.invoice_payments.naming(invoice.id) if payment.kind != "payment_record"
    ]
    if not refundable_payments:
        raise ValueError(f"invoice {invoice.number} has no payment to refund")
    return changes.dashboard_refund(state, refundable_payments[0].reference, amount)


def void_credit_note(state: SandboxState, note_id: str) -> CreditNote:
    """Voids only the credit note; its linked refunds stay."""
    with state.lock:
        credit_note = state.credit_notes[note_id]
        credit_note.status, credit_note.voided_at = "void", int(state.now())
        events.credit_note_changed(state, credit_note, "voided")
        return credit_note
