"""Every single edit of a guarded field is found and named: random fields, random values, on both databases.

AUDIT_EDITS=10000 python -m pytest tests/integration/test_random_edits.py, or `make test-audit`.
"""

import os
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import StatementError

from desk import Desk
from refundcli.domain.statuses import Dispute
from refundcli.store.checks.audited_rows import AuditFindings, audit_findings
from refundcli.store.checks.replay import Mismatch
from refundcli.store.guarded.columns import GUARDED
from refundcli.store.guarded.triggers import drop_triggers
from refundcli.store.tables import ALL_TABLES

EDITS = int(os.environ.get("AUDIT_EDITS", "150"))
SEED = int(os.environ.get("AUDIT_SEED", "1"))


@pytest.fixture
def books(desk: Desk) -> Desk:
    """Something in every guarded table."""
    desk.environ |= {"REFUNDCLI_SELLER_NAME": "Example Club e.V."}
    desk.paid_by_card("INV-1")
    desk.paid_by_card("INV-2", provider="adyen")
    desk.paid_by_card("INV-3", dispute=Dispute.LOST, dispute_amount=3000)
    for number in ("INV-4", "INV-5"):
        desk.paid_outside(number)
    desk.sandbox.invoice("100.00 EUR", number="INV-6", status="open")
    desk.json("invoice pull stripe")
    desk("refund INV-1 --amount 10 --reason other --memo thanks --yes")
    desk("refund INV-2 --amount 10 --reason duplicate --yes")
    desk("mark-refunded INV-4 --amount 10 --reason other --reference T1 --yes")
    desk("void INV-6 --yes")
    file = desk.folder / "refunds.csv"
    file.write_text("invoice,amount,reason\nINV-1,5.00,other\n")
    desk(f"refund --from {file} --yes")
    return desk


def values_of(stored: Any, others: list[Any], rng: random.Random) -> Iterator[Any]:
    """Values to put in place of a stored one, in random order."""
    values: list[Any] = list(others)
    if isinstance(stored, bool):
        values += [not stored]
    elif isinstance(stored, int):
        values += [stored + 1, stored - 1, stored * 10 + 7, 0, 1, rng.randrange(1_000_000)]
    elif isinstance(stored, datetime):
        values += [stored + timedelta(microseconds=1), stored - timedelta(days=1)]
    elif isinstance(stored, date):
        values += [stored + timedelta(days=1), stored - timedelta(days=365)]
    elif isinstance(stored, str):
        values += [stored + " ", stored.swapcase(), f"x{stored}", stored[:-1], "", "0"]
    else:
        values += [0, 1, "", "x", date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)]
    values.append(None)
    rng.shuffle(values)
    return (value for value in values if (type(value), value) != (type(stored), stored))


def edited(connection: Connection, rng: random.Random) -> tuple[str, Any, str] | None:
    """Edit one field; which one. None if the database refuses every value, as where a key refers to it."""
    table = rng.choice([name for name in GUARDED if connection.execute(text(f"SELECT count(*) FROM {name}")).scalar()])
    columns = ALL_TABLES[table].c
    field = rng.choice(GUARDED[table])
    rows = connection.execute(ALL_TABLES[table].select()).mappings().all()
    row = rng.choice(rows)
    for value in values_of(row[field], [other[field] for other in rows], rng):
        connection.exec_driver_sql("SAVEPOINT one_value")
        try:
            update = ALL_TABLES[table].update().where(columns.id == row["id"]).values({field: value})
            connection.execute(update)
            now = connection.execute(ALL_TABLES[table].select()).mappings().all()
        except (StatementError, OverflowError):
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one_value")
            continue
        if sorted(map(repr, now)) != sorted(map(repr, rows)):
            return table, row["number" if table == "invoice" else "id"], field
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one_value")
    return None


def check(connection: Connection) -> AuditFindings:
    return audit_findings(lambda read: read(connection))


def is_named(mismatches: list[Mismatch], table: str, key: Any, field: str) -> bool:
    if field == "id":
        # The row is missing, and another one is there.
        return {bool(mismatch.entry) for mismatch in mismatches if mismatch.table == table} == {True, False}
    (mismatch,) = mismatches
    return (mismatch.table, mismatch.key, mismatch.field) == (table, str(key), field)


@pytest.mark.timeout(3600)
def test_every_edit_of_one_guarded_field_is_found_and_named(books: Desk) -> None:
    rng, edits, refused, tried = random.Random(SEED), 0, 0, set()
    with books.books.engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        drop_triggers(connection)
        assert check(connection).mismatches == []
        while edits < EDITS:
            connection.exec_driver_sql("SAVEPOINT one_edit")
            edit = edited(connection, rng)
            if edit:
                edits += 1
                tried.add((edit[0], edit[2]))
                mismatches = check(connection).mismatches
                assert is_named(mismatches, *edit), (SEED, edits, edit, mismatches)
            else:
                refused += 1
                assert refused < EDITS
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one_edit")
            connection.exec_driver_sql("RELEASE SAVEPOINT one_edit")
        connection.rollback()
    assert {table for table, _ in tried} == set(GUARDED)
