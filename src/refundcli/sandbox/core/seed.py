"""Creates the payments of an invoices file."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

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
            cells = {name: str(cell).strip() for name, cell in payment_row.items() if cell is not None}
            try:
                payment_ids = _seed(state, defaultdict(str, cells))
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


def _seed(state: SandboxState, cells: Mapping[str, str]) -> PaymentIds | None:
    """The payment of a row, of which a missing cell is empty; None where it names no payment at a provider."""
    provider: Any = cells["provider"].lower()
    if provider not in get_args(Provider) or not cells["payment_reference"]:
        return None

    def minor_units(amount: str) -> int:
        return to_minor(provider, amount, cells["currency"])

    paid_amount = cells["paid_amount"] or (cells["total"] if cells["status"] == "paid" else "")
    amount, refunded_amount = minor_units(paid_amount or cells["total"]), minor_units(cells["refunded_amount"] or "0")
    dispute_status, dispute_amount = DISPUTES.get(cells["dispute"].lower()), cells["dispute_amount"]
    with state.lock:
        payment = _make(state, provider, amount, cells, is_paid=bool(paid_amount))
        if dispute_status:
            state.set_dispute(
                payment.reference, dispute_status, minor_units(dispute_amount) if dispute_amount else None
            )
        if refunded_amount > 0:
            state.add_dashboard_refund(payment.reference, refunded_amount)
    return payment


def _make(
    state: SandboxState, provider: Provider, amount: int, cells: Mapping[str, str], *, is_paid: bool
) -> PaymentIds:
    is_processing = cells["processing"].lower() in TRUE_WORDS
    reference, invoice_number = cells["payment_reference"], cells["number"] or None
    is_captured = is_paid and not is_processing
    if provider == "adyen":
        return state.add_adyen_payment(
            amount,
            cells["currency"],
            psp_reference=reference,
            captured=is_captured,
            processing=is_processing,
            reference=invoice_number,
        )
    if not reference.startswith(("pi_", "ch_", "py_")):
        raise ValueError(f"{reference} is not one of Stripe's pi_, ch_ or py_")
    return state.add_stripe_payment(
        amount,
        cells["currency"],
        payment_intent=reference if reference.startswith("pi_") else None,
        charge=None if reference.startswith("pi_") else reference,
        captured=is_captured,
        processing=is_processing,
        description=invoice_number,
    )
