"""Adyen's payment accounting and settlement details reports: columns by their names, amounts in major units.

A report may be many megabytes: it is read once, and kept aside in a table on disk, by payment.
"""

import csv
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

from refundcli.documents.source import FileProblem, Source
from refundcli.domain.currencies import CODES, Currency, currency
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.services.bad_rows import Problem
from refundcli.services.reports import ReportKind, ReportRow

_AT_ONCE = 5_000
_MOST_PROBLEMS = 50

# The vendor's own words, as `Record Type` and `Type` have them.
KINDS: Mapping[str, ReportKind] = {
    "SentForSettle": ReportKind.SENT_FOR_SETTLE,
    "Settled": ReportKind.SETTLED,
    "SentForRefund": ReportKind.SENT_FOR_REFUND,
    "Refunded": ReportKind.REFUNDED,
    "RefundFailed": ReportKind.REFUND_FAILED,
    "RefundedReversed": ReportKind.REFUND_REVERSED,
    "Chargeback": ReportKind.CHARGEBACK,
    "ChargebackReversed": ReportKind.CHARGEBACK_REVERSED,
    "SecondChargeback": ReportKind.SECOND_CHARGEBACK,
}
# Columns by what they hold; a report is set up by hand, so any of these names will do.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "account": ("merchant account",),
    "payment": ("psp reference",),
    "reference": ("modification merchant reference", "merchant reference"),
    "modification": ("modification reference", "modification psp reference"),
    "kind": ("record type", "type"),
    "date": ("booking date", "creation date"),
    "zone": ("timezone", "booking date timezone", "creation date timezone"),
}
# Where the amount stands, in the payment's currency; what was settled may be in another one, and is no measure.
# Payment accounting tells the amount of each record beside the sums that it moves.
_AMOUNTS: Sequence[tuple[tuple[str, ...], tuple[str, ...]]] = (
    (("gross debit (gc)", "gross credit (gc)"), ("gross currency",)),
    (("main amount",), ("main currency",)),
    (("captured (pc)",), ("payment currency", "currency")),
)
_AMOUNT = re.compile(r"[+-]?([0-9]{1,15})(?:\.([0-9]*))?", re.ASCII)
# A capture may well be of nothing; everything else is about money.
_MAY_BE_OF_NOTHING = (ReportKind.SENT_FOR_SETTLE, ReportKind.SETTLED)
_OF_REFUNDS = (
    ReportKind.SENT_FOR_REFUND,
    ReportKind.REFUNDED,
    ReportKind.REFUND_FAILED,
    ReportKind.REFUND_REVERSED,
)
_ZONES = {"PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "CET": "Europe/Amsterdam", "": "UTC"}


class NotAReport(FileProblem):
    code = "not-a-report"

    def __init__(self, name: str, missing: Sequence[str]) -> None:
        super().__init__(
            name,
            f"it lacks {' and '.join(missing)}",
            hint="It must be Adyen's payment accounting or settlement details report as CSV, with these columns.",
        )


class BadReport(Refused):
    code = "bad-report"

    def __init__(self, name: str, problems: Sequence[Problem], count: int) -> None:
        told = "; ".join(f"line {each.line}, {each.column}: {each.message}" for each in problems[:5])
        super().__init__(
            f"{count} {'row' if count == 1 else 'rows'} of {name} cannot be read: {told} Nothing was written.",
            hint="Download the report again; it may be cut short, or was changed in a spreadsheet.",
            context={"file": name, "bad_rows": count},
        )


@dataclass(frozen=True, slots=True)
class _Columns:
    place: Mapping[str, int]
    amounts: tuple[int, ...]
    width: int


class AdyenReport:
    """`services.reports.Report`. Raises NotAReport, BadReport while it is made."""

    def __init__(self, source: Source, *, account: str, advance: Callable[[int], None] = lambda rows: None) -> None:
        self.name = source.name
        self.rows = self.others = self.payments = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="refundcli-report-")
        self._path = Path(self._folder.name) / "rows.db"
        self._problems: list[Problem] = []
        self._bad_rows = 0
        try:
            self._read(source, account, advance)
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
            found = line.execute("SELECT payment, row.* FROM row ORDER BY payment, line")
            for payment, rows in groupby(found, key=lambda row: row[0]):
                yield str(payment), [_row_of(row[1:]) for row in rows]

    def has(self, payments: Sequence[str]) -> set[str]:
        with closing(sqlite3.connect(self._path)) as line:
            marks = ",".join("?" * len(payments))
            found = line.execute(f"SELECT DISTINCT payment FROM row WHERE payment IN ({marks})", payments)  # noqa: S608
            return {str(payment) for (payment,) in found}

    def _read(self, source: Source, account: str, advance: Callable[[int], None]) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as line, source.text() as text:
            # Lost with the program, as it should be.
            line.execute("PRAGMA synchronous = OFF")
            line.execute("PRAGMA journal_mode = OFF")
            line.execute(
                "CREATE TABLE row (line INTEGER, kind TEXT, payment TEXT, refund TEXT, reference TEXT,"
                " amount INTEGER, currency TEXT, booked_at TEXT)"
            )
            records = csv.reader(text, strict=True)
            self._keep(line, source, records, account, advance)
            if self._bad_rows:
                raise BadReport(self.name, self._problems, self._bad_rows)
            line.execute("CREATE INDEX by_payment ON row (payment, line)")
            (self.payments,) = line.execute("SELECT count(DISTINCT payment) FROM row").fetchone()

    def _keep(
        self,
        line: sqlite3.Connection,
        source: Source,
        records: Iterator[list[str]],
        account: str,
        advance: Callable[[int], None],
    ) -> None:
        batch: list[tuple[object, ...]] = []
        columns = _columns(source.name, next(records, []))
        number = 1
        try:
            for number, cells in enumerate(records, start=2):
                row = self._read_row(number, cells, columns, account)
                if row:
                    batch.append(row)
                if len(batch) >= _AT_ONCE:
                    self._insert(line, batch)
                if number % _AT_ONCE == 0:
                    advance(_AT_ONCE)
        except csv.Error as error:
            raise FileProblem(source.name, f"this is no CSV: {error}", line=number + 1) from None
        self._insert(line, batch)
        advance((number - 1) % _AT_ONCE)

    def _insert(self, line: sqlite3.Connection, batch: list[tuple[object, ...]]) -> None:
        line.execute("BEGIN")
        line.executemany("INSERT INTO row VALUES (?,?,?,?,?,?,?,?)", batch)
        line.execute("COMMIT")
        self.rows += len(batch)
        batch.clear()

    def _read_row(self, number: int, cells: list[str], columns: _Columns, account: str) -> tuple[object, ...] | None:
        if len(cells) != columns.width:
            if cells:
                self._refuse(number, "", "", f"It has {len(cells)} cells where the header has {columns.width}.")
            return None
        place = columns.place
        kind = KINDS.get(cells[place["kind"]].strip())
        if kind is None or cells[place["account"]].strip() != account:
            self.others += 1
            return None
        of, booked = cells[place["currency"]].strip().upper(), self._booked(number, cells, place)
        if of not in CODES:
            self._refuse(number, "currency", of, "It is no currency with a minor unit in ISO 4217.")
            return None
        minor = self._minor(number, kind, [cells[at].strip() for at in columns.amounts], currency(of))
        if minor is None or booked is None:
            return None
        payment, refund = cells[place["payment"]].strip(), cells[place["modification"]].strip()
        if not payment or (kind in _OF_REFUNDS and refund in ("", payment)):
            self._refuse(number, "psp reference", payment, "It does not say which payment and which refund it is of.")
            return None
        reference = cells[place["reference"]].strip()
        return number, kind.value, payment, "" if refund == payment else refund, reference, minor, of, booked

    def _booked(self, number: int, cells: list[str], place: Mapping[str, int]) -> str | None:
        text = cells[place["date"]].strip()
        zone = cells[place["zone"]].strip() if "zone" in place else ""
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self._refuse(number, "date", text, "It is no date and time.")
            return None
        at = (at if at.tzinfo else at.replace(tzinfo=_zone(zone))).astimezone(UTC)
        self.first = min(self.first or at, at)
        self.last = max(self.last or at, at)
        return at.isoformat()

    def _minor(self, number: int, kind: ReportKind, cells: Sequence[str], of: Currency) -> int | None:
        """The one amount that is told, debit or credit, without its sign. What could be read in two ways is not."""
        told = [minor for cell in cells if (minor := self._exactly(number, cell, of)) != 0]
        if None in told:
            return None
        if len(told) > 1:
            self._refuse(number, "amount", " ".join(cells), "It is a debit and a credit in one.")
            return None
        if not told and kind not in _MAY_BE_OF_NOTHING:
            self._refuse(number, "amount", "", "There is no amount.")
            return None
        return told[0] if told else 0

    def _exactly(self, number: int, cell: str, of: Currency) -> int | None:
        """In the books' units; Adyen may write more decimals than the currency has, and they are 0."""
        if not cell:
            return 0
        found = _AMOUNT.fullmatch(cell)
        part = (found[2] or "") if found else ""
        if not found or part[of.exponent :].strip("0"):
            self._refuse(number, "amount", cell, f"It is no amount in {of}.")
            return None
        return int(found[1] + part[: of.exponent].ljust(of.exponent, "0"))

    def _refuse(self, number: int, column: str, value: str, message: str) -> None:
        self._bad_rows += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(Problem(number, column, value, "unreadable", message))


def _columns(name: str, header: Sequence[str]) -> _Columns:
    names = [cell.strip().lower() for cell in header]
    place = {
        what: names.index(found)
        for what, known in _COLUMNS.items()
        if (found := next((each for each in known if each in names), None))
    }
    money = next((each for each in _AMOUNTS if all(name in names for name in each[0])), None)
    of = next((each for each in money[1] if each in names), None) if money else None
    missing = [_COLUMNS[what][0].title() for what in _COLUMNS if what not in place and what != "zone"]
    if money is None or of is None:
        missing.append("Gross Debit (GC), Gross Credit (GC) and Gross Currency, or Main Amount and Main Currency")
    if missing or money is None or of is None:
        raise NotAReport(name, missing)
    amounts = tuple(names.index(each) for each in money[0])
    return _Columns({**place, "currency": names.index(of)}, amounts, len(header))


@lru_cache
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(_ZONES.get(name, name))
    except (KeyError, ValueError, OSError):
        return UTC


def _row_of(row: Sequence[object]) -> ReportRow:
    line, kind, payment, refund, reference, minor, code, booked_at = row
    return ReportRow(
        line=int(str(line)),
        kind=ReportKind(str(kind)),
        payment_reference=str(payment),
        refund_reference=str(refund),
        merchant_reference=str(reference),
        amount=Money(int(str(minor)), currency(str(code))),
        booked_at=datetime.fromisoformat(str(booked_at)),
    )
