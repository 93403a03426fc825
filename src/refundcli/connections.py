"""Connections to the providers, each made once, in the store's mode (I12)."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from refundcli.domain.errors import SettingsProblem
from refundcli.domain.statuses import Provider
from refundcli.providers import registry
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.settings import Settings

if TYPE_CHECKING:
    from refundcli.services.ports.books import Books, Reading
    from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, ProviderRecords


class WrongMode(SettingsProblem):
    """Test keys are never used on a live store, nor live keys on a test store (I12)."""

    code = "wrong-mode"

    def __init__(self, store_is_live: bool, provider: Provider) -> None:
        store_mode, key_mode = ("live", "test") if store_is_live else ("test", "live")
        super().__init__(
            f"The store is in {store_mode} mode, the {provider.label} key is for {key_mode} mode. Nothing was sent.",
            hint=f"Use a {store_mode} key, or another store with --store.",
        )


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
        self._zone = zone
        self.accounts = AccountsInBooks(books, dry_run=dry_run)
        self._providers: dict[Provider, PaymentProvider] = {}
        self._records: dict[Provider, ProviderRecords] = {}
        self._closers: dict[Provider, InvoiceCloser] = {}

        rates = {Provider.STRIPE: settings.refunds.stripe_rate, Provider.ADYEN: settings.refunds.adyen_rate}
        self._paces = {provider: Pace(rate) for provider, rate in rates.items()}

    def pace(self, provider: Provider) -> Pace:
        """The pace of all requests to the provider."""
        return self._paces[provider]

    def of(self, provider: Provider) -> "PaymentProvider":
        """The provider. Raises SettingsProblem if credentials are missing or for the other mode."""
        return self._once(self._providers, provider, registry.connect)

    def records(self, provider: Provider) -> "ProviderRecords":
        """The provider's records. Raises SettingsProblem, and CannotBeAsked for a provider without look-ups."""
        return self._once(self._records, provider, partial(registry.records, zone=self._zone()))

    def closer(self, provider: Provider) -> "InvoiceCloser":
        """The closer of the provider's invoices. Raises as `records`."""
        return self._once(self._closers, provider, registry.closer)

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
            self.accounts.agree_on_mode(connection.name, livemode=connection.livemode)
            connections[provider] = connection
        return connections[provider]


def agree_on_mode(books: "Books", provider: Provider, *, livemode: bool, pin: bool = True) -> None:
    """Pin the store's mode on first use, unless `pin` is false. Raises WrongMode for a key of the other mode (I12)."""
    AccountsInBooks(books, dry_run=not pin).agree_on_mode(provider, livemode=livemode)


class AccountsInBooks:
    """The account of each API key, by provider and the key's fingerprint, stored so that it is looked up only once.

    Also the store's mode, which never changes once it is pinned (I12). In a dry run nothing is stored.
    """

    def __init__(self, books: "Books", *, dry_run: bool = False) -> None:
        self._books, self._dry_run = books, dry_run
        self._account_by_key: dict[tuple[Provider, str], str] = {}
        self._livemode: bool | None = None

    def get(self, provider: Provider, fingerprint: str) -> str | None:
        if not self.known(provider, fingerprint):
            self._books.read(lambda tx: self._read(tx, provider, fingerprint))
        return self.known(provider, fingerprint) or None

    def _read(self, reading: "Reading", provider: Provider, fingerprint: str) -> None:
        self._livemode = reading.store.livemode()
        self._account_by_key[provider, fingerprint] = reading.accounts.of_key(provider, fingerprint) or ""

    def put(self, provider: Provider, fingerprint: str, account: str, livemode: bool) -> None:
        self.agree_on_mode(provider, livemode=livemode)
        if self._dry_run:
            return
        self._books.write(lambda tx: tx.accounts.remember(provider, fingerprint, account, livemode=livemode))
        self._account_by_key[provider, fingerprint] = account

    def known(self, provider: Provider, fingerprint: str) -> str:
        return self._account_by_key.get((provider, fingerprint), "")

    def agree_on_mode(self, provider: Provider, *, livemode: bool) -> None:
        """Raises WrongMode for a key of the other mode (I12)."""
        if self._livemode is None:
            self._livemode = self._books.read(lambda tx: tx.store.livemode())
        if self._livemode is None and not self._dry_run:
            self._livemode = self._books.write(lambda tx: tx.store.pin_livemode(livemode))
        if self._livemode not in (None, livemode):
            raise WrongMode(self._livemode, provider)
