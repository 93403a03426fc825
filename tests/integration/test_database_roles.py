"""docs/roles.sql: what each role may do, on a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from desk import Desk

ROLES_FILE = Path(__file__).parents[2] / "docs" / "roles.sql"
PEOPLE = {"vera": "refundcli_viewer", "carl": "refundcli_clerk", "anna": "refundcli_approver"}


@pytest.fixture
def roles(desk: Desk, postgres_admin: "psycopg.Connection[Any]") -> Iterator[Desk]:
    if desk.url.startswith("sqlite"):
        pytest.skip("SQLite has no roles")
    desk.paid_outside("INV-1")
    desk.paid_by_card("INV-2")
    with psycopg.connect(desk.url, autocommit=True) as connection:
        connection.execute(ROLES_FILE.read_bytes())
        # It may be run again, as after an upgrade.
        connection.execute(ROLES_FILE.read_bytes())
        for person, role in PEOPLE.items():
            connection.execute(f"CREATE ROLE {person} LOGIN IN ROLE {role}".encode())
    try:
        yield desk
    finally:
        with psycopg.connect(desk.url, autocommit=True) as connection:
            for role in (*PEOPLE, *PEOPLE.values()):
                connection.execute(f"DROP OWNED BY {role}".encode())
                connection.execute(f"DROP ROLE {role}".encode())


def url_of(desk: Desk, person: str) -> str:
    parts = urlsplit(desk.url)
    return urlunsplit(parts._replace(netloc=f"{person}@{parts.netloc.rpartition('@')[2]}"))


def run_as(desk: Desk, person: str, statement: str) -> None:
    with psycopg.connect(url_of(desk, person)) as connection:
        connection.execute(statement.encode())


def test_a_viewer_sees_everything_and_changes_nothing(roles: Desk) -> None:
    store = f"--store '{url_of(roles, 'vera')}'"
    assert [invoice["number"] for invoice in roles.json(f"{store} invoice list")] == ["INV-1", "INV-2"]
    for command in ("status", "invoice history INV-1", "audit list", "audit verify", "store check"):
        assert roles(f"{store} {command}").exit_code == 0, command
    error = roles.refused(
        f"{store} mark-refunded INV-1 --amount 10 --reason other --yes", "permission-denied", exit_code=4
    )
    assert "permission denied for table counter" in error["message"]
    assert error["message"].endswith("Nothing was changed.")
    assert roles.count("refund") == 0


def test_a_clerk_works_and_is_named_by_the_login(roles: Desk) -> None:
    store = f"--store '{url_of(roles, 'carl')}'"
    assert roles(f"{store} mark-refunded INV-1 --amount 10 --reason other --yes").exit_code == 0
    assert roles(f"{store} refund INV-2 --amount 10 --reason other --yes").exit_code == 0
    assert {entry["login"] for entry in roles.json("audit list --action refund")} == {"carl"}
    assert roles(f"{store} audit verify").exit_code == 0


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET operator = 'Mallory'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry CASCADE",
        "DELETE FROM refund",
        "DELETE FROM credit_note",
        "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_no_role_changes_or_deletes_what_is_recorded(roles: Desk, person: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run_as(roles, person, statement)
