"""What `invoice list --all` writes, read again: derived values are left out, the others get the names of an import."""

from collections.abc import Mapping
from typing import Any

from refundcli.files.invoices.billing import LINES
from refundcli.files.invoices.rows import PAYMENTS
from refundcli.files.json_lines import Record

NAME = "refundcli-list"
# Derived from the others, so they show where a list comes from.
_DERIVED = ("paid", "refunded", "reserved", "refundable")
_SAME = (
    "number", "customer", "customer_name", "currency", "issued_on", "due_on", "paid_on", "invoice_reference",
    "products", "subscription", "customer_email",
)  # fmt: skip
_OF_CUSTOMER = ("customer_address", "customer_country", "customer_vat_id")
_OF_PAYMENT = ("payment_method", "provider", "payment_reference", "auto_refundable", "processing", "dispute_amount")
# The status follows from the amounts; a dispute in an unknown state is treated like an open one.
_STATUSES = {word: word for word in ("draft", "open", "paid", "void", "uncollectible")} | {"refunded": "paid"}
_DISPUTES = {"open": "open", "won": "won", "lost": "lost", "unknown": "open"}

TABLE: Mapping[str, Any] = {
    "signature": ["number", "customer", "currency", "total", "status", "issued_on", *_DERIVED],
    **{column: column for column in (*_SAME, *_OF_PAYMENT, "total", "refunded_amount", "card_last4", "card_brand")},
    **{column: column for column in (*_OF_CUSTOMER, LINES)},
    "paid_amount": "paid",
    "status": {"column": "status", "values": _STATUSES},
    "dispute": {"column": "dispute", "values": _DISPUTES},
    PAYMENTS: PAYMENTS,
}


def is_listed(record: Record) -> bool:
    return record.keys() >= set(_DERIVED)


def from_listed(record: Record) -> Record:
    """An object of `-o json` or `-o ndjson` as an import has it."""
    payments, billing = record.get("payments"), record.get("billing") or {}
    address = billing.get("address")
    return {
        **{key: record.get(key) for key in _SAME},
        "total": _amount(record.get("total")),
        "status": _STATUSES.get(str(record.get("status")), record.get("status")),
        PAYMENTS: [_payment(payment) for payment in payments if isinstance(payment, dict)]
        if isinstance(payments, list)
        else [],
        "customer_address": str(address).replace("\n", "; ") if address else None,
        "customer_country": billing.get("country"),
        "customer_vat_id": billing.get("vat_id"),
        LINES: [_line(line) for line in billing.get("lines") or []],
    }


def _line(line: Record) -> Record:
    has_tax = line.get("tax_category") is not None
    described = {key: line.get(key) for key in ("tax_rate", "tax_category", "tax_exemption")}
    tax = {"tax_amount": _amount(line.get("tax_amount")), **described} if has_tax else {}
    return {"name": line.get("name"), "amount": _amount(line.get("amount")), **tax}


def _payment(payment: Record) -> Record:
    is_shared = bool(payment.get("shared_with"))
    return {
        "paid_on": payment.get("paid_on"),
        "paid_amount": _amount(payment.get("allocated")),
        "payment_method": payment.get("method"),
        "provider": payment.get("provider"),
        "payment_reference": None if is_shared else payment.get("reference"),
        "auto_refundable": bool(payment.get("auto_refundable")) and not is_shared,
        "processing": payment.get("processing"),
        "dispute": _DISPUTES.get(str(payment.get("dispute")), payment.get("dispute")),
        "dispute_amount": _amount(payment.get("disputed")),
        "refunded_amount": _amount(payment.get("given_back")),
        "card_last4": payment.get("card_last4"),
        "card_brand": payment.get("card_brand"),
    }


def _amount(money: Any) -> str:
    return str(money.get("amount", "")) if isinstance(money, dict) else ""
