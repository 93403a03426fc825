"""Adyen's report files, line by line: payment accounting and settlement details, in major units."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from .adyen_events import MERCHANT, ZONE, merchant_of
from .exponents import to_major
from .records import AdyenPayment, AdyenRefund
from .state import SandboxState

Kind = Literal["payment-accounting", "settlement-details"]
COMPANY = "SandboxCompany"
SHARED = ["Company Account", "Merchant Account", "Psp Reference", "Merchant Reference", "Payment Method"]
ACCOUNTING = [
    *SHARED,
    *("Booking Date", "TimeZone", "Main Currency", "Main Amount", "Record Type", "Payment Currency"),
    *("Received (PC)", "Authorized (PC)", "Captured (PC)", "Settlement Currency", "Payable (SC)"),
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
    "Authorised": {"Received (PC)": -1, "Authorized (PC)": 1},
    "SentForSettle": {"Authorized (PC)": -1, "Captured (PC)": 1},
    "Settled": {"Captured (PC)": -1, "Payable (SC)": 1},
    "SentForRefund": {"Captured (PC)": -1},
    "Refunded": {"Captured (PC)": 1, "Payable (SC)": -1},
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


@dataclass(frozen=True, slots=True)
class Entry:
    """One record: `psp_reference` is the payment's, `modification` what was done to it."""

    type: str
    at: int
    merchant: str
    psp_reference: str
    reference: str
    amount: int
    currency: str
    modification: str = ""
    modification_reference: str = ""


def entries(state: SandboxState) -> list[Entry]:
    """All that befell Adyen's payments, oldest first."""
    with state.lock:
        found = [entry for payment in state.payments.values() for entry in _of_payment(state, payment)]
        for refund in state.refunds.values():
            if isinstance(refund, AdyenRefund):
                found += _of_refund(state, refund)
    return sorted(found, key=lambda entry: entry.at)


def _of_payment(state: SandboxState, payment: AdyenPayment) -> Iterator[Entry]:
    told = (merchant_of(state, payment), payment.psp_reference, payment.reference or "")
    steps = ["Received", "Authorised"] + (["SentForSettle", "Settled"] if payment.captured else [])
    for step in steps:
        yield Entry(step, payment.created, *told, payment.amount, payment.currency)
    taken = payment.amount if payment.dispute_amount is None else payment.dispute_amount
    for code, at in payment.story:
        if code in DISPUTES:
            disputed = payment.dispute_reference or ""
            yield Entry(DISPUTES[code], at, *told, taken, payment.currency, disputed)


def _of_refund(state: SandboxState, refund: AdyenRefund) -> Iterator[Entry]:
    payment = state.payments[refund.payment]
    told = (merchant_of(state, payment), payment.psp_reference, payment.reference or "", refund.amount)
    own = (refund.currency, refund.id, refund.reference or "")
    for step, at in refund_steps(refund):
        yield Entry(step, at, *told, *own)


def refund_steps(refund: AdyenRefund) -> list[tuple[str, int]]:
    """One that was refused never went anywhere; one that failed was not refunded before."""
    if refund.success is None:
        return [("SentForRefund", refund.created)]
    steps: list[tuple[str, int]] = []
    for code, at in refund.story:
        if code == "REFUND":
            steps += [("SentForRefund", refund.created), ("Refunded", at)]
        elif code == "REFUND_FAILED":
            steps = [*(step for step in steps if step[0] != "Refunded"), ("RefundFailed", at)]
        else:
            steps.append(("RefundedReversed", at))
    return steps


def report(kind: Kind, found: Iterable[Entry], zone: ZoneInfo = ZONE) -> Iterator[str]:
    """The lines of the file; each says the zone of its time."""
    yield _line(COLUMNS[kind])
    for entry in found:
        row = _accounting(entry, zone) if kind == "payment-accounting" else _settlement(entry, zone)
        if row:
            yield _line([row.get(column, "") for column in COLUMNS[kind]])


def _line(cells: list[str]) -> str:
    told = io.StringIO()
    csv.writer(told, lineterminator="\n").writerow(cells)
    return told.getvalue()


def _shared(entry: Entry, zone: ZoneInfo, date: str) -> dict[str, str]:
    when = datetime.fromtimestamp(entry.at, zone)
    return {
        "Company Account": COMPANY,
        "Merchant Account": entry.merchant,
        "Psp Reference": entry.psp_reference,
        "Merchant Reference": entry.reference,
        "Payment Method": "visa",
        date: when.strftime("%Y-%m-%d %H:%M:%S"),
        "TimeZone": when.tzname() or "",
        "Payment Method Variant": "visacredit",
        "Modification Merchant Reference": entry.modification_reference,
    }


def _accounting(entry: Entry, zone: ZoneInfo) -> dict[str, str]:
    amount = to_major("adyen", entry.amount, entry.currency)
    moved = {column: amount if sign > 0 else f"-{amount}" for column, sign in MOVES[entry.type].items()}
    settled = "Payable (SC)" in moved
    return {
        **_shared(entry, zone, "Booking Date"),
        "Main Currency": entry.currency,
        "Main Amount": amount,
        "Record Type": entry.type,
        "Payment Currency": entry.currency,
        "Settlement Currency": entry.currency if settled else "",
        "Modification Psp Reference": entry.modification,
        **moved,
    }


SETTLED = frozenset(["Settled", "Refunded", "RefundedReversed", *DISPUTES.values()])


def _settlement(entry: Entry, zone: ZoneInfo) -> dict[str, str]:
    if entry.type not in SETTLED:
        return {}
    amount = to_major("adyen", entry.amount, entry.currency)
    side = "Credit" if MOVES[entry.type]["Payable (SC)"] > 0 else "Debit"
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


def write_report(path: Path, kind: Kind, rows: int, *, merchant: str = MERCHANT, known: Iterable[Entry] = ()) -> None:
    """A report of so many rows: those known first, the rest refunds of payments that nobody knows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for line in islice(report(kind, _endless(known, merchant)), rows + 1):
            file.write(line)


def _endless(known: Iterable[Entry], merchant: str) -> Iterator[Entry]:
    yield from known
    drawn = random.Random(0)  # noqa: S311
    moment = 1_790_000_000
    while True:
        moment += drawn.randint(1, 90)
        currency = drawn.choice(["EUR", "EUR", "SEK", "USD", "JPY", "ISK"])
        payment, refund = (f"{drawn.getrandbits(80):020X}"[:16] for _ in range(2))
        yield Entry(
            type="Refunded",
            at=moment,
            merchant=merchant,
            psp_reference=payment,
            reference=f"ORDER-{drawn.randrange(10**9)}",
            amount=drawn.randint(100, 100_000),
            currency=currency,
            modification=refund,
            modification_reference=f"rf_{drawn.randrange(10**12)}",
        )
