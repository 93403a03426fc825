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
    """Consecutive valid rows, each with its first line."""

    lines: Sequence[int]
    rows: Sequence[list[str]]


class WrongDelimiter(FileProblem):
    code = "wrong-delimiter"

    def __init__(self, name: str, delimiter: str) -> None:
        super().__init__(
            name,
            f"the columns are separated by {delimiter}; commas are needed",
            hint="Save it again as “CSV UTF-8 (comma delimited)”.",
            line=1,
        )


class UnknownColumn(FileProblem):
    code = "unknown-column"

    def __init__(self, name: str, column: str, columns: Sequence[str]) -> None:
        super().__init__(
            name,
            f"the column {column[:60]!a} is not known" if column else "a column has no name",
            hint=f"{did_you_mean(column[:60], columns)} Columns: {', '.join(columns)}.".strip(),
        )
        self.context["column"] = column[:100]


class DuplicateColumn(FileProblem):
    code = "duplicate-column"

    def __init__(self, name: str, column: str) -> None:
        super().__init__(name, f"the column {column} appears twice", hint="Keep one of them.")


class MissingColumn(FileProblem):
    code = "missing-column"

    def __init__(self, name: str, missing: Sequence[str]) -> None:
        several = "columns" if len(missing) > 1 else "column"
        super().__init__(
            name,
            f"the {several} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing",
            hint="The first line names the columns; their order is free.",
        )


class BrokenHeader(FileProblem):
    code = "broken-header"


class TableFile:
    """A CSV file whose header was checked.

    `columns` are its own: those added to rejected rows are skipped, here and in the rows.
    """

    def __init__(self, source: Source, *, columns: Sequence[str], required: Collection[str]) -> None:
        self._source = source
        self._header: tuple[str, ...] = ()
        self._header = self._checked_header(columns, required)
        self._own = [place for place, name in enumerate(self._header) if name not in REJECTION_COLUMNS]
        self.columns = tuple(self._header[place] for place in self._own)

    def rows(self) -> Iterator[TableRow | BadRow]:
        """Every record after the header as (first line, cells), without blank ones."""
        for block in self.blocks():
            if isinstance(block, BadRow):
                yield block
            else:
                yield from zip(block.lines, block.rows, strict=True)

    def blocks(self) -> Iterator[Block | BadRow]:
        """The same in blocks. Text with one record per line is split at once, the rest record by record."""
        with self._source.text() as text:
            lines = _PhysicalLines(text)
            next(self._records(lines), None)
            while block := lines.look_ahead():
                rows = self._one_on_each_line(block)
                if rows is None:
                    yield from self._record_by_record(lines)
                else:
                    yield Block(lines.pass_over(len(rows)), rows)

    def _one_on_each_line(self, text: str) -> list[list[str]] | None:
        """The rows of a text with one record per line; None if they must be read one by one."""
        if len(text) >= LONGEST_RECORD or "\0" in text or ("'" in text and GUARDED.search(text)):
            return None
        reader = csv.reader(StringIO(text, newline=""), strict=True)
        try:
            rows = list(reader)
        except csv.Error:
            return None
        if reader.line_num != len(rows) or set(map(len, rows)) != {len(self._header)}:
            return None
        if not all(map(str.strip, next(zip(*rows, strict=True)))) and any(map(_is_blank, rows)):
            return None
        if len(self._own) < len(self._header):
            return [[row[place] for place in self._own] for row in rows]
        return rows

    def _record_by_record(self, lines: "_PhysicalLines") -> Iterator[Block | BadRow]:
        """The records of the text read ahead, to the end of its last record."""
        begun: list[TableRow] = []
        for record in self._records(lines):
            row = record if isinstance(record, BadRow) else self._checked(*record)
            if isinstance(row, BadRow):
                if begun:
                    yield _block(begun)
                    begun = []
                yield row
            else:
                begun.append(row)
            if lines.is_consumed:
                break
        if begun:
            yield _block(begun)

    def _checked_header(self, columns: Sequence[str], required: Collection[str]) -> tuple[str, ...]:
        with self._source.text() as text:
            first = next(self._records(_PhysicalLines(text)), None)
        if first is None:
            raise EmptyFile(self._source.name)
        if isinstance(first, BadRow):
            problem = first.problems[0]
            raise BrokenHeader(self._source.name, problem.message.rstrip("."), hint=problem.hint, line=first.line)
        names = tuple(cell.strip().lower() for cell in first[1])
        if names == ("[]",):
            raise NoRows(self._source.name, expected="The first line of a CSV file names the columns.")
        self._check_names(names, columns, required)
        return names

    def _check_names(self, names: Sequence[str], columns: Sequence[str], required: Collection[str]) -> None:
        where = self._source.name
        if len(names) == 1:
            for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
                if separator in names[0]:
                    raise WrongDelimiter(where, called)
        for position, column in enumerate(names):
            if column not in columns and column not in REJECTION_COLUMNS:
                raise UnknownColumn(where, column, columns)
            if column in names[:position]:
                raise DuplicateColumn(where, column)
        missing = [column for column in columns if column in required and column not in names]
        if missing:
            raise MissingColumn(where, missing)

    def _checked(self, line: int, cells: list[str]) -> TableRow | BadRow:
        if len(cells) != len(self._header):
            return self._wrong_count(line, cells)
        own = [unguarded(cells[place]) for place in self._own]
        if "\0" in "".join(own):
            problems = [
                Problem(line, column, cell, "nul-byte", "The cell holds a NUL byte.", "Delete it and type it again.")
                for column, cell in zip(self.columns, own, strict=True)
                if "\0" in cell
            ]
            return BadRow(line, tuple(problems), tuple(own))
        return line, own

    def _wrong_count(self, line: int, cells: list[str]) -> BadRow:
        expected, count = len(self._header), len(cells)
        problem = Problem(
            line,
            self._header[count] if count < expected else "",
            cells[expected] if count > expected else "",
            "wrong-cell-count",
            f"The row has {count} cells, the header {expected}.",
            "Put a cell that contains a comma in quotation marks."
            if count > expected
            else "Write the commas of empty cells too.",
        )
        return BadRow(line, (problem,), tuple(map(unguarded, cells)))

    def _records(self, lines: "_PhysicalLines") -> Iterator[TableRow | BadRow]:
        reader = csv.reader(lines, strict=True)
        while True:
            first = lines.begin_record()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _RecordTooLong):
                yield lines.skip_record(first, self._header)
                continue
            if not _is_blank(cells):
                yield first, cells


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(map(str.strip, cells))


def _block(rows: Sequence[TableRow]) -> Block:
    return Block([line for line, _ in rows], [cells for _, cells in rows])


class _RecordTooLong(Exception):
    """A record longer than any genuine one."""


class _PhysicalLines:
    """The lines of a text for the CSV reader; remembers those of the current record."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._ahead: StringIO | None = None
        self._length_ahead = 0
        self._line = 0
        self._pulled: list[str] = []
        self._size = 0

    def look_ahead(self) -> str:
        """The next text, up to the end of a line; still to be read or passed over."""
        text = self._text.read(_BLOCK)
        if text and not text.endswith("\n"):
            text += self._text.readline(LONGEST_RECORD)
        self._ahead, self._length_ahead = StringIO(text, newline=""), len(text)
        return text

    def pass_over(self, count: int) -> range:
        """Skip the text read ahead. Returns the numbers of its lines."""
        self._ahead = None
        self._line += count
        return range(self._line - count + 1, self._line + 1)

    @property
    def is_consumed(self) -> bool:
        """Was all text that was read ahead consumed?"""
        return self._ahead is None

    def __iter__(self) -> "_PhysicalLines":
        return self

    def __next__(self) -> str:
        text = self._readline(LONGEST_RECORD)
        if not text:
            raise StopIteration
        self._line += 1
        self._pulled.append(text)
        self._size += len(text)
        if self._size >= LONGEST_RECORD:
            raise _RecordTooLong
        return text

    def _readline(self, longest: int) -> str:
        if self._ahead is None:
            return self._text.readline(longest)
        text = self._ahead.readline(longest)
        if self._ahead.tell() == self._length_ahead:
            self._ahead = None
        return text

    def begin_record(self) -> int:
        """Forget the previous record. Returns the first line of the next."""
        self._pulled.clear()
        self._size = 0
        return self._line + 1

    def skip_record(self, line: int, header: Sequence[str]) -> BadRow:
        """Skip to the end of an unreadable record. Returns its problem."""
        scan, excerpt = _Scan(), "".join(self._pulled)[:_KEPT_OF_BROKEN]
        for text in self._pulled:
            scan.feed(text)
        last = self._pulled[-1] if self._pulled else ""
        while not scan.ended:
            last, before = self._readline(LONGEST_RECORD), last
            if not last:
                break
            self._line += before.endswith(("\n", "\r"))
            scan.feed(last)
        problem = scan.problem(line, self._line, header)
        return BadRow(line, (problem,), (unguarded(excerpt.rstrip("\r\n")),))


class _Scan:
    """Follows cells and quotation marks through a broken record to find the problem and the end."""

    _MARKS = re.compile(r'[",\r\n]')

    def __init__(self) -> None:
        self.ended = False
        self._state = "start"  # of a cell; then plain, quoted, or closed after a mark in a quoted one
        self._cell = 0
        self._length = 0
        self._too_long: int | None = None
        self._after_quote: int | None = None

    def feed(self, text: str) -> None:
        """One physical line, or a piece of one."""
        at = 0
        for mark in self._MARKS.finditer(text):
            self._content(mark.start() - at)
            self._mark(mark.group())
            at = mark.end()
        self._content(len(text) - at)

    def _content(self, length: int) -> None:
        if not length:
            return
        if self._state == "closed" and self._after_quote is None:
            self._after_quote = self._cell
        if self._state in ("start", "closed"):
            self._state = "plain"
        self._length += length
        if self._length > LONGEST_CELL and self._too_long is None:
            self._too_long = self._cell

    def _mark(self, mark: str) -> None:
        if mark == '"':
            self._state = {"start": "quoted", "quoted": "closed", "closed": "quoted"}.get(self._state, "plain")
        elif self._state == "quoted":
            self._content(1)
        elif mark == ",":
            self._cell += 1
            self._length = 0
            self._state = "start"
        else:
            self.ended = True

    def problem(self, line: int, last_line: int, header: Sequence[str]) -> Problem:
        """The most likely cause."""

        def named(cell: int) -> str:
            return header[cell] if cell < len(header) else f"cell {cell + 1}"

        if not self.ended and self._state == "quoted":
            what = f"A quotation mark opens a cell that is not closed by the end of the file (line {last_line})."
            return Problem(line, named(self._cell), "", "unclosed-quote", what, "Close it, or double it inside a cell.")
        if self._too_long is not None:
            what = f"The cell is too long: more than {LONGEST_CELL:,} characters, up to line {last_line}."
            hint = "Shorten it; if it runs over several lines, look for a quotation mark that is not closed."
            return Problem(line, named(self._too_long), "", "too-long", what, hint)
        if self._after_quote is not None:
            what = "Text follows a closing quotation mark."
            hint = 'Inside a quoted cell a quotation mark is written twice: "5"" pipe".'
            return Problem(line, named(self._after_quote), "", "stray-quote", what, hint)
        what = f"The row is too long: more than {LONGEST_RECORD:,} characters."
        return Problem(line, "", "", "too-long", what, "Look for a quotation mark that is not closed.")
