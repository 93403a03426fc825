"""The columns of Adyen's reports: which column holds what, and the amount of a row.

The settlement details report has a debit and a credit column, the payment accounting report signed ones; both are in
major units of the payment's currency.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from refundcli.domain.currencies import CODES, Currency, currency
from refundcli.files.source import FileProblem
from refundcli.services.ports.vocabulary import Direction, Effect, Meaning

# Minor units without a sign, None if unreadable; and the problem as a sentence, or "".
Amount: TypeAlias = tuple[int | None, str]

# Adyen lets merchants choose the columns, so each has several accepted names.
_SHARED: Mapping[str, tuple[str, ...]] = {
    "account": ("Merchant Account",),
    "payment": ("Psp Reference",),
    "reference": ("Modification Merchant Reference", "Merchant Reference"),
}
# When the row was booked, and the zone of that time.
_DATES = (
    ("Booking Date", "Booking Date TimeZone"),
    ("Booking Date", "TimeZone"),
    ("Creation Date", "Creation Date TimeZone"),
    ("Creation Date", "TimeZone"),
)
_SETTLEMENT: Mapping[str, tuple[str, ...]] = {
    "word": ("Type",),
    "modification": ("Modification Reference", "Modification Psp Reference"),
    "currency": ("Gross Currency",),
    "debit": ("Gross Debit (GC)",),
    "credit": ("Gross Credit (GC)",),
}
_ACCOUNTING: Mapping[str, tuple[str, ...]] = {
    "word": ("Record Type",),
    "modification": ("Modification Psp Reference", "Modification Reference"),
}
_ACCOUNTING_AMOUNTS: Sequence[Mapping[str, tuple[str, ...]]] = (
    {"currency": ("Main Currency",), "amount": ("Main Amount",)},
    {"currency": ("Payment Currency", "Currency"), "amount": ("Captured (PC)",)},
)
_FEES = ("Commission (SC)", "Markup (SC)", "Scheme Fees (SC)", "Interchange (SC)")
_AMOUNT = re.compile(r"([+-]?)([0-9]{1,15})(?:\.([0-9]*))?", re.ASCII)
# The sign of Captured (PC) where a record moves money into that sum, or out of it to the shopper. Settled and Refunded
# move it on to the payable sum, with the sign turned.
_CAPTURED_SIGN = {"sentforsettle": 1, "sentforrefund": -1}
_MONEY_MOVES = (Effect.REFUND, Effect.DISPUTE, Effect.CAPTURE)


class NotAReport(FileProblem):
    code = "not-a-report"

    def __init__(self, name: str, missing: Sequence[str]) -> None:
        super().__init__(
            name,
            f"it lacks {_listed(missing)}",
            hint="It must be Adyen's payment accounting or settlement details report as CSV, with these columns.",
        )


def _listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


@dataclass(frozen=True, slots=True)
class Columns:
    """The column of each field in one report."""

    names: Sequence[str]
    place: Mapping[str, int]
    fees: Sequence[int]

    def cell(self, cells: Sequence[str], what: str) -> str:
        return cells[self.place[what]].strip() if what in self.place else ""

    def name(self, what: str) -> str:
        return self.names[self.place[what]]

    def amount_of(self, cells: Sequence[str], word: str, meaning: Meaning | None) -> Amount:
        """The row's amount and its problem. A record type that moves no money needs no amount, so it has no problem."""
        code = self.cell(cells, "currency").upper()
        minor: int | None = None
        if code not in CODES:
            problem = f"Unknown currency code {code}." if code else "The currency is missing."
        else:
            reader = _debit_or_credit if "debit" in self.place else _signed
            minor, problem = reader(self, cells, word, meaning.direction if meaning else None, currency(code))
        if meaning is None or meaning.effect not in _MONEY_MOVES:
            return minor, ""
        if minor == 0 and meaning.effect is not Effect.CAPTURE:
            problem = problem or f"{word} has no amount."
        return minor, problem


_Reader: TypeAlias = Callable[[Columns, Sequence[str], str, Direction | None, Currency], Amount]


def columns_of(name: str, header: Sequence[str]) -> Columns:
    """The columns; their names decide which report it is. Raises NotAReport, which names the missing ones."""
    names = [cell.strip() for cell in header]
    folded = [column.lower() for column in names]
    layout = {**_SHARED, **_layout(folded)}
    place = {what: at for what, accepted in layout.items() if (at := _place(name, folded, accepted)) is not None}
    missing = [accepted[0] for what, accepted in layout.items() if what not in place]
    dates = next((pair for pair in _DATES if all(column.lower() in folded for column in pair)), None)
    if dates:
        place |= {what: folded.index(column.lower()) for what, column in zip(("date", "zone"), dates, strict=True)}
    else:
        missing += [column for column in _missing_date(folded) if column not in missing]
    if missing:
        raise NotAReport(name, missing)
    for what, column in (("captured", "captured (pc)"), ("payable", "payable (sc)")):
        if column in folded and "debit" not in place:
            place[what] = folded.index(column)
    return Columns(names, place, [folded.index(fee.lower()) for fee in _FEES if fee.lower() in folded])


def _layout(folded: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    if any(accepted[0].lower() in folded for accepted in (_SETTLEMENT["debit"], _SETTLEMENT["credit"])):
        return _SETTLEMENT
    if "record type" not in folded:
        # For any other report, the missing columns are those of the settlement details report.
        return _SETTLEMENT
    layouts = (layout for layout in _ACCOUNTING_AMOUNTS if layout["amount"][0].lower() in folded)
    return {**_ACCOUNTING, **next(layouts, _ACCOUNTING_AMOUNTS[0])}


def _place(name: str, folded: Sequence[str], accepted: Sequence[str]) -> int | None:
    column = next((column for column in accepted if column.lower() in folded), None)
    if column is None:
        return None
    if folded.count(column.lower()) > 1:
        raise FileProblem(name, f"two of its columns are called {column}")
    return folded.index(column.lower())


def _missing_date(folded: Sequence[str]) -> list[str]:
    has_date = any(date.lower() in folded for date, _ in _DATES)
    return ["TimeZone"] if has_date else ["Booking Date"] + (["TimeZone"] if "timezone" not in folded else [])


def _debit_or_credit(
    columns: Columns, cells: Sequence[str], word: str, direction: Direction | None, of: Currency
) -> Amount:
    """The amount from the debit or the credit column. One in the wrong column is a problem, never a reversed sign."""
    amounts = {side: _minor(columns.cell(cells, side), of) for side in ("debit", "credit")}
    for side, minor in amounts.items():
        if minor is None:
            return None, _unreadable(columns.name(side), columns.cell(cells, side), of)
        if minor < 0:
            return None, f"{word} has a negative amount in {columns.name(side)}."
    debit, credit = amounts["debit"] or 0, amounts["credit"] or 0
    if debit and credit:
        return None, f"{word} has a debit and a credit in one row."
    side = "debit" if debit else "credit"
    wrong = (debit and direction is Direction.CREDIT) or (credit and direction is Direction.DEBIT)
    return debit or credit, _wrong_way(word, direction, f"is in {columns.name(side)}") if wrong else ""


def _signed(columns: Columns, cells: Sequence[str], word: str, direction: Direction | None, of: Currency) -> Amount:
    """The amount of a payment accounting record; the sums that it moves must not contradict its type."""
    name, cell = columns.name("amount"), columns.cell(cells, "amount")
    minor = _minor(cell, of)
    if minor is None:
        return None, _unreadable(name, cell, of)
    if minor < 0 and direction is Direction.CREDIT and columns.place["amount"] != columns.place.get("captured"):
        return abs(minor), _wrong_way(word, direction, f"is negative in {name}")
    problem = _captured_contradicts(columns, cells, word, abs(minor), of)
    return abs(minor), problem or _payable_contradicts(columns, cells, word, direction)


def _captured_contradicts(columns: Columns, cells: Sequence[str], word: str, amount: int, of: Currency) -> str:
    sign, cell = _CAPTURED_SIGN.get(word.lower()), columns.cell(cells, "captured")
    if sign is None or not cell:
        return ""
    moved = _minor(cell, of)
    if moved is None:
        return _unreadable("Captured (PC)", cell, of)
    if moved and moved * sign < 0:
        return _wrong_way(word, Direction.CREDIT if sign > 0 else Direction.DEBIT, f"changes Captured (PC) by {cell}")
    if moved and abs(moved) != amount:
        return f"{word} has the amount {columns.cell(cells, 'amount')} {of.code}, but changes Captured (PC) by {cell}."
    return ""


def _payable_contradicts(columns: Columns, cells: Sequence[str], word: str, direction: Direction | None) -> str:
    """Payable (SC) is in the settlement's currency and net of fees: only its sign is checked."""
    cell = columns.cell(cells, "payable")
    if not cell.strip("+-0.") or direction not in (Direction.DEBIT, Direction.CREDIT):
        return ""
    is_debit, has_fees = cell.startswith("-"), any(cells[at].strip().strip("+-0.") for at in columns.fees)
    # The fees of a small payment may be more than the payment.
    wrong = not is_debit if direction is Direction.DEBIT else is_debit and not has_fees
    return _wrong_way(word, direction, f"changes Payable (SC) by {cell}") if wrong else ""


def _minor(cell: str, of: Currency) -> int | None:
    """In the books' minor units, exact; None if unreadable. Decimals beyond the currency's must be 0."""
    if not cell:
        return 0
    number = _AMOUNT.fullmatch(cell)
    part = (number[3] or "") if number else ""
    if not number or part[of.exponent :].strip("0"):
        return None
    minor = int(number[2] + part[: of.exponent].ljust(of.exponent, "0"))
    return -minor if number[1] == "-" else minor


def _unreadable(column: str, cell: str, of: Currency) -> str:
    return f"{column} is {cell[:40]}, which is not an amount in {of.code}."


def _wrong_way(word: str, direction: Direction | None, where: str) -> str:
    expected = "money coming in" if direction is Direction.CREDIT else "money going out"
    return f"{word} is {expected}, but its amount {where}."
