"""Rows for spreadsheets and pipes: whole values, one record a line, and no cell that runs."""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from typing import Literal, TextIO

from refundcli.formulas import guarded
from refundcli.output.json import iso
from refundcli.output.sanitize import safe

Dialect = Literal["csv", "tsv", "excel"]

# Only what reads as a plain number may start with a sign; `-1+cmd()` is not one.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)


def write_rows(
    stream: TextIO,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    dialect: Dialect,
    header: bool,
    text_columns: Collection[str] | None = None,
) -> None:
    """Write rows whose cells stand in the order of `columns`.

    `excel` is CSV as Excel writes it where the decimal mark is a comma: semicolons, and a byte order mark.
    Cells of `text_columns` (all columns, when None) are guarded against formulas; in the other
    columns a negative amount stays a number. `header`: write the names of the columns first.
    """
    if dialect == "excel":
        # Excel reads UTF-8 only with a byte order mark.
        stream.write("\ufeff")
    write_line = _line_writer(stream, dialect)
    if header:
        write_line([_cell(column, is_number_column=False, allows_lines=False) for column in columns])
    are_number_columns = [text_columns is not None and column not in text_columns for column in columns]
    allows_lines = dialect != "tsv"
    for row in rows:
        cells = [
            _cell(value, is_number_column=is_number_column, allows_lines=allows_lines)
            for value, is_number_column in zip(row, are_number_columns, strict=True)
        ]
        if dialect == "excel":
            cells = [
                cell.replace(".", ",") if is_number_column and _NUMBER.fullmatch(cell) else cell
                for cell, is_number_column in zip(cells, are_number_columns, strict=True)
            ]
        write_line(cells)


def cell_text(value: object) -> str:
    """A value as a cell's text: nothing for None, `true`/`false`, UTC times, lists joined with `;`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return iso(value)
    if isinstance(value, list | tuple):
        return ";".join(cell_text(part) for part in value)
    return str(value)


def _cell(value: object, *, is_number_column: bool, allows_lines: bool) -> str:
    """`allows_lines`: as CSV has it, where a quoted cell may have several. TSV has no quotes."""
    text = safe(cell_text(value), multiline=allows_lines)
    is_number = isinstance(value, int) or (is_number_column and _NUMBER.fullmatch(text))
    return text if is_number else guarded(text, quoted=allows_lines)


def _line_writer(stream: TextIO, dialect: Dialect) -> Callable[[list[str]], object]:
    """CSV quotes a cell that holds a separator; TSV has no quotes, so there tabs and lines were escaped before."""
    if dialect == "csv":
        return csv.writer(stream, lineterminator="\n").writerow
    if dialect == "excel":
        return csv.writer(stream, delimiter=";", lineterminator="\r\n").writerow
    return lambda cells: stream.write("\t".join(cells) + "\n")
