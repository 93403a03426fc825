"""Invoices from another program's file, or from ours as a spreadsheet saved it."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import StringIO

from refundcli.files.csv_table import MissingColumn, UnknownColumn, WrongDelimiter
from refundcli.files.formats.library import AUTO, OWN, Formats
from refundcli.files.formats.mapped import MappedRow, MixedMarks, ReadingOptions
from refundcli.files.formats.mapping import INVOICES
from refundcli.files.formats.tables import NoFormatFits, OpenedTable, ReadAs, open_table
from refundcli.files.invoices.exported_list import is_listed_table
from refundcli.files.invoices.file import InvoiceFile, batch_of, is_json_lines
from refundcli.files.invoices.rows import REQUIRED, FirstLines, invoice_of_cells
from refundcli.files.source import UTF_8, Source
from refundcli.services.chunks import chunked
from refundcli.services.ports.bad_rows import BadRow
from refundcli.services.ports.bulk_invoices import RowBatch
from refundcli.services.ports.records import NewInvoice

_AT_ONCE = 500
_BEGINNING = 64 * 1024
# A cell that only a person or a spreadsheet writes: an amount with a comma, or a day that is not like 2026-10-31.
_OTHER_MARKS = re.compile(
    r'"[-+(]?[0-9][0-9.\' ]*,[0-9][0-9.,]*\)?"|(?:^|[,"])[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{2,4}(?=[,"\r\n])',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class ReadingChoice:
    """What a person chose: the format's name or AUTO, a sheet, and the options of the format."""

    format: str = AUTO
    sheet: str = ""
    options: ReadingOptions = field(default_factory=ReadingOptions)

    @property
    def is_left_open(self) -> bool:
        return self.format in (AUTO, OWN) and not (self.sheet or self.options.decimal or self.options.date)


class MappedInvoiceFile:
    """The same as InvoiceFile, for a file that is not in our layout."""

    def __init__(self, source: Source, opened: OpenedTable, options: ReadingOptions) -> None:
        self.source, self._opened = source, opened
        self.columns = opened.columns
        self.delimiter = opened.read_as.delimiter or ","
        chosen = f"{opened.mapped.format.sha256} {options.decimal} {options.date}"
        self._mapping_hash = hashlib.sha256(chosen.encode()).hexdigest()

    @property
    def read_as(self) -> ReadAs:
        return self._opened.read_as

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many rows were passed over by the last reading, by reason."""
        return self._opened.mapped.passed_over.reasons

    @property
    def label(self) -> str:
        """The file and the mapping in the audit trail, each with its hash."""
        return f"{self.source.label} as {self.read_as.format} sha256:{self._mapping_hash[:16]}"

    def batches(self) -> Iterator[RowBatch]:
        """Every row in order, from the start each time."""
        first_lines = FirstLines()
        for rows in chunked(self._opened.mapped.rows(), _AT_ONCE):
            yield batch_of(self._invoice_of(row, first_lines) for row in rows)

    def own_rows(self) -> Iterator[tuple[int, list[str]] | BadRow]:
        """The rows in our columns, each with its line; invalid ones as such."""
        first_lines = FirstLines()
        for row in self._opened.mapped.rows():
            read = self._invoice_of(row, first_lines)
            if isinstance(read, BadRow):
                yield read
            elif isinstance(row, MappedRow):
                yield row.line, [row.cells.get(column, "") for column in self.own_columns]

    @property
    def own_columns(self) -> tuple[str, ...]:
        """Our columns that the format fills."""
        return self._opened.mapped.columns

    def _invoice_of(self, row: MappedRow | BadRow, first_lines: FirstLines) -> NewInvoice | BadRow:
        if isinstance(row, BadRow):
            return row
        read = invoice_of_cells(row.line, row.cells, row.original, first_lines)
        if not isinstance(read, BadRow):
            return read
        name_of = self._opened.mapped.source_column
        problems = [replace(problem, column=name_of(problem.column)) for problem in read.problems]
        return replace(read, problems=tuple(problems))


def open_invoices(
    source: Source, formats: Callable[[], Formats], choice: ReadingChoice
) -> InvoiceFile | MappedInvoiceFile:
    """Our own layout is read as fast as it can be; anything else by its format. Raises a FileProblem."""
    may_be_own = choice.is_left_open and source.encoding == UTF_8 and not source.is_spreadsheet
    if may_be_own and _is_own(source):
        return InvoiceFile(source)
    try:
        opened = open_table(source, formats().candidates(choice.format, INVOICES), choice.options, sheet=choice.sheet)
    except (NoFormatFits, MixedMarks):
        if may_be_own:
            # A heading that cannot be read at all is reported as such.
            with suppress(UnknownColumn, MissingColumn, WrongDelimiter):
                return InvoiceFile(source)
        raise
    return MappedInvoiceFile(source, opened, choice.options)


def _is_own(source: Source) -> bool:
    """Our layout as this program writes it: JSON Lines, or commas with plain amounts and days."""
    if is_json_lines(source):
        return True
    with source.text() as text_file:
        beginning = text_file.read(_BEGINNING)
    heading = next(csv.reader(StringIO(beginning, newline="")), [])
    names = {name.strip().lower() for name in heading}
    return names >= set(REQUIRED) and not is_listed_table(names) and not _OTHER_MARKS.search(beginning)
