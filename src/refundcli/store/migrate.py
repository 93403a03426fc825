"""Create a store or upgrade it to this program's schema; refuse a foreign or newer one."""

import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, text

from refundcli.private_files import draft, make_folder
from refundcli.secrets import shown_address
from refundcli.store.copying import copy_in_steps
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.driver_errors import reason_of
from refundcli.store.databases.engine import make_private, sqlite_path
from refundcli.store.databases.postgres_settings import program_name
from refundcli.store.databases.sqlite_file import APPLICATION_ID
from refundcli.store.errors import (
    BackupExists,
    BackupFailed,
    NoBackupHere,
    NoStore,
    NotAStore,
    StoreInUse,
)
from refundcli.store.guarded.columns import GUARDED_SINCE
from refundcli.store.guarded.triggers import create_triggers, drop_triggers
from refundcli.store.schema_check import HEAD, refuse_other_schema, schema_in, tables_in
from refundcli.store.tables import COUNTER, STORE_INFO
from refundcli.system.processes import is_gone

_ADVISORY_LOCK = 0x5266436C


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did. `before` is empty for a new store; `timezone` is the zone it pinned, if any."""

    before: str
    after: str
    timezone: str = ""
    backup: Path | None = None


def ensure_schema(
    engine: Engine, *, at: datetime, writing: bool, upgrades: bool = False, timezone: str = "UTC", operator: str = ""
) -> Upgraded | None:
    """Create the schema in an empty store, upgrade an older one (SQLite), refuse a newer or foreign one.

    `at`: the time now. `writing`: may create a store. `upgrades`: may upgrade an existing one, because the command is
    going to write. Raises NoStore, NotAStore, StoreNewer, StoreOlder.
    """
    path = sqlite_path(engine)
    if path and path.is_dir():
        raise NotAStore(str(path), "it is a folder")
    if path and not path.exists():
        if not writing:
            refuse_missing(engine)
        make_private(path)
    schema = schema_of(engine)
    if schema == HEAD:
        return None
    refuse_other_schema(schema, is_older_allowed=not schema or (path is not None and (writing or upgrades)))
    if not schema and not writing:
        raise NoStore(shown_url(engine))
    return upgrade(engine, at=at, timezone=timezone, operator=operator)


def upgrade(
    engine: Engine, *, at: datetime, timezone: str = "UTC", operator: str = "", force: bool = False
) -> Upgraded:
    """Run the migrations that are missing, in one transaction; an older SQLite file is copied beside it first.

    If two processes start it at once, the second waits and then has nothing to do. `timezone` is pinned as the zone of
    the books' days if the store has none yet. Raises StoreInUse on PostgreSQL while older programs are connected,
    unless `force`; on SQLite their next transaction finds the newer schema.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        with connection.begin():
            _lock_out_writers(connection)
            schema = _schema_in(connection)
            refuse_other_schema(schema, is_older_allowed=True)
            if schema == HEAD:
                return Upgraded(schema, HEAD)
            if schema and connection.dialect.name == "postgresql" and not force:
                _refuse_users(connection, at)
            path = sqlite_path(engine)
            backup_path = _copy_of_older(path, schema, at) if path and schema else None
            drop_triggers(connection)
            _run_alembic(connection)
            create_triggers(connection)
            _initialize_store(connection, at)
            pinned_timezone = _pin_timezone(connection, timezone)
            if schema:
                _audit_upgrade(connection, schema, pinned_timezone, at, operator)
            return Upgraded(schema, HEAD, pinned_timezone, backup_path)


def _lock_out_writers(connection: Connection) -> None:
    """Until the end of the transaction. BEGIN IMMEDIATE does it on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if "counter" in tables_in(ConnectionRows(connection)):
            connection.execute(text("SELECT value FROM counter WHERE name = 'audit' FOR UPDATE"))


def _refuse_users(connection: Connection, at: datetime) -> None:
    """Raises StoreInUse for connected programs, and for leases of runs, refunds and closings that are live at `at`."""
    programs_and_leases = []
    for program, client_address in connection.execute(text(_CONNECTED)):
        if f"{program} ".startswith(f"{program_name()} "):
            continue
        programs_and_leases.append(f"{program or 'an unnamed program'} (from {client_address or 'this machine'})")
    tables = tables_in(ConnectionRows(connection))
    for table, leases_query in _LEASED.items():
        if table in tables:
            leases = connection.execute(text(leases_query), {"at": at}).all()
            programs_and_leases += [
                f"{lease_subject} ({owner})" for lease_subject, owner in leases if not is_gone(owner)
            ]
    if programs_and_leases:
        raise StoreInUse(programs_and_leases)


# Programs before schema 0008 set no application name.
_CONNECTED = (
    "SELECT application_name, client_addr FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    " AND (application_name LIKE 'refundcli %' OR application_name = '' AND usename = current_user)"
    " ORDER BY backend_start"
)
_LEASED = {
    "bulk_item": "SELECT DISTINCT 'run ' || run_id, worker FROM bulk_item WHERE state = 'taken' AND lease_until > :at",
    "refund": "SELECT 'refund ' || id, lease_owner FROM refund WHERE state = 'submitted' AND lease_until > :at",
    "closing": "SELECT 'closing ' || id, lease_owner FROM closing WHERE state = 'submitted' AND lease_until > :at",
}


def _copy_of_older(path: Path, schema: str, at: datetime) -> Path:
    """Copy the store beside itself under a new name: a failed upgrade may have left a copy this second."""
    base_name = f"{path.name}.{schema}.{at:%Y%m%dT%H%M%SZ}"
    copy_names = (f"{base_name}{suffix}.bak" for suffix in ("", *(f"-{number}" for number in range(2, 100))))
    copy_path = next(candidate for candidate in map(path.with_name, copy_names) if not candidate.exists())
    backup(path, copy_path)
    return copy_path


def schema_of(engine: Engine) -> str:
    """The revision of a refundcli store; empty if there is no schema yet. Raises NotAStore."""
    with engine.connect() as connection:
        return _schema_in(connection)


def _schema_in(connection: Connection) -> str:
    return schema_in(ConnectionRows(connection), shown_url(connection.engine))


def refuse_missing(engine: Engine) -> None:
    """Raises NoStore for a missing SQLite file: only a command that writes creates one."""
    path = sqlite_path(engine)
    if path and not path.exists():
        raise NoStore(str(path))


def back_up(engine: Engine, target_path: Path | None, *, at: datetime) -> Path:
    """Copy a SQLite store while it is in use. Raises NoBackupHere, BackupExists, BackupFailed, NoStore, NotAStore."""
    path = sqlite_path(engine)
    if path is None:
        raise NoBackupHere(shown_url(engine))
    refuse_missing(engine)
    schema_of(engine)
    target_path = target_path or path.with_name(f"{path.name}.{at:%Y%m%dT%H%M%SZ}.bak")
    backup(path, target_path)
    return target_path


def backup(source_path: Path, target_path: Path) -> None:
    """Copy a SQLite store in use through SQLite itself; opening the file any other way drops its locks."""
    try:
        make_folder(target_path.parent)
        if os.path.lexists(target_path):
            raise BackupExists(target_path)
        with draft(target_path) as draft_path, closing(sqlite3.connect(draft_path)) as target_connection:
            # No journal: a kill would leave it behind. The copy gets its name only once it is complete.
            target_connection.execute("PRAGMA journal_mode = OFF")
            copy_in_steps(source_path, target_connection)
    except FileExistsError:
        raise BackupExists(target_path) from None
    except OSError as error:
        raise BackupFailed(target_path, reason_of(error)) from error
    except sqlite3.Error as error:
        raise BackupFailed(target_path, str(error)) from error


def shown_url(engine: Engine) -> str:
    """The address of a store, without a password."""
    return str(sqlite_path(engine) or shown_address(engine.url.render_as_string(hide_password=False)))


def _run_alembic(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - half a second, needed once in a store's life
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _initialize_store(connection: Connection, at: datetime) -> None:
    """Write what a new store needs: its secret, and the head of its audit chain."""
    if connection.execute(text("SELECT count(*) FROM store_info")).scalar():
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    secret = secrets.token_hex(32)
    connection.execute(insert(STORE_INFO), {"id": 1, "secret": secret, "created_at": at, "livemode": None})
    connection.execute(insert(COUNTER), {"name": "audit", "value": 0})


def _pin_timezone(connection: Connection, timezone: str) -> str:
    """The zone if it was pinned now; empty if the store already had one."""
    statement = text("UPDATE store_info SET timezone = :timezone WHERE timezone = ''")
    return timezone if connection.execute(statement, {"timezone": timezone}).rowcount else ""


def _audit_upgrade(connection: Connection, schema_before: str, timezone: str, at: datetime, operator: str) -> None:
    import socket  # noqa: PLC0415 - as above

    from refundcli.store.audit import AuditTrail  # noqa: PLC0415

    is_postgres = connection.dialect.name == "postgresql"
    login = str(connection.execute(text("SELECT session_user")).scalar()) if is_postgres else ""
    audit_trail = AuditTrail(connection, at, operator, socket.gethostname(), login=login)
    audit_trail.write("store upgraded", "store", {"schema": schema_before}, {"schema": HEAD, "timezone": timezone})
    audit_trail.flush()
    if schema_before < GUARDED_SINCE:
        audit_trail.write_baseline()
