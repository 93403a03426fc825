"""One row's cells, read one by one; every problem is collected."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from refundcli.domain.currencies import Currency, UnknownCurrency, currency
from refundcli.domain.errors import RefundcliError, did_you_mean
from refundcli.domain.money import InvalidAmount, check_amount, parse_amount
from refundcli.services.ports.bad_rows import Problem

LONGEST_NAME = 200
LONGEST_TEXT = 5_000

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# A long file repeats its days: one object each is spooled in fewer bytes too.
_date_of = lru_cache(maxsize=4_000)(date.fromisoformat)
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


class CellReader:
    """Reads cells by column. `where` prefixes the column's name in problems."""

    def __init__(self, line: int, cells: Mapping[str, str], *, where: str = "") -> None:
        self.line, self._column_prefix = line, where
        self._cells = {column: text.strip() for column, text in cells.items()}
        self.problems: list[Problem] = []

    def __getitem__(self, column: str) -> str:
        return self._cells.get(column, "")

    def refuse(self, column: str, code: str, message: str, hint: str = "") -> None:
        problem = Problem(self.line, self._column_prefix + column, self[column], code, message, hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def need(self, column: str) -> str:
        """The cell's text, which must not be empty."""
        if not self[column]:
            self.refuse(column, "missing", "It is empty.", f"Fill in {column} in every row.")
        return self.text(column, LONGEST_NAME)

    def text(self, column: str, max_length: int = LONGEST_TEXT) -> str:
        cell_text = self[column]
        if len(cell_text) > max_length:
            self.refuse(column, "too-long", f"It is longer than {max_length:,} characters.", "Shorten it.")
        return cell_text

    def currency(self, column: str) -> Currency | None:
        if not self.need(column):
            return None
        try:
            return currency(self[column].upper())
        except UnknownCurrency as error:
            self.refuse(column, error.code, "Unknown currency code.", error.hint)
            return None

    def amount(self, column: str, unit: Currency | None, *, allow_zero: bool = True) -> int | None:
        """In minor units; None if the cell is empty or invalid. Without a currency it is only checked."""
        amount_text = self[column]
        if not amount_text:
            return None
        try:
            if unit:
                return parse_amount(amount_text, unit, allow_zero=allow_zero).minor
            if amount_text.strip("0."):
                check_amount(amount_text)
        except InvalidAmount as error:
            self.refuse(column, error.code, f"This is not an amount: {error.why}.", error.hint)
        return None

    def day(self, column: str) -> date | None:
        day_text = self[column]
        if not day_text:
            return None
        try:
            if _DAY.fullmatch(day_text):
                return _date_of(day_text)
        except ValueError:
            self.refuse(column, "invalid-date", "There is no such date.", "Write it as YYYY-MM-DD.")
            return None
        self.refuse(column, "invalid-date", "This is not a date.", "Write it as YYYY-MM-DD, say 2026-10-31.")
        return None

    def flag(self, column: str) -> bool | None:
        """True or False; None if the cell is empty or invalid."""
        flag_word = self[column].lower()
        if flag_word and flag_word not in _FLAGS:
            self.refuse(
                column, "invalid-flag", "This is neither yes nor no.", "Write true or false, yes or no, 1 or 0."
            )
        return _FLAGS.get(flag_word)

    def one_of(self, column: str, words: Sequence[E]) -> E | None:
        """One of these words; None if the cell is empty or invalid."""
        word = self[column].lower()
        if not word or word in words:
            return next((choice for choice in words if choice == word), None)
        hint = f"{did_you_mean(word, words)} One of: {', '.join(words)}."
        self.refuse(column, f"unknown-{column}", "This value is not recognised.", hint.strip())
        return None

    def read(self, column: str, read_text: Callable[[str], T]) -> T | None:
        """The cell as read by `read_text`; None if it raises, with its error as a problem."""
        try:
            return read_text(self[column])
        except RefundcliError as error:
            self.refuse(column, error.code, error.message, error.hint)
            return None
