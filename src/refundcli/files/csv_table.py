"""CSV with a header, record by record; a broken record does not stop the rest.

A broken record is reported with its line and column, and reading resumes at the next record. Its start follows from
the quotation marks, so that lines inside a quoted cell are never read as rows.
"""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TextIO

from refundcli.domain.errors import did_you_mean
from refundcli.files.source import EmptyFile, FileProblem, NoRows, Source
from refundcli.formulas import GUARDED, unguarded
from refundcli.services.ports.bad_rows import BadRow, Problem

# Added to the columns of rejected rows; skipped when the corrected file is read.
REJECTION_COLUMNS = ("line", "error_code", "error", "hint")

LONGEST_CELL = 128 * 1024
LONGEST_RECORD = 1024 * 1024
_KEPT_OF_BROKEN = 1000

# Characters read at once.
_BLOCK = 512 * 1024

TableRow = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive valid rows, each with its first line. `text`: they are the cells of this text; may be missing."""

    lines: Sequence[int]
    rows: Sequence[list[str]]
    text: str = ""


class WrongDelimiter(FileProblem):
    code = "wrong-delimiter"

    def __init__(self, file_name: str, delimiter: str) -> None:
        super().__init__(
            file_name,
            f"the columns are separated by {delimiter}; commas are needed",
            hint="Save it again as “CSV UTF-8 (comma delimited)”.",
            line=1,
        )


class UnknownColumn(FileProblem):
    code = "unknown-column"

    def __init__(self, file_name: str, column: str, known_columns: Sequence[str]) -> None:
        super().__init__(
            file_name,
            f"the column {column[:60]!a} is not known" if column else "a column has no name",
            hint=f"{did_you_mean(column[:60], known_columns)} Columns: {', '.join(known_columns)}.".strip(),
        )
        self.context["column"] = column[:100]


class DuplicateColumn(FileProblem):
    code = "duplicate-column"

    def __init__(self, name: str, column: str) -> None:
        super().__init__(name, f"the column {column} appears twice", hint="Keep one of them.")


class MissingColumn(FileProblem):
    code = "missing-column"

    def __init__(self, file_name: str, missing_columns: Sequence[str]) -> None:
        noun = "columns" if len(missing_columns) > 1 else "column"
        super().__init__(
            file_name,
            f"the {noun} {', '.join(missing_columns)} {'are' if len(missing_columns) > 1 else 'is'} missing",
            hint="The first line names the columns; they can be in any order.",
        )


class BrokenHeader(FileProblem):
    code = "broken-header"


class TableFile:
    """A CSV file whose header was checked.

    `columns` are its own: those added to rejected rows are skipped, here and in the rows.
    """

    def __init__(
        self,
        source: Source,
        *,
        columns: Sequence[str] | None,
        required: Collection[str] = (),
        delimiter: str = ",",
        heading_line: int = 1,
    ) -> None:
        """`columns` None: any names are accepted and kept as they are written. Raises a FileProblem for the header."""
        self._source, self._delimiter, self._heading_line = source, delimiter, heading_line
        self._header: tuple[str, ...] = ()
        self._header = self._checked_header(columns, required)
        # Somebody's own file may have a column of the same name.
        ends_with_rejection = self._header[-len(REJECTION_COLUMNS) :] == REJECTION_COLUMNS
        skipped_names = REJECTION_COLUMNS if columns or ends_with_rejection else ()
        self._kept_indexes = [
            column_index for column_index, name in enumerate(self._header) if name not in skipped_names
        ]
        self.columns = tuple(self._header[column_index] for column_index in self._kept_indexes)

    def rows(self) -> Iterator[TableRow | BadRow]:
        """Every record after the header as (first line, cells), without blank ones."""
        for block in self.blocks():
            if isinstance(block, BadRow):
                yield block
            else:
                yield from zip(block.lines, block.rows, strict=True)

    def blocks(self) -> Iterator[Block | BadRow]:
        """The same in blocks. Text with one record per line is split at once, the rest record by record."""
        with self._source.text() as text_file:
            physical_lines = _PhysicalLines(text_file)
            physical_lines.skip(self._heading_line - 1)
            next(self._records(physical_lines), None)
            while text_ahead := physical_lines.look_ahead():
                rows = self._one_on_each_line(text_ahead)
                if rows is None:
                    yield from self._record_by_record(physical_lines)
                else:
                    has_all_cells = len(self._kept_indexes) == len(self._header)
                    yield Block(physical_lines.pass_over(len(rows)), rows, text_ahead if has_all_cells else "")

    def _one_on_each_line(self, table_text: str) -> list[list[str]] | None:
        """The rows of a text with one record per line; None if they must be read one by one."""
        if (
            len(table_text) >= LONGEST_RECORD
            or "\0" in table_text
            or ("'" in table_text and GUARDED.search(table_text))
        ):
            return None
        reader = csv.reader(StringIO(table_text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            rows = list(reader)
        except csv.Error:
            return None
        if reader.line_num != len(rows) or set(map(len, rows)) != {len(self._header)}:
            return None
        if not all(map(str.strip, next(zip(*rows, strict=True)))) and any(map(_is_blank, rows)):
            return None
        if len(self._kept_indexes) < len(self._header):
            return [[row[column_index] for column_index in self._kept_indexes] for row in rows]
        return rows

    def _record_by_record(self, physical_lines: "_PhysicalLines") -> Iterator[Block | BadRow]:
        """The records of the text read ahead, to the end of its last record."""
        valid_rows: list[TableRow] = []
        for record in self._records(physical_lines):
            row = record if isinstance(record, BadRow) else self._checked(*record)
            if isinstance(row, BadRow):
                if valid_rows:
                    yield _block(valid_rows)
                    valid_rows = []
                yield row
            else:
                valid_rows.append(row)
            if physical_lines.is_consumed:
                break
        if valid_rows:
            yield _block(valid_rows)

    def _checked_header(self, columns: Sequence[str] | None, required: Collection[str]) -> tuple[str, ...]:
        with self._source.text() as text_file:
            physical_lines = _PhysicalLines(text_file)
            physical_lines.skip(self._heading_line - 1)
            header_record = next(self._records(physical_lines), None)
        if header_record is None:
            raise EmptyFile(self._source.name)
        if isinstance(header_record, BadRow):
            problem = header_record.problems[0]
            raise BrokenHeader(
                self._source.name, problem.message.rstrip("."), hint=problem.hint, line=header_record.line
            )
        if columns is None:
            return tuple(cell.strip() for cell in header_record[1])
        header = tuple(cell.strip().lower() for cell in header_record[1])
        if header == ("[]",):
            raise NoRows(self._source.name, expected="The first line of a CSV file names the columns.")
        check_names(self._source.name, header, columns, required)
        return header

    def _checked(self, line: int, cells: list[str]) -> TableRow | BadRow:
        if len(cells) != len(self._header):
            return self._wrong_count(line, cells)
        kept_cells = [unguarded(cells[column_index]) for column_index in self._kept_indexes]
        if "\0" in "".join(kept_cells):
            problems = [
                Problem(
                    line,
                    column,
                    cell,
                    "nul-byte",
                    "The cell contains a character that cannot be stored (NUL).",
                    "Delete it and type it again.",
                )
                for column, cell in zip(self.columns, kept_cells, strict=True)
                if "\0" in cell
            ]
            return BadRow(line, tuple(problems), tuple(kept_cells))
        return line, kept_cells

    def _wrong_count(self, line: int, cells: list[str]) -> BadRow:
        expected_count, cell_count = len(self._header), len(cells)
        problem = Problem(
            line,
            self._header[cell_count] if cell_count < expected_count else "",
            cells[expected_count] if cell_count > expected_count else "",
            "wrong-cell-count",
            f"The row has {cell_count} cells, but the header has {expected_count}.",
            "Put a cell that contains a comma in quotation marks."
            if cell_count > expected_count
            else "Include the commas for empty cells too.",
        )
        return BadRow(line, (problem,), tuple(map(unguarded, cells)))

    def _records(self, physical_lines: "_PhysicalLines") -> Iterator[TableRow | BadRow]:
        reader = csv.reader(physical_lines, delimiter=self._delimiter, strict=True)
        while True:
            first_line = physical_lines.begin_record()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _RecordTooLong):
                yield physical_lines.skip_record(first_line, self._header, self._delimiter)
                continue
            if not _is_blank(cells):
                yield first_line, cells


def check_names(file_name: str, header: Sequence[str], columns: Sequence[str], required: Collection[str]) -> None:
    """Raises UnknownColumn, DuplicateColumn, MissingColumn, and WrongDelimiter if the names were not separated."""
    if len(header) == 1:
        for separator, separator_name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in header[0]:
                raise WrongDelimiter(file_name, separator_name)
    for position, column in enumerate(header):
        if column not in columns and column not in REJECTION_COLUMNS:
            raise UnknownColumn(file_name, column, columns)
        if column in header[:position]:
            raise DuplicateColumn(file_name, column)
    missing_columns = [column for column in columns if column in required and column not in header]
    if missing_columns:
        raise MissingColumn(file_name, missing_columns)


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(map(str.strip, cells))


def _block(rows: Sequence[TableRow]) -> Block:
    return Block([line for line, _ in rows], [cells for _, cells in rows])


class _RecordTooLong(Exception):
    """A record longer than any genuine one."""


class _PhysicalLines:
    """The lines of a text for the CSV reader; remembers those of the current record."""

    def __init__(self, text_file: TextIO) -> None:
        self._text_file = text_file
        self._text_ahead: StringIO | None = None
        self._length_ahead = 0
        self._line_number = 0
        self._record_lines: list[str] = []
        self._record_length = 0

    def look_ahead(self) -> str:
        """The next text, up to the end of a line; still to be read or passed over."""
        text = self._text_file.read(_BLOCK)
        if text and not text.endswith("\n"):
            text += self._text_file.readline(LONGEST_RECORD)
        self._text_ahead, self._length_ahead = StringIO(text, newline=""), len(text)
        return text

    def pass_over(self, line_count: int) -> range:
        """Skip the text read ahead. Returns the numbers of its lines."""
        self._text_ahead = None
        self._line_number += line_count
        return range(self._line_number - line_count + 1, self._line_number + 1)

    @property
    def is_consumed(self) -> bool:
        """Was all text that was read ahead consumed?"""
        return self._text_ahead is None

    def __iter__(self) -> "_PhysicalLines":
        return self

    def __next__(self) -> str:
        line_text = self._readline(LONGEST_RECORD)
        if not line_text:
            raise StopIteration
        self._line_number += 1
        self._record_lines.append(line_text)
        self._record_length += len(line_text)
        if self._record_length >= LONGEST_RECORD:
            raise _RecordTooLong
        return line_text

    def _readline(self, max_length: int) -> str:
        if self._text_ahead is None:
            return self._text_file.readline(max_length)
        text = self._text_ahead.readline(max_length)
        if self._text_ahead.tell() == self._length_ahead:
            self._text_ahead = None
        return text

    def skip(self, line_count: int) -> None:
        for _ in range(line_count):
            self._line_number += bool(self._text_file.readline())

    def begin_record(self) -> int:
        """Forget the previous record. Returns the first line of the next."""
        self._record_lines.clear()
        self._record_length = 0
        return self._line_number + 1

    def skip_record(self, first_line: int, header: Sequence[str], delimiter: str) -> BadRow:
        """Skip to the end of an unreadable record. Returns its problem."""
        scan, excerpt = _Scan(delimiter), "".join(self._record_lines)[:_KEPT_OF_BROKEN]
        for line_text in self._record_lines:
            scan.feed(line_text)
        last_text = self._record_lines[-1] if self._record_lines else ""
        while not scan.ended:
            last_text, previous_text = self._readline(LONGEST_RECORD), last_text
            if not last_text:
                break
            self._line_number += previous_text.endswith(("\n", "\r"))
            scan.feed(last_text)
        problem = scan.problem(first_line, self._line_number, header)
        return BadRow(first_line, (problem,), (unguarded(excerpt.rstrip("\r\n")),))


class _Scan:
    """Follows cells and quotation marks through a broken record to find the problem and the end."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._marks = re.compile(rf'["{re.escape(delimiter)}\r\n]')
        self.ended = False
        self._cell_state = "start"  # of a cell; then plain, quoted, or closed after a mark in a quoted one
        self._cell_index = 0
        self._cell_length = 0
        self._too_long_cell: int | None = None
        self._stray_quote_cell: int | None = None

    def feed(self, line_text: str) -> None:
        """One physical line, or a piece of one."""
        next_index = 0
        for mark in self._marks.finditer(line_text):
            self._content(mark.start() - next_index)
            self._mark(mark.group())
            next_index = mark.end()
        self._content(len(line_text) - next_index)

    def _content(self, length: int) -> None:
        if not length:
            return
        if self._cell_state == "closed" and self._stray_quote_cell is None:
            self._stray_quote_cell = self._cell_index
        if self._cell_state in ("start", "closed"):
            self._cell_state = "plain"
        self._cell_length += length
        if self._cell_length > LONGEST_CELL and self._too_long_cell is None:
            self._too_long_cell = self._cell_index

    def _mark(self, special_character: str) -> None:
        if special_character == '"':
            self._cell_state = {"start": "quoted", "quoted": "closed", "closed": "quoted"}.get(
                self._cell_state, "plain"
            )
        elif self._cell_state == "quoted":
            self._content(1)
        elif special_character == self._delimiter:
            self._cell_index += 1
            self._cell_length = 0
            self._cell_state = "start"
        else:
            self.ended = True

    def problem(self, first_line: int, last_line: int, header: Sequence[str]) -> Problem:
        """The most likely cause."""

        def column_name(cell_index: int) -> str:
            return header[cell_index] if cell_index < len(header) else f"cell {cell_index + 1}"

        if not self.ended and self._cell_state == "quoted":
            message = f"A quotation mark on line {last_line} opens a cell that is never closed."
            return Problem(
                first_line,
                column_name(self._cell_index),
                "",
                "unclosed-quote",
                message,
                "Close it, or double it inside a cell.",
            )
        if self._too_long_cell is not None:
            message = f"The cell is too long: more than {LONGEST_CELL:,} characters, up to line {last_line}."
            hint = "Shorten it; if it runs over several lines, look for a quotation mark that is not closed."
            return Problem(first_line, column_name(self._too_long_cell), "", "too-long", message, hint)
        if self._stray_quote_cell is not None:
            message = "Text follows a closing quotation mark."
            hint = 'Inside a quoted cell a quotation mark is written twice: "5"" pipe".'
            return Problem(first_line, column_name(self._stray_quote_cell), "", "stray-quote", message, hint)
        message = f"The row is too long: more than {LONGEST_RECORD:,} characters."
        return Problem(first_line, "", "", "too-long", message, "Look for a quotation mark that is not closed.")
