"""A file of invoices to void or to write off: `invoice`, and optionally `memo`."""

from collections.abc import Iterator

from refundcli.files.cell_reader import CellReader
from refundcli.files.csv_table import TableFile
from refundcli.files.source import Source
from refundcli.services.closings.close_file import ClosingRow
from refundcli.services.ports.bad_rows import BadRow

COLUMNS = ("invoice", "memo")


class ClosingsFile:
    def __init__(self, source: Source) -> None:
        self._table = TableFile(source, columns=COLUMNS, required=COLUMNS[:1])
        self.columns = self._table.columns

    def rows(self) -> Iterator[ClosingRow | BadRow]:
        for row in self._table.rows():
            if isinstance(row, BadRow):
                yield row
                continue
            line, cell_texts = row
            cells = CellReader(line, dict(zip(self.columns, cell_texts, strict=True)))
            invoice_number, memo = cells.need("invoice"), cells.text("memo")
            if cells.problems:
                yield BadRow(line, tuple(cells.problems), tuple(cell_texts))
            else:
                yield ClosingRow(line, invoice_number, memo, tuple(cell_texts))
