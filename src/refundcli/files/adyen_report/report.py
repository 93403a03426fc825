"""Adyen's payment accounting and settlement details reports: columns by their names, amounts in major units.

A report may be many megabytes, so it is read once into a table on disk and returned by payment. If the file's structure
is damaged, the whole report is refused. A row that cannot be applied, about an identified payment, is stored with its
problem, and the caller blocks that payment (R13).
"""

import csv
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from refundcli.domain.currencies import currency
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.files.adyen_report.columns import Columns, NotAReport, columns_of
from refundcli.files.source import EmptyFile, FileProblem, Source
from refundcli.files.time_zones import time_zone
from refundcli.private_files import temporary_folder
from refundcli.services.ports.bad_rows import Problem
from refundcli.services.ports.vocabulary import Effect, Meaning
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart

__all__ = ["AdyenReport", "BadReport", "MeaningOf", "NotAReport"]

# The meaning of a record type, None if it is not listed. A parameter, because `files` does not import `providers`.
MeaningOf: TypeAlias = Callable[[str], Meaning | None]
_Stored: TypeAlias = tuple[int, str, str, str, str, int | None, str, str, str]

_AT_ONCE = 5_000
_MOST_PROBLEMS = 50
# A few rows may be invalid. If most of many are, the file was edited, for example in a spreadsheet.
_FEW_PROBLEMS = 20


class BadReport(Refused):
    code = "bad-report"

    def __init__(self, name: str, problems: Sequence[Problem], count: int) -> None:
        lines = "; ".join(f"line {problem.line}, {problem.column}: {problem.message}" for problem in problems[:5])
        super().__init__(
            f"{count} {'row' if count == 1 else 'rows'} of {name} cannot be read: {lines} Nothing was written.",
            hint="Download the report again; it may be cut short, or was changed in a spreadsheet.",
            context={"file": name, "bad_rows": count},
        )


@dataclass(slots=True)
class _Problems:
    """Counts all problems and lists the first ones."""

    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, line: int, column: str, value: str, message: str) -> None:
        self.count += 1
        if len(self.first) < _MOST_PROBLEMS:
            self.first.append(Problem(line, column, value, "unreadable", message))


class AdyenReport:
    """Implements `services.reconciliation.report_rows.Report`. The constructor raises NotAReport, BadReport."""

    def __init__(
        self,
        source: Source,
        *,
        account: str,
        meaning_of: MeaningOf,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.name = source.name
        self.rows = self.account_rows = self.other_account_rows = self.unrelated_rows = self.payments = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._account = account
        self._meaning_of = meaning_of
        self._damage = _Problems()
        self._odd_rows = _Problems()
        self._folder = tempfile.TemporaryDirectory(prefix="refundcli-report-", dir=temporary_folder())
        self._path = Path(self._folder.name) / "rows.db"
        try:
            self._read(source, advance)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "AdyenReport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._folder.cleanup()

    def by_payment(self) -> Iterator[tuple[str, list[ReportRow]]]:
        with closing(sqlite3.connect(self._path)) as line:
            stored = line.execute("SELECT * FROM row ORDER BY payment, line")
            for payment, rows in groupby(stored, key=lambda row: row[2]):
                yield str(payment), [_row_of(row, self._meaning_of) for row in rows]

    def has(self, payments: Sequence[str]) -> set[str]:
        with closing(sqlite3.connect(self._path)) as line:
            marks = ",".join("?" * len(payments))
            stored = line.execute(f"SELECT DISTINCT payment FROM row WHERE payment IN ({marks})", payments)  # noqa: S608
            return {str(payment) for (payment,) in stored}

    def names_of(self, payments: Sequence[str]) -> dict[str, set[str]]:
        names: dict[str, set[str]] = {}
        with closing(sqlite3.connect(self._path)) as line:
            marks = ",".join("?" * len(payments))
            query = f"SELECT payment, modification, reference FROM row WHERE payment IN ({marks})"  # noqa: S608
            for payment, modification, reference in line.execute(query, payments):
                names.setdefault(str(payment), set()).update((modification, reference))
        return names

    def _read(self, source: Source, advance: Callable[[int], None]) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as line, source.text() as text:
            # The file need not survive the process.
            line.execute("PRAGMA synchronous = OFF")
            line.execute("PRAGMA journal_mode = OFF")
            line.execute(
                "CREATE TABLE row (line INTEGER, word TEXT, payment TEXT, modification TEXT, reference TEXT,"
                " amount INTEGER, currency TEXT, booked_at TEXT, problem TEXT)"
            )
            self._store(line, source, csv.reader(text, strict=True), advance)
            if self._damage.count:
                raise BadReport(self.name, self._damage.first, self._damage.count)
            if self._odd_rows.count > _FEW_PROBLEMS and self._odd_rows.count * 2 > self.rows:
                raise BadReport(self.name, self._odd_rows.first, self._odd_rows.count)
            line.execute("CREATE INDEX by_payment ON row (payment, line)")
            (self.payments,) = line.execute("SELECT count(DISTINCT payment) FROM row").fetchone()

    def _store(
        self, line: sqlite3.Connection, source: Source, records: Iterator[list[str]], advance: Callable[[int], None]
    ) -> None:
        batch: list[_Stored] = []
        number = 1
        try:
            columns = columns_of(source.name, _heading(source, records))
            for number, cells in enumerate(records, start=2):
                row = self._read_row(number, cells, columns)
                if row:
                    batch.append(row)
                if len(batch) >= _AT_ONCE:
                    self._insert(line, batch)
                if number % _AT_ONCE == 0:
                    advance(_AT_ONCE)
        except csv.Error as error:
            raise FileProblem(source.name, f"this is not CSV: {error}", line=number + 1) from None
        self._insert(line, batch)
        advance((number - 1) % _AT_ONCE)

    def _insert(self, line: sqlite3.Connection, batch: list[_Stored]) -> None:
        line.execute("BEGIN")
        line.executemany("INSERT INTO row VALUES (?,?,?,?,?,?,?,?,?)", batch)
        line.execute("COMMIT")
        self.rows += len(batch)
        batch.clear()

    def _read_row(self, number: int, cells: list[str], columns: Columns) -> _Stored | None:
        """The row; None if it does not concern our refunds, or for damage that rejects the whole file."""
        if len(cells) != len(columns.names):
            if cells:
                message = f"It has {len(cells)} cells where the header has {len(columns.names)}."
                self._damage.add(number, "", "", message)
            return None
        if columns.cell(cells, "account") != self._account:
            self.other_account_rows += 1
            return None
        self.account_rows += 1
        word, payment = columns.cell(cells, "word"), columns.cell(cells, "payment")
        meaning = self._meaning_of(word)
        moves_money = meaning is not None and meaning.effect in (Effect.REFUND, Effect.DISPUTE, Effect.CAPTURE)
        if not payment and moves_money:
            self._damage.add(number, columns.name("payment"), "", "The payment's reference is missing.")
            return None
        # A row without a payment, such as a fee or a correction, blocks none.
        if not payment or (meaning is not None and meaning.effect is Effect.NONE):
            self.unrelated_rows += 1
            return None
        return self._row_of_payment(number, cells, columns, word, meaning)

    def _row_of_payment(
        self, number: int, cells: list[str], columns: Columns, word: str, meaning: Meaning | None
    ) -> _Stored | None:
        booked_at = self._booked_at(number, cells, columns)
        if booked_at is None:
            return None
        payment, modification = columns.cell(cells, "payment"), columns.cell(cells, "modification")
        if modification == payment:
            modification = ""
        minor, problem = columns.amount_of(cells, word, meaning)
        if not problem and not modification and meaning is not None and meaning.effect is Effect.REFUND:
            problem = f"{word} does not say which refund it is about: {columns.name('modification')} is empty."
        if problem:
            self._odd_rows.add(number, columns.name("word"), word, problem)
        of = columns.cell(cells, "currency").upper()
        reference = columns.cell(cells, "reference")
        return number, word, payment, modification, reference, minor, of, booked_at, problem

    def _booked_at(self, number: int, cells: list[str], columns: Columns) -> str | None:
        text, name = columns.cell(cells, "date"), columns.cell(cells, "zone")
        zone = time_zone(name)
        try:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None and zone is None:
                message = f"{name[:40]} is not a known time zone." if name else "The time zone is missing."
                self._damage.add(number, columns.name("zone"), name, message)
                return None
            at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            self._damage.add(number, columns.name("date"), text, "This is not a date and time.")
            return None
        self.first = min(self.first or at, at)
        self.last = max(self.last or at, at)
        return at.isoformat()


def _heading(source: Source, records: Iterator[list[str]]) -> list[str]:
    """The first line. Raises EmptyFile if there is nothing but blank lines."""
    heading = next(records, [])
    if not any(heading) and not any(map(any, records)):
        raise EmptyFile(source.name)
    return heading


def _row_of(row: _Stored, meaning_of: MeaningOf) -> ReportRow:
    line, word, payment, modification, reference, minor, code, booked_at, problem = row
    return ReportRow(
        line=line,
        word=word,
        meaning=meaning_of(word),
        payment_reference=payment,
        modification_reference=modification,
        merchant_reference=reference,
        amount=None if minor is None else Money(minor, currency(code)),
        booked_at=datetime.fromisoformat(booked_at),
        part=_part_of(word.lower()),
        problem=problem,
    )


def _part_of(word: str) -> RowPart:
    """Settled repeats SentForSettle; SettledInInstallments is the sum of its SettledInstallment rows."""
    if word.startswith("sentfor"):
        return RowPart.SENT
    if "ininstallments" in word:
        return RowPart.WHOLE
    return RowPart.INSTALMENT if "installment" in word else RowPart.DONE
