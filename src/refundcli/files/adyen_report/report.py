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
from typing import TextIO, TypeAlias

from refundcli.domain.currencies import currency
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.files.adyen_report.columns import Columns, NotAReport, columns_of
from refundcli.files.formats.heading import Heading
from refundcli.files.report_heading import FIRST_LINE
from refundcli.files.source import EmptyFile, FileProblem, Source
from refundcli.files.time_zones import time_zone
from refundcli.private_files import temporary_folder
from refundcli.services.ports.bad_rows import Problem
from refundcli.services.ports.vocabulary import Effect, Meaning
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart

__all__ = ["AdyenReport", "BadReport", "MeaningOf", "NotAReport"]

# The meaning of a record type, None if it is not listed. A parameter, because `files` does not import `providers`.
MeaningOf: TypeAlias = Callable[[str], Meaning | None]
StoredRow: TypeAlias = tuple[int, str, str, str, str, int | None, str, str, str]

_AT_ONCE = 5_000
_MOST_PROBLEMS = 50
# A few rows may be invalid. If most of many are, the file was edited, for example in a spreadsheet.
_FEW_PROBLEMS = 20


class BadReport(Refused):
    code = "bad-report"

    def __init__(self, report_name: str, problems: Sequence[Problem], bad_row_count: int) -> None:
        first_problems = "; ".join(
            f"line {problem.line}, {problem.column}: {problem.message}" for problem in problems[:5]
        )
        super().__init__(
            f"{bad_row_count} {'row' if bad_row_count == 1 else 'rows'} of {report_name} cannot be read:"
            f" {first_problems} Nothing was written.",
            hint="Download the report again; it may have been cut short or changed in a spreadsheet.",
            context={"file": report_name, "bad_rows": bad_row_count},
        )


@dataclass(slots=True)
class _Problems:
    """Counts all problems and lists the first ones."""

    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, line: int, column: str, cell: str, message: str) -> None:
        self.count += 1
        if len(self.first) < _MOST_PROBLEMS:
            self.first.append(Problem(line, column, cell, "unreadable", message))


class AdyenReport:
    """Implements `services.reconciliation.report_rows.Report`. The constructor raises NotAReport, BadReport.

    `advance` is called while the file is read, each time with the number of rows read since.
    """

    def __init__(
        self,
        source: Source,
        *,
        account: str,
        meaning_of: MeaningOf,
        advance: Callable[[int], None] = lambda rows: None,
        heading: Heading = FIRST_LINE,
    ) -> None:
        self.name = source.name
        self.covers_payments = True
        self._heading = heading
        self.rows = self.account_rows = self.other_account_rows = self.unrelated_rows = self.payments = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._merchant_account = account
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
        with closing(sqlite3.connect(self._path)) as connection:
            table_rows = connection.execute("SELECT * FROM row ORDER BY payment, line")
            for payment_reference, payment_rows in groupby(table_rows, key=lambda table_row: table_row[2]):
                yield str(payment_reference), [_row_of(table_row, self._meaning_of) for table_row in payment_rows]

    def has(self, payment_references: Sequence[str]) -> set[str]:
        with closing(sqlite3.connect(self._path)) as connection:
            placeholders = ",".join("?" * len(payment_references))
            query = f"SELECT DISTINCT payment FROM row WHERE payment IN ({placeholders})"  # noqa: S608
            return {str(payment_reference) for (payment_reference,) in connection.execute(query, payment_references)}

    def names_of(self, payment_references: Sequence[str]) -> dict[str, set[str]]:
        references_by_payment: dict[str, set[str]] = {}
        with closing(sqlite3.connect(self._path)) as connection:
            placeholders = ",".join("?" * len(payment_references))
            query = f"SELECT payment, modification, reference FROM row WHERE payment IN ({placeholders})"  # noqa: S608
            for payment_reference, modification_reference, merchant_reference in connection.execute(
                query, payment_references
            ):
                references_by_payment.setdefault(str(payment_reference), set()).update(
                    (modification_reference, merchant_reference)
                )
        return references_by_payment

    def _read(self, source: Source, report_rows_read: Callable[[int], None]) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection, source.text() as text_file:
            # The file need not survive the process.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(
                "CREATE TABLE row (line INTEGER, word TEXT, payment TEXT, modification TEXT, reference TEXT,"
                " amount INTEGER, currency TEXT, booked_at TEXT, problem TEXT)"
            )
            self._store(connection, source, _records(text_file, self._heading), report_rows_read)
            if self._damage.count:
                raise BadReport(self.name, self._damage.first, self._damage.count)
            if self._odd_rows.count > _FEW_PROBLEMS and self._odd_rows.count * 2 > self.rows:
                raise BadReport(self.name, self._odd_rows.first, self._odd_rows.count)
            connection.execute("CREATE INDEX by_payment ON row (payment, line)")
            (self.payments,) = connection.execute("SELECT count(DISTINCT payment) FROM row").fetchone()

    def _store(
        self,
        connection: sqlite3.Connection,
        source: Source,
        records: Iterator[list[str]],
        report_rows_read: Callable[[int], None],
    ) -> None:
        row_batch: list[StoredRow] = []
        line_number = first_line = self._heading.line
        try:
            columns = self._columns(source.name, _heading(source, records))
            for line_number, cells in enumerate(records, start=first_line + 1):
                report_row = self._read_row(line_number, cells, columns)
                if report_row:
                    row_batch.append(report_row)
                if len(row_batch) >= _AT_ONCE:
                    self._insert(connection, row_batch)
                if line_number % _AT_ONCE == 0:
                    report_rows_read(_AT_ONCE)
        except csv.Error as error:
            raise FileProblem(source.name, f"this is not CSV: {error}", line=line_number + 1) from None
        self._insert(connection, row_batch)
        report_rows_read((line_number - 1) % _AT_ONCE)

    def _columns(self, report_name: str, header: Sequence[str]) -> Columns:
        columns = columns_of(report_name, header)
        self.covers_payments = not columns.only_disputes
        return columns

    def _insert(self, connection: sqlite3.Connection, row_batch: list[StoredRow]) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO row VALUES (?,?,?,?,?,?,?,?,?)", row_batch)
        connection.execute("COMMIT")
        self.rows += len(row_batch)
        row_batch.clear()

    def _read_row(self, line_number: int, cells: list[str], columns: Columns) -> StoredRow | None:
        """The row; None if it does not concern our refunds, or for damage that rejects the whole file."""
        if len(cells) != len(columns.names):
            if cells:
                message = f"It has {len(cells)} cells where the header has {len(columns.names)}."
                self._damage.add(line_number, "", "", message)
            return None
        return self._row_of_cells(line_number, cells, columns)

    def _row_of_cells(self, line_number: int, cells: list[str], columns: Columns) -> StoredRow | None:
        if columns.cell(cells, "account") != self._merchant_account:
            self.other_account_rows += 1
            return None
        self.account_rows += 1
        record_type, payment_reference = columns.cell(cells, "word"), columns.cell(cells, "payment")
        meaning = self._meaning_of(record_type)
        moves_money = meaning is not None and meaning.effect in (Effect.REFUND, Effect.DISPUTE, Effect.CAPTURE)
        if not payment_reference and moves_money:
            self._damage.add(line_number, columns.name("payment"), "", "The payment's reference is missing.")
            return None
        # A row without a payment, such as a fee or a correction, blocks none.
        if not payment_reference or (meaning is not None and meaning.effect is Effect.NONE):
            self.unrelated_rows += 1
            return None
        return self._row_of_payment(line_number, cells, columns, record_type, meaning)

    def _row_of_payment(
        self, line_number: int, cells: list[str], columns: Columns, record_type: str, meaning: Meaning | None
    ) -> StoredRow | None:
        booked_at = self._booked_at(line_number, cells, columns)
        if booked_at is None:
            return None
        payment_reference, modification_reference = columns.cell(cells, "payment"), columns.cell(cells, "modification")
        if modification_reference == payment_reference:
            modification_reference = ""
        amount_minor, problem = columns.amount_of(cells, record_type, meaning)
        if not problem and not modification_reference and meaning is not None and meaning.effect is Effect.REFUND:
            problem = f"{record_type} does not say which refund it is about: {columns.name('modification')} is empty."
        if problem:
            self._odd_rows.add(line_number, columns.name("word"), record_type, problem)
        currency_code = columns.cell(cells, "currency").upper()
        merchant_reference = columns.cell(cells, "reference")
        return (
            line_number,
            record_type,
            payment_reference,
            modification_reference,
            merchant_reference,
            amount_minor,
            currency_code,
            booked_at,
            problem,
        )

    def _booked_at(self, line_number: int, cells: list[str], columns: Columns) -> str | None:
        date_text, zone_name = columns.cell(cells, "date"), columns.cell(cells, "zone")
        zone = time_zone(zone_name)
        try:
            booked_at = datetime.fromisoformat(date_text)
            if booked_at.tzinfo is None and zone is None:
                message = f"{zone_name[:40]} is not a known time zone." if zone_name else "The time zone is missing."
                self._damage.add(line_number, columns.name("zone"), zone_name, message)
                return None
            booked_at = (booked_at if booked_at.tzinfo else booked_at.replace(tzinfo=zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            self._damage.add(line_number, columns.name("date"), date_text, "This is not a date and time.")
            return None
        self.first = min(self.first or booked_at, booked_at)
        self.last = max(self.last or booked_at, booked_at)
        return booked_at.isoformat()


def _records(text_file: TextIO, heading: Heading) -> Iterator[list[str]]:
    """The records from the heading on."""
    for _ in range(heading.line - 1):
        text_file.readline()
    return csv.reader(text_file, delimiter=heading.delimiter, strict=True)


def _heading(source: Source, records: Iterator[list[str]]) -> list[str]:
    """The first line. Raises EmptyFile if there is nothing but blank lines."""
    heading = next(records, [])
    if not any(heading) and not any(map(any, records)):
        raise EmptyFile(source.name)
    return heading


def _row_of(table_row: StoredRow, meaning_of: MeaningOf) -> ReportRow:
    (
        line,
        record_type,
        payment_reference,
        modification_reference,
        merchant_reference,
        amount_minor,
        currency_code,
        booked_at,
        problem,
    ) = table_row
    return ReportRow(
        line=line,
        word=record_type,
        meaning=meaning_of(record_type),
        payment_reference=payment_reference,
        modification_reference=modification_reference,
        merchant_reference=merchant_reference,
        amount=None if amount_minor is None else Money(amount_minor, currency(currency_code)),
        booked_at=datetime.fromisoformat(booked_at),
        part=_part_of(record_type.lower()),
        problem=problem,
    )


def _part_of(record_type: str) -> RowPart:
    """Settled repeats SentForSettle; SettledInInstallments is the sum of its SettledInstallment rows."""
    if record_type.startswith("sentfor"):
        return RowPart.SENT
    if "ininstallments" in record_type:
        return RowPart.WHOLE
    return RowPart.INSTALMENT if "installment" in record_type else RowPart.DONE
