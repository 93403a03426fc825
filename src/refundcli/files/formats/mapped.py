"""A file of another program, row by row in our columns.

Read twice: first for its decimal mark and the order of its days, then for its rows. A row keeps its own cells, so that
a rejected one comes back as it was.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Protocol

from refundcli.domain.errors import did_you_mean
from refundcli.files.csv_table import DuplicateColumn, MissingColumn, TableRow
from refundcli.files.formats.amounts import EACH, MarkEvidence, NotAnAmount, plain_amount, two_readings
from refundcli.files.formats.days import NotADay, OrderEvidence, iso_day, readings
from refundcli.files.formats.heading import folded
from refundcli.files.formats.mapping import BANK, Cells, FileFormat
from refundcli.files.invoices.rows import REQUIRED
from refundcli.files.source import FileProblem
from refundcli.files.time_zones import time_zone
from refundcli.services.ports.bad_rows import BadRow, Problem

AMOUNTS = ("total", "paid_amount", "dispute_amount", "refunded_amount", "amount")
DAYS = ("issued_on", "due_on", "paid_on", "booked_on")
# A line below the table, not a row of it.
_TOTALS = re.compile(
    r"(?:grand |sub-?)?(?:total(?:s|t|e|en)?|sum(?:me|ma)?|gesamt\w*|endsumme|saldo|totaal|somme|suma|count|anzahl|"
    r"rows|records)\b.*",
    re.IGNORECASE,
)
_MOST_TOTAL_CELLS = 4


_SAY_WHICH_MARK = "Say which mark is before the decimals: --decimal , or --decimal ."


_SAY_WHICH_MARK = "Say which mark is before the decimals: --decimal , or --decimal ."


class AmbiguousAmounts(FileProblem):
    code = "ambiguous-amounts"

    def __init__(self, file_name: str, cell: str, line: int) -> None:
        as_thousands, as_decimals = two_readings(cell)
        why = f"{cell[:40]} can be {as_thousands} or {as_decimals}, and no other amount shows which"
        super().__init__(file_name, why, hint=_SAY_WHICH_MARK, line=line)


class MixedMarks(FileProblem):
    code = "mixed-decimals"

    def __init__(self, file_name: str, with_point: str, with_comma: str) -> None:
        why = f"{with_point[:40]} has a decimal point and {with_comma[:40]} a decimal comma"
        super().__init__(file_name, why, hint=_SAY_WHICH_MARK)


class AmbiguousDays(FileProblem):
    code = "ambiguous-dates"

    def __init__(self, file_name: str, cell: str, line: int) -> None:
        why = f"{cell[:40]} can be {' or '.join(readings(cell))}, and no other date shows which"
        super().__init__(file_name, why, hint="Say the order of day, month and year: --date dmy, mdy or ymd", line=line)


class Table(Protocol):
    """A table whose heading was found."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def rows(self) -> Iterator[TableRow | BadRow]: ...


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What a person said about the file; empty to detect it. `own_zone`: the zone of the books' days."""

    decimal: str = ""
    date: str = ""
    own_zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class MappedRow:
    """A row in our columns, and its cells in the file."""

    line: int
    cells: Mapping[str, str]
    original: tuple[str, ...]


@dataclass(slots=True)
class PassedOver:
    """Rows that were not read, by reason."""

    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.reasons.total()


class MappedTable:
    """The rows of a table in the columns of a format. The constructor reads the whole table.

    Raises MissingColumn, DuplicateColumn, AmbiguousAmounts, AmbiguousDays.
    """

    def __init__(self, file_name: str, table: Table, file_format: FileFormat, options: ReadingOptions) -> None:
        self.format = file_format
        self.columns = file_format.columns
        self.passed_over = PassedOver()
        self._file_name, self._table, self._options = file_name, table, options
        self._index_by_name = self._index()
        self._decimal = options.decimal or file_format.decimal
        self._order = options.date or file_format.date
        self._check_columns()
        self._judge_marks()

    @property
    def table_columns(self) -> tuple[str, ...]:
        """The file's own columns."""
        return self._table.columns

    @property
    def unused_columns(self) -> list[str]:
        """The file's columns that the format does not read."""
        used = {folded(name) for name in self.format.used_columns()}
        return [name for name in self._table.columns if folded(name) not in used]

    def rows(self) -> Iterator[MappedRow | BadRow]:
        """Every row in order, from the start each time, without those passed over."""
        self.passed_over = PassedOver()
        previous_cells: Mapping[str, str] | None = None
        for row in self._table.rows():
            if isinstance(row, BadRow):
                if not self._is_broken_total(row):
                    yield row
                continue
            line, cells = row
            if why := self._why_passed_over(cells):
                self.passed_over.reasons[why] += 1
                continue
            mapped = self._mapped(line, cells)
            if isinstance(mapped, MappedRow):
                if self.format.repeated_lines and mapped.cells == previous_cells:
                    self.passed_over.reasons["repeated lines"] += 1
                    continue
                previous_cells = mapped.cells
            yield mapped

    def source_column(self, column: str) -> str:
        """The file's column that is read for one of ours; ours if there is none."""
        cells = self.format.cells.get(column)
        present = [name for name in cells.columns if folded(name) in self._index_by_name] if cells else []
        return present[0] if present else column

    # --- the heading ------------------------------------------------------------------------------------------

    def _index(self) -> dict[str, int]:
        used = {folded(name) for name in self.format.used_columns()}
        index_by_name: dict[str, int] = {}
        for index, column in enumerate(self._table.columns):
            name = folded(column)
            if name in index_by_name and name in used:
                raise DuplicateColumn(self._file_name, column)
            index_by_name.setdefault(name, index)
        return index_by_name

    def _check_columns(self) -> None:
        required = ("text", "amount", "booked_on") if self.format.kind == BANK else REQUIRED
        wanted = [self.format.cells[column].columns for column in required if column in self.format.cells]
        wanted += [(column,) for column in self.format.where]
        wanted += [(self.format.zone_column,)] if self.format.zone_column else []
        missing = [names[0] for names in wanted if not any(folded(name) in self._index_by_name for name in names)]
        if missing:
            raise MissingColumn(self._file_name, missing)

    # --- the decimal mark and the order of days -----------------------------------------------------------------

    def _judge_marks(self) -> None:
        marks, order = MarkEvidence(), OrderEvidence()
        detects_marks = not self._options.decimal and self._decimal in ("", EACH)
        if detects_marks or not self._order:
            for row in self._table.rows():
                if isinstance(row, BadRow) or self._why_passed_over(row[1]):
                    continue
                self._collect(row, marks if detects_marks else None, None if self._order else order)
        if detects_marks:
            self._decide_mark(marks)
        if order.ambiguous and len(order.orders) != 1:
            raise AmbiguousDays(self._file_name, order.ambiguous, order.ambiguous_line)
        if not self._order and len(order.orders) == 1:
            (self._order,) = order.orders

    def _collect(self, row: TableRow, marks: MarkEvidence | None, order: OrderEvidence | None) -> None:
        line, cells = row
        for column, source in self.format.cells.items():
            if marks and column in AMOUNTS:
                marks.add(self._text(source, cells), line)
            elif order and column in DAYS:
                order.add(self._text(source, cells), line)

    def _decide_mark(self, marks: MarkEvidence) -> None:
        shown = [(mark, cell) for mark, cell in ((".", marks.point), (",", marks.comma)) if cell]
        if len(shown) == 1:
            self._decimal = shown[0][0]
        elif not shown and marks.ambiguous:
            raise AmbiguousAmounts(self._file_name, marks.ambiguous, marks.ambiguous_line)
        elif shown and self._decimal != EACH:
            raise MixedMarks(self._file_name, marks.point, marks.comma)
        elif not shown:
            self._decimal = "."

    # --- a row ------------------------------------------------------------------------------------------------

    def _cell(self, name: str, cells: Sequence[str]) -> str:
        index = self._index_by_name.get(folded(name))
        return "" if index is None else cells[index]

    def _text(self, source: Cells, cells: Sequence[str]) -> str:
        """The cell's own text, before values, patterns and conversions."""
        texts = [text for name in source.columns if (text := self._cell(name, cells)).strip()]
        if source.joined:
            return " ".join(map(str.strip, texts))
        return texts[0] if texts else ""

    def _why_passed_over(self, cells: Sequence[str]) -> str:
        """The reason to pass over a row, "" to read it."""
        if self._is_total(cells):
            return "totals"
        for column, words in self.format.where.items():
            if (text := self._cell(column, cells).strip()).casefold() not in words:
                return f"{column} {text or 'empty'}"
        for column, words in self.format.where_not.items():
            if (text := self._cell(column, cells).strip()).casefold() in words:
                return f"{column} {text or 'empty'}"
        return ""

    def _is_total(self, cells: Sequence[str]) -> bool:
        filled = [cell.strip() for cell in cells if cell.strip()]
        if not filled or len(filled) > _MOST_TOTAL_CELLS or not _TOTALS.fullmatch(filled[0]):
            return False
        names = ("booked_on", "text") if self.format.kind == BANK else ("customer", "currency", "status", "issued_on")
        read = [self._text(self.format.cells[name], cells) for name in names if name in self.format.cells]
        return sum(bool(text) and not _TOTALS.fullmatch(text) for text in read) == 0

    def _is_broken_total(self, row: BadRow) -> bool:
        """A totals line with another number of cells than the table has?"""
        filled = [cell.strip() for cell in row.original if cell.strip()] if isinstance(row.original, tuple) else []
        is_wrong_count = any(problem.code == "wrong-cell-count" for problem in row.problems)
        is_total = is_wrong_count and 0 < len(filled) <= _MOST_TOTAL_CELLS and bool(_TOTALS.fullmatch(filled[0]))
        self.passed_over.reasons["totals"] += is_total
        return is_total

    def _mapped(self, line: int, cells: list[str]) -> MappedRow | BadRow:
        ours, problems = dict(self.format.constants), []
        for column, source in self.format.cells.items():
            text = self._text(source, cells)
            try:
                ours[column] = self._converted(column, source, text, cells) or ours.get(column, "")
            except _BadCell as error:
                name = self.source_column(column)
                problems.append(Problem(line, name, text.strip(), error.code, str(error), error.hint))
        if problems:
            return BadRow(line, tuple(problems), tuple(cells))
        self._settle_dispute(ours, cells)
        return MappedRow(line, ours, tuple(cells))

    def _converted(self, column: str, source: Cells, text: str, cells: Sequence[str]) -> str:
        if source.pattern and text:
            match = source.pattern.search(text)
            text = (match[1] or "").strip() if match else ""
        if source.filled:
            return source.filled if text.strip() else ""
        if source.values is not None and text.strip():
            word = text.strip().casefold()
            if word not in source.values:
                hint = f"{did_you_mean(word, list(source.values))} Known: {', '.join(source.values)}."
                raise _BadCell(
                    "unknown-value", f"{text.strip()[:60]} is not a word that {self.format.name} knows.", hint
                )
            return source.values[word]
        try:
            if column in AMOUNTS:
                return plain_amount(text, self._decimal or EACH)
            if column in DAYS:
                return self._day(text, cells)
        except NotAnAmount as error:
            raise _BadCell("invalid-amount", str(error), "Correct the cell, or give the mark: --decimal") from None
        except NotADay as error:
            raise _BadCell("invalid-date", str(error), "Write it as YYYY-MM-DD, say 2026-10-31.") from None
        return text.strip()

    def _day(self, text: str, cells: Sequence[str]) -> str:
        zone_name = self._cell(self.format.zone_column, cells).strip() if self.format.zone_column else self.format.zone
        zone = time_zone(zone_name) if zone_name else None
        if text.strip() and self.format.zone_column and zone is None:
            raise NotADay(f"{zone_name[:40] or 'Nothing'} is not a known time zone.")
        return iso_day(text, self._order, row_zone=zone, own_zone=self._options.own_zone)

    def _settle_dispute(self, ours: dict[str, str], cells: Sequence[str]) -> None:
        """No amount of nothing, and none of a dispute that the format says is none."""
        amount, has_word = ours.get("dispute_amount", ""), "dispute" in self.format.cells
        is_nothing = not amount.strip("0.")
        is_no_dispute = (
            has_word and not ours.get("dispute") and bool(self._text(self.format.cells["dispute"], cells).strip())
        )
        if amount and (is_nothing or is_no_dispute):
            ours["dispute_amount"] = ""


class _BadCell(Exception):
    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.hint = code, hint
