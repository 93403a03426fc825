"""A store that is full, read-only, corrupt, locked or unreachable: a clear error code, and nothing lost."""

import gc
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from conftest import NewStore
from desk import Desk
from refundcli.cli.context import App
from refundcli.domain.statuses import Provider
from refundcli.providers.stripe.refunds import StripeProvider
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.clock import SystemClock
from refundcli.services.ports.books import Writing
from refundcli.store.checks.integrity import findings
from refundcli.store.databases import engine as engines
from refundcli.store.databases.db_errors import store_error
from refundcli.store.databases.engine import store_engine
from refundcli.store.errors import (
    CommitUnknown,
    StoreBusy,
    StoreCorrupt,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
    StoreUnusable,
)
from refundcli.store.migrate import ensure_schema
from refundcli.store.read_only import sqlite as read_only
from refundcli.store.repositories.refund_writing import SqlRefunds
from refundcli.store.unit_of_work import SqlBooks


def books_at(url: str) -> SqlBooks:
    return SqlBooks(store_engine(url), SystemClock(ZoneInfo("UTC")), "Ada")


def with_pragma(books: SqlBooks, pragma: str) -> SqlBooks:
    """The same books on connections with the pragma."""

    @event.listens_for(books.engine, "connect")
    def _set(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute(f"PRAGMA {pragma}")

    return books


def audit_entries(url: str) -> int:
    with store_engine(url).connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit_entry")).scalar() or 0)


def test_a_full_disk_is_reported_and_nothing_is_stored(new_sqlite: NewStore) -> None:
    url = new_sqlite()
    books = with_pragma(books_at(url), "max_page_count=1")
    with pytest.raises(StoreFull) as raised:
        _fill(books)
    assert "space" in raised.value.hint
    assert findings(books_at(url)) == []


def test_a_read_only_store_is_reported(new_sqlite: NewStore) -> None:
    books = with_pragma(books_at(new_sqlite()), "query_only=ON")
    with pytest.raises(StoreReadOnly):
        books.write(lambda tx: tx.store.pin_livemode(False))


def test_a_read_only_server_is_reported(new_postgres: NewStore) -> None:
    url = new_postgres()
    books = books_at(f"{url}&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(StoreReadOnly):
        books.write(lambda tx: tx.store.pin_livemode(False))


def test_a_corrupt_store_is_reported_and_left_unchanged(new_sqlite: NewStore) -> None:
    url = new_sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt):
        books_at(url).write(lambda tx: tx.store.pin_livemode(False))
    assert path.read_bytes() == before


def test_a_store_locked_by_another_program_is_reported_as_busy(
    new_sqlite: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_SECONDS", 0.1)
    url = new_sqlite()
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        books_at(url).write(lambda tx: tx.store.pin_livemode(False))
    holder.execute("ROLLBACK")
    holder.close()
    assert books_at(url).write(lambda tx: tx.store.pin_livemode(False)) is False


def test_an_unreachable_server_is_reported() -> None:
    with pytest.raises(StoreUnreachable):
        books_at("postgresql://nobody@127.0.0.1:9/none").read(lambda tx: tx.store.livemode())


class Said(Exception):
    """A driver's error, with the server's code if any."""

    def __init__(self, words: str, sqlstate: str | None = None) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("said", "invalidated", "kind"),
    [
        (Said("server conn crashed?", "08P01"), False, StoreUnreachable),
        (Said("query_wait_timeout", "08P01"), True, StoreUnreachable),
        (Said("the connection is lost", "08006"), False, StoreUnreachable),
        (Said("consuming input failed: could not receive data from server"), True, StoreUnreachable),
        (Said("consuming input failed: SSL error: unexpected eof while reading"), True, StoreUnreachable),
        (Said("could not extend file: no space left on device", "53100"), True, StoreFull),
        (Said("out of memory", "53200"), False, StoreUnusable),
    ],
)
def test_a_connection_that_breaks_may_recover(said: Said, invalidated: bool, kind: type) -> None:
    error = OperationalError("UPDATE", {}, said, connection_invalidated=invalidated)
    assert type(store_error(error)) is kind


def test_a_backend_that_dies_in_the_middle_of_a_change_is_out_of_reach(new_postgres: NewStore) -> None:
    books = books_at(new_postgres())

    def die(tx: Any) -> None:
        tx.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StoreUnreachable):
        books.write(die)


def test_a_dirty_journal_of_a_killed_writer_is_rolled_back(new_sqlite: NewStore) -> None:
    """A killed writer leaves its journal; the next open rolls its transaction back."""
    url = new_sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    script = (
        "import os, sqlite3\n"
        f"c = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
        "c.execute('PRAGMA cache_size=1'); c.execute('BEGIN IMMEDIATE')\n"
        'c.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) '
        "INSERT INTO counter SELECT 'x'||i||hex(zeroblob(200)), i FROM n\")\n"
        "os.kill(os.getpid(), 9)\n"
    )
    _run_and_expect_a_kill(script)
    assert path.with_name(path.name + "-journal").exists()
    books = books_at(url)
    assert books.inspect(lambda connection: connection.execute(text("SELECT count(*) FROM counter")).scalar()) == 1
    assert books.write(lambda tx: tx.store.pin_livemode(False)) is False


@pytest.fixture
def failing_commit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commits raise, after or before the database committed."""
    real = Connection.commit

    def fail(*, commits: bool) -> None:
        def commit(connection: Any) -> None:
            if commits:
                real(connection)
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

        monkeypatch.setattr(Connection, "commit", commit)

    return fail


def test_a_commit_that_raised_but_succeeded_is_read_again(store_url: str, failing_commit: Any) -> None:
    books = books_at(store_url)
    books.read(lambda tx: tx.store.livemode())
    failing_commit(commits=True)
    assert books.write(lambda tx: tx.store.pin_livemode(False)) is False
    assert audit_entries(store_url) == 1


def test_a_commit_that_raised_and_failed_is_an_error(store_url: str, failing_commit: Any) -> None:
    books = books_at(store_url)
    books.read(lambda tx: tx.store.livemode())
    failing_commit(commits=False)
    with pytest.raises(Exception, match="Nothing was changed"):
        books.write(lambda tx: tx.store.pin_livemode(False))
    assert audit_entries(store_url) == 0


def test_a_commit_that_cannot_be_read_again_is_reported_as_unknown(
    store_url: str, failing_commit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = books_at(store_url)
    books.read(lambda tx: tx.store.livemode())
    failing_commit(commits=True)

    def away(*_: Any, **__: Any) -> Any:
        raise CommitUnknown("the server is away")

    monkeypatch.setattr(SqlBooks, "_was_committed", away)
    with pytest.raises(CommitUnknown):
        books.write(lambda tx: tx.store.pin_livemode(False))


def test_an_outcome_that_cannot_be_written_is_printed_and_found_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T4 fails on a full disk: exit 8 with the provider's reference, and resume records it later."""
    reference = desk.paid_by_card()

    def full(*_: Any, **__: Any) -> Any:
        raise StoreFull("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(SqlRefunds, "settle", full)
        answer = desk("refund INV-1 --amount 60 --reason other --yes -o json")
    (stripe_refund,) = desk.sandbox.refunds_of(reference)
    assert (answer.exit_code, answer.error["code"]) == (8, "outcome-not-written")
    assert answer.error["context"]["provider_reference"] == stripe_refund.id
    assert desk.invoice("INV-1").reserved.number == "60.00"


def _fill(books: SqlBooks) -> None:
    """More rows than fit."""
    for number in range(2000):
        books.write(partial(_one_more, number))


def _one_more(number: int, tx: Writing) -> None:
    tx.accounts.remember(Provider.STRIPE, f"f{number}", "a" * 900, livemode=False)


def _run_and_expect_a_kill(script: str) -> None:
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9


# --- a store that others use just when an answer is to be written ---


@contextmanager
def held_after_the_answer(desk: Desk, *, until_notified: bool) -> Iterator[list[str]]:
    """Another program locks the store once the provider has answered, until the operator is notified of the wait."""
    holder = sqlite3.connect(desk.url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    notices: list[str] = []
    real = StripeProvider.refund

    def refund(*args: Any, **named: Any) -> Any:
        answer = real(*args, **named)
        holder.execute("BEGIN IMMEDIATE")
        return answer

    def notify(_app: App, waiting: Any, reference: str) -> None:
        notices.append(f"{waiting.id} {reference}")
        if until_notified:
            holder.execute("ROLLBACK")

    with (
        patch.object(engines, "BUSY_TIMEOUT_SECONDS", 0.1),
        patch.object(StripeProvider, "refund", refund),
        patch.object(App, "_note_unwritten", notify),
    ):
        yield notices
    holder.close()


def test_an_answer_waits_for_a_store_that_others_use(sqlite_desk: Desk) -> None:
    reference = sqlite_desk.paid_by_card()
    with held_after_the_answer(sqlite_desk, until_notified=True) as notices:
        refunded = sqlite_desk.json("refund INV-1 --amount 60 --reason other --yes")
    (stripe_refund,) = sqlite_desk.sandbox.refunds_of(reference)
    assert notices == [f"{refunded['refunds'][0]['id']} {stripe_refund.id}"]
    assert refunded["refunds"][0]["status"] == "succeeded"


def test_an_answer_waits_no_longer_than_it_may(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoreBusy, "passes_within", 0.3)
    sqlite_desk.paid_by_card()
    with held_after_the_answer(sqlite_desk, until_notified=False) as notices:
        answer = sqlite_desk("refund INV-1 --amount 60 --reason other --yes -o json")
    assert (answer.exit_code, answer.error["code"], len(notices)) == (8, "outcome-not-written", 1)
    assert sqlite_desk("resume --all").exit_code == 0
    assert sqlite_desk.json("invoice show INV-1")["refunded"]["amount"] == "60.00"


# --- stores that no command can read ---


def _folder(path: Path) -> None:
    path.mkdir()


def _text_file(path: Path) -> None:
    path.write_text("buy milk\n" * 200)


def _truncated(path: Path) -> None:
    whole = path.with_name("whole.db")
    ensure_schema(store_engine(f"sqlite:///{whole}"), at=datetime.now(UTC), writing=True)
    path.write_bytes(whole.read_bytes()[:5_000])


def _newer(path: Path) -> None:
    ensure_schema(store_engine(f"sqlite:///{path}"), at=datetime.now(UTC), writing=True)
    with closing(sqlite3.connect(path)) as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
        store.commit()


def _another_programs(path: Path) -> None:
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE theirs (id INTEGER)")
        store.commit()


UNUSABLE: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a folder": (_folder, {"not-a-store"}),
    "a text": (_text_file, {"not-a-store"}),
    "truncated": (_truncated, {"store-corrupt", "not-a-store", "store-unsound"}),
    "newer": (_newer, {"store-newer"}),
    "another program's": (_another_programs, {"not-a-store"}),
    "nothing": (lambda path: None, {"no-store"}),
}
READ_COMMANDS = (
    "status", "store check", "invoice list", "invoice list --all", "invoice show INV-1", "invoice history INV-1",
    "events list", "credit-notes list", "refund INV-1 --full --reason other --dry-run",
)  # fmt: skip


@pytest.mark.parametrize("unusable", UNUSABLE)
def test_every_command_that_reads_says_what_is_wrong_with_a_store(
    unusable: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    make, codes = UNUSABLE[unusable]
    path = tmp_path / "broken.db"
    make(path)
    desk = Desk(f"sqlite:///{path}", sandbox, tmp_path)
    for command in READ_COMMANDS:
        answer = desk(f"{command} -o json")
        assert answer.exit_code == 4, (command, answer)
        assert answer.error["code"] in codes, (command, answer)
        assert answer.error["hint"], command
        assert not answer.out, command
    assert path.exists() is (unusable != "nothing")


@pytest.mark.parametrize(
    "command", ["status", "store check", "invoice list", "mark-refunded INV-1 --full --reason other --yes"]
)
def test_an_unreachable_server_is_reported_without_its_password(
    command: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    answer = Desk("postgresql://ada:hunter2@127.0.0.1:9/none", sandbox, tmp_path)(f"{command} -o json")
    assert (answer.exit_code, answer.error["code"]) == (4, "store-unreachable"), answer
    assert "hunter2" not in answer.err


def test_a_locked_store_is_reported_as_busy(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engines, read_only):
        monkeypatch.setattr(module, "BUSY_TIMEOUT_SECONDS", 0.1)
    holder = sqlite3.connect(sqlite_desk.url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for command in ("status", "store check", "invoice list"):
        sqlite_desk.refused(command, "store-busy", exit_code=4)
    holder.execute("ROLLBACK")
    holder.close()
    assert sqlite_desk("status").exit_code == 0


def test_a_command_leaves_no_connection_behind(new_postgres: NewStore, sandbox: RunningSandbox, tmp_path: Path) -> None:
    desk = Desk(new_postgres(), sandbox, tmp_path)
    desk.paid_by_card()
    gc.disable()
    try:
        for _ in range(3):
            assert desk("refund INV-1 --amount 1 --reason other --yes --allow-duplicate").exit_code == 0
        with desk.books.engine.connect() as connection:
            count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            assert connection.execute(count).scalar() == 1
    finally:
        gc.enable()
    desk.books.engine.dispose()
