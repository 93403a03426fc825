"""Wire the services from the settings: the only place that names a concrete store or provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from refundcli.domain.errors import SettingsProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.clock import BooksClock, SystemClock
from refundcli.settings import Settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from refundcli.domain.closing import Closing
    from refundcli.services.bulk.check_file import CheckFile
    from refundcli.services.bulk.run_records import RunRecords
    from refundcli.services.bulk.run_refunds import RunRefunds
    from refundcli.services.bulk.undo_records import UndoRecords
    from refundcli.services.dispatch.rate_limit import Pace
    from refundcli.services.dispatch.send_refund import SendingPolicy
    from refundcli.services.imports.from_provider import PullInvoices
    from refundcli.services.ports.books import Books
    from refundcli.services.ports.clock import Clock
    from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, ProviderRecords
    from refundcli.services.ports.webhooks import DeliveryReader, EventReader
    from refundcli.services.provider_updates.sync_payment import SyncPayments
    from refundcli.services.reconciliation.against_provider import ReconcileProvider
    from refundcli.services.reconciliation.external_refunds import ExternalRefunds
    from refundcli.services.refunds.acknowledge import Acknowledge
    from refundcli.services.refunds.credit_note_number_format import CreditNoteNumberFormat
    from refundcli.services.refunds.record import RecordRefunds
    from refundcli.services.webhooks.apply_events import ApplyEvents
    from refundcli.services.webhooks.ingest import IngestDeliveries
    from refundcli.services.webhooks.reread import RereadEvents
    from refundcli.services.webhooks.review_events import ReviewEvents
    from refundcli.store.database_time import DatabaseTime
    from refundcli.store.migrate import Upgraded
    from refundcli.store.read_only import ReadOnlyBooks
    from refundcli.store.unit_of_work import SqlBooks


class WrongMode(SettingsProblem):
    """Test keys are never used on a live store, nor live keys on a test store (I12)."""

    code = "wrong-mode"

    def __init__(self, store_is_live: bool, provider: Provider) -> None:
        store_mode, key_mode = ("live", "test") if store_is_live else ("test", "live")
        super().__init__(
            f"The store is in {store_mode} mode, the {provider.label} key is for {key_mode} mode. Nothing was sent.",
            hint=f"Use a {store_mode} key, or another store with --store.",
        )


@dataclass
class Services:
    """The services of a command, each created on first use. In a dry run the books refuse every write."""

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
        from refundcli.store.database_time import DatabaseTime

        return DatabaseTime(self._asking, self.machine_clock, self.tell_skew)

    def _asking(self) -> "AbstractContextManager[Callable[[], datetime]]":
        asking = getattr(self.reader, "asking", None)
        if asking:
            return asking()  # type: ignore[no-any-return]
        from refundcli.store.engine import engine_clock

        return engine_clock(self._engine)

    @cached_property
    def _engine(self) -> "Engine":
        from refundcli.store.engine import store_engine

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
        )

    @cached_property
    def reader(self) -> "SqlBooks | ReadOnlyBooks":
        """The books for reading only: through the bare driver, unless the store may need an upgrade first."""
        if self.upgrades:
            return self.books
        url, timezone = self.settings.store.url, self.timezone or self.settings.operator.timezone
        if url.startswith("sqlite:"):
            from refundcli.store.read_only_sqlite import SqliteBooks, plain_sqlite_path

            path = plain_sqlite_path(url)
            return SqliteBooks(path, timezone) if path else self.books
        try:
            from refundcli.store.read_only_postgres import PostgresBooks, plain_postgres_address
        except ModuleNotFoundError:
            return self.books
        address = plain_postgres_address(url)
        return PostgresBooks(url, address, self.command, timezone) if address is not None else self.books

    def upgrade_store(self, *, force: bool = False) -> "Upgraded":
        """Upgrade the store. Raises StoreNewer, NotAStore, NoStore, and StoreInUse unless `force`."""
        from refundcli.store import migrate
        from refundcli.store.db_errors import translated_errors

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
        from refundcli.store.read_only_sqlite import plain_sqlite_path
        from refundcli.store.schema_check import HEAD

        url = self.settings.store.url
        description: dict[str, Any] = {"url": str(plain_sqlite_path(url) or shown_address(url)), "schema": HEAD}
        description["timezone"] = str(self.reader.zone)
        if self.database_time:
            description["clock_skew_seconds"] = round(self.database_time.skew().total_seconds())
        return description

    def back_up_store(self, target: Path | None) -> Path:
        """Back up the store to `target`, by default beside it. Returns the path.

        Raises NoStore, NoBackupHere, BackupExists, BackupFailed.
        """
        from refundcli.store import migrate
        from refundcli.store.db_errors import translated_errors

        with translated_errors(migrate.shown_url(self.books.engine)):
            return migrate.back_up(self.books.engine, target, at=self.clock.now())

    def check_store(self) -> list[str]:
        """The problems of the books, one sentence each."""
        from refundcli.store.integrity import findings

        return findings(self.books)

    @cached_property
    def providers(self) -> "ConnectedProviders":
        return ConnectedProviders(
            self.settings, self.environ, self.books, zone=lambda: self.books.zone, dry_run=self.dry_run
        )

    def delivery_readers(self, *, any_age: bool) -> "Callable[[Provider], DeliveryReader]":
        """The verifier of each provider's deliveries. `any_age`: accept old signatures, for saved deliveries."""

        def make(provider: Provider) -> "DeliveryReader":
            from refundcli.providers.registry import delivery_reader

            # Verifying a delivery does not look up the account; the first request to Stripe stores it.
            cache = self.providers.accounts
            reader = delivery_reader(
                provider, settings=self.settings, environ=self.environ, account_cache=cache, any_age=any_age
            )
            agree_on_mode(self.books, provider, livemode=reader.livemode)
            return reader

        return cache_by_provider(make)

    # --- provider_updates, webhooks, reconciliation, imports/from_provider; acknowledge and the number format ---------

    @cached_property
    def event_readers(self) -> "Callable[[Provider], EventReader]":
        """The reader of each provider's events. Stripe's need its API; Adyen's need no key."""
        from refundcli.providers.registry import event_reader

        return cache_by_provider(
            lambda provider: event_reader(provider, records=lambda: self.providers.records(provider))
        )

    @cached_property
    def sync_payments(self) -> "SyncPayments":
        from refundcli.services.provider_updates.apply_update import ApplyUpdates
        from refundcli.services.provider_updates.sync_payment import SyncPayments

        return SyncPayments(ApplyUpdates(self.clock, self.settings.credit_notes.number_format))

    @cached_property
    def apply_events(self) -> "ApplyEvents":
        from refundcli.services.webhooks.apply_events import ApplyEvents

        return ApplyEvents(self.books, self.event_readers, self.sync_payments)

    def unread_events(self) -> list[Provider]:
        """Providers whose stored events must be read again, because this version reads some differently (R13)."""
        from refundcli.providers.vocabulary_version import vocabulary_version
        from refundcli.services.webhooks.reread import unread_providers

        return self.reader.read(partial(unread_providers, vocabulary_version))

    @cached_property
    def reread_events(self) -> "RereadEvents":
        from refundcli.providers.registry import vocabulary_of
        from refundcli.providers.vocabulary_version import vocabulary_version
        from refundcli.services.webhooks.reread import RereadEvents

        return RereadEvents(self.books, vocabulary_of, vocabulary_version, self.dry_run)

    @cached_property
    def review_events(self) -> "ReviewEvents":
        from refundcli.providers.registry import is_listed
        from refundcli.services.webhooks.review_events import ReviewEvents

        return ReviewEvents(self.books, self.event_readers, is_listed)

    @cached_property
    def ingest_deliveries(self) -> "IngestDeliveries":
        from refundcli.services.webhooks.ingest import IngestDeliveries

        return IngestDeliveries(self.books, self.delivery_readers(any_age=True), self.apply_events)

    @cached_property
    def pull_invoices(self) -> "PullInvoices":
        from refundcli.services.imports.from_provider import PullInvoices

        return PullInvoices(self.books, self.providers, self.sync_payments, self.clock)

    @cached_property
    def reconcile_provider(self) -> "ReconcileProvider":
        from refundcli.services.reconciliation.against_provider import ReconcileProvider

        pending_days = self.settings.refunds.pending_days
        return ReconcileProvider(self.books, self.providers, self.sync_payments, self.clock, pending_days)

    @cached_property
    def external_refunds(self) -> "ExternalRefunds":
        from refundcli.services.reconciliation.external_refunds import ExternalRefunds

        return ExternalRefunds(self.books, self.clock, self.settings.credit_notes.number_format)

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
        self.reread_events.unread_first()

    @cached_property
    def policy(self) -> "SendingPolicy":
        from refundcli.services.dispatch.send_refund import SendingPolicy

        refunds = self.settings.refunds
        return SendingPolicy(
            call_seconds=refunds.connect_timeout + refunds.read_timeout,
            credit_note_format=self.settings.credit_notes.number_format,
            on_interrupt=self.on_interrupt,
            on_waiting=self.on_waiting,
            on_unwritten=self.on_unwritten,
            apply_updates=lambda tx, invoice: self.apply_events.about(tx, invoice),
        )

    # --- services/bulk, services/refunds/record -----------------------------------------------------------

    @cached_property
    def record_refunds(self) -> "RecordRefunds":
        from refundcli.services.refunds.record import RecordRefunds

        return RecordRefunds(self.books, self.clock, self.settings.credit_notes.number_format)

    @cached_property
    def _check_file(self) -> "CheckFile":
        from refundcli.files.bulk.files import FilesOnDisk
        from refundcli.services.bulk.check_file import CheckFile

        return CheckFile(self.books, self.clock, FilesOnDisk(), self.settings.operator.name)

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

        return RunRefunds(
            self.books, self.providers, self.clock, self.policy, self._check_file, self.settings.refunds.in_flight
        )


def books_clock(services: Services) -> "Clock":
    """The clock of the books and of leases: on PostgreSQL the database's, otherwise the machine's."""
    time_source = services.database_time or services.machine_clock.now
    return BooksClock(time_source, lambda: services.books.zone)


_R = TypeVar("_R")


def cache_by_provider(create: Callable[[Provider], _R]) -> Callable[[Provider], _R]:
    """Cache the object of each provider, created on first use."""
    object_by_provider: dict[Provider, _R] = {}

    def of(provider: Provider) -> _R:
        if provider not in object_by_provider:
            object_by_provider[provider] = create(provider)
        return object_by_provider[provider]

    return of


class Connection(Protocol):
    name: Provider
    livemode: bool


_C = TypeVar("_C", bound=Connection)


class ConnectedProviders:
    """Connects each provider once, with its account, in the store's mode (I12).

    In a dry run neither the account nor the mode is stored.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        books: "Books",
        *,
        zone: Callable[[], tzinfo],
        dry_run: bool = False,
    ) -> None:
        self._settings, self._environ, self._books = settings, environ, books
        self._zone, self._dry_run = zone, dry_run
        self.accounts = AccountsInBooks(books, dry_run=dry_run)
        self._providers: dict[Provider, PaymentProvider] = {}
        self._records: dict[Provider, ProviderRecords] = {}
        from refundcli.services.dispatch.rate_limit import Pace

        self._closers: dict[Provider, InvoiceCloser] = {}

        rates = {Provider.STRIPE: settings.refunds.stripe_rate, Provider.ADYEN: settings.refunds.adyen_rate}
        self._paces = {provider: Pace(rate) for provider, rate in rates.items()}

    def pace(self, provider: Provider) -> "Pace":
        """The pace of all requests to the provider."""
        return self._paces[provider]

    def of(self, provider: Provider) -> "PaymentProvider":
        """The provider. Raises SettingsProblem if credentials are missing or for the other mode."""
        from refundcli.providers.registry import connect

        return self._once(self._providers, provider, connect)

    def records(self, provider: Provider) -> "ProviderRecords":
        """The provider's records. Raises SettingsProblem, and CannotBeAsked for a provider without look-ups."""
        from refundcli.providers.registry import records

        return self._once(self._records, provider, partial(records, zone=self._zone()))

    def closer(self, provider: Provider) -> "InvoiceCloser":
        """The closer of the provider's invoices. Raises as `records`."""
        from refundcli.providers.registry import closer

        return self._once(self._closers, provider, closer)

    def _once(self, connections: dict[Provider, _C], provider: Provider, connect: Callable[..., _C]) -> _C:
        """The provider's connection from `connections`, made by `connect` on first use."""
        if provider not in connections:
            connection = connect(
                provider,
                settings=self._settings,
                environ=self._environ,
                account_cache=self.accounts,
                pace=self._paces[provider],
            )
            agree_on_mode(self._books, connection.name, livemode=connection.livemode, pin=not self._dry_run)
            connections[provider] = connection
        return connections[provider]


def agree_on_mode(books: "Books", provider: Provider, *, livemode: bool, pin: bool = True) -> None:
    """Pin the store's mode on first use, unless `pin` is false. Raises WrongMode for a key of the other mode (I12)."""
    pinned_livemode = books.read(lambda tx: tx.store.livemode())
    if pinned_livemode is None:
        pinned_livemode = books.write(lambda tx: tx.store.pin_livemode(livemode)) if pin else livemode
    if pinned_livemode != livemode:
        raise WrongMode(pinned_livemode, provider)


class AccountsInBooks:
    """The account of each API key, by provider and the key's fingerprint, stored so that it is looked up only once."""

    def __init__(self, books: "Books", *, dry_run: bool = False) -> None:
        self._books, self._dry_run = books, dry_run
        self._account_by_key: dict[tuple[Provider, str], str] = {}

    def get(self, provider: Provider, fingerprint: str) -> str | None:
        account = self._books.read(lambda tx: tx.accounts.of_key(provider, fingerprint))
        self._account_by_key[provider, fingerprint] = account or ""
        return account

    def put(self, provider: Provider, fingerprint: str, account: str, livemode: bool) -> None:
        agree_on_mode(self._books, provider, livemode=livemode, pin=not self._dry_run)
        if self._dry_run:
            return
        self._books.write(lambda tx: tx.accounts.remember(provider, fingerprint, account, livemode=livemode))
        self._account_by_key[provider, fingerprint] = account

    def known(self, provider: Provider, fingerprint: str) -> str:
        return self._account_by_key.get((provider, fingerprint), "")
