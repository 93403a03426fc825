"""The store on both databases."""

import os
import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from conftest import NewStore
from desk import Desk
from refundcli.connections import AccountsInBooks, WrongMode
from refundcli.domain.statuses import Dispute, Provider
from refundcli.services.clock import SystemClock
from refundcli.store import migrate
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.errors import NoStore, NotAStore, StoreNewer, StoreOlder
from refundcli.store.schema_check import HEAD
from refundcli.store.unit_of_work import SqlBooks
from tampering import tamper

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def books_at(url: str) -> SqlBooks:
    return SqlBooks(store_engine(url), SystemClock(UTC), "Ada")


def run_sql(url: str, statement: str) -> Any:
    with store_engine(url).connect() as connection:
        result = connection.execution_options(writes=True).execute(text(statement))
        rows = result.all() if result.returns_rows else None
        connection.commit()
        return rows


def test_the_migrations_make_what_the_models_say(store_url: str) -> None:
    with store_engine(store_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_an_index_of_some_rows_is_one_in_either_database(store_url: str) -> None:
    partial = {
        index.name
        for table in SQLModel.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    with store_engine(store_url).connect() as connection:
        looked = inspect(connection)
        indexes = {
            index["name"]
            for table in SQLModel.metadata.tables
            for index in looked.get_indexes(table)
            if f"{connection.dialect.name}_where" in index.get("dialect_options", {})
        }
    assert "ux_refund_request_key" in partial
    assert indexes == partial


def test_head_is_the_newest_revision(store_url: str) -> None:
    versions = Path(migrate.__file__).parent / "migrations" / "versions"
    newest = max(path.name.partition("_")[0] for path in versions.glob("0*.py"))
    assert newest == HEAD == migrate.schema_of(store_engine(store_url))


def test_a_new_store_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "books.db"
    books_at(f"sqlite:///{path}").write(lambda tx: None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_reading_never_makes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(NoStore):
        books_at(f"sqlite:///{path}").read(lambda tx: tx.store.livemode())
    assert not path.exists()


def test_a_newer_store_is_refused_before_anything_is_written(store_url: str) -> None:
    run_sql(store_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreNewer):
        books_at(store_url).write(lambda tx: tx.store.pin_livemode(False))
    assert run_sql(store_url, "SELECT livemode FROM store_info") == [(None,)]


def test_an_older_store_is_not_read_as_if_it_were_new(store_url: str) -> None:
    run_sql(store_url, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(StoreOlder):
        books_at(store_url).read(lambda tx: tx.store.livemode())


def test_a_postgresql_store_is_upgraded_only_on_request(new_postgres: NewStore) -> None:
    url = new_postgres()
    run_sql(url, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(StoreOlder):
        books_at(url).write(lambda tx: None)


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotAStore):
        books_at(f"sqlite:///{path}").write(lambda tx: None)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(postgres: Any) -> None:
    postgres.psql("CREATE DATABASE theirs;")
    url = postgres.get_uri("theirs")
    run_sql(url, "CREATE TABLE theirs (id integer)")
    with pytest.raises(NotAStore):
        books_at(url).write(lambda tx: None)


def test_a_text_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("buy milk\n" * 200)
    with pytest.raises(NotAStore):
        books_at(f"sqlite:///{path}").read(lambda tx: tx.store.livemode())


def test_committed_sqlite_writes_survive_a_power_cut(new_sqlite: NewStore) -> None:
    with store_engine(new_sqlite()).connect() as connection:
        pragma = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}
    assert pragma == PRAGMAS


PRAGMAS = {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1, "application_id": 0x5266436C}


def test_a_backup_is_a_whole_private_copy(new_sqlite: NewStore, tmp_path: Path) -> None:
    engine = store_engine(new_sqlite())
    target = migrate.back_up(engine, tmp_path / "copy.db", at=NOW)
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o600
    assert migrate.schema_of(store_engine(f"sqlite:///{target}")) == HEAD


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payment SET reserved = allocated + 1",
        "UPDATE payment SET refunded = -1",
        "UPDATE payment SET reserved = allocated, refunded = 1",
        "UPDATE payment SET dispute = 'limbo'",
        "UPDATE dispute SET state = 'limbo'",
        "UPDATE dispute SET stage = 'limbo'",
        "UPDATE invoice SET status = 'refunded'",
        "UPDATE invoice SET status = 'settled'",
        "UPDATE refund SET amount = 0",
        "UPDATE refund SET idempotency_key = NULL",
        "UPDATE refund SET state = 'done'",
        "UPDATE credit_note SET status = 'issued', number = NULL",
    ],
)
def test_no_bug_above_can_write_what_must_never_be(desk: Desk, statement: str) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 10 --reason other --yes")
    desk.paid_by_card("INV-2", dispute=Dispute.LOST, dispute_amount=3000)
    with pytest.raises(IntegrityError):
        run_sql(desk.url, statement)


def test_two_payments_never_share_a_providers_id(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.paid_by_card("INV-2")
    with pytest.raises(IntegrityError):
        run_sql(desk.url, "UPDATE payment SET payment_intent = 'pi_same'")


def test_store_check_finds_tampered_rows(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 10 --reason other --yes")
    assert findings(desk.books) == []
    tamper(
        desk.books.engine,
        "UPDATE payment SET refunded = refunded + 1",
        "UPDATE audit_entry SET operator = 'Mallory' WHERE seq = 2",
        "DELETE FROM credit_note",
    )
    problems = "\n".join(findings(desk.books))
    assert "the refunded amount does not match its refunds" in problems
    assert "audit entry 2" in problems
    assert "no credit note" in problems


# A manual change, and its finding.
TAMPERED = {
    "UPDATE payment SET dispute = '' WHERE dispute = 'open'": "payment 1: the dispute state does not match",
    "UPDATE payment SET dispute = 'won' WHERE dispute = 'lost'": "payment 2: the dispute state does not match",
    "UPDATE dispute SET state = 'closed' WHERE state = 'open'": "payment 1: the dispute state does not match",
    "UPDATE dispute SET state = 'unknown' WHERE state = 'lost'": "payment 2: the lost amount does not match",
    "UPDATE dispute SET amount = 2000 WHERE state = 'lost'": "payment 2: the lost amount does not match",
    "UPDATE dispute SET amount = NULL WHERE state = 'lost'": "payment 2: the lost amount does not match",
    "UPDATE payment SET lost = 0 WHERE id = 2": "payment 2: the lost amount does not match",
    "DELETE FROM dispute WHERE state = 'lost'": "payment 2: the lost amount does not match",
    "UPDATE payment SET lost = 2000, dispute_recorded = 1000 WHERE id = 2": "payment 2: more chargebacks are counted",
    "UPDATE payment SET captured = 5000 WHERE id = 3": "invoice INV-3: the sums do not match its payments",
    "UPDATE payment SET returned_elsewhere = 1000 WHERE id = 3": "payment 3: the amount refunded externally",
    "UPDATE payment SET reserved = 1000 WHERE id = 3": "payment 3: the reserved amount does not match",
    "UPDATE refund SET reversed_amount = 100": "payment 3: the refunded amount does not match",
    "UPDATE refund SET reversed_amount = amount": "the reversed part is as large as the refund",
    "UPDATE refund SET holding = true": "the amount is reserved in a state that reserves nothing",
    "UPDATE refund SET undecided = true": "the amount is reserved in a state that reserves nothing",
}


@pytest.mark.parametrize("statement", list(TAMPERED))
def test_the_check_finds_what_does_not_follow_from_the_records(desk: Desk, statement: str) -> None:
    desk.paid_by_card("INV-1", dispute=Dispute.OPEN)
    desk.paid_by_card("INV-2", dispute=Dispute.LOST, dispute_amount=3000)
    desk.paid_by_card("INV-3")
    desk.json("refund INV-3 --amount 10 --reason other --yes")
    assert findings(desk.books) == []
    run_sql(desk.url, statement)
    assert any(TAMPERED[statement] in sentence for sentence in findings(desk.books)), findings(desk.books)


def test_a_captured_amount_above_the_share_is_sound(desk: Desk) -> None:
    desk.paid_by_card()
    run_sql(desk.url, "UPDATE payment SET captured = 15000")
    assert findings(desk.books) == ["payment 1: captured is 15000, should be null (audit entry 1)"]


@pytest.mark.parametrize(("query", "seconds"), [("", 10), ("?connect_timeout=3", "3")])
def test_a_postgresql_host_that_does_not_answer_is_given_up(query: str, seconds: int | str) -> None:
    engine, connect_options = store_engine(f"postgresql://ada@localhost/x{query}"), dict[str, object]()

    def connect(_dialect: object, _record: object, _arguments: object, options: dict[str, object]) -> None:
        connect_options.update(options)
        raise ConnectionError

    event.listen(engine, "do_connect", connect)
    with pytest.raises(ConnectionError):
        engine.connect()
    assert connect_options["connect_timeout"] == seconds


def test_an_engine_never_shows_a_password() -> None:
    engine = create_engine("postgresql+psycopg://ada:hunter2@localhost/x")
    assert "hunter2" not in migrate.shown_url(engine)


def test_an_account_that_two_processes_learn_at_once_is_written_once(store_url: str) -> None:
    books = books_at(store_url)
    for _ in range(2):
        books.write(lambda tx: tx.accounts.remember(Provider.STRIPE, "f00", "acct_1", livemode=False))
    assert run_sql(store_url, "SELECT count(*) FROM audit_entry") == [(1,)]
    assert books.read(lambda tx: tx.accounts.of_key(Provider.STRIPE, "f00")) == "acct_1"


def test_the_first_mode_stays_whoever_comes_second(store_url: str) -> None:
    books = books_at(store_url)
    assert books.write(lambda tx: tx.store.pin_livemode(False)) is False
    assert books.write(lambda tx: tx.store.pin_livemode(True)) is False
    with pytest.raises(WrongMode):
        AccountsInBooks(books).agree_on_mode(Provider.STRIPE, livemode=True)


def test_a_key_of_the_other_mode_leaves_no_trace(store_url: str) -> None:
    books = books_at(store_url)
    books.write(lambda tx: tx.store.pin_livemode(True))
    with pytest.raises(WrongMode):
        AccountsInBooks(books).put(Provider.STRIPE, "f00", "acct_1", False)
    assert run_sql(store_url, "SELECT count(*) FROM provider_account") == [(0,)]
