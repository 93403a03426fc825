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
    ("Record Date", "Record Date TimeZone"),
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
_DISPUTES: Mapping[str, tuple[str, ...]] = {
    "word": ("Record Type",),
    "modification": ("Dispute PSP Reference",),
    "currency": ("Dispute Currency",),
    "amount": ("Dispute Amount",),
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

    def __init__(self, report_name: str, missing_columns: Sequence[str], *, is_accounting: bool = False) -> None:
        why = f"it lacks {_listed(missing_columns)}"
        if is_accounting and missing_columns == [_ACCOUNTING["modification"][0]]:
            why = (
                f"this payment accounting report lacks the column {missing_columns[0]}, which names the refund "
                "of a row: add it in Adyen's Customer Area under Reports, in the column settings of this report"
            )
        super().__init__(
            report_name,
            why,
            hint="It must be Adyen's payment accounting, settlement details or dispute report, with these columns.",
        )


def _listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    *earlier_names, last_name = names
    return f"{', '.join(earlier_names)} and {last_name}" if earlier_names else last_name


@dataclass(frozen=True, slots=True)
class Columns:
    """The column of each field in one report."""

    names: Sequence[str]
    place: Mapping[str, int]
    fees: Sequence[int]
    only_disputes: bool = False

    def cell(self, cells: Sequence[str], field: str) -> str:
        return cells[self.place[field]].strip() if field in self.place else ""

    def name(self, field: str) -> str:
        return self.names[self.place[field]]

    def amount_of(self, cells: Sequence[str], record_type: str, meaning: Meaning | None) -> Amount:
        """The row's amount and its problem. A record type that moves no money needs no amount, so it has no problem."""
        currency_code = self.cell(cells, "currency").upper()
        amount_minor: int | None = None
        if currency_code not in CODES:
            problem = f"Unknown currency code {currency_code}." if currency_code else "The currency is missing."
        else:
            read_amount = _debit_or_credit if "debit" in self.place else _signed
            amount_minor, problem = read_amount(
                self, cells, record_type, meaning.direction if meaning else None, currency(currency_code)
            )
        if meaning is None or meaning.effect not in _MONEY_MOVES:
            return amount_minor, ""
        if amount_minor == 0 and meaning.effect is not Effect.CAPTURE:
            problem = problem or f"{record_type} has no amount."
        return amount_minor, problem


_Reader: TypeAlias = Callable[[Columns, Sequence[str], str, Direction | None, Currency], Amount]


def columns_of(report_name: str, header: Sequence[str]) -> Columns:
    """The columns; their names decide which report it is. Raises NotAReport, which names the missing ones."""
    header_names = [cell.strip() for cell in header]
    lower_names = [column.lower() for column in header_names]
    layout = {**_SHARED, **_layout(lower_names)}
    index_of_field = {
        field: column_index
        for field, accepted_names in layout.items()
        if (column_index := _place(report_name, lower_names, accepted_names)) is not None
    }
    missing_names = [accepted_names[0] for field, accepted_names in layout.items() if field not in index_of_field]
    date_and_zone = next(
        (names_pair for names_pair in _DATES if all(column.lower() in lower_names for column in names_pair)), None
    )
    if date_and_zone:
        index_of_field |= {
            field: lower_names.index(column.lower())
            for field, column in zip(("date", "zone"), date_and_zone, strict=True)
        }
    else:
        missing_names += [column for column in _missing_date(lower_names) if column not in missing_names]
    if missing_names:
        raise NotAReport(report_name, missing_names, is_accounting="amount" in layout and layout is not _DISPUTES)
    for field, column in (("captured", "captured (pc)"), ("payable", "payable (sc)")):
        if column in lower_names and "debit" not in index_of_field:
            index_of_field[field] = lower_names.index(column)
    return Columns(
        header_names,
        index_of_field,
        [lower_names.index(fee.lower()) for fee in _FEES if fee.lower() in lower_names],
        only_disputes=_DISPUTES["modification"][0].lower() in lower_names,
    )


def _layout(lower_names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    if any(
        accepted_names[0].lower() in lower_names for accepted_names in (_SETTLEMENT["debit"], _SETTLEMENT["credit"])
    ):
        return _SETTLEMENT
    if _DISPUTES["modification"][0].lower() in lower_names:
        return _DISPUTES
    if "record type" not in lower_names:
        # For any other report, the missing columns are those of the settlement details report.
        return _SETTLEMENT
    layouts = (layout for layout in _ACCOUNTING_AMOUNTS if layout["amount"][0].lower() in lower_names)
    return {**_ACCOUNTING, **next(layouts, _ACCOUNTING_AMOUNTS[0])}


def _place(report_name: str, lower_names: Sequence[str], accepted_names: Sequence[str]) -> int | None:
    column = next((column for column in accepted_names if column.lower() in lower_names), None)
    if column is None:
        return None
    if lower_names.count(column.lower()) > 1:
        raise FileProblem(report_name, f"two of its columns are called {column}")
    return lower_names.index(column.lower())


def _missing_date(lower_names: Sequence[str]) -> list[str]:
    has_date = any(date_column.lower() in lower_names for date_column, _ in _DATES)
    return ["TimeZone"] if has_date else ["Booking Date"] + (["TimeZone"] if "timezone" not in lower_names else [])


def _debit_or_credit(
    columns: Columns, cells: Sequence[str], record_type: str, direction: Direction | None, unit: Currency
) -> Amount:
    """The amount from the debit or the credit column. One in the wrong column is a problem, never a reversed sign."""
    amounts = {side: minor_of(columns.cell(cells, side), unit) for side in ("debit", "credit")}
    for side, amount_minor in amounts.items():
        if amount_minor is None:
            return None, _unreadable(columns.name(side), columns.cell(cells, side), unit)
        if amount_minor < 0:
            return None, f"{record_type} has a negative amount in {columns.name(side)}."
    debit, credit = amounts["debit"] or 0, amounts["credit"] or 0
    if debit and credit:
        return None, f"{record_type} has a debit and a credit in one row."
    side = "debit" if debit else "credit"
    is_wrong_side = (debit and direction is Direction.CREDIT) or (credit and direction is Direction.DEBIT)
    return debit or credit, _wrong_way(record_type, direction, f"is in {columns.name(side)}") if is_wrong_side else ""


def _signed(
    columns: Columns, cells: Sequence[str], record_type: str, direction: Direction | None, unit: Currency
) -> Amount:
    """The amount of a payment accounting record; the sums that it moves must not contradict its type."""
    amount_column, amount_cell = columns.name("amount"), columns.cell(cells, "amount")
    amount_minor = minor_of(amount_cell, unit)
    if amount_minor is None:
        return None, _unreadable(amount_column, amount_cell, unit)
    if amount_minor < 0 and direction is Direction.CREDIT and columns.place["amount"] != columns.place.get("captured"):
        return abs(amount_minor), _wrong_way(record_type, direction, f"is negative in {amount_column}")
    problem = _captured_contradicts(columns, cells, record_type, abs(amount_minor), unit)
    return abs(amount_minor), problem or _payable_contradicts(columns, cells, record_type, direction)


def _captured_contradicts(
    columns: Columns, cells: Sequence[str], record_type: str, amount_minor: int, unit: Currency
) -> str:
    expected_sign, captured_cell = _CAPTURED_SIGN.get(record_type.lower()), columns.cell(cells, "captured")
    if expected_sign is None or not captured_cell:
        return ""
    captured_minor = minor_of(captured_cell, unit)
    if captured_minor is None:
        return _unreadable("Captured (PC)", captured_cell, unit)
    if captured_minor and captured_minor * expected_sign < 0:
        return _wrong_way(
            record_type,
            Direction.CREDIT if expected_sign > 0 else Direction.DEBIT,
            f"changes Captured (PC) by {captured_cell}",
        )
    if captured_minor and abs(captured_minor) != amount_minor:
        amount_cell = columns.cell(cells, "amount")
        return f"{record_type} has the amount {amount_cell} {unit.code}, but changes Captured (PC) by {captured_cell}."
    return ""


def _payable_contradicts(columns: Columns, cells: Sequence[str], record_type: str, direction: Direction | None) -> str:
    """Payable (SC) is in the settlement's currency and net of fees: only its sign is checked."""
    payable_cell = columns.cell(cells, "payable")
    if not payable_cell.strip("+-0.") or direction not in (Direction.DEBIT, Direction.CREDIT):
        return ""
    is_debit = payable_cell.startswith("-")
    has_fees = any(cells[fee_index].strip().strip("+-0.") for fee_index in columns.fees)
    # The fees of a small payment may be more than the payment.
    is_wrong_way = not is_debit if direction is Direction.DEBIT else is_debit and not has_fees
    return _wrong_way(record_type, direction, f"changes Payable (SC) by {payable_cell}") if is_wrong_way else ""


def minor_of(cell: str, unit: Currency) -> int | None:
    """In the books' minor units, exact; None if unreadable. Decimals beyond the currency's must be 0."""
    if not cell:
        return 0
    amount_match = _AMOUNT.fullmatch(cell)
    decimals = (amount_match[3] or "") if amount_match else ""
    if not amount_match or decimals[unit.exponent :].strip("0"):
        return None
    absolute_minor = int(amount_match[2] + decimals[: unit.exponent].ljust(unit.exponent, "0"))
    return -absolute_minor if amount_match[1] == "-" else absolute_minor


def _unreadable(column: str, cell: str, unit: Currency) -> str:
    return f"{column} is {cell[:40]}, which is not an amount in {unit.code}."


def _wrong_way(record_type: str, direction: Direction | None, contradiction: str) -> str:
    expected = "money coming in" if direction is Direction.CREDIT else "money going out"
    return f"{record_type} is {expected}, but its amount {contradiction}."
