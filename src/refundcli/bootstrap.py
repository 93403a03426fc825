"""Settings to wired services: the only place that names a concrete store or provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta, tzinfo
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from refundcli.domain.errors import SettingsProblem
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.clock import BooksClock, SystemClock
from refundcli.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from refundcli.domain.closing import Closing
    from refundcli.domain.invoice import Invoice
    from refundcli.services.dispatch.rate_limit import Pace
    from refundcli.services.dispatch.send_refund import SendingPolicy
    from refundcli.services.ports.books import Books, Writing
    from refundcli.services.ports.clock import Clock
    from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, ProviderRecords
    from refundcli.services.ports.webhooks import DeliveryReader, EventReader
    from refundcli.store.database_time import DatabaseTime
    from refundcli.store.migrate import Upgraded
    from refundcli.store.unit_of_work import SqlBooks


class WrongMode(SettingsProblem):
    """Test keys never touch live rows, nor the reverse (I12)."""

    code = "wrong-mode"

    def __init__(self, store_is_live: bool, provider: Provider) -> None:
        store, key = ("live", "test") if store_is_live else ("test", "live")
        super().__init__(
            f"The store is in {store} mode, the {provider.label} key is for {key} mode. Nothing was sent.",
            hint=f"Use a {store} key, or another store with --store.",
        )


@dataclass
class Services:
    """What a command may use, made when it is first asked for. In a dry run the books refuse every write."""

    settings: Settings
    environ: Mapping[str, str]
    on_interrupt: Callable[[], None] = field(default=lambda: None)
    on_waiting: "Callable[[Refund | Closing], None]" = field(default=lambda asked: None)
    dry_run: bool = False
    on_unwritten: "Callable[[Refund | Closing, str], None]" = field(default=lambda asked, reference: None)
    tell_skew: Callable[[timedelta], None] = field(default=lambda skew: None)
    tell_upgraded: "Callable[[Upgraded], None]" = field(default=lambda upgraded: None)
    upgrades: bool = False
    command: str = ""
    # For a store that is made or upgraded now; without it, the operator's.
    timezone: str = ""

    @cached_property
    def clock(self) -> "Clock":
        return books_clock(self)

    @cached_property
    def machine_clock(self) -> "Clock":
        return SystemClock(self.settings.operator.zone)

    @cached_property
    def database_time(self) -> "DatabaseTime | None":
        """The clock that all machines at a PostgreSQL store share; None for SQLite, which is on this machine."""
        if self._engine.dialect.name == "sqlite":
            return None
        from refundcli.store.database_time import DatabaseTime

        return DatabaseTime(self._engine, self.machine_clock, self.tell_skew)

    @cached_property
    def _engine(self) -> "Engine":
        from refundcli.store.engine import store_engine

        return store_engine(self.settings.store.url, self.command)

    def close(self) -> None:
        """Close the connections to the store."""
        if "_engine" in self.__dict__:
            self._engine.dispose()

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

    def upgrade_store(self, *, force: bool = False) -> "Upgraded":
        """What it did. Raises StoreNewer, NotAStore, NoStore, and StoreInUse unless `force`."""
        from refundcli.store import migrate
        from refundcli.store.db_errors import translated_errors

        books = self.books
        with translated_errors(migrate.shown_url(books.engine)):
            migrate.refuse_missing(books.engine)
            return migrate.upgrade(
                books.engine, at=self.clock.now(), timezone=books.timezone, operator=books.operator, force=force
            )

    def pin_timezone(self, timezone: str, *, force: bool = False) -> None:
        """Keep the books in this zone from now on; dates that are stored stay as they are.

        Raises ZonePinned for another zone than the pinned one, unless `force`, and DayTooEarly.
        """
        self.books.write(lambda tx: tx.pin_timezone(timezone, force=force))

    def describe_store(self) -> dict[str, Any]:
        """Where the books are, their schema and time zone, without a password.

        `clock_skew_seconds`: how far this machine's clock is ahead of the database's; absent on SQLite.
        """
        from refundcli.store import migrate

        told: dict[str, Any] = {"url": migrate.shown_url(self.books.engine), "schema": migrate.HEAD}
        told["timezone"] = str(self.books.zone)
        if self.database_time:
            told["clock_skew_seconds"] = round(self.database_time.skew().total_seconds())
        return told

    def back_up_store(self, target: Path | None) -> Path:
        """The copy's path. Raises NoStore, NoBackupHere, BackupExists, BackupFailed."""
        from refundcli.store import migrate
        from refundcli.store.db_errors import translated_errors

        with translated_errors(migrate.shown_url(self.books.engine)):
            return migrate.back_up(self.books.engine, target, at=self.clock.now())

    def check_store(self) -> list[str]:
        """What is wrong with the books, one sentence each."""
        from refundcli.store.integrity import findings

        return findings(self.books)

    @cached_property
    def providers(self) -> "ConnectedProviders":
        return ConnectedProviders(
            self.settings, self.environ, self.books, zone=lambda: self.books.zone, dry_run=self.dry_run
        )

    def delivery_readers(self, *, any_age: bool) -> "Callable[[Provider], DeliveryReader]":
        """What verifies each provider's deliveries. `any_age`: accept old signatures, as of saved deliveries."""

        def make(provider: Provider) -> "DeliveryReader":
            from refundcli.providers.registry import delivery_reader

            # The account is learnt by whoever asks Stripe first; verifying a delivery does not ask.
            cache = self.providers.accounts
            made = delivery_reader(
                provider, settings=self.settings, environ=self.environ, account_cache=cache, any_age=any_age
            )
            agree_on_mode(self.books, provider, livemode=made.livemode)
            return made

        return cache_by_provider(make)

    def event_readers(self) -> "Callable[[Provider], EventReader]":
        """What reads each provider's events. Reading Stripe's needs its API; Adyen's need no key."""

        def make(provider: Provider) -> "EventReader":
            from refundcli.providers.registry import event_reader

            return event_reader(provider, records=lambda: self.providers.records(provider))

        return cache_by_provider(make)

    def apply_known_events(self, provider: Provider, *, asks: bool = True) -> None:
        """Apply what the provider reported before its payment was in the books; `asks` as in `apply_known`."""
        from refundcli.services.webhooks.events import apply_known

        number_format = self.settings.credit_notes.number_format
        apply_known(
            provider,
            asks=asks,
            books=self.books,
            readers=self.event_readers(),
            clock=self.clock,
            number_format=number_format,
        )

    def unread_events(self) -> list[Provider]:
        """Providers whose stored events must be read again, because this version reads some differently (R13)."""
        from refundcli.providers.registry import vocabulary_version
        from refundcli.services.webhooks.reread import unread_providers

        return self.books.read(partial(unread_providers, vocabulary_version))

    def read_events_again(self) -> None:
        """Before a refund, so that none is decided while a stored event is ignored. Raises EventsNotRead if dry."""
        unread = self.unread_events()
        if not unread:
            return
        from refundcli.providers.registry import vocabulary_of
        from refundcli.services.webhooks.reread import EventsNotRead, reread_events

        if self.dry_run:
            raise EventsNotRead(unread)
        for provider in unread:
            reread_events(vocabulary_of(provider), books=self.books)

    def apply_waiting(self, tx: "Writing", invoice: "Invoice") -> bool:
        """Apply the stored events about an invoice's payments in the caller's transaction; true if there were any."""
        from refundcli.services.webhooks.events import apply_waiting_in

        number_format = self.settings.credit_notes.number_format
        return apply_waiting_in(
            tx, invoice, readers=self.event_readers(), clock=self.clock, number_format=number_format
        )

    def check_number_format(self) -> None:
        """Raises NumberFormatChanged if the settings and the store have different number formats."""
        from refundcli.services.refunds.credit_note_numbers import refuse_changed_format

        wanted = self.settings.credit_notes.number_format
        self.books.read(lambda tx: refuse_changed_format(tx, wanted))

    @cached_property
    def policy(self) -> "SendingPolicy":
        from refundcli.services.dispatch.send_refund import SendingPolicy

        refunds = self.settings.refunds
        return SendingPolicy(
            call_seconds=refunds.connect_timeout + refunds.read_timeout,
            number_format=self.settings.credit_notes.number_format,
            on_interrupt=self.on_interrupt,
            on_waiting=self.on_waiting,
            on_unwritten=self.on_unwritten,
            apply_updates=self.apply_waiting,
        )


def books_clock(services: Services) -> "Clock":
    """The time of the books and of leases: on PostgreSQL the database's, whatever the machine's clock says."""
    time = services.database_time or services.machine_clock.now
    return BooksClock(time, lambda: services.books.zone)


_R = TypeVar("_R")


def cache_by_provider(make: Callable[[Provider], _R]) -> Callable[[Provider], _R]:
    """A function that makes each provider's object once, when it is first needed."""
    made: dict[Provider, _R] = {}

    def of(provider: Provider) -> _R:
        if provider not in made:
            made[provider] = make(provider)
        return made[provider]

    return of


class Connection(Protocol):
    name: Provider
    livemode: bool


_C = TypeVar("_C", bound=Connection)


class ConnectedProviders:
    """Each provider connected once, its account known, its mode agreeing with the store's (I12).

    In a dry run neither its account nor its mode is remembered.
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
        self._made: dict[Provider, PaymentProvider] = {}
        self._asked: dict[Provider, ProviderRecords] = {}
        from refundcli.services.dispatch.rate_limit import Pace

        self._closers: dict[Provider, InvoiceCloser] = {}

        rates = {Provider.STRIPE: settings.refunds.stripe_rate, Provider.ADYEN: settings.refunds.adyen_rate}
        self._paces = {provider: Pace(rate) for provider, rate in rates.items()}

    def pace(self, provider: Provider) -> "Pace":
        """What every request to it keeps to, whoever sends it."""
        return self._paces[provider]

    def of(self, provider: Provider) -> "PaymentProvider":
        """Raises SettingsProblem where credentials are missing or of the other mode."""
        from refundcli.providers.registry import connect

        return self._once(self._made, provider, connect)

    def records(self, provider: Provider) -> "ProviderRecords":
        """What the provider keeps. Raises SettingsProblem, and where it cannot be asked, CannotBeAsked."""
        from refundcli.providers.registry import records

        return self._once(self._asked, provider, partial(records, zone=self._zone()))

    def closer(self, provider: Provider) -> "InvoiceCloser":
        """Who closes the provider's invoices. Raises as `records`."""
        from refundcli.providers.registry import closer

        return self._once(self._closers, provider, closer)

    def _once(self, made: dict[Provider, _C], provider: Provider, connect: Callable[..., _C]) -> _C:
        if provider not in made:
            connected = connect(
                provider,
                settings=self._settings,
                environ=self._environ,
                account_cache=self.accounts,
                pace=self._paces[provider],
            )
            agree_on_mode(self._books, connected.name, livemode=connected.livemode, pin=not self._dry_run)
            made[provider] = connected
        return made[provider]


def agree_on_mode(books: "Books", provider: Provider, *, livemode: bool, pin: bool = True) -> None:
    """The first key that is used pins the store's mode. Raises WrongMode for a key of the other one (I12)."""
    pinned = books.read(lambda tx: tx.livemode())
    if pinned is None:
        pinned = books.write(lambda tx: tx.pin_livemode(livemode)) if pin else livemode
    if pinned != livemode:
        raise WrongMode(pinned, provider)


class AccountsInBooks:
    """Which account a key opens, remembered in the store so that a provider is asked once for each key."""

    def __init__(self, books: "Books", *, dry_run: bool = False) -> None:
        self._books, self._dry_run = books, dry_run
        self._known: dict[tuple[Provider, str], str] = {}

    def get(self, provider: Provider, fingerprint: str) -> str | None:
        found = self._books.read(lambda tx: tx.account(provider, fingerprint))
        self._known[provider, fingerprint] = found or ""
        return found

    def put(self, provider: Provider, fingerprint: str, account: str, livemode: bool) -> None:
        agree_on_mode(self._books, provider, livemode=livemode, pin=not self._dry_run)
        if self._dry_run:
            return
        self._books.write(lambda tx: tx.remember_account(provider, fingerprint, account, livemode=livemode))
        self._known[provider, fingerprint] = account

    def known(self, provider: Provider, fingerprint: str) -> str:
        return self._known.get((provider, fingerprint), "")
