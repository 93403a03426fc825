"""Days and times as people and programs write them, in one order per file; an order that a file leaves open is refused.

`03/08/2026` is March in Boston and August in Paris. Dots are always day.month.year, and a year in front decides too.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

ORDERS = ("dmy", "mdy", "ymd")
_TIME = (
    r"(?:[T ,]+(?P<time>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:\.[0-9]+)?)(?P<half> ?[AaPp]\.?[Mm]\.?)?"
    r"(?P<offset> ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?)?"
)
_DAY = re.compile(
    rf"(?P<first>[0-9]{{1,4}})(?P<mark>[./-])(?P<second>[0-9]{{1,2}})(?P=mark)(?P<third>[0-9]{{1,4}}){_TIME}"
)
_WORDED = re.compile(
    r"(?:(?P<day>[0-9]{1,2})[ -](?P<month>[A-Za-z]{3,9})\.?|(?P<month2>[A-Za-z]{3,9})\.? (?P<day2>[0-9]{1,2}),?)"
    rf"[ -](?P<year>[0-9]{{4}}){_TIME}"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip


class NotADay(Exception):
    """The cell is no day in this file; its text is a sentence."""


@dataclass(slots=True)
class OrderEvidence:
    """What the days of a file show about their order. `ambiguous`: the first with several readings."""

    orders: frozenset[str] = frozenset(ORDERS)
    ambiguous: str = ""
    ambiguous_line: int = 0

    def add(self, cell: str, line: int) -> None:
        match = _DAY.fullmatch(cell.strip())
        if match is None:
            return
        orders = _orders_of(match)
        if orders and match["mark"] != "." and len(match["first"]) < 4:
            self.orders &= orders
            if len(orders) > 1 and not self.ambiguous:
                self.ambiguous, self.ambiguous_line = cell.strip(), line


def readings(cell: str) -> list[str]:
    """The days that an ambiguous cell may be, with the order of each: `2026-08-03 (dmy)`."""
    match = _DAY.fullmatch(cell.strip())
    return [f"{_day_in(match, order)} ({order})" for order in ORDERS if order in _orders_of(match)] if match else []


def iso_day(cell: str, order: str, *, row_zone: tzinfo | None, own_zone: tzinfo | None) -> str:
    """The day as `2026-08-03`. A time is moved from `row_zone` to `own_zone`. Raises NotADay.

    `order`: one of ORDERS, a pattern of strptime, or "" where no cell is ambiguous.
    """
    text = cell.strip()
    if not text:
        return ""
    day, time_text = _day_and_time(text, order)
    if not time_text or row_zone is None or own_zone is None:
        return day.isoformat()
    moment = datetime.fromisoformat(f"{day.isoformat()}T{time_text}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=row_zone)).astimezone(own_zone).date().isoformat()


def _day_and_time(text: str, order: str) -> tuple[date, str]:
    if "%" in order:
        try:
            moment = datetime.strptime(text, order)  # noqa: DTZ007 - the zone is the row's
        except ValueError:
            raise NotADay(f"This is not a date in the form {order}.") from None
        has_time = any(part in order for part in ("%H", "%I"))
        return moment.date(), moment.time().isoformat() if has_time else ""
    match = _DAY.fullmatch(text) or _WORDED.fullmatch(text)
    try:
        if match is None:
            raise NotADay("This is not a date.")
        day = _worded_day(match) if "year" in match.groupdict() else _day_in(match, _order_for(match, order))
        return day, _time_of(match)
    except ValueError:
        raise NotADay("There is no such date.") from None


def _order_for(match: re.Match[str], order: str) -> str:
    if len(match["first"]) == 4:
        return "ymd"
    if match["mark"] == ".":
        return "dmy"
    if not order:
        orders = _orders_of(match)
        if not orders:
            raise ValueError
        order = next(name for name in ORDERS if name in orders)
    return order


def _orders_of(match: re.Match[str]) -> frozenset[str]:
    """The orders in which it is a day."""
    if match["mark"] == ".":
        return _valid(match, ("ymd",) if len(match["first"]) == 4 else ("dmy",))
    return _valid(match, ORDERS)


def _valid(match: re.Match[str], orders: tuple[str, ...]) -> frozenset[str]:
    return frozenset(order for order in orders if _is_day(match, order))


def _is_day(match: re.Match[str], order: str) -> bool:
    try:
        _day_in(match, order)
    except ValueError:
        return False
    return True


def _day_in(match: re.Match[str], order: str) -> date:
    """Raises ValueError if it is no day in this order."""
    parts = dict(zip(order, (match["first"], match["second"], match["third"]), strict=True))
    if len(parts["y"]) not in (2, 4) or max(len(parts["m"]), len(parts["d"])) > 2:
        raise ValueError
    year = int(parts["y"]) + (2000 if len(parts["y"]) == 2 else 0)
    return date(year, int(parts["m"]), int(parts["d"]))


def _worded_day(match: re.Match[str]) -> date:
    month_name = (match["month"] or match["month2"]).lower()
    months = _MONTHS if month_name in _MONTHS else _LONG_MONTHS
    if month_name not in months:
        raise ValueError
    return date(int(match["year"]), months.index(month_name) + 1, int(match["day"] or match["day2"]))


def _time_of(match: re.Match[str]) -> str:
    """The time as `08:26:29`, with its offset if it has one; "" without a time. Raises ValueError."""
    if not match["time"]:
        return ""
    hour_text, _, rest = match["time"].partition(":")
    hour = int(hour_text)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if "p" in match["half"].lower() else 0)
    offset = (match["offset"] or "").strip().upper().replace("UTC", "Z").replace("GMT", "Z")
    clock_time = f"{hour:02}:{rest.partition('.')[0]}{offset}"
    datetime.fromisoformat(f"2026-01-01T{clock_time}")
    return clock_time
