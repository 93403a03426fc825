"""Rows of a bulk file for mark-refunded: what was returned elsewhere, invoice by invoice."""

import json
from collections.abc import Iterator
from datetime import date

from refundcli.documents.cells import LONGEST_NAME, Cells
from refundcli.documents.first_seen import FirstSeen
from refundcli.documents.source import Source
from refundcli.documents.table_file import TableFile
from refundcli.domain.money import check_amount
from refundcli.domain.reasons import RefundReason, parse_reason
from refundcli.services.bad_rows import BadRow
from refundcli.services.bulk_rows import MarkRow
from refundcli.services.keys import checked_key

COLUMNS = ("invoice", "amount", "reason", "method", "reference", "refunded_on", "memo", "key")
REQUIRED = ("invoice", "reason")


class MarkFile:
    """A bulk file; `today` is the books' date, and nothing was refunded after it."""

    def __init__(self, source: Source, *, today: date) -> None:
        self._today = today
        self._table = TableFile(source, known=COLUMNS, required=REQUIRED)
        self.columns = self._table.columns

    def rows(self) -> Iterator[MarkRow | BadRow]:
        """Every row in order, from the start each time."""
        seen = _SeenKeys()
        for row in self._table.rows():
            yield row if isinstance(row, BadRow) else self._row(*row, seen)

    def _row(self, line: int, row: list[str], seen: "_SeenKeys") -> MarkRow | BadRow:
        cells = Cells(line, dict(zip(self.columns, row, strict=True)))
        made = MarkRow(
            line=line,
            invoice=cells.need("invoice"),
            amount_text=cells["amount"],
            reason=_reason(cells),
            method=cells.text("method", LONGEST_NAME),
            reference=cells.text("reference", LONGEST_NAME),
            refunded_on=self._refunded_on(cells),
            memo=cells.text("memo"),
            key=cells["key"],
            cells=tuple(row),
        )
        if made.amount_text:
            cells.read("amount", check_amount)
        if made.key:
            cells.read("key", checked_key)
            seen.check(cells)
        return BadRow(line, tuple(cells.problems), made.cells) if cells.problems else made

    def _refunded_on(self, cells: Cells) -> date | None:
        day = cells.day("refunded_on")
        if day and day > self._today:
            what = "This day has not come yet: a refund is recorded after it was made."
            cells.refuse("refunded_on", "refunded-in-future", what, "Write the day on which the money was returned.")
        return day


class _SeenKeys:
    """The same key is the same wish (I4): two rows that share one must say the same."""

    def __init__(self) -> None:
        self._keys, self._contents = FirstSeen(), FirstSeen()

    def check(self, cells: Cells) -> None:
        content = json.dumps([cells[column] for column in COLUMNS])
        first = self._keys.line_of(cells["key"], cells.line)
        same = self._contents.line_of(content, cells.line)
        if first and not same:
            what = f"Line {first} has this key and asks for something else."
            cells.refuse("key", "duplicate-key", what, "Give each wish its own key, or leave the key empty.")


def _reason(cells: Cells) -> RefundReason:
    return cells.read("reason", parse_reason) or RefundReason.OTHER
