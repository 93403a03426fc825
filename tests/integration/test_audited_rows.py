"""The audit trail carries what was written to each guarded row, and a check finds every edit past it."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from desk import Desk
from refundcli.domain.statuses import Dispute
from refundcli.store.checks.integrity import findings
from refundcli.store.guarded.columns import GUARDED
from refundcli.store.tables import ALL_TABLES
from tampering import tamper

NOT_GUARDED = {
    "invoice": {"created_at", "updated_at"},
    "refund": {"fence", "lease_owner", "lease_until", "first_sent_at", "updated_at"},
    "closing": {"fence", "lease_owner", "lease_until", "first_sent_at", "updated_at"},
    "bulk_run": {"updated_at"},
}


@pytest.mark.parametrize("table", GUARDED)
def test_each_column_is_guarded_or_listed_as_not_guarded(table: str) -> None:
    assert set(GUARDED[table]) | NOT_GUARDED.get(table, set()) == set(ALL_TABLES[table].c.keys())


def some_books(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.paid_outside("INV-2")
    desk.paid_by_card("INV-3", dispute=Dispute.LOST, dispute_amount=3000)
    desk.json("refund INV-1 --amount 10 --reason other --yes")
    desk.json("mark-refunded INV-2 --amount 10 --reason other --yes")


# An edit that no sum contradicts, and what is said about it.
EDITS = {
    "UPDATE refund SET amount = amount * 90": ": amount is 90000, should be 1000 (audit entry ",
    "UPDATE refund SET operator = 'Mallory'": ': operator is "Mallory", should be ',
    "UPDATE refund SET reason = 'fraudulent-charge'": ': reason is "fraudulent-charge", should be "other" (',
    "UPDATE refund SET created_at = '2020-01-01 00:00:00.000000'": "created_at is",
    "UPDATE credit_note SET number = 'CN-9' WHERE number LIKE '%1'": ': number is "CN-9", should be "CN-2026-000001"',
    "UPDATE invoice SET customer = 'Mallory' WHERE number = 'INV-2'": "invoice INV-2: customer is ",
    "UPDATE dispute SET reference = 'dp_1'": 'dispute 1: reference is "dp_1", should be null',
    "UPDATE payment SET paid_on = '2020-01-01' WHERE id = 2": 'payment 2: paid_on is "2020-01-01", should be ',
    "DELETE FROM dispute": "dispute 1 is missing (audit entry ",
    "INSERT INTO dispute (payment_id, provider, account, stage, state, status)"
    " VALUES (2, '', '', 'chargeback', 'won', '')": "dispute 2 is not in the audit trail",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_no_sum_contradicts_is_found_and_named(desk: Desk, edit: str) -> None:
    some_books(desk)
    assert findings(desk.books) == []
    tamper(desk.books.engine, edit)
    assert any(EDITS[edit] in sentence for sentence in findings(desk.books)), findings(desk.books)


def test_each_mismatch_names_table_key_field_and_both_values(desk: Desk) -> None:
    desk.paid_by_card()
    tamper(desk.books.engine, "UPDATE invoice SET customer = 'Mallory'")
    (mismatch,) = desk.refused("store check", "audit-mismatch", exit_code=3)["context"]["mismatches"]
    assert {**mismatch, "should_be": "", "entry": 0} == {
        "table": "invoice", "key": "INV-1", "field": "customer", "stored": "Mallory", "should_be": "", "entry": 0,
    }  # fmt: skip


def test_swapped_credit_note_numbers_are_found(desk: Desk) -> None:
    some_books(desk)
    tamper(
        desk.books.engine,
        "UPDATE credit_note SET number = 'x' WHERE number = 'CN-2026-000001'",
        "UPDATE credit_note SET number = 'CN-2026-000001' WHERE number = 'CN-2026-000002'",
        "UPDATE credit_note SET number = 'CN-2026-000002' WHERE number = 'x'",
    )
    assert len([sentence for sentence in findings(desk.books) if "number is" in sentence]) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET operator = 'Mallory'",
        "DELETE FROM audit_entry",
        "UPDATE credit_note SET amount = amount + 1",
        "UPDATE credit_note SET number = 'CN-9' WHERE number LIKE '%1'",
        "UPDATE credit_note SET status = 'draft'",
        "DELETE FROM credit_note",
    ],
)
def test_the_database_refuses_to_change_entries_and_issued_notes(desk: Desk, statement: str) -> None:
    some_books(desk)
    with desk.books.engine.connect() as connection, pytest.raises(DBAPIError, match="never changes"):
        connection.execution_options(writes=True).execute(text(statement))


def test_a_trigger_that_was_dropped_is_reported(desk: Desk) -> None:
    desk.paid_by_card()
    on_table = "" if desk.books.engine.dialect.name == "sqlite" else "ON audit_entry"
    with desk.books.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER audit_entry_unchanged {on_table}"))
    assert findings(desk.books) == ["the trigger audit_entry_unchanged, which refuses changes, is missing"]


def test_a_row_written_past_the_trail_and_corrected_is_sound_again(desk: Desk) -> None:
    desk.paid_by_card()
    tamper(desk.books.engine, "UPDATE invoice SET customer_name = 'M' || customer_name")
    assert len(findings(desk.books)) == 1
    tamper(desk.books.engine, "UPDATE invoice SET customer_name = substr(customer_name, 2)")
    assert findings(desk.books) == []


def test_a_gap_in_a_series_is_named_also_after_the_format_changed(desk: Desk) -> None:
    some_books(desk)
    desk.json("store number-format X-{seq}")
    desk.environ["REFUNDCLI_CREDIT_NOTES_NUMBER_FORMAT"] = "X-{seq}"
    desk.json("mark-refunded INV-2 --amount 5 --reason other --yes")
    assert findings(desk.books) == []
    tamper(desk.books.engine, "UPDATE credit_note SET number = 'CN-2026-000009' WHERE number LIKE 'CN-%1'")
    assert any(
        "000001 is missing: its series credit_note:" in sentence or "X-1 is missing" in sentence
        for sentence in findings(desk.books)
    ), findings(desk.books)


def test_a_number_that_was_counted_and_never_used_is_a_gap(desk: Desk) -> None:
    some_books(desk)
    tamper(desk.books.engine, "UPDATE counter SET value = value + 1 WHERE name <> 'audit'")
    problems = findings(desk.books)
    assert "3 credit-note numbers were counted, but 2 were issued" in problems
    assert any("000003 is missing: its series credit_note:" in sentence for sentence in problems), problems
