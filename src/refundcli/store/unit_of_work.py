"""Run transactions: locked, audited, committed once, and re-read if a commit gives no clear answer."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from refundcli.store import migrate
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.database_time import in_transaction
from refundcli.store.databases.db_errors import store_error, translated_errors
from refundcli.store.databases.driver_errors import reason, unchanged
from refundcli.store.errors import CommitUnknown, NoStore, StoreOlder
from refundcli.store.queries.snapshot import SqlReading
from refundcli.store.schema_check import store_timezone

if TYPE_CHECKING:
    from refundcli.services.ports.books import Reading, Writing
    from refundcli.services.ports.clock import Clock

T = TypeVar("T")

# Serialization failure and deadlock: PostgreSQL asks to run the whole transaction again.
_RUN_AGAIN = ("40001", "40P01")
_MOST_RUNS = 10


class WriteInDryRun(RuntimeError):
    """A command wrote during a dry run: a defect of this program."""


@dataclass(slots=True)
class SqlBooks:
    """The books in a database. The first use checks the schema, and creates or upgrades it if allowed.

    `timezone`: where the books' days begin and end, for a store that is created or upgraded now. `upgrades`: the
    command writes, so an older SQLite store is upgraded before it is read. `read_only`: for a dry run, where every
    write is refused before it begins. `seller`: of the settings as JSON, copied into credit notes when they are issued.
    """

    engine: Engine
    clock: "Clock"
    operator: str
    host: str = ""
    timezone: str = "UTC"
    upgrades: bool = False
    tell_upgraded: Callable[[migrate.Upgraded], None] = field(default=lambda upgraded: None)
    read_only: bool = False
    seller: Callable[[], str] = field(default=lambda: "")
    # These books created the store.
    is_new: bool = False
    _is_schema_checked: bool = False
    # A change was, or may have been, committed through these books.
    may_have_written: bool = False
    _zone: str = ""

    @property
    def zone(self) -> ZoneInfo:
        """Where the books' days begin and end: the store's zone, or the one that it will get."""
        if not self._zone:
            with suppress(NoStore, StoreOlder):
                self.inspect(lambda connection: None)
        return ZoneInfo(self._zone or self.timezone)

    def read(self, work: "Callable[[Reading], T]") -> T:
        """Run on one consistent snapshot. It is closed before anything is shown, because a reader blocks writers."""
        return self.inspect(lambda connection: work(SqlReading(ConnectionRows(connection))))

    def inspect(self, read: Callable[[Connection], T]) -> T:
        """The same for reads of the store itself, such as its integrity check."""
        self._check(writing=False)
        try:
            with in_transaction(), self._connection_to_read() as connection:
                self._read_store_info(connection)
                return read(connection)
        except DBAPIError as error:
            raise self._problem(error) from error

    def _connection_to_read(self) -> Connection:
        connection = self.engine.connect()
        if self.engine.dialect.name == "postgresql":
            # All statements see the same moment, as on SQLite.
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        return connection

    def write(self, work: "Callable[[Writing], T]") -> T:
        """Run in one transaction as the only writer, and again from the start if the database asks for it.

        Raises StoreProblem, CommitUnknown if the commit may have succeeded, and WriteInDryRun.
        """
        if self.read_only:
            raise WriteInDryRun("a dry run changes nothing")
        self._check(writing=True)
        for _ in range(_MOST_RUNS - 1):
            try:
                return self._write_once(work)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", "") not in _RUN_AGAIN:
                    raise self._problem(error) from error
        try:
            return self._write_once(work)
        except DBAPIError as error:
            raise self._problem(error) from error

    def _problem(self, error: DBAPIError) -> Exception:
        """The error to show. It says "Nothing was changed" only if no change was committed before."""
        problem = store_error(error)
        return problem if self.may_have_written else unchanged(problem)

    def _write_once(self, work: "Callable[[Writing], T]") -> T:
        # Imported late: commands that only read do not need it.
        from refundcli.store.audit import AuditTrail
        from refundcli.store.repositories.transaction import SqlWriting

        # It may query the database, so do it before other writers wait for this transaction.
        self.clock.now()
        with in_transaction(), self.engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            login = self._queue_up(connection)
            self._read_store_info(connection)
            host = self.host or socket.gethostname()
            audit_trail = AuditTrail(connection, self.clock.now(), self.operator, host, login=login, zone=self.zone)
            outcome = work(SqlWriting(connection, audit_trail, self.seller))
            audit_trail.flush()
            self._commit(connection, audit_trail.head)
            return outcome

    def _queue_up(self, connection: Connection) -> str:
        """One writer at a time, in the same order everywhere: BEGIN IMMEDIATE does it on SQLite.

        Returns who PostgreSQL says is connected.
        """
        if self.engine.dialect.name != "postgresql":
            return ""
        head_query = text("SELECT session_user FROM counter WHERE name = 'audit' FOR UPDATE")
        return str(connection.execute(head_query).scalar() or "")

    def _commit(self, connection: Connection, newest_entry: tuple[int, str] | None) -> None:
        may_have_written_before, self.may_have_written = self.may_have_written, True
        try:
            connection.commit()
        except DBAPIError as error:
            # A COMMIT that raises may have committed. The newest audit entry shows whether it did.
            with suppress(DBAPIError):
                connection.rollback()
            if newest_entry is None:
                raise
            if self._was_committed(*newest_entry, error):
                return
            self.may_have_written = may_have_written_before
            raise

    def _was_committed(self, seq: int, seal: str, commit_error: DBAPIError) -> bool:
        try:
            with self.engine.connect() as new_connection:
                # It may still be committing: taking the write lock waits for it.
                self._queue_up(new_connection)
                query = text("SELECT 1 FROM audit_entry WHERE seq = :seq AND hash = :seal")
                return new_connection.execute(query, {"seq": seq, "seal": seal}).first() is not None
        except DBAPIError as lookup_error:
            raise CommitUnknown(reason(commit_error.orig)) from lookup_error

    def _read_store_info(self, connection: Connection) -> None:
        """Called in each transaction: another program may have upgraded the store since it was opened.

        Raises StoreNewer and StoreOlder.
        """
        self._zone = store_timezone(ConnectionRows(connection)) or self.timezone

    def _check(self, *, writing: bool) -> None:
        if self._is_schema_checked:
            return
        with translated_errors(migrate.shown_url(self.engine)):
            upgraded = migrate.ensure_schema(
                self.engine,
                at=self.clock.now(),
                writing=writing,
                upgrades=self.upgrades,
                timezone=self.timezone,
                operator=self.operator,
            )
        self._is_schema_checked = True
        self.is_new = upgraded is not None and not upgraded.before
        if upgraded and upgraded.before:
            self.tell_upgraded(upgraded)
