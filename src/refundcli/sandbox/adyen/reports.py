"""Adyen's report files, line by line: payment accounting and settlement details, in major units."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from refundcli.sandbox.adyen.events import ZONE, merchant_of
from refundcli.sandbox.core.exponents import to_major
from refundcli.sandbox.core.records import AdyenPayment, AdyenRefund, Entry
from refundcli.sandbox.core.state import SandboxState

Kind = Literal["payment-accounting", "settlement-details"]
COMPANY = "SandboxCompany"
SHARED = ["Company Account", "Merchant Account", "Psp Reference", "Merchant Reference", "Payment Method"]
ACCOUNTING = [
    *SHARED,
    *("Booking Date", "TimeZone", "Main Currency", "Main Amount", "Record Type", "Payment Currency"),
    *("Received (PC)", "Authorised (PC)", "Captured (PC)", "Settlement Currency", "Payable (SC)"),
    *("Commission (SC)", "Markup (SC)", "Scheme Fees (SC)", "Interchange (SC)"),
    *("Processing Fee Currency", "Processing Fee (FC)", "User Name", "Payment Method Variant"),
    *("Modification Psp Reference", "Modification Merchant Reference"),
]
SETTLEMENT = [
    *SHARED,
    *("Creation Date", "TimeZone", "Type", "Modification Reference", "Gross Currency", "Gross Debit (GC)"),
    *("Gross Credit (GC)", "Exchange Rate", "Net Currency", "Net Debit (NC)", "Net Credit (NC)"),
    *("Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)", "Payment Method Variant"),
    *("Modification Merchant Reference", "Batch Number"),
]
COLUMNS: dict[Kind, list[str]] = {"payment-accounting": ACCOUNTING, "settlement-details": SETTLEMENT}
# Which sums a record moves, by sign: what was captured, and what is to be paid out.
MOVES: dict[str, dict[str, int]] = {
    "Received": {"Received (PC)": 1},
    "AuthorisedPending": {"Received (PC)": -1, "Authorised (PC)": 1},
    "Refused": {"Received (PC)": -1},
    "Cancelled": {"Authorised (PC)": -1},
    "Expired": {"Authorised (PC)": -1},
    "CaptureFailed": {"Captured (PC)": -1},
    "Authorised": {"Received (PC)": -1, "Authorised (PC)": 1},
    "SentForSettle": {"Authorised (PC)": -1, "Captured (PC)": 1},
    "Settled": {"Captured (PC)": -1, "Payable (SC)": 1},
    "SettledBulk": {"Captured (PC)": -1, "Payable (SC)": 1},
    "SettledInInstallments": {"Captured (PC)": -1, "Payable (SC)": 1},
    "SentForRefund": {"Captured (PC)": -1},
    "RefundAuthorised": {"Captured (PC)": -1},
    "Refunded": {"Captured (PC)": 1, "Payable (SC)": -1},
    "RefundedBulk": {"Captured (PC)": 1, "Payable (SC)": -1},
    "RefundedInstallment": {"Captured (PC)": 1, "Payable (SC)": -1},
    "RefundedInInstallments": {"Captured (PC)": 1, "Payable (SC)": -1},
    "RefundFailed": {"Captured (PC)": 1},
    "RefundedReversed": {"Payable (SC)": 1},
    "Chargeback": {"Payable (SC)": -1},
    "ChargebackReversed": {"Payable (SC)": 1},
    "SecondChargeback": {"Payable (SC)": -1},
}
DISPUTES = {
    "CHARGEBACK": "Chargeback",
    "CHARGEBACK_REVERSED": "ChargebackReversed",
    "SECOND_CHARGEBACK": "SecondChargeback",
}


# Endings of record types settled by another acquirer.
ENDINGS = ("ExternallyWithInfo", "Externally")
STORIES = {
    "CAPTURE_FAILED": "CaptureFailed",
    "CANCELLATION": "Cancelled",
    "TECHNICAL_CANCEL": "Cancelled",
    "EXPIRE": "Expired",
}


def moves(record_type: str) -> dict[str, int]:
    """Which sums a type moves; empty for an unknown type."""
    for ending in ENDINGS:
        record_type = record_type.removesuffix(ending)
    return MOVES.get(record_type, {})


def entries(state: SandboxState) -> list[Entry]:
    """Every record of Adyen's payments, and the added lines, oldest first."""
    with state.lock:
        collected_entries = [entry for payment in state.payments.values() for entry in _of_payment(state, payment)]
        for refund in state.refunds.values():
            if isinstance(refund, AdyenRefund):
                collected_entries += _of_refund(state, refund)
        collected_entries += state.report_lines
    return sorted(collected_entries, key=lambda entry: entry.at)


def add_line(
    state: SandboxState,
    record_type: str,
    payment_reference: str = "",
    amount: int | None = None,
    *,
    currency: str | None = None,
    at: int | None = None,
    merchant: str | None = None,
    **fields: Any,
) -> None:
    """Adds a line of any type, for a payment of the sandbox or any other reference.

    `at` is the time of the line. `side` is debit or credit; `modification` the reference of what was done; `cells`
    replaces cells by column.
    """
    with state.lock:
        adyen_payment = state.payments.get(payment_reference)
        side = fields.get("side")
        if side not in (None, "debit", "credit"):
            raise ValueError(f"unknown side {side!r}: debit or credit")
        state.report_lines.append(
            Entry(
                type=record_type,
                at=int(state.now()) if at is None else at,
                merchant=merchant or merchant_of(state, adyen_payment),
                psp_reference=payment_reference,
                amount=(adyen_payment.amount if adyen_payment else 0) if amount is None else amount,
                currency=currency or (adyen_payment.currency if adyen_payment else "EUR"),
                method=adyen_payment.method if adyen_payment else "visa",
                **{"reference": (adyen_payment.reference if adyen_payment else None) or ""} | fields,
            )
        )


def _of_payment(state: SandboxState, payment: AdyenPayment) -> Iterator[Entry]:
    payment_identity = (merchant_of(state, payment), payment.psp_reference, payment.reference or "")
    failed_amount = sum(amount for event_code, _, amount in payment.story if event_code == "CAPTURE_FAILED")
    for record_type, amount in _steps(payment, failed_amount):
        yield Entry(record_type, payment.created, *payment_identity, amount, payment.currency, method=payment.method)
    for event_code, at, amount in payment.story:
        if event_code in STORIES:
            yield Entry(STORIES[event_code], at, *payment_identity, amount, payment.currency, method=payment.method)
    for dispute in state.adyen_disputes.naming(payment.psp_reference):
        for event_code, at, amount in dispute.story:
            if event_code in DISPUTES:
                yield Entry(
                    DISPUTES[event_code],
                    at,
                    *payment_identity,
                    amount,
                    dispute.currency,
                    dispute.id,
                    method=payment.method,
                )


def _steps(payment: AdyenPayment, failed_amount: int) -> list[tuple[str, int]]:
    """A capture that failed later was sent too."""
    steps = [("Received", payment.amount), ("Authorised", payment.amount)]
    if payment.captured or failed_amount:
        steps.append(("SentForSettle", payment.taken or failed_amount))
    return [*steps, ("Settled", payment.taken)] if payment.captured else steps


def _of_refund(state: SandboxState, refund: AdyenRefund) -> Iterator[Entry]:
    payment = state.payments[refund.payment]
    payment_identity = (merchant_of(state, payment), payment.psp_reference, payment.reference or "")
    refund_identity = (refund.currency, refund.id, refund.reference or "")
    for record_type, at, amount in refund_steps(refund):
        yield Entry(record_type, at, *payment_identity, amount, *refund_identity, method=payment.method)


def refund_steps(refund: AdyenRefund) -> list[tuple[str, int, int]]:
    """Record type, time and amount. A refused refund was never sent.

    One that failed was not refunded before; where Adyen tries again it is sent once more.
    """
    if refund.success is None:
        return [("SentForRefund", refund.created, refund.amount)]
    steps: list[tuple[str, int, int]] = []
    for event_code, at, amount in refund.story:
        if event_code == "REFUND":
            is_sent_again = any(step[0] == "RefundFailed" for step in steps)
            steps += [("SentForRefund", at if is_sent_again else refund.created, amount), ("Refunded", at, amount)]
        elif event_code == "REFUND_FAILED":
            steps = [*(step for step in steps if step[0] != "Refunded"), ("RefundFailed", at, amount)]
        else:
            steps.append(("RefundedReversed", at, amount))
    return steps


def report(
    report_kind: Kind, selected_entries: Iterable[Entry], zone: ZoneInfo = ZONE, *, without: Collection[str] = ()
) -> Iterator[str]:
    """The lines of the file; each says the zone of its time (CET or CEST, PST or PDT, by its date).

    `without` leaves columns out, as an account may have set it: Modification Psp Reference is optional.
    """
    columns = [column for column in COLUMNS[report_kind] if column not in without]
    yield _line(columns)
    for entry in selected_entries:
        cell_of_column = _accounting(entry, zone) if report_kind == "payment-accounting" else _settlement(entry, zone)
        if cell_of_column:
            cell_of_column |= entry.cells
            yield _line([cell_of_column.get(column, "") for column in columns])


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _shared(entry: Entry, zone: ZoneInfo, date_column: str) -> dict[str, str]:
    booked_at = datetime.fromtimestamp(entry.at, zone)
    return {
        "Company Account": COMPANY,
        "Merchant Account": entry.merchant,
        "Psp Reference": entry.psp_reference,
        "Merchant Reference": entry.reference,
        "Payment Method": entry.method,
        date_column: booked_at.strftime("%Y-%m-%d %H:%M:%S"),
        "TimeZone": booked_at.tzname() or "",
        "Payment Method Variant": "visacredit",
        "Modification Merchant Reference": entry.modification_reference,
    }


def _accounting(entry: Entry, zone: ZoneInfo) -> dict[str, str]:
    amount = to_major("adyen", entry.amount, entry.currency)
    sign_of_column = moves(entry.type) | ({"Payable (SC)": 1 if entry.side == "credit" else -1} if entry.side else {})
    amount_of_column = {column: amount if sign > 0 else f"-{amount}" for column, sign in sign_of_column.items()}
    is_payable = "Payable (SC)" in amount_of_column
    return {
        **_shared(entry, zone, "Booking Date"),
        "Main Currency": entry.currency,
        "Main Amount": amount,
        "Record Type": entry.type,
        "Payment Currency": entry.currency,
        "Settlement Currency": entry.currency if is_payable else "",
        "Modification Psp Reference": entry.modification,
        **amount_of_column,
    }


def _settlement(entry: Entry, zone: ZoneInfo) -> dict[str, str]:
    """Only records that move the balance, by their type or by the given column."""
    payable_sign = moves(entry.type).get("Payable (SC)")
    if payable_sign is None and entry.side is None and not entry.cells:
        return {}
    amount = to_major("adyen", entry.amount, entry.currency)
    side = entry.side.capitalize() if entry.side else ("Credit" if (payable_sign or 0) > 0 else "Debit")
    return {
        **_shared(entry, zone, "Creation Date"),
        "Type": entry.type,
        "Modification Reference": entry.modification or entry.psp_reference,
        "Gross Currency": entry.currency,
        f"Gross {side} (GC)": amount,
        "Exchange Rate": "1",
        "Net Currency": entry.currency,
        f"Net {side} (NC)": amount,
        "Batch Number": "1",
    }
