"""Keep the words that invoices are found by: `search_word` has each word once per 65,536 invoices."""

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from refundcli.domain.currencies import currency
from refundcli.domain.search_words import index_words

_PAGE = 20_000
_LOW = 0xFFFF
# The same columns of invoices and of payments, in the store and in the rows of a file.
INVOICE_FIELDS = "customer_name, customer_email, products, currency, total, issued_on, paid_on"
PAYMENT_FIELDS = "allocated, paid_on, card_last4"
_ADD = """
    INSERT INTO search_word (word, bucket, ids) VALUES (?, ?, ?)
    ON CONFLICT (word, bucket) DO UPDATE SET ids = {}
"""
_JOINED = "CAST(search_word.ids || excluded.ids AS BLOB)"
_JOINED_IN_POSTGRES = "search_word.ids || excluded.ids"


class SearchIndex:
    """Collects the words of new invoices, and writes them at once: most words have many invoices."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_sqlite = connection.dialect.name == "sqlite"
        self._ids_by_word: dict[tuple[str, int], list[int]] = {}

    def add(self, invoices: Iterable[Sequence[Any]], payments: Iterable[Sequence[Any]]) -> None:
        """Rows of the id and INVOICE_FIELDS, and of the invoice's id and PAYMENT_FIELDS, both in the order of ids."""
        ids_by_word = self._ids_by_word
        for invoice_id, words in words_of_invoices(invoices, payments):
            bucket, low = invoice_id >> 16, invoice_id & _LOW
            for word in words:
                place = (word, bucket)
                if place in ids_by_word:
                    ids_by_word[place].append(low)
                else:
                    ids_by_word[place] = [low]

    def replace(self, invoice_id: int, words_before: set[str]) -> None:
        """Write the words of a changed invoice, which had others before."""
        words = words_in_store(self._connection, invoice_id)
        for word in words_before - words:
            self._remove(word, invoice_id)
        for word in words - words_before:
            self._ids_by_word.setdefault((word, invoice_id >> 16), []).append(invoice_id & _LOW)

    def write(self) -> None:
        rows = [(word, bucket, _packed(ids)) for (word, bucket), ids in sorted(self._ids_by_word.items())]
        self._ids_by_word = {}
        if rows:
            self._run(_ADD.format(_JOINED if self._is_sqlite else _JOINED_IN_POSTGRES), rows)

    def _remove(self, word: str, invoice_id: int) -> None:
        mark = "?" if self._is_sqlite else "%s"
        place = (word, invoice_id >> 16)
        query = f"SELECT ids FROM search_word WHERE word = {mark} AND bucket = {mark}"  # noqa: S608
        packed = self._connection.exec_driver_sql(query, place).scalar()
        if packed is None:
            return
        ids = [low for low in unpacked(packed) if low != invoice_id & _LOW]
        if ids:
            self._run("UPDATE search_word SET ids = ? WHERE word = ? AND bucket = ?", [(_packed(ids), *place)])
        else:
            self._run("DELETE FROM search_word WHERE word = ? AND bucket = ?", [place])

    def _run(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        self._connection.exec_driver_sql(statement if self._is_sqlite else statement.replace("?", "%s"), rows)


def words_of_invoices(
    invoices: Iterable[Sequence[Any]], payments: Iterable[Sequence[Any]]
) -> Iterator[tuple[int, set[str]]]:
    """Rows as of `SearchIndex.add`."""
    payments_by_invoice = groupby(payments, itemgetter(0))
    paid_id, its_payments = next(payments_by_invoice, (0, iter(())))
    for invoice_id, name, email, products, code, total, issued_on, paid_on in invoices:
        exponent = currency(code).exponent
        amounts, days, last_fours = {(total, exponent)}, {str(issued_on), str(paid_on or "")}, set()
        if paid_id == invoice_id:
            for _, allocated, day, last_four in its_payments:
                amounts.add((allocated, exponent))
                days.add(str(day or ""))
                last_fours.add(last_four)
            paid_id, its_payments = next(payments_by_invoice, (0, iter(())))
        yield invoice_id, set(index_words((name, email, products), amounts, days, last_fours))


def words_in_store(connection: Connection, invoice_id: int) -> set[str]:
    (invoice,) = words_of_invoices(*_rows_between(connection, invoice_id, invoice_id))
    return invoice[1]


@contextmanager
def reindexed(connection: Connection, invoice_id: int) -> Iterator[None]:
    """Update the index for what is changed inside: the invoice's payments."""
    words_before = words_in_store(connection, invoice_id)
    yield
    index = SearchIndex(connection)
    index.replace(invoice_id, words_before)
    index.write()


def index_all(connection: Connection) -> None:
    """Index the invoices of a store that has no index yet."""
    last_id = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM invoice").scalar_one()
    for first in range(1, last_id + 1, _PAGE):
        index = SearchIndex(connection)
        index.add(*_rows_between(connection, first, first + _PAGE - 1))
        index.write()


def _rows_between(connection: Connection, first: int, last: int) -> tuple[Sequence[Any], Sequence[Any]]:
    between = f"BETWEEN {int(first)} AND {int(last)} ORDER BY"
    invoices = f"SELECT id, {INVOICE_FIELDS} FROM invoice WHERE id {between} id"  # noqa: S608
    payments = f"SELECT invoice_id, {PAYMENT_FIELDS} FROM payment WHERE invoice_id {between} invoice_id"  # noqa: S608
    return connection.exec_driver_sql(invoices).all(), connection.exec_driver_sql(payments).all()


def _packed(ids: Iterable[int]) -> bytes:
    numbers = array("H", ids)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpacked(packed: bytes) -> "array[int]":
    numbers = array("H", bytes(packed))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
