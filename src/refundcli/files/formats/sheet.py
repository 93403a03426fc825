"""Rows of a spreadsheet: the first sheet with content, or the one that was named."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from refundcli.domain.errors import SheetsMissing
from refundcli.files.csv_table import REJECTION_COLUMNS, TableRow
from refundcli.files.formats.amounts import PlainNumber
from refundcli.files.source import EmptyFile, FileProblem, Source

_AS_CSV = "Save it as an Excel workbook (.xlsx) or as CSV."


class SheetFile:
    """The sheet `sheet` of a workbook. Raises FileProblem, SheetsMissing."""

    def __init__(self, source: Source, *, sheet: str = "") -> None:
        try:
            from python_calamine import CalamineError, CalamineWorkbook, WorksheetNotFound  # noqa: PLC0415
        except ImportError:
            raise SheetsMissing from None
        try:
            workbook = CalamineWorkbook.from_path(source.path)
            names = [sheet] if sheet else workbook.sheet_names
            for self.name in names:
                cell_rows: list[list[Any]] = workbook.get_sheet_by_name(self.name).to_python(skip_empty_area=False)
                if any(cell not in ("", None) for row in cell_rows for cell in row):
                    break
            else:
                raise EmptyFile(source.name, expected="None of its sheets has a cell.")
        except WorksheetNotFound:
            hint = f"Its sheets: {', '.join(workbook.sheet_names)}."
            raise FileProblem(source.name, f"there is no sheet {sheet!a}", hint=hint) from None
        except CalamineError as error:
            raise FileProblem(
                source.name, f"this is not a spreadsheet that can be read: {error}", hint=_AS_CSV
            ) from None
        self.rows: list[TableRow] = [(line, list(map(cell_text, row))) for line, row in enumerate(cell_rows, start=1)]

    def table(self, heading_line: int) -> tuple[tuple[str, ...], list[TableRow]]:
        """The columns named in that row, and the filled rows below it, without columns that are empty."""
        heading = [cell.strip() for cell in self.rows[heading_line - 1][1]]
        below = [(line, cells) for line, cells in self.rows[heading_line:] if any(map(str.strip, cells))]
        skipped = REJECTION_COLUMNS if tuple(heading[-len(REJECTION_COLUMNS) :]) == REJECTION_COLUMNS else ()
        kept = [
            index
            for index, name in enumerate(heading)
            if name not in skipped and (name or any(cells[index].strip() for _, cells in below))
        ]
        return tuple(heading[index] for index in kept), [
            (line, [cells[index] for index in kept]) for line, cells in below
        ]


def cell_text(cell: Any) -> str:
    """The cell as text: money as its shortest decimals, days as `2026-08-03`."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, (int, float)):
        digits = f"{Decimal(repr(cell)):f}"
        return PlainNumber(digits.removesuffix(".0"))
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == datetime.min.time() else cell.isoformat(" ", "seconds")
    if isinstance(cell, date):
        return cell.isoformat()
    return "" if cell is None else str(cell)
