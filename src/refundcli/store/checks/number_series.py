"""Check each series of credit-note numbers: no gap, no second use (I9)."""

import json
import re
from collections.abc import Iterator
from functools import partial
from string import Formatter
from typing import Any

from sqlalchemy import Connection, text

from refundcli.store.checks.audited_rows import Look
from refundcli.store.checks.page_size import PageSize

_SERIES = "SELECT name, value FROM counter WHERE name LIKE 'credit_note%'"
_ISSUED = "SELECT count(*) FROM credit_note WHERE number IS NOT NULL"
_FORMATS = """
    SELECT number_format, '' FROM store_info
    UNION SELECT "before", "after" FROM audit_entry WHERE subject = 'store' AND action = 'number format changed'
"""
_NUMBERS = "SELECT id, number FROM credit_note WHERE id > :after ORDER BY id LIMIT :limit"
_SHOWN = 20


class _Format:
    """One of the formats that the store has numbered by."""

    def __init__(self, number_format: str) -> None:
        self._text = number_format
        self._has_year = "{year" in number_format
        fields = {"year": r"([0-9]{4})", "seq": "([0-9]+)"}
        parts = list(Formatter().parse(number_format))
        self._names = [name for _, name, _, _ in parts if name]
        self._pattern = re.compile(
            "".join(re.escape(literal) + (fields[name] if name else "") for literal, name, _, _ in parts)
        )

    def place(self, number: str) -> tuple[str, int] | None:
        """The series of a number and its place in it, if it was made by this format."""
        match = self._pattern.fullmatch(number)
        if match is None:
            return None
        values = dict(zip(self._names, map(int, match.groups()), strict=True))
        year = values.get("year", 0)
        is_same = self.number(year, values["seq"]) == number
        return (f"credit_note:{year}" if self._has_year else "credit_note", values["seq"]) if is_same else None

    def number(self, year: int, seq: int) -> str:
        return self._text.format(year=year, seq=seq)


def number_problems(run_read: Look[Any]) -> Iterator[str]:
    """What is wrong with the series. Notes that are issued meanwhile are beyond the counters read first."""
    counters, issued, formats = run_read(_counted)
    if sum(counters.values()) != issued:
        yield f"{sum(counters.values())} credit-note numbers were counted, but {issued} were issued"
    used: dict[str, bytearray] = {name: bytearray(value + 1) for name, value in counters.items()}
    for number in _numbers(run_read):
        places = [place for number_format in formats if (place := number_format.place(number))]
        for series, seq in places:
            if seq < len(used.get(series, b"")):
                if used[series][seq] and len(places) == 1:
                    yield f"credit note {number}: another one has this place in its series"
                used[series][seq] = 1
    for name, places_used in used.items() if formats else ():
        gaps = [seq for seq in range(1, len(places_used)) if not places_used[seq]]
        year = int(name.partition(":")[2] or 0)
        for seq in gaps[:_SHOWN]:
            yield f"credit note {formats[0].number(year, seq)} is missing: its series {name} has a gap"


def _counted(connection: Connection) -> tuple[dict[str, int], int, list[_Format]]:
    """The counters, how many numbers were issued, and every format, the one in force first."""
    counters = {name: int(value) for name, value in connection.execute(text(_SERIES))}
    in_force, earlier = "", set()
    for first, second in connection.execute(text(_FORMATS)):
        if second:
            earlier |= {json.loads(facts).get("format", "") for facts in (first, second)}
        else:
            in_force = first
    names = [in_force, *sorted(earlier - {in_force})]
    return counters, int(connection.execute(text(_ISSUED)).scalar_one()), [_Format(name) for name in names if name]


def _numbers(run_read: Look[Any]) -> Iterator[str]:
    after_id, page_size = "", PageSize()
    while page := run_read(partial(_page, after_id=after_id, page_size=page_size)):
        yield from (number for _, number in page if number)
        after_id = page[-1][0]


def _page(connection: Connection, *, after_id: str, page_size: PageSize) -> list[Any]:
    with page_size.timed() as row_count:
        return list(connection.execute(text(_NUMBERS), {"after": after_id, "limit": row_count}))
