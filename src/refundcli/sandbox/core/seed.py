"""Creates the payments of an invoices file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from refundcli.sandbox.core.exponents import Provider, to_minor
from refundcli.sandbox.core.state import PaymentIds, SandboxState

TRUE_WORDS = frozenset(["true", "yes", "1"])
DISPUTES = {"open": "needs_response", "won": "won", "lost": "lost"}
# Fields that a payment in JSON Lines inherits from its invoice.
INHERITED = (
    "number",
    "currency",
    "provider",
    "status",
    "payment_reference",
    "processing",
    "dispute",
    "dispute_amount",
)


@dataclass(slots=True)
class SeedReport:
    """The payments created, and why rows were skipped."""

    payments: list[PaymentIds] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def seed_file(state: SandboxState, path: str | Path) -> SeedReport:
    """CSV, or JSON Lines where the name or the first character says so."""
    return seed_payments(state, read_rows(Path(path)))


def read_rows(path: Path) -> list[dict[str, Any]]:
    file_text = path.read_text(encoding="utf-8-sig")
    if path.suffix in (".jsonl", ".ndjson", ".json") or file_text.lstrip().startswith("{"):
        lines = (line for line in file_text.split("\n") if line.strip())
        rows = [json.loads(line, parse_float=Decimal) for line in lines]
        return [row for row in rows if isinstance(row, dict)]
    return [dict(row) for row in csv.DictReader(io.StringIO(file_text, newline=""))]


def seed_payments(state: SandboxState, rows: Iterable[Mapping[str, Any]]) -> SeedReport:
    report = SeedReport()
    for row_number, row in enumerate(rows, start=1):
        for payment_row in _payments(row):
            try:
                payment_ids = _seed(state, payment_row)
            except ValueError as problem:
                report.skipped.append(f"row {row_number}: {problem}")
            else:
                report.payments.extend([payment_ids] if payment_ids else [])
    return report


def _payments(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    payment_rows = row.get("payments")
    if not isinstance(payment_rows, list):
        yield row
        return
    inherited_fields = {name: row[name] for name in INHERITED if name in row}
    for payment_fields in payment_rows:
        if isinstance(payment_fields, Mapping):
            payment_row = {**inherited_fields, **payment_fields}
            payment_row.setdefault("paid_amount", payment_fields.get("amount") or payment_fields.get("captured"))
            yield payment_row


def _seed(state: SandboxState, row: Mapping[str, Any]) -> PaymentIds | None:
    provider, reference = _provider(row), _word(row, "payment_reference")
    if provider is None or not reference:
        return None
    currency = _word(row, "currency")
    processing = _word(row, "processing").lower() in TRUE_WORDS
    paid_amount = _word(row, "paid_amount") or (_word(row, "total") if _word(row, "status") == "paid" else "")
    amount = to_minor(provider, paid_amount or _word(row, "total"), currency)
    captured = bool(paid_amount) and not processing
    with state.lock:
        payment = _make(state, provider, reference, amount, row, is_captured=captured, is_processing=processing)
        _dispute(state, provider, payment, row, currency)
        _refund(state, provider, payment, row, currency)
    return payment


def _make(
    state: SandboxState,
    provider: Provider,
    reference: str,
    amount: int,
    row: Mapping[str, Any],
    *,
    is_captured: bool,
    is_processing: bool,
) -> PaymentIds:
    currency, invoice_number = _word(row, "currency"), _word(row, "number") or None
    if provider == "adyen":
        return state.add_adyen_payment(
            amount,
            currency,
            psp_reference=reference,
            captured=is_captured,
            processing=is_processing,
            reference=invoice_number,
        )
    if not reference.startswith(("pi_", "ch_", "py_")):
        raise ValueError(f"{reference} is not one of Stripe's pi_, ch_ or py_")
    return state.add_stripe_payment(
        amount,
        currency,
        payment_intent=reference if reference.startswith("pi_") else None,
        charge=None if reference.startswith("pi_") else reference,
        captured=is_captured,
        processing=is_processing,
        description=invoice_number,
    )


def _dispute(
    state: SandboxState, provider: Provider, payment: PaymentIds, row: Mapping[str, Any], currency: str
) -> None:
    status = DISPUTES.get(_word(row, "dispute").lower())
    if status:
        dispute_amount = _word(row, "dispute_amount")
        state.set_dispute(
            payment.reference, status, to_minor(provider, dispute_amount, currency) if dispute_amount else None
        )


def _refund(
    state: SandboxState, provider: Provider, payment: PaymentIds, row: Mapping[str, Any], currency: str
) -> None:
    refunded_amount = _word(row, "refunded_amount")
    amount = to_minor(provider, refunded_amount, currency) if refunded_amount else 0
    if amount > 0:
        state.add_dashboard_refund(payment.reference, amount)


def _provider(row: Mapping[str, Any]) -> Provider | None:
    provider_name = _word(row, "provider").lower()
    if provider_name == "stripe":
        return "stripe"
    return "adyen" if provider_name == "adyen" else None


def _word(row: Mapping[str, Any], field_name: str) -> str:
    cell = row.get(field_name)
    return "" if cell is None else str(cell).strip()
