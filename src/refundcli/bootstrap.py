"""Wire the services from the settings, and open the store.

The services for provider updates, comparisons and pulls are wired in update_services.py, the providers in
connections.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refundcli.domain.refund import Refund
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.clock import BooksClock, SystemClock
from refundcli.settings import Settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from refundcli.anchoring import Anchoring
    from refundcli.connections import ConnectedProviders
    from refundcli.domain.closing import Closing
    from refundcli.services.bulk.check_file import CheckFile
    from refundcli.services.bulk.run_records import RunRecords
    from refundcli.services.bulk.run_refunds import RunRefunds
    from refundcli.services.bulk.select_invoices import SelectedRows
    from refundcli.services.bulk.undo_records import UndoRecords
    from refundcli.services.closings.close import CloseInvoices
    from refundcli.services.closings.close_file import CloseFile
    from refundcli.services.dispatch.policy import SendingPolicy
    from refundcli.services.dispatch.send_closing import ClosingDispatch
    from refundcli.services.dispatch.send_refund import RefundDispatch
    from refundcli.services.ports.books import Reading
    from refundcli.services.ports.clock import Clock
    from refundcli.services.ports.webhooks import DeliveryReader
    from refundcli.services.queries.freshness import DiskSpace
    from refundcli.services.recovery.resolve import Resolve
    from refundcli.services.recovery.resume import Resume
    from refundcli.services.refunds.acknowledge import Acknowledge
    from refundcli.services.refunds.credit_note_number_format import CreditNoteNumberFormat
    from refundcli.services.refunds.issue import IssueRefunds
    from refundcli.services.refunds.record import RecordRefunds
    from refundcli.store.checks.audited_rows import AuditFindings
    from refundcli.store.checks.integrity import StoreReport
    from refundcli.store.databases.database_time import DatabaseTime
    from refundcli.store.migrate import Upgraded
    from refundcli.store.read_only.books import ReadOnlyBooks
    from refundcli.store.unit_of_work import SqlBooks
    from refundcli.update_services import UpdateServices


@dataclass
class Services:
    """The services of a command, each created on first use. In a dry run the books refuse every write.

    `on_interrupt`, `on_waiting`, `on_unwritten`: as in `SendingPolicy`. `tell_skew`: called if the machine's clock is
    far from the database's; `tell_upgraded`: after the store was upgraded. `upgrades`: the command writes, so it may
    upgrade an older SQLite store. `command`: its name in PostgreSQL's list of connections.
    """

    settings: Settings
    environ: Mapping[str, str]
    on_interrupt: Callable[[], None] = field(default=lambda: None)
    on_waiting: "Callable[[Refund | Closing], None]" = field(default=lambda subject: None)
    dry_run: bool = False
    on_unwritten: "Callable[[Refund | Closing, str], None]" = field(default=lambda subject, reference: None)
    tell_skew: Callable[[timedelta], None] = field(default=lambda skew: None)
    tell_upgraded: "Callable[[Upgraded], None]" = field(default=lambda upgraded: None)
    upgrades: bool = False
    command: str = ""
    # For a store that is created or upgraded now; empty for the operator's.
    timezone: str = ""

    @cached_property
    def clock(self) -> "Clock":
        return books_clock(self)

    @cached_property
    def machine_clock(self) -> "Clock":
        return SystemClock(self.settings.operator.zone)

    @cached_property
    def database_time(self) -> "DatabaseTime | None":
        """The clock shared by all machines that use a PostgreSQL store; None for SQLite."""
        if self.settings.store.url.startswith("sqlite:"):
            return None
        from refundcli.store.databases.database_time import DatabaseTime

        return DatabaseTime(self._asking, self.machine_clock, self.tell_skew)

    def _asking(self) -> "AbstractContextManager[Callable[[], datetime]]":
        asking = getattr(self.reader, "asking", None)
        if asking:
            return asking()  # type: ignore[no-any-return]
        from refundcli.store.databases.engine import engine_clock

        return engine_clock(self._engine)

    @cached_property
    def _engine(self) -> "Engine":
        from refundcli.store.databases.engine import store_engine

        return store_engine(self.settings.store.url, self.command)

    def close(self) -> None:
        """Close the connections to the store."""
        if "_engine" in self.__dict__:
            self._engine.dispose()
        if close := getattr(self.__dict__.get("reader"), "close", None):
            close()

    @cached_property
    def books(self) -> "SqlBooks":
        from refundcli.store.unit_of_work import SqlBooks

        return SqlBooks(
            self._engine,
            self.clock,
            self.settings.operator.name,
            timezone=self.timezone or self.settings.operator.timezone,
            upgrades=self.upgrades,
            tell_upgraded=self.tell_upgraded,
            read_only=self.dry_run,
            seller=cache(lambda: self.settings.seller.text),
        )

    @cached_property
    def reader(self) -> "SqlBooks | ReadOnlyBooks":
        """The books for reading only: through the bare driver, unless the store may need an upgrade first."""
        from refundcli.store.read_only.opening import books_to_read

        timezone = self.timezone or self.settings.operator.timezone
        books = None if self.upgrades else books_to_read(self.settings.store.url, self.command, timezone)
        return books or self.books

    def upgrade_store(self, *, force: bool = False) -> "Upgraded":
        """Upgrade the store. Raises StoreNewer, NotAStore, NoStore, and StoreInUse unless `force`."""
        from refundcli.store import migrate
        from refundcli.store.databases.db_errors import translated_errors

        books = self.books
        with translated_errors(migrate.shown_url(books.engine)):
            migrate.refuse_missing(books.engine)
            return migrate.upgrade(
                books.engine, at=self.clock.now(), timezone=books.timezone, operator=books.operator, force=force
            )

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        """Set the time zone of the books; stored dates do not change.

        Raises ZonePinned if another zone is pinned, unless `force`, and DayTooEarly.
        """
        self.books.write(lambda tx: tx.store.pin_timezone(timezone, force=force))

    def describe_store(self) -> dict[str, Any]:
        """The store's address without its password, its schema and time zone.

        `clock_skew_seconds`: how far this machine's clock is ahead of the database's; absent on SQLite.
        """
        from refundcli.secrets import shown_address
        from refundcli.store.read_only.sqlite import plain_sqlite_path
        from refundcli.store.schema_check import HEAD

        url = self.settings.store.url
        description: dict[str, Any] = {"url": str(plain_sqlite_path(url) or shown_address(url)), "schema": HEAD}
        description["timezone"] = str(self.reader.zone)
        if self.database_time:
            description["clock_skew_seconds"] = round(self.database_time.skew().total_seconds())
        return description

    def disk_space(self) -> "DiskSpace | None":
        """The space on the disk of a SQLite store; None for PostgreSQL."""
        from refundcli.services.queries.freshness import DiskSpace
        from refundcli.store.read_only.sqlite import plain_sqlite_path
        from refundcli.system.disk import free_bytes

        path = plain_sqlite_path(self.settings.store.url)
        return DiskSpace(str(path.parent), free_bytes(path.parent), path.stat().st_size) if path else None

    def back_up_store(self, target: Path | None) -> Path:
        """Back up the store to `target`, by default beside it. Returns the path.

        Raises NoStore, NoBackupHere, BackupExists, BackupFailed.
        """
        from refundcli.store import migrate
        from refundcli.store.databases.db_errors import translated_errors

        with translated_errors(migrate.shown_url(self.books.engine)):
            return migrate.back_up(self.books.engine, target, at=self.clock.now())

    def verify_audit(self) -> "AuditFindings":
        """Whether the audit chain is sound, and the rows are as it says."""
        from refundcli.store.checks.audited_rows import audit_findings

        return audit_findings(self.books.inspect)

    @cached_property
    def anchoring(self) -> "Anchoring":
        from refundcli.anchoring import Anchoring

        return Anchoring(self.settings.audit, self.environ, self.reader, self.clock)

    def anchor_after_change(self) -> None:
        """Anchor the audit trail where the settings say, if this command may have changed the books."""
        books = self.__dict__.get("books")
        if self.settings.audit.anchor and books and books.may_have_written:
            self.anchoring.anchor()

    def check_store(self) -> "StoreReport":
        """The problems of the books."""
        from refundcli.store.checks.integrity import check

        return check(self.books)

    @cached_property
    def providers(self) -> "ConnectedProviders":
        from refundcli.connections import ConnectedProviders

        return ConnectedProviders(
            self.settings, self.environ, self.books, zone=lambda: self.books.zone, dry_run=self.dry_run
        )

    def delivery_readers(self, *, any_age: bool) -> "Callable[[Provider], DeliveryReader]":
        """The verifier of each provider's deliveries. `any_age`: accept old signatures, for saved deliveries."""

        def make(provider: Provider) -> "DeliveryReader":
            from refundcli.providers.registry import delivery_reader

            # Verifying a delivery does not look up the account; the first request to Stripe stores it.
            reader = delivery_reader(
                provider,
                settings=self.settings,
                environ=self.environ,
                account_cache=self.providers.accounts,
                any_age=any_age,
            )
            self.providers.accounts.agree_on_mode(provider, livemode=reader.livemode)
            return reader

        return cache(make)

    # --- services/provider_updates, webhooks, reconciliation, imports/from_provider; acknowledge, number format -------

    @cached_property
    def updates(self) -> "UpdateServices":
        from refundcli.update_services import UpdateServices

        return UpdateServices(self)

    def unread_events(self) -> list[Provider]:
        """Providers whose stored events must be read again, because this version reads some differently (R13)."""
        return self.reader.read(self._unread_events_in)

    def _unread_events_in(self, reading: "Reading") -> list[Provider]:
        from refundcli.providers.vocabulary_version import vocabulary_version
        from refundcli.services.webhooks.reread import unread_providers

        return unread_providers(vocabulary_version, reading)

    @cached_property
    def acknowledge(self) -> "Acknowledge":
        from refundcli.services.refunds.acknowledge import Acknowledge

        return Acknowledge(self.books)

    @cached_property
    def number_format(self) -> "CreditNoteNumberFormat":
        from refundcli.services.refunds.credit_note_number_format import CreditNoteNumberFormat

        return CreditNoteNumberFormat(self.books, self.settings.credit_notes.number_format)

    def check_number_format(self) -> None:
        self.number_format.check()

    def read_events_again(self) -> None:
        self.updates.reread_events.unread_first()

    @cached_property
    def policy(self) -> "SendingPolicy":
        from refundcli.services.dispatch.policy import SendingPolicy

        refunds = self.settings.refunds
        return SendingPolicy(
            call_seconds=refunds.connect_timeout + refunds.read_timeout,
            credit_note_format=self.settings.credit_notes.number_format,
            on_interrupt=self.on_interrupt,
            on_waiting=self.on_waiting,
            on_unwritten=self.on_unwritten,
            apply_updates=lambda tx, invoice: self.updates.apply_events.about(tx, invoice),
        )

    # --- services/bulk, services/refunds/record -----------------------------------------------------------

    @cached_property
    def record_refunds(self) -> "RecordRefunds":
        from refundcli.services.dispatch.release_lapsed import up_to_date_in
        from refundcli.services.refunds.record import RecordRefunds

        return RecordRefunds(
            self.books,
            self.clock,
            self.settings.credit_notes.number_format,
            lambda tx, number: up_to_date_in(tx, number, policy=self.policy, clock=self.clock),
        )

    def closings_of_file(self, target: InvoiceStatus) -> "CloseFile":
        from refundcli.services.closings.close_file import CloseFile

        return CloseFile(self.close_invoices, target, self.settings.operator.name)

    @cached_property
    def _check_file(self) -> "CheckFile":
        from refundcli.files.bulk.files import FilesOnDisk
        from refundcli.services.bulk.check_file import CheckFile

        return CheckFile(self.books, self.clock, FilesOnDisk(), self.settings.operator.name)

    def check_of(self, selected: "SelectedRows", words: str) -> "CheckFile":
        """The check of a file, of selected invoices instead; `words` say which, for the audit trail."""
        from refundcli.files.bulk.selection import SelectionAsFile
        from refundcli.services.bulk.check_file import CheckFile

        return CheckFile(self.books, self.clock, SelectionAsFile(selected, words), self.settings.operator.name)

    @cached_property
    def run_records(self) -> "RunRecords":
        from refundcli.services.bulk.run_records import RunRecords

        return RunRecords(self.books, self.clock, self._check_file, self.settings.credit_notes.number_format)

    @cached_property
    def undo_records(self) -> "UndoRecords":
        from refundcli.services.bulk.undo_records import UndoRecords

        return UndoRecords(self.books)

    @cached_property
    def run_refunds(self) -> "RunRefunds":
        from refundcli.services.bulk.run_refunds import RunRefunds

        return RunRefunds(self.refund_dispatch, self._check_file, self.settings.refunds.in_flight)

    # --- services/dispatch, closings, recovery, refunds/issue ---

    @cached_property
    def refund_dispatch(self) -> "RefundDispatch":
        from refundcli.services.dispatch.send_refund import RefundDispatch

        return RefundDispatch(self.books, self.providers, self.clock, self.policy)

    @cached_property
    def closing_dispatch(self) -> "ClosingDispatch":
        from refundcli.services.dispatch.send_closing import ClosingDispatch

        return ClosingDispatch(self.books, self.providers, self.clock, self.policy)

    @cached_property
    def issue_refunds(self) -> "IssueRefunds":
        from refundcli.services.refunds.issue import IssueRefunds

        return IssueRefunds(
            self.books,
            self.providers,
            self.refund_dispatch,
            self._unread_events_in,
            lambda unread: self.updates.reread_events.each(unread),
        )

    @cached_property
    def close_invoices(self) -> "CloseInvoices":
        from refundcli.services.closings.close import CloseInvoices

        return CloseInvoices(self.books, self.providers, self.closing_dispatch)

    @cached_property
    def resume(self) -> "Resume":
        from refundcli.services.recovery.resume import Resume

        return Resume(self.refund_dispatch, self.closing_dispatch)

    @cached_property
    def resolve(self) -> "Resolve":
        from refundcli.services.recovery.resolve import Resolve

        return Resolve(self.resume)


def books_clock(services: Services) -> "Clock":
    """The clock of the books and of leases: on PostgreSQL the database's, otherwise the machine's."""
    time_source = services.database_time or services.machine_clock.now
    return BooksClock(time_source, lambda: services.books.zone)
