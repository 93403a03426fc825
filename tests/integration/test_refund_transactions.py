"""What one `refund` costs at the store: transactions, invoices read, connections."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from desk import Desk

# An invoice with its customer; the sums of an invoice are read without.
_AN_INVOICE = re.compile(r"\s*SELECT\b.*\bcustomer\b.*\bFROM invoice\b", re.DOTALL)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()

    def connect(_connection: Any, _record: Any) -> None:
        counts["connections"] += 1

    def begin(connection: Connection) -> None:
        counts["writes" if connection.get_execution_options().get("writes") else "reads"] += 1

    def execute(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        counts["statements"] += 1
        counts["invoices"] += _AN_INVOICE.match(statement) is not None

    listeners = {"connect": connect, "begin": begin, "before_cursor_execute": execute}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield counts
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


@pytest.mark.parametrize("how_much", ["--full", "--amount 40"])
def test_a_refund_needs_few_transactions_and_one_connection(desk: Desk, how_much: str) -> None:
    desk.paid_by_card("INV-0")
    # The first use of a key stores its mode and its account.
    desk.json("refund INV-0 --full --reason other --yes")
    reference = desk.paid_by_card()
    desk.books.engine.dispose()
    with counted() as counts:
        desk.json(f"refund INV-1 {how_much} --reason other --yes")
    assert desk.refunded_at_provider(reference) == [10_000 if how_much == "--full" else 4_000]
    assert counts["reads"] <= 5, counts
    assert counts["writes"] == 3, counts
    assert counts["invoices"] <= 3, counts
    assert counts["connections"] == 1, counts
