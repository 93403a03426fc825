"""A store that cannot be read is refused with the same error by the bare driver as by SQLAlchemy."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC
from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy import text

from conftest import NewStore
from refundcli.domain.errors import RefundcliError
from refundcli.services.clock import SystemClock
from refundcli.services.ports.books import BooksToRead
from refundcli.store.databases import engine as engines
from refundcli.store.databases.engine import store_engine
from refundcli.store.errors import NoStore, NotAStore, StoreBusy, StoreCorrupt, StoreNewer, StoreOlder, StoreUnreachable
from refundcli.store.read_only import sqlite
from refundcli.store.read_only.postgres import PostgresBooks, plain_postgres_address
from refundcli.store.read_only.sqlite import SqliteBooks
from refundcli.store.unit_of_work import SqlBooks


def refusal(books: BooksToRead) -> RefundcliError:
    with pytest.raises(RefundcliError) as raised:
        books.read(lambda tx: (tx.invoices.get("INV-1"), tx.closings.get("cl_1")))
    return raised.value


def words(error: RefundcliError) -> tuple[object, ...]:
    return (type(error), error.message, error.hint, error.context)


def run(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return change


def _replace(content: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_bytes(content)

    return change


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)


NEW_SCHEMA = "UPDATE alembic_version SET version_num = '{}'"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (Path.unlink, NoStore),
        (_folder, NotAStore),
        (_replace(b""), NoStore),
        (_replace(b"number,customer\n" * 99), NotAStore),
        (run("PRAGMA application_id = 7"), NotAStore),
        (run("PRAGMA application_id = 0"), NotAStore),
        (run("DROP TABLE alembic_version"), NoStore),
        (run("DELETE FROM alembic_version"), NoStore),
        (run(NEW_SCHEMA.format("9999")), StoreNewer),
        (run(NEW_SCHEMA.format("0003"), "ALTER TABLE store_info DROP COLUMN timezone"), StoreOlder),
        (run("DROP TABLE closing"), StoreCorrupt),
        (run("ALTER TABLE invoice RENAME COLUMN customer TO client"), StoreCorrupt),
        (_damage, StoreCorrupt),
    ],
    ids=lambda value: "" if callable(value) and not isinstance(value, type) else None,
)
def test_a_sqlite_store_that_cannot_be_read(
    new_sqlite: NewStore, change: Callable[[Path], None], kind: type[RefundcliError]
) -> None:
    url = new_sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    change(path)
    expected = refusal(SqlBooks(store_engine(url), SystemClock(UTC), "Ada"))
    refused = refusal(SqliteBooks(path))
    assert isinstance(refused, kind)
    assert words(refused) == words(expected)


def test_a_locked_sqlite_store(new_sqlite: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engines, sqlite):
        monkeypatch.setattr(module, "BUSY_TIMEOUT_SECONDS", 0.1)
    url = new_sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        expected = refusal(SqlBooks(store_engine(url), SystemClock(UTC), "Ada"))
        refused = refusal(SqliteBooks(path))
        assert isinstance(refused, StoreBusy)
        assert words(refused) == words(expected)


def test_the_zone_of_a_store_that_is_not_there_is_the_operators(tmp_path: Path) -> None:
    assert str(SqliteBooks(tmp_path / "none.db", "Europe/Stockholm").zone) == "Europe/Stockholm"
    assert not list(tmp_path.iterdir())


def postgres_books(url: str) -> PostgresBooks:
    address = plain_postgres_address(url)
    assert address is not None
    return PostgresBooks(url, address, "status")


@pytest.mark.parametrize(
    ("statements", "kind"),
    [
        (["DROP TABLE alembic_version"], NoStore),
        (["DROP TABLE store_info"], NotAStore),
        ([NEW_SCHEMA.format("9999")], StoreNewer),
        ([NEW_SCHEMA.format("0003"), "ALTER TABLE store_info DROP COLUMN timezone"], StoreOlder),
        (["DROP TABLE closing"], StoreCorrupt),
    ],
)
def test_a_postgresql_store_that_cannot_be_read(
    new_postgres: NewStore, statements: list[str], kind: type[RefundcliError]
) -> None:
    url = new_postgres()
    engine = store_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    expected, books = refusal(SqlBooks(engine, SystemClock(UTC), "Ada")), postgres_books(url)
    refused = refusal(books)
    assert isinstance(refused, kind)
    assert (type(refused), refused.hint) == (type(expected), expected.hint)
    # SQLAlchemy writes the address in its own way, with its driver.
    assert refused.message == unquote(expected.message).replace("postgresql+psycopg:", "postgresql:")
    books.close()
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:9/none",
        "postgresql://nobody:pass%40word@127.0.0.1:9/none?application_name=me",
        "postgresql://127.0.0.1:9/none?no_such_option=1",
    ],
)
def test_a_server_that_cannot_be_reached(url: str) -> None:
    expected = refusal(SqlBooks(store_engine(url), SystemClock(UTC), "Ada"))
    refused = refusal(postgres_books(url))
    assert isinstance(refused, StoreUnreachable)
    assert words(refused) == words(expected)


def test_a_postgresql_snapshot_takes_no_write_and_asks_for_the_time_within_itself(new_postgres: NewStore) -> None:
    books = postgres_books(new_postgres())
    seen = []

    def look(tx: object) -> None:
        with books.asking() as ask:
            seen.append(ask())
        rows = tx._rows  # type: ignore[attr-defined]
        seen.append(rows.value("SHOW transaction_read_only"))
        seen.append(rows.value("SHOW transaction_isolation"))

    books.read(look)
    assert seen[1:] == ["on", "repeatable read"]
    assert books.read(lambda tx: tx.store.livemode()) is None
    books.close()


def test_addresses_that_only_sqlalchemy_takes_apart() -> None:
    assert plain_postgres_address("postgresql://u@/db?host=a:1&host=b:2") is None
    assert plain_postgres_address("postgresql://u@/db?host=a:1") is None
    assert plain_postgres_address("postgresql://u@host:port/db") is None
    assert plain_postgres_address("postgresql://u%40x:p%2Fw@[::1]:5433/d%20b?sslmode=require") == {
        **{"user": "u@x", "password": "p/w", "host": "::1", "port": "5433"},
        **{"dbname": "d b", "sslmode": "require"},
    }
