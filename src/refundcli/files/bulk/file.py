"""Bulk files: many refunds to send, or many to record, one request per row."""

from collections.abc import Generator
from datetime import date

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.money import check_amount
from refundcli.domain.reasons import RefundReason, parse_reason
from refundcli.files.cell_reader import LONGEST_NAME, CellReader
from refundcli.files.csv_table import TableFile
from refundcli.files.source import Source
from refundcli.services.bulk.rows import BulkRow
from refundcli.services.dispatch.idempotency_keys import checked_key
from refundcli.services.ports.bad_rows import BadRow

COLUMNS = {
    RunKind.REFUND: ("invoice", "amount", "reason", "memo", "payment", "key"),
    RunKind.MARK_REFUNDED: (
        "invoice", "amount", "reason", "method", "reference", "refunded_on", "memo", "payment", "key",
    ),
}  # fmt: skip
# The reason only if there is no default for all rows.
REQUIRED = ("invoice", "reason")


class BulkFile:
    """A file of requests. `default_reason` is for rows without one; `today` is the books' date."""

    def __init__(self, source: Source, kind: RunKind, *, default_reason: RefundReason | None, today: date) -> None:
        self._today, self._default_reason = today, default_reason
        required_columns = REQUIRED[:1] if default_reason else REQUIRED
        self._table = TableFile(source, columns=COLUMNS[kind], required=required_columns)
        self.columns = self._table.columns

    def rows(self) -> Generator[BulkRow | BadRow]:
        """Every row in order, from the start each time."""
        for row in self._table.rows():
            yield row if isinstance(row, BadRow) else self._row(*row)

    def _row(self, line: int, cell_texts: list[str]) -> BulkRow | BadRow:
        cells = CellReader(line, dict(zip(self.columns, cell_texts, strict=True)))
        row = BulkRow(
            line=line,
            invoice=cells.need("invoice"),
            amount_text=cells["amount"],
            reason=self._reason(cells),
            method=cells.text("method", LONGEST_NAME),
            reference=cells.text("reference", LONGEST_NAME),
            refunded_on=self._refunded_on(cells),
            memo=cells.text("memo"),
            payment=cells.text("payment", LONGEST_NAME),
            key=cells["key"],
            cells=tuple(cell_texts),
        )
        if row.amount_text:
            cells.read("amount", check_amount)
        if row.key:
            cells.read("key", checked_key)
        return BadRow(line, tuple(cells.problems), row.cells) if cells.problems else row

    def _reason(self, cells: CellReader) -> RefundReason:
        if self._default_reason and not cells["reason"]:
            return self._default_reason
        return cells.read("reason", parse_reason) or RefundReason.OTHER

    def _refunded_on(self, cells: CellReader) -> date | None:
        day = cells.day("refunded_on")
        if day and day > self._today:
            message = f"The money cannot have been returned on {day}: today is {self._today}."
            hint = "Give the day on which the money was returned, or leave the cell empty."
            cells.refuse("refunded_on", "refunded-in-future", message, hint)
        return day
