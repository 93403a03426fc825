"""A list of invoices as a table for programs: what people ask for first, then all that an import of it needs."""

import json

from refundcli.domain.currencies import Currency
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.tax.billing import BilledLine, billing_of

_OF_ONE_PAYMENT = (
    "payment_method", "provider", "payment_reference", "auto_refundable", "processing", "dispute", "dispute_amount",
    "refunded_amount", "card_last4", "card_brand",
)  # fmt: skip
INVOICE_COLUMNS = (
    "number", "status", "customer", "customer_name", "currency", "total", "paid", "refunded", "reserved", "refundable",
    "issued_on", "due_on", "paid_on", "customer_email", "products", "subscription", "invoice_reference",
    *_OF_ONE_PAYMENT, "payments", "customer_address", "customer_country", "customer_vat_id", "lines",
)  # fmt: skip
AMOUNT_COLUMNS = ("total", "paid", "refunded", "reserved", "refundable", "dispute_amount", "refunded_amount")
TEXT_COLUMNS = tuple(column for column in INVOICE_COLUMNS if column not in AMOUNT_COLUMNS)


def invoice_row(invoice: Invoice) -> tuple[str, ...]:
    """For `-o csv` and pipes: codes and plain numbers, as in JSON. Several payments are one cell, `payments`."""
    payments = [_payment_cells(payment) for payment in invoice.payments]
    one_payment = payments[0] if len(payments) == 1 else {}
    billing = billing_of(invoice.billing)
    return (
        invoice.number,
        invoice.status,
        invoice.customer,
        invoice.customer_name,
        invoice.currency.code,
        invoice.total.number,
        invoice.paid.number,
        invoice.refunded.number,
        invoice.reserved.number,
        invoice.refundable.number,
        str(invoice.issued_on),
        str(invoice.due_on or ""),
        str(invoice.paid_on or ""),
        invoice.customer_email,
        ";".join(invoice.products),
        invoice.subscription,
        invoice.invoice_reference or "",
        *(one_payment.get(column, "") for column in _OF_ONE_PAYMENT),
        _json(payments) if len(payments) > 1 else "",
        billing.address.replace("\n", "; "),
        billing.country,
        billing.vat_id,
        _json([_line_cells(line, invoice.currency) for line in billing.lines]),
    )


def given_back(payment: Payment) -> Money:
    """All that an importer must not give back again, whoever gave it; with what is being given back now."""
    minor = payment.refunded.minor + payment.refunded_externally.minor + payment.reserved.minor
    return Money(minor, payment.allocated.currency)


def disputed_amount(payment: Payment) -> Money | None:
    """None without a dispute, and where it is about the whole payment."""
    return next((dispute.amount for dispute in payment.disputes if dispute.amount), None) if payment.dispute else None


def _payment_cells(payment: Payment) -> dict[str, str]:
    """In the columns of an import. A payment of several invoices cannot be imported as theirs, so it stays outside."""
    is_shared = bool(payment.other_shares)
    returned, disputed = given_back(payment), disputed_amount(payment)
    cells = {
        "paid_on": str(payment.paid_on or ""),
        "paid_amount": payment.allocated.number,
        "payment_method": payment.method,
        "provider": payment.provider or "",
        "payment_reference": "" if is_shared else payment.reference or "",
        "auto_refundable": "true" if payment.auto_refundable and not is_shared else "false",
        "processing": "true" if payment.processing else "",
        "dispute": payment.dispute or "",
        "dispute_amount": disputed.number if disputed else "",
        "refunded_amount": returned.number if returned.minor else "",
        "card_last4": payment.card_last4,
        "card_brand": payment.card_brand,
    }
    return {column: cell for column, cell in cells.items() if cell}


def _line_cells(line: BilledLine, unit: Currency) -> dict[str, str]:
    cells = {
        "name": line.name,
        "amount": Money(line.amount, unit).number,
        "tax_rate": line.rate if line.category else "",
        "tax_amount": Money(line.tax, unit).number if line.category else "",
        "tax_category": line.category or "",
        "tax_exemption": line.exemption,
    }
    return {column: cell for column, cell in cells.items() if cell}


def _json(objects: list[dict[str, str]]) -> str:
    return json.dumps(objects, ensure_ascii=False) if objects else ""
