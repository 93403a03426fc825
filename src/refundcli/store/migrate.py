"""Bringing a store to this program's schema, or refusing one that is not ours or is newer."""

import os
import secrets
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from refundcli.private_files import draft, make_folder
from refundcli.secrets import shown_address
from refundcli.store.engine import APPLICATION_ID, make_private, sqlite_path
from refundcli.store.errors import BackupExists, BackupFailed, NoBackupHere, NoStore, NotAStore, StoreNewer, StoreOlder
from refundcli.store.troubles import reason_of

# The newest revision in migrations/versions. Compared with one query: loading Alembic costs half a second.
HEAD = "0006"

_ADVISORY_LOCK = 0x5266436C


def ensure_schema(engine: Engine, *, at: datetime, writing: bool) -> None:
    """Make an empty store ours, bring an older one up (SQLite), refuse a newer or a foreign one.

    Only a command that writes makes or changes anything. Raises NoStore, NotAStore, StoreNewer, StoreOlder.
    """
    path = sqlite_path(engine)
    if path and not path.exists():
        if not writing:
            refuse_missing(engine)
        make_private(path)
    found = schema_of(engine)
    if found == HEAD:
        return
    if found > HEAD:
        raise StoreNewer(found, HEAD)
    if not writing:
        raise StoreOlder(found, HEAD) if found else NoStore(shown_url(engine))
    if found and path is None:
        raise StoreOlder(found, HEAD)
    upgrade(engine, at=at)


def upgrade(engine: Engine, *, at: datetime) -> None:
    """Run the migrations that are missing, in one transaction; an older SQLite file is copied beside it first."""
    path, found = sqlite_path(engine), schema_of(engine)
    if found > HEAD:
        raise StoreNewer(found, HEAD)
    if path and found and found != HEAD:
        backup(path, path.with_name(f"{path.name}.{found}.{at:%Y%m%dT%H%M%SZ}.bak"))
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            _run_alembic(connection)
            _found_store(connection, at)


def schema_of(engine: Engine) -> str:
    """The revision of a store of ours; empty when there is nothing there yet. Raises NotAStore."""
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        _refuse_foreign(connection, tables)
        if "alembic_version" not in tables:
            return ""
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def refuse_missing(engine: Engine) -> None:
    """Raises NoStore for a SQLite file that is not there: only a command that writes makes one."""
    path = sqlite_path(engine)
    if path and not path.exists():
        raise NoStore(str(path))


def back_up(engine: Engine, target: Path | None, *, at: datetime) -> Path:
    """Copy a SQLite store while it is in use. Raises NoBackupHere, BackupExists, BackupFailed, NoStore, NotAStore."""
    path = sqlite_path(engine)
    if path is None:
        raise NoBackupHere(shown_url(engine))
    refuse_missing(engine)
    schema_of(engine)
    target = target or path.with_name(f"{path.name}.{at:%Y%m%dT%H%M%SZ}.bak")
    backup(path, target)
    return target


def backup(source: Path, target: Path) -> None:
    """Copy a live SQLite store through SQLite itself; opening the file any other way drops its locks."""
    try:
        make_folder(target.parent)
        if os.path.lexists(target):
            raise BackupExists(target)
        with draft(target) as copy:
            _copy(source, copy)
    except FileExistsError:
        raise BackupExists(target) from None
    except OSError as error:
        raise BackupFailed(target, reason_of(error)) from error
    except sqlite3.Error as error:
        raise BackupFailed(target, str(error)) from error


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        # A journal beside the copy would be left there by a kill; half a copy never gets the name of a whole one.
        copy.execute("PRAGMA journal_mode = OFF")
        live.backup(copy)


def shown_url(engine: Engine) -> str:
    """Where a store is, without a password."""
    return str(sqlite_path(engine) or shown_address(engine.url.render_as_string(hide_password=False)))


def _refuse_foreign(connection: Connection, tables: set[str]) -> None:
    where = shown_url(connection.engine)
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA application_id").scalar()
        if found not in (0, APPLICATION_ID) or (found == 0 and tables):
            raise NotAStore(where, "another program made this file")
    elif tables and "store_info" not in tables:
        raise NotAStore(where, "the database holds other tables")


def _run_alembic(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - half a second, needed once in a store's life
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _found_store(connection: Connection, at: datetime) -> None:
    """What a new store needs before its first row: its secret, and the head of its audit chain."""
    if connection.execute(text("SELECT count(*) FROM store_info")).scalar():
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    from refundcli.store.tables import CounterRow, StoreInfo  # noqa: PLC0415 - only when a store is made

    connection.execute(
        StoreInfo.__table__.insert(),  # type: ignore[attr-defined]
        {"id": 1, "secret": secrets.token_hex(32), "created_at": at, "livemode": None},
    )
    connection.execute(CounterRow.__table__.insert(), {"name": "audit", "value": 0})  # type: ignore[attr-defined]
