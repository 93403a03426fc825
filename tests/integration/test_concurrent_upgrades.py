"""Upgrades: two programs at once, commands that write or only read, and programs that were started before."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from conftest import NewStore
from desk import Desk
from refundcli.cli.main import COMMANDS, READ_ONLY
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.clock import SystemClock
from refundcli.services.ports.books import Writing
from refundcli.store.checks.integrity import findings
from refundcli.store.databases.engine import store_engine
from refundcli.store.databases.postgres_settings import program_name
from refundcli.store.errors import StoreNewer
from refundcli.store.guarded.triggers import drop_triggers
from refundcli.store.schema_check import HEAD
from refundcli.store.unit_of_work import SqlBooks
from runs import RequestedRow, stage
from stores.loading import Released

OLD = "0005"


@pytest.fixture
def old_desk(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    """A desk with a SQLite store of an older program."""
    released = Released(OLD)
    released.into_sandbox(sandbox)
    desk = Desk(released.into_sqlite(tmp_path / "store.db", sandbox.url), sandbox, tmp_path)
    yield desk
    desk.books.engine.dispose()


def file_of(desk: Desk) -> Path:
    return Path(desk.url.removeprefix("sqlite:///"))


def schema(desk: Desk) -> str:
    with closing(sqlite3.connect(file_of(desk))) as store:
        return str(store.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def backups(desk: Desk) -> list[Path]:
    return sorted(desk.folder.glob("store.db.*.bak"))


def test_of_two_upgrades_at_once_the_second_finds_it_done(old_desk: Desk) -> None:
    """A writer blocks both until both have started."""
    writer = sqlite3.connect(file_of(old_desk), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "refundcli", "store", "upgrade"],
            env=os.environ | old_desk.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    with pytest.raises(subprocess.TimeoutExpired):
        both[0].wait(3)
    writer.execute("ROLLBACK")
    writer.close()
    ended = [(process.communicate(timeout=120), process.returncode) for process in both]
    assert [code for _, code in ended] == [0, 0], ended
    assert len(backups(old_desk)) == 1
    assert schema(old_desk) == HEAD
    assert findings(old_desk.books) == []


@pytest.mark.parametrize(
    "command",
    ["mark-refunded CASH --amount 1 --reason other --yes", "store clock --accept", "events apply"],
)
def test_a_command_that_writes_upgrades_first_and_says_so(old_desk: Desk, command: str) -> None:
    answer = old_desk(command)
    assert answer.exit_code in (0, 8), answer
    assert f"from schema {OLD} to {HEAD}" in answer.err
    assert "time zone Europe/Stockholm" in answer.err
    (copy,) = backups(old_desk)
    assert str(copy) in answer.err
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == (OLD,)
    assert schema(old_desk) == HEAD


LOOKING = (
    "find cash",
    "invoice list",
    "invoice show CASH",
    "invoice history CASH",
    "status",
    "events list",
    "credit-notes list",
    "store check",
    "mark-refunded CASH --amount 1 --reason other --dry-run",
    "refund CARD --amount 1 --reason other --dry-run",
)


@pytest.mark.parametrize("command", LOOKING)
def test_a_command_that_looks_leaves_an_older_store_as_it_is(old_desk: Desk, command: str) -> None:
    before = file_of(old_desk).read_bytes()
    old_desk.refused(command, "store-older", exit_code=4)
    assert file_of(old_desk).read_bytes() == before
    assert backups(old_desk) == []


def test_what_only_looks_is_a_command() -> None:
    assert {path.partition(" ")[0] for path in READ_ONLY} <= set(COMMANDS)


def test_a_program_that_was_started_before_an_upgrade_stops(store_url: str) -> None:
    """It stops at its next transaction."""
    books = SqlBooks(store_engine(store_url), SystemClock(UTC), "Ada")
    books.read(lambda tx: tx.store.livemode())
    with store_engine(store_url).connect() as connection:
        connection = connection.execution_options(writes=True)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(StoreNewer):
        books.read(lambda tx: tx.store.livemode())
    with pytest.raises(StoreNewer):
        books.write(lambda tx: tx.store.pin_livemode(False))
    books.engine.dispose()


# --- PostgreSQL: who is at work ---


@pytest.fixture
def old_postgres(new_postgres: NewStore, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    """As a program of the last schema, without the new column."""
    desk = Desk(new_postgres(), sandbox, tmp_path)
    make_older(desk)
    yield desk
    desk.books.engine.dispose()


def make_older(desk: Desk) -> None:
    with desk.books.engine.connect() as connection:
        for later in (
            "TABLE store_info DROP COLUMN timezone",
            "TABLE invoice DROP COLUMN customer_email",
            "TABLE payment DROP COLUMN card_last4",
            "TABLE payment DROP COLUMN card_brand",
            "TABLE invoice DROP COLUMN billing",
            "TABLE credit_note DROP COLUMN content",
            "TABLE credit_note DROP COLUMN seller_id",
            "TABLE audit_entry DROP COLUMN login",
            "TABLE audit_entry DROP COLUMN rows",
            "TABLE refund DROP COLUMN trace_destination",
            "TABLE refund DROP COLUMN trace_type",
            "TABLE refund DROP COLUMN trace_number",
            "TABLE refund DROP COLUMN trace_status",
        ):
            connection.execute(text(f"ALTER {later}"))
        drop_triggers(connection)
        connection.execute(text("DROP INDEX ix_refund_external"))
        connection.execute(text("DROP INDEX ix_refund_created"))
        connection.execute(text("DROP INDEX ix_invoice_number_in_any_case"))
        connection.execute(text("DROP TABLE seller"))
        connection.execute(text("DROP TABLE search_word"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
        connection.commit()


@contextmanager
def connected(desk: Desk, name: str) -> Iterator[None]:
    """Another program's idle connection."""
    engine = create_engine(
        desk.url.replace("postgresql://", "postgresql+psycopg://"), connect_args={"application_name": name}
    )
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.rollback()
        yield
    engine.dispose()


@pytest.mark.parametrize("name", ["refundcli 4711@shop-1 events listen", ""])
def test_an_upgrade_names_the_program_that_is_at_work(old_postgres: Desk, name: str) -> None:
    with connected(old_postgres, name):
        error = old_postgres.refused("store upgrade", "store-in-use", exit_code=4)
        assert (name or "an unnamed program") in error["message"]
    assert old_postgres.json("store upgrade")["after"] == HEAD


def test_an_upgrade_names_a_program_on_a_machine_whose_name_begins_as_ours(old_postgres: Desk) -> None:
    """With the same process id, as first processes of containers have."""
    name = f"{program_name()}-listener events listen"
    with connected(old_postgres, name), connected(old_postgres, program_name("refund")):
        error = old_postgres.refused("store upgrade", "store-in-use", exit_code=4)
        assert name in error["message"]
        assert f"{program_name()} refund" not in error["message"]


def test_an_upgrade_does_not_mind_other_clients_and_can_be_forced(old_postgres: Desk) -> None:
    with connected(old_postgres, "psql"), connected(old_postgres, "refundcli 4711@shop-1 events listen"):
        old_postgres.refused("store upgrade", "store-in-use", exit_code=4)
        assert old_postgres.json("store upgrade --force")["after"] == HEAD
    assert old_postgres.json("store upgrade")["after"] == HEAD


def test_an_upgrade_names_the_run_that_is_leased(
    new_postgres: NewStore, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    desk, clock = Desk(new_postgres(), sandbox, tmp_path), SystemClock(UTC)
    run, now = stage(desk.books, clock, [RequestedRow("INV-1", "10.00 EUR")]), clock.now()
    lease = partial(_take, run.id, now)
    desk.books.write(lease)
    make_older(desk)
    error = desk.refused("store upgrade", "store-in-use", exit_code=4)
    assert f"run {run.id} (shop-2|77|1)" in error["message"]
    desk.books.engine.dispose()


def _take(run_id: str, now: datetime, tx: Writing) -> None:
    tx.runs.lease_items(run_id, worker="shop-2|77|1", until=now + timedelta(minutes=10), at=now, limit=1)
