"""Plainly valid rows of an invoices table, read by column: ten times as fast as cell by cell.

Any other row is read again cell by cell, which reports its problems. A test checks that both ways read a row alike.
"""

import re
from collections.abc import Callable, Sequence
from itertools import compress, repeat
from typing import Generic, TypeVar, cast

from refundcli.domain.currencies import Currency
from refundcli.domain.money import InvalidAmount, parse_amount
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.files.cell_reader import LONGEST_NAME, LONGEST_TEXT, CellReader
from refundcli.files.invoices.billing import BILLING_COLUMNS
from refundcli.files.invoices.rows import card_last4_in, dispute_in, products_in, status_in
from refundcli.services.ports.bulk_invoices import InvoiceBlock, PaymentColumns, products_text

T = TypeVar("T")

# Each matches a whole column, with a line end after each cell.
_NUMBERS = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9._/#:+-]{{0,{LONGEST_NAME - 1}}}\n)*+")
_AMOUNTS = re.compile(r"(?:(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,4})?)?\n)*+")
# A provider and its id, each in the form that the provider gives it; without a provider, anything but a Stripe id.
_PAYMENTS = re.compile(
    rf"""(?:
        stripe[ ](?:(?:pi|ch|py)_[A-Za-z0-9_]{{1,{LONGEST_NAME - 3}}})?\n
      | adyen[ ][A-Za-z0-9]{{0,32}}\n
      | [ ](?!(?:pi|ch|py)_)[^\n]{{0,{LONGEST_NAME}}}\n
    )*+""",
    re.VERBOSE,
)
# Void means that nothing was captured; a draft was never sent (R9).
_NOTHING_PAID = (InvoiceStatus.VOID.value, InvoiceStatus.DRAFT.value)
_PAID = InvoiceStatus.PAID.value
_TWO = 2
_MOST_REMEMBERED = 50_000


class NotPlain(Exception):
    """These rows must be read cell by cell."""


class InvoiceColumns:
    """Reads rows with their cells in the order of `columns`."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._index_of_column = {name: column_index for column_index, name in enumerate(columns)}
        self._currency = _Words("currency", lambda cells: _there(cells.currency("currency")))
        self._status = _Words("status", lambda cells: _there(status_in(cells, "status")).value)
        self._issued_on = _Words("issued_on", lambda cells: _there(_day(cells, "issued_on")))
        self._due_on = _Words("due_on", lambda cells: _day(cells, "due_on"))
        self._paid_on = _Words("paid_on", lambda cells: _day(cells, "paid_on"))
        self._provider = _Words("provider", _provider)
        self._auto_refundable = _Words("auto_refundable", lambda cells: cells.flag("auto_refundable"))
        self._processing = _Words("processing", lambda cells: cells.flag("processing") or False)
        self._dispute = _Words("dispute", lambda cells: dispute_in(cells).value)
        self._products = _Words("products", lambda cells: products_text(products_in(cells)))
        self._card_last4 = _Words("card_last4", card_last4_in)
        self._cells_by_column: Sequence[Sequence[str]] = ()
        self._row_count = 0

    def read(self, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> InvoiceBlock:
        """The invoices of rows that begin on these lines. Raises NotPlain."""
        self._cells_by_column, self._row_count = list(zip(*rows, strict=True)), len(rows)
        if any(any(self._column(column)) for column in BILLING_COLUMNS if column in self._index_of_column):
            # Their cells depend on each other.
            raise NotPlain
        units = self._words(self._currency)
        totals = self._totals(units)
        statuses = self._words(self._status)
        return InvoiceBlock(
            lines=list(lines),
            numbers=self._numbers(),
            customers=self._customers(),
            customer_names=self._texts("customer_name", LONGEST_TEXT),
            currencies=[unit.code for unit in units],
            totals=totals,
            statuses=statuses,
            issued_on=self._words(self._issued_on),
            due_on=self._words(self._due_on),
            paid_on=self._words(self._paid_on),
            references=self._texts("invoice_reference"),
            products=self._words(self._products),
            subscriptions=self._texts("subscription"),
            customer_emails=self._texts("customer_email"),
            billing=[""] * self._row_count,
            payments=self._payments(units, totals, statuses),
        )

    def _payments(self, units: Sequence[Currency], totals: Sequence[int], statuses: Sequence[str]) -> PaymentColumns:
        captured_minor = [
            paid_minor if paid_minor is not None else total if status == _PAID else 0
            for paid_minor, total, status in zip(self._amounts("paid_amount", units), totals, statuses, strict=True)
        ]
        providers, references = self._words(self._provider), self._texts("payment_reference")
        _plain(_PAYMENTS, list(map(" ".join, zip(providers, references, strict=True))))
        has_reference = [
            bool(provider and reference) for provider, reference in zip(providers, references, strict=True)
        ]
        auto_refundable, processing = self._words(self._auto_refundable), self._words(self._processing)
        disputes, dispute_amounts = self._words(self._dispute), self._amounts("dispute_amount", units)
        returned_minor = [amount or 0 for amount in self._amounts("refunded_amount", units)]
        has_payment = list(map(any, zip(captured_minor, providers, references, processing, strict=True)))
        for amount, status, has_id, auto_flag, dispute, dispute_amount, returned, is_payment in zip(
            captured_minor,
            statuses,
            has_reference,
            auto_refundable,
            disputes,
            dispute_amounts,
            returned_minor,
            has_payment,
            strict=True,
        ):
            if (
                (auto_flag and not has_id)
                or (dispute_amount is not None and not (dispute_amount and dispute))
                or ((returned or dispute) and not is_payment)
                or (amount and status in _NOTHING_PAID)
            ):
                raise NotPlain
        payment_columns = (
            range(self._row_count),
            captured_minor,
            providers,
            self._texts("payment_method"),
            references,
            repeat("", self._row_count),
            returned_minor,
            [
                has_id if auto_flag is None else auto_flag
                for auto_flag, has_id in zip(auto_refundable, has_reference, strict=True)
            ],
            [auto_flag is not None for auto_flag in auto_refundable],
            processing,
            disputes,
            dispute_amounts,
            self._words(self._paid_on),
            self._words(self._card_last4),
            self._texts("card_brand"),
        )
        return PaymentColumns(*(list(compress(column, has_payment)) for column in payment_columns))  # type: ignore[arg-type]

    def _numbers(self) -> list[str]:
        numbers = self._texts("number")
        _plain(_NUMBERS, numbers)
        return numbers

    def _customers(self) -> list[str]:
        customers = self._texts("customer")
        if not all(customers):
            raise NotPlain
        return customers

    def _totals(self, units: Sequence[Currency]) -> list[int]:
        totals = self._amounts("total", units)
        if None in totals:
            raise NotPlain
        return cast(list[int], totals)

    def _texts(self, column: str, longest: int = LONGEST_NAME) -> list[str]:
        texts = list(map(str.strip, self._column(column)))
        if max(map(len, texts)) > longest:
            raise NotPlain
        return texts

    def _words(self, words: "_Words[T]") -> list[T]:
        return words.read(self._column(words.column))

    def _amounts(self, column: str, units: Sequence[Currency]) -> list[int | None]:
        """In minor units; None for an empty cell."""
        texts = self._texts(column)
        if not any(texts):
            return [None] * self._row_count
        _plain(_AMOUNTS, texts)
        try:
            return [
                # The digits of an amount with two decimals are its minor units.
                int(text[:-3] + text[-2:])
                if text[-3:-2] == "." and unit.exponent == _TWO
                else parse_amount(text, unit, allow_zero=True).minor
                if text
                else None
                for text, unit in zip(texts, units, strict=True)
            ]
        except InvalidAmount:
            raise NotPlain from None

    def _column(self, name: str) -> Sequence[str]:
        column_index = self._index_of_column.get(name)
        return ("",) * self._row_count if column_index is None else self._cells_by_column[column_index]


class _Words(Generic[T]):
    """A column with few different texts: each is read once, by the cell's own reader, and cached."""

    def __init__(self, column: str, read: Callable[[CellReader], T]) -> None:
        self.column = column
        self._read = read
        self._read_texts: dict[str, T] = {}

    def read(self, texts: Sequence[str]) -> list[T]:
        """Raises NotPlain if one of them has a problem."""
        try:
            return list(map(self._read_texts.__getitem__, texts))
        except KeyError:
            self._learn(set(texts))
            return list(map(self._read_texts.__getitem__, texts))

    def _learn(self, texts: set[str]) -> None:
        if len(self._read_texts) > _MOST_REMEMBERED:
            self._read_texts.clear()
        for text in texts - self._read_texts.keys():
            cells = CellReader(0, {self.column: text})
            cell_content = self._read(cells)
            if cells.problems:
                raise NotPlain
            self._read_texts[text] = cell_content


def _plain(pattern: re.Pattern[str], texts: Sequence[str]) -> None:
    """Raises NotPlain unless all of them are of this form, and of one line."""
    column_text = "\n".join(texts) + "\n"
    if column_text.count("\n") != len(texts) or not pattern.fullmatch(column_text):
        raise NotPlain


def _there(value: T | None) -> T:
    if value is None:
        raise NotPlain
    return value


def _day(cells: CellReader, column: str) -> str | None:
    day = cells.day(column)
    return day.isoformat() if day else None


def _provider(cells: CellReader) -> str:
    provider = cells.one_of("provider", list(Provider))
    return provider.value if provider else ""
