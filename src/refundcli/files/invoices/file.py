"""Invoices from a CSV or JSON Lines file, in batches of lines, fast enough for a million."""

import csv
import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import compress
from typing import Any, TypeAlias

from refundcli.files.csv_table import TableFile
from refundcli.files.invoices.codec import packed, unpacked
from refundcli.files.invoices.columns import InvoiceColumns, NotPlain
from refundcli.files.invoices.exported_list import from_listed, is_listed
from refundcli.files.invoices.rows import (
    COLUMNS,
    REQUIRED,
    EarlierLines,
    FirstLines,
    invoice_in_record,
    invoice_in_table,
)
from refundcli.files.json_lines import JsonLinesFile, Record
from refundcli.files.reader_process import read_ahead, there_are_two_cores
from refundcli.files.source import Source
from refundcli.services.chunks import chunked
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.bulk_invoices import InvoiceBlock, RowBatch, block_of
from refundcli.services.ports.records import NewInvoice

Rows: TypeAlias = Callable[[], Sequence[Sequence[str]]]

# This many rows or fewer are read cell by cell if one of them is not plain.
_FEW = 25
_RECORDS = 500


# From this size a second process is worth its start, a quarter of a second.
_LONG_BYTES = 8_000_000


class InvoiceFile:
    """An invoices file. `columns` are those of a table, empty for JSON Lines."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._table = None if is_json_lines(source) else _table_of(source)
        self.columns = self._table.columns if self._table else ()

    def batches(self) -> Iterator[RowBatch]:
        """Every row in order, from the start each time."""
        first_lines = FirstLines()
        if self._table is None:
            records = JsonLinesFile(self.source).records()
            rows = (row if isinstance(row, BadRow) else _in_record(*row, first_lines) for row in records)
            yield from map(batch_of, chunked(rows, _RECORDS))
        elif self.source.size < _LONG_BYTES or not there_are_two_cores():
            yield from _Table(self.columns, first_lines).batches(_read(self.source))
        else:
            read_rows = read_ahead(_read, self.source.for_another_process())
            yield from _Table(self.columns, first_lines).batches(read_rows)


def _in_record(line: int, text: str, record: Record, first_lines: FirstLines) -> NewInvoice | BadRow:
    return invoice_in_record(line, text, from_listed(record) if is_listed(record) else record, first_lines)


def _table_of(source: Source) -> TableFile:
    return TableFile(source, columns=COLUMNS, required=REQUIRED)


@dataclass(slots=True)
class _ReadRows:
    """Consecutive rows of a table, unpacked when asked for, and their invoices if all are plainly valid.

    `text`: the rows are its cells, and it is sent instead of them, which takes a tenth of the time; may be missing.
    """

    lines: Sequence[int]
    rows: Rows
    plain: InvoiceBlock | None = None
    text: str = ""

    def __reduce__(self) -> Any:
        packed_block = packed(self.plain) if self.plain else b""
        return _unpacked_rows, (self.lines, self.text or marshal.dumps(list(self.rows())), packed_block)


def _unpacked_rows(lines: Sequence[int], rows: str | bytes, plain: bytes) -> _ReadRows:
    # From this program's own second process.
    unpacked_rows = partial(_cells, rows) if isinstance(rows, str) else partial(marshal.loads, rows)
    return _ReadRows(lines, unpacked_rows, unpacked(plain) if plain else None)


def _cells(table_text: str) -> list[list[str]]:
    return list(csv.reader(StringIO(table_text, newline="")))


def _read(source: Source) -> Iterator[_ReadRows | BadRow]:
    """Read rows without regard to earlier ones."""
    table = _table_of(source)
    columns = InvoiceColumns(table.columns)
    for block in table.blocks():
        if isinstance(block, BadRow):
            yield block
        else:
            yield from _read_rows(columns, block.lines, block.rows, block.text)


def _read_rows(
    columns: InvoiceColumns, lines: Sequence[int], rows: Sequence[Sequence[str]], text: str = ""
) -> Iterator[_ReadRows]:
    try:
        yield _ReadRows(lines, lambda: rows, columns.read(lines, rows), text)
    except NotPlain:
        if len(rows) <= _FEW:
            yield _ReadRows(lines, lambda: rows)
            return
        half = len(rows) // 2
        yield from _read_rows(columns, lines[:half], rows[:half])
        yield from _read_rows(columns, lines[half:], rows[half:])


class _Table:
    def __init__(self, columns: Sequence[str], first_lines: FirstLines) -> None:
        self._columns, self._first_lines = columns, first_lines

    def batches(self, row_groups: Iterable[_ReadRows | BadRow]) -> Iterator[RowBatch]:
        for row_group in row_groups:
            if isinstance(row_group, BadRow):
                yield batch_of([row_group])
            else:
                yield self._of(row_group)

    def _of(self, row_group: _ReadRows) -> RowBatch:
        if row_group.plain:
            return self._without_duplicates(row_group.plain, row_group.rows)
        return batch_of(
            self._row(line, row, self._first_lines) for line, row in zip(row_group.lines, row_group.rows(), strict=True)
        )

    def _without_duplicates(self, block: InvoiceBlock, rows: Rows) -> RowBatch:
        """The valid rows without those that repeat an earlier number, payment or reference."""
        number_repeats = self._first_lines.numbers.lines_of(block.numbers, block.lines)
        payment_columns = block.payments
        has_id = [
            bool(provider and reference)
            for provider, reference in zip(payment_columns.providers, payment_columns.references, strict=True)
        ]
        payment_names = list(
            compress(map(" ".join, zip(payment_columns.providers, payment_columns.references, strict=True)), has_id)
        )
        payment_repeats = self._first_lines.payments.lines_of(
            payment_names, [block.lines[invoice_index] for invoice_index in compress(payment_columns.invoices, has_id)]
        )
        has_reference = list(map(bool, block.references))
        reference_repeats = self._first_lines.references.lines_of(
            list(compress(block.references, has_reference)), list(compress(block.lines, has_reference))
        )
        if not (number_repeats or payment_repeats or reference_repeats):
            return RowBatch(block, (), rows)
        repeats = (number_repeats, payment_repeats, reference_repeats)
        is_new = [not any(line in first_line_of for first_line_of in repeats) for line in block.lines]
        checked_again = (
            self._row(line, row, EarlierLines(*(first_line_of.get(line, 0) for first_line_of in repeats)))
            for line, row, is_row_new in zip(block.lines, rows(), is_new, strict=True)
            if not is_row_new
        )
        return RowBatch(block.only(is_new), batch_of(checked_again).bad, lambda: list(compress(rows(), is_new)))

    def _row(self, line: int, row: Sequence[str], first_lines: FirstLines) -> NewInvoice | BadRow:
        return invoice_in_table(line, self._columns, row, first_lines)


def batch_of(rows: Iterable[NewInvoice | BadRow]) -> RowBatch:
    invoices: list[NewInvoice] = []
    bad_rows: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow):
            bad_rows.append(row)
        else:
            invoices.append(row)
    return RowBatch(block_of(invoices), bad_rows, lambda: [row.original for row in invoices])


def is_json_lines(source: Source) -> bool:
    """By its name, else by its first character."""
    file_name = source.name.lower()
    if file_name.endswith((".jsonl", ".ndjson", ".json")):
        return True
    if file_name.endswith(".csv"):
        return False
    with source.text() as text_file:
        while text_piece := text_file.read(4096):
            if text_piece.strip():
                return text_piece.lstrip().startswith(("{", "["))
    return False
