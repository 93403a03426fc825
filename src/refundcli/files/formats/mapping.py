"""A format: how another program's columns become ours, as TOML says it.

    [formats.my-shop]
    signature = ["Order", "Grand total"]
    where     = { "State" = ["complete"] }
    number    = { column = "Order", match = '#(.+)' }
    total     = "Grand total"
    status    = { column = "State", values = { complete = "paid" } }
    constant  = { currency = "EUR" }

docs/files.md explains every key.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from refundcli.domain.errors import SettingsProblem, did_you_mean
from refundcli.files.formats.amounts import EACH, MARKS
from refundcli.files.formats.days import ORDERS
from refundcli.files.invoices.rows import REQUIRED, TABLE_COLUMNS
from refundcli.files.time_zones import time_zone

INVOICES, BANK = "invoices", "bank"
# What a bank statement tells of a transfer: `text` holds the invoice's number.
BANK_COLUMNS = ("text", "amount", "booked_on", "currency", "reference", "method")
_BANK_REQUIRED = ("text", "amount", "booked_on")
_OPTIONS = (
    "kind", "signature", "where", "where_not", "zone", "constant", "encoding", "delimiter", "decimal", "date", "sign",
    "match", "repeated_lines",
)  # fmt: skip
_SOURCE_KEYS = ("column", "join", "values", "match", "filled")


class Sign(StrEnum):
    """Which amounts of a bank statement are transfers to a customer."""

    DEBIT = "debit"  # the negative ones
    CREDIT = "credit"  # the positive ones


class InvalidFormat(SettingsProblem):
    """A format of the settings that cannot be used."""

    code = "invalid-format"

    def __init__(self, name: str, why: str, hint: str = "") -> None:
        super().__init__(
            f"The format {name} is not valid: {why}.",
            hint=hint or "docs/files.md has examples; refundcli formats show stripe-payments shows one.",
            context={"format": name},
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the text of one of our columns comes from: the first of `columns` that is filled.

    `joined`: all of them, with a space between. `values`: by the folded word in the file, ours. `filled`: the text if
    there is any. `pattern`: its first group.
    """

    columns: tuple[str, ...]
    joined: bool = False
    values: Mapping[str, str] | None = None
    filled: str = ""
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A checked format. `signature`: column names by which a heading is recognised; of a tuple, one is enough."""

    name: str
    kind: str
    signature: tuple[tuple[str, ...], ...]
    cells: Mapping[str, Cells]
    constants: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where_not: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    zone: str = ""
    zone_column: str = ""
    encoding: str = ""
    delimiter: str = ""
    decimal: str = ""
    date: str = ""
    sign: Sign = Sign.DEBIT
    match: re.Pattern[str] | None = None
    repeated_lines: bool = False
    origin: str = "built in"
    text: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash of its content, for the audit trail."""
        return hashlib.sha256(json.dumps(self.text, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """Our columns that it fills, in our order."""
        known = TABLE_COLUMNS if self.kind == INVOICES else BANK_COLUMNS
        return tuple(column for column in known if column in self.cells or column in self.constants)

    def used_columns(self) -> frozenset[str]:
        """The file's columns that it reads."""
        read = {column for cells in self.cells.values() for column in cells.columns}
        return frozenset(read | {*self.where, *self.where_not} | ({self.zone_column} - {""}))


def format_of(name: str, table: Mapping[str, Any], origin: str) -> FileFormat:
    """The format that a table of TOML describes. Raises InvalidFormat."""
    reader = _Reader(name, table)
    kind = reader.one_of("kind", (INVOICES, BANK), INVOICES)
    ours = TABLE_COLUMNS if kind == INVOICES else BANK_COLUMNS
    for key in table:
        if key not in _OPTIONS and key not in ours:
            raise InvalidFormat(name, f"{key!r} is not a key of it", did_you_mean(key, [*ours, *_OPTIONS]))
    constants = reader.texts_by_name("constant")
    for column in constants:
        if column not in ours:
            raise InvalidFormat(name, f"{column!r} in constant is not a column", did_you_mean(column, ours))
    cells = {column: reader.cells(column) for column in ours if column in table}
    required = REQUIRED if kind == INVOICES else _BANK_REQUIRED
    missing = [column for column in required if column not in cells and column not in constants]
    if missing:
        raise InvalidFormat(name, f"it does not fill {', '.join(missing)}")
    zone, zone_column = reader.zone()
    return FileFormat(
        name=name,
        kind=kind,
        signature=reader.signature(),
        cells=cells,
        constants=constants,
        where=reader.words_by_column("where"),
        where_not=reader.words_by_column("where_not"),
        zone=zone,
        zone_column=zone_column,
        encoding=reader.encoding(),
        delimiter=reader.delimiter(),
        decimal=reader.one_of("decimal", (*MARKS, EACH), ""),
        date=reader.date(),
        sign=Sign(reader.one_of("sign", tuple(Sign), Sign.DEBIT)),
        match=reader.pattern(table.get("match", ""), "match"),
        repeated_lines=reader.flag("repeated_lines"),
        origin=origin,
        text=dict(table),
    )


class _Reader:
    """Reads one table; every method raises InvalidFormat."""

    def __init__(self, name: str, table: Mapping[str, Any]) -> None:
        self._name, self._table = name, table

    def _wrong(self, why: str) -> InvalidFormat:
        return InvalidFormat(self._name, why)

    def text(self, key: str) -> str:
        value = self._table.get(key, "")
        if not isinstance(value, str):
            raise self._wrong(f"{key} is not text")
        return value

    def flag(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(f"{key} is neither true nor false")
        return value

    def one_of(self, key: str, words: Sequence[str], default: str) -> str:
        word = self.text(key) or default
        if word and word not in words:
            raise self._wrong(f"{key} is {word!r}, not one of {', '.join(words)}")
        return word

    def date(self) -> str:
        order = self.text("date")
        if order and order not in ORDERS and "%" not in order:
            raise self._wrong(f"date is {order!r}, not one of {', '.join(ORDERS)} or a pattern such as %d.%m.%Y")
        return order

    def encoding(self) -> str:
        encoding = self.text("encoding")
        try:
            "".encode(encoding or "utf-8")
        except LookupError:
            raise self._wrong(f"{encoding!r} is not an encoding") from None
        return encoding

    def delimiter(self) -> str:
        delimiter = self.text("delimiter")
        if delimiter and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise self._wrong("delimiter is not one character")
        return delimiter

    def zone(self) -> tuple[str, str]:
        """The zone of all times, or the column that has it."""
        zone = self._table.get("zone", "")
        if isinstance(zone, Mapping) and set(zone) == {"column"} and isinstance(zone["column"], str):
            return "", zone["column"]
        if not isinstance(zone, str) or (zone and time_zone(zone) is None):
            raise self._wrong('zone is not a time zone; write "UTC", "Europe/Berlin" or { column = "…" }')
        return zone, ""

    def signature(self) -> tuple[tuple[str, ...], ...]:
        names = self._table.get("signature")
        if not isinstance(names, list) or not names:
            raise self._wrong("signature is not a list of column names")
        return tuple(self._names(name, "signature") for name in names)

    def texts_by_name(self, key: str) -> dict[str, str]:
        value = self._table.get(key, {})
        if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
            raise self._wrong(f"{key} is not a table of texts")
        return dict(value)

    def words_by_column(self, key: str) -> dict[str, tuple[str, ...]]:
        value = self._table.get(key, {})
        if not isinstance(value, Mapping):
            raise self._wrong(f"{key} is not a table")
        return {
            column: tuple(word.strip().casefold() for word in self._names(words, key))
            for column, words in value.items()
        }

    def cells(self, column: str) -> Cells:
        value = self._table[column]
        if not isinstance(value, Mapping):
            return Cells(self._names(value, column))
        for key in value:
            if key not in _SOURCE_KEYS:
                raise self._wrong(f"{key!r} in {column} is none of {', '.join(_SOURCE_KEYS)}")
        if ("column" in value) == ("join" in value):
            raise self._wrong(f"{column} needs either column or join")
        values, filled = value.get("values"), value.get("filled", "")
        if values is not None and not (
            isinstance(values, Mapping) and all(isinstance(word, str) for word in values.values())
        ):
            raise self._wrong(f"values in {column} is not a table of texts")
        if not isinstance(filled, str):
            raise self._wrong(f"filled in {column} is not text")
        return Cells(
            self._names(value.get("column", value.get("join")), column),
            joined="join" in value,
            values={word.strip().casefold(): ours for word, ours in values.items()} if values is not None else None,
            filled=filled,
            pattern=self.pattern(value.get("match", ""), f"match in {column}"),
        )

    def pattern(self, text: Any, place: str) -> re.Pattern[str] | None:
        if not text:
            return None
        try:
            pattern = re.compile(text)
        except (re.error, TypeError, RecursionError):
            raise self._wrong(f"{place} is not a regular expression") from None
        if pattern.groups != 1:
            raise self._wrong(f"{place} needs one group in parentheses: what it should find")
        return pattern

    def _names(self, value: Any, place: str) -> tuple[str, ...]:
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) for name in names):
            raise self._wrong(f"{place} is neither a column's name nor a list of names")
        return tuple(names)
