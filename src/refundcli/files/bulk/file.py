"""Bulk files: many refunds to send, or many to record, one request per row."""

from collections.abc import Generator
from datetime import date

from refundcli.domain.bulk_run import RunKind
from refundcli.domain.money import check_amount
from refundcli.domain.reasons import RefundReason, parse_reason
from refundcli.files.cell_reader import LONGEST_NAME, CellReader
from refundcli.files.csv_table import TableFile
from refundcli.files.formats.amounts import EACH, NotAnAmount, plain_amount
from refundcli.files.formats.days import NotADay, iso_day
from refundcli.files.formats.heading import text_records
from refundcli.files.source import NotUtf8, Source
from refundcli.services.bulk.rows import BulkRow
from refundcli.services.dispatch.idempotency_keys import checked_key
from refundcli.services.ports.bad_rows import BadRow, Problem

COLUMNS = {
    RunKind.REFUND: ("invoice", "amount", "reason", "memo", "payment", "key"),
    RunKind.MARK_REFUNDED: (
        "invoice", "amount", "reason", "method", "reference", "refunded_on", "memo", "payment", "key",
    ),
}  # fmt: skip
# The reason only if there is no default for all rows.
REQUIRED = ("invoice", "reason")


# The kind of a problem, by column.
_KINDS = {"amount": "amount", "refunded_on": "date"}


def _delimiter_and_heading(source: Source) -> tuple[str, int]:
    """By the column `invoice`; a comma on the first line if it is not found."""
    headings = [record for record in text_records(source) if "invoice" in {name.lower() for name in record.names}]
    best = max(headings, key=lambda record: len(record.names), default=None)
    return (best.delimiter, best.line) if best and len(best.names) > 1 else (",", 1)


class BulkFile:
    """A file of requests. `default_reason` is for rows without one; `today` is the books' date."""

    def __init__(self, source: Source, kind: RunKind, *, default_reason: RefundReason | None, today: date) -> None:
        self._today, self._default_reason = today, default_reason
        required_columns = REQUIRED[:1] if default_reason else REQUIRED
        if source.is_spreadsheet:
            raise NotUtf8(source.name, "this is a spreadsheet, not text", hint="Save it as CSV.")
        delimiter, line = _delimiter_and_heading(source)
        self._is_from_spreadsheet = delimiter != ","
        self._table = TableFile(
            source, columns=COLUMNS[kind], required=required_columns, delimiter=delimiter, heading_line=line
        )
        self.columns = self._table.columns

    def rows(self) -> Generator[BulkRow | BadRow]:
        """Every row in order, from the start each time."""
        for row in self._table.rows():
            yield row if isinstance(row, BadRow) else self._row(*row)

    def _row(self, line: int, cell_texts: list[str]) -> BulkRow | BadRow:
        cells = CellReader(line, dict(zip(self.columns, cell_texts, strict=True)))
        if self._is_from_spreadsheet:
            cell_texts, problems = self._plain(line, cell_texts)
            cells = CellReader(line, dict(zip(self.columns, cell_texts, strict=True)))
            cells.problems += problems
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
        if row.amount_text and all(problem.column != "amount" for problem in cells.problems):
            cells.read("amount", check_amount)
        if row.key:
            cells.read("key", checked_key)
        return BadRow(line, tuple(cells.problems), row.cells) if cells.problems else row

    def _plain(self, line: int, cell_texts: list[str]) -> tuple[list[str], list[Problem]]:
        """The cells with `40,00` as `40.00` and `31.10.2026` as `2026-10-31`, and what can be read in two ways."""
        plain_texts, problems = [], []
        for column, text in zip(self.columns, cell_texts, strict=True):
            plain_text = text
            try:
                if column == "amount":
                    plain_text = plain_amount(text, EACH)
                elif column == "refunded_on" and text[2:3] == ".":
                    plain_text = iso_day(text, "", row_zone=None, own_zone=None)
            except (NotAnAmount, NotADay) as error:
                hint = "Write amounts as 12.50 and days as 2026-10-31."
                problems.append(Problem(line, column, text, f"invalid-{_KINDS[column]}", str(error), hint))
            plain_texts.append(plain_text)
        return plain_texts, problems

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
