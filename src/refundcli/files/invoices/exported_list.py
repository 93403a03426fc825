"""What `invoice list --all` writes, read again: derived values are left out, the others get the names of an import.

Only a whole list is one: a part of it, or another answer, may not say what was given back, and would make it
refundable again (R2).
"""

from collections.abc import Mapping, Set
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

_PLAIN = (
    *_SAME, *_OF_PAYMENT, "total", "refunded_amount", "card_last4", "card_brand", *_OF_CUSTOMER, LINES, PAYMENTS,
)  # fmt: skip
# All columns of the table.
SIGNATURE = (*_PLAIN, "status", "dispute", *_DERIVED)
TABLE: Mapping[str, Any] = {
    "signature": list(SIGNATURE),
    **{column: column for column in _PLAIN},
    "paid_amount": "paid",
    "status": {"column": "status", "values": _STATUSES},
    "dispute": {"column": "dispute", "values": _DISPUTES},
}
_KEYS = {*_SAME, *_DERIVED, "total", "status", "billing", PAYMENTS}
_KEYS_OF_PAYMENT = {
    "reference", "provider", "method", "card_last4", "card_brand", "paid_on", "allocated", "given_back",
    "auto_refundable", "processing", "dispute", "disputed", "shared_with",
}  # fmt: skip


def is_listed_table(columns: Set[str]) -> bool:
    return columns >= set(SIGNATURE)


def is_listed(record: Record) -> bool:
    """Anything else that has such keys is read as it is, and refused for the keys that an import does not know."""
    payments = record.get(PAYMENTS)
    return record.keys() >= _KEYS and isinstance(payments, list) and all(map(_is_listed_payment, payments))


def _is_listed_payment(payment: Any) -> bool:
    return (
        isinstance(payment, dict)
        and payment.keys() == _KEYS_OF_PAYMENT
        and all(isinstance(payment[key], dict) for key in ("allocated", "given_back"))
    )


def from_listed(record: Record) -> Record:
    """An object of `-o json` or `-o ndjson` as an import has it."""
    billing = record["billing"] or {}
    address = billing.get("address")
    return {
        **{key: record.get(key) for key in _SAME},
        "total": _amount(record.get("total")),
        "status": _STATUSES.get(str(record.get("status")), record.get("status")),
        PAYMENTS: list(map(_payment, record[PAYMENTS])),
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


def _amount(money: Any) -> Any:
    """Anything that is not written by a list stays as it is, and is refused by its type."""
    return money["amount"] if isinstance(money, dict) and "amount" in money else money
