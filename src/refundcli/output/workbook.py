"""Rows as an Excel workbook: text stays text, and amounts are numbers with their own decimals."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import BinaryIO

from refundcli.domain.errors import SheetsMissing, UsageProblem
from refundcli.output.delimited import cell_text
from refundcli.output.sanitize import safe

# Excel has no more rows than this, and no more digits in a number than fifteen.
_MOST_ROWS = 1_048_575
_NUMBER = re.compile(r"-?[0-9]{1,13}(?:\.([0-9]+))?", re.ASCII)


class TooManyRows(UsageProblem):
    code = "too-many-rows"

    def __init__(self) -> None:
        super().__init__(
            f"A workbook holds at most {_MOST_ROWS:,} rows.", hint="Limit the list, or write it with -o csv."
        )


def write_workbook(
    file: BinaryIO, columns: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: Collection[str]
) -> None:
    """One sheet with a heading row. Cells outside `text_columns` become numbers if they read as one.

    Raises SheetsMissing and TooManyRows.
    """
    try:
        from xlsxwriter import Workbook
    except ImportError as missing:
        raise SheetsMissing from missing
    workbook = Workbook(file, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    sheet = workbook.add_worksheet()
    heading = workbook.add_format({"bold": True})
    number_formats = [workbook.add_format({"num_format": "0" + "." * bool(count) + "0" * count}) for count in range(5)]
    for column_number, column in enumerate(columns):
        sheet.write_string(0, column_number, column, heading)
    sheet.freeze_panes(1, 0)
    are_texts = [column in text_columns for column in columns]
    for row_number, row in enumerate(rows, start=1):
        if row_number > _MOST_ROWS:
            raise TooManyRows
        for column_number, (value, is_text) in enumerate(zip(row, are_texts, strict=True)):
            text = safe(cell_text(value), multiline=True)
            number = None if is_text else _NUMBER.fullmatch(text)
            if number:
                sheet.write_number(row_number, column_number, float(text), number_formats[len(number[1] or "") % 5])
            elif text:
                sheet.write_string(row_number, column_number, text)
    workbook.close()
