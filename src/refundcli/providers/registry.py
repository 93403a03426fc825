"""Build providers from the settings. Only the SDK of the requested provider is imported."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Protocol

from refundcli.domain.errors import Refused, SettingsProblem
from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials
from refundcli.secrets import Secret, resolve
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, ProviderRecords
from refundcli.services.ports.vocabulary import Meaning
from refundcli.services.ports.webhooks import DeliveryReader, EventReader
from refundcli.services.webhooks.reread import Vocabulary
from refundcli.settings import Settings, variable

_STRIPE_KEY = re.compile(r"(?:sk|rk)_(test|live)_.+")


class AccountCache(Protocol):
    """The account of each key, stored so that Stripe is asked once per key."""

    def get(self, provider: Provider, fingerprint: str) -> str | None: ...
    def put(self, provider: Provider, fingerprint: str, account: str, livemode: bool) -> None: ...
    def known(self, provider: Provider, fingerprint: str) -> str:
        """The last account of `get` or `put`, without reading the store; empty if there was none."""
        ...


class ProviderNotConfigured(SettingsProblem):
    code = "provider-not-configured"

    def __init__(self, provider: Provider, key: str, example: str) -> None:
        super().__init__(
            f"{provider.label} is not set up: {provider.value}.{key} is missing.",
            hint=f"Set {key} = {example} under [{provider.value}] in refundcli.toml, or {variable(provider, key)}.",
            context={"provider": provider.value, "key": f"{provider.value}.{key}"},
        )


class PracticeAddressWhenLive(SettingsProblem):
    """api_base is for practice: a live key is not sent there."""

    code = "api-base-when-live"

    def __init__(self, provider: Provider) -> None:
        super().__init__(
            f"{provider.value}.api_base is for practice, but {provider.label} is set to live.",
            hint=f"Remove {provider.value}.api_base, or use a test key.",
            context={"provider": provider.value, "key": f"{provider.value}.api_base"},
        )


class CannotBeAsked(Refused):
    """The provider reports payments only by webhook and in reports."""

    code = "cannot-be-asked"

    def __init__(self, provider: Provider) -> None:
        super().__init__(
            f"{provider.label} has no API to look up payments: it reports them by webhook and in report files.",
            hint="refundcli reconcile --report FILE   reads its payment accounting or settlement details report",
            context={"provider": provider.value},
        )


def connect(
    name: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    pace: Pace | None = None,
) -> PaymentProvider:
    """The provider as the settings describe it. Raises SettingsProblem, one class per cause."""
    return _CONNECT[name](settings, environ, account_cache, pace)


def records(
    name: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    zone: tzinfo = UTC,
    pace: Pace | None = None,
) -> ProviderRecords:
    """The provider's records; dates are in `zone`. Raises SettingsProblem, CannotBeAsked."""
    if name is not Provider.STRIPE:
        raise CannotBeAsked(name)
    from refundcli.providers.stripe.lookup import StripeRecords

    key = _stripe_key(settings, environ)
    account = _stripe_account(key, settings, account_cache, pace)
    return StripeRecords(key, settings.stripe, settings.refunds, account, zone=zone, pace=pace)


def closer(
    name: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    pace: Pace | None = None,
) -> InvoiceCloser:
    """Closes invoices at the provider. Raises SettingsProblem, and CannotBeAsked for Adyen."""
    if name is not Provider.STRIPE:
        raise CannotBeAsked(name)
    from refundcli.providers.stripe.closings import StripeInvoiceCloser

    key = _stripe_key(settings, environ)
    account = _stripe_account(key, settings, account_cache, pace)
    return StripeInvoiceCloser(key, settings.stripe, settings.refunds, account, pace)


def event_reader(name: Provider, *, records: Callable[[], ProviderRecords]) -> EventReader:
    """Reads a provider's events. A Stripe event leads to a snapshot; an Adyen event is complete by itself."""
    if name is Provider.STRIPE:
        from refundcli.providers.stripe.events import StripeMeaning

        return StripeMeaning(records())
    from refundcli.providers.adyen.updates import AdyenMeaning

    return AdyenMeaning()


def vocabulary_of(name: Provider) -> Vocabulary:
    listed = partial(is_listed, name)
    if name is Provider.STRIPE:
        from refundcli.providers.stripe import events

        return Vocabulary(name, vocabulary_version(name), listed, events.concerns_refunds, events.payments_named_by)
    from refundcli.providers.adyen import updates

    return Vocabulary(name, vocabulary_version(name), listed, updates.concerns_refunds, updates.payments_named_by)


def vocabulary_version(name: Provider) -> str:
    if name is Provider.STRIPE:
        from refundcli.providers.stripe import vocabulary as stripe_vocabulary

        return _version_of(stripe_vocabulary.EVENT_TYPES)
    from refundcli.providers.adyen import vocabulary as adyen_vocabulary

    return _version_of(adyen_vocabulary.EVENTS)


def _version_of(table: Mapping[Any, Meaning]) -> str:
    """A hash of the effects of all words; notes and sources do not count, because they change no effect."""
    effects = sorted((str(word), repr(replace(meaning, source="", note=""))) for word, meaning in table.items())
    return hashlib.sha256(repr(effects).encode()).hexdigest()[:16]


def is_listed(name: Provider, word: str) -> bool:
    """Is it an event code or a record type whose effect this program knows?"""
    if name is Provider.STRIPE:
        from refundcli.providers.stripe import vocabulary as stripe_vocabulary

        return stripe_vocabulary.event_meaning(word) is not None
    from refundcli.providers.adyen import vocabulary as adyen_vocabulary

    codes = {code for code, _ in adyen_vocabulary.EVENTS}
    return word in codes or adyen_vocabulary.report_meaning(word) is not None


def delivery_reader(
    name: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    any_age: bool,
) -> DeliveryReader:
    """Verifies deliveries; `any_age`: a signature may be old. Raises SettingsProblem."""
    if name is Provider.STRIPE:
        return _stripe_events(settings, environ, account_cache, any_age=any_age)
    return _adyen_events(settings, environ)


def _stripe_events(
    settings: Settings, environ: Mapping[str, str], cache: AccountCache, *, any_age: bool
) -> DeliveryReader:
    if settings.stripe.webhook_secret is None:
        raise ProviderNotConfigured(Provider.STRIPE, "webhook_secret", '"env:STRIPE_WEBHOOK_SECRET"')
    from refundcli.providers.stripe.events import TOLERANCE, StripeEvents
    from refundcli.providers.stripe.refunds import fingerprint, is_live

    key = _stripe_key(settings, environ)
    secret = resolve(settings.stripe.webhook_secret, environ=environ).reveal()
    mark = fingerprint(key)
    cache.get(Provider.STRIPE, mark)
    return StripeEvents(
        secret,
        lambda: cache.known(Provider.STRIPE, mark),
        livemode=is_live(key),
        tolerance=None if any_age else TOLERANCE,
    )


def _adyen_events(settings: Settings, environ: Mapping[str, str]) -> DeliveryReader:
    adyen = settings.adyen
    if adyen.hmac_key is None:
        raise ProviderNotConfigured(Provider.ADYEN, "hmac_key", '"env:ADYEN_HMAC_KEY"')
    if not adyen.merchant_account:
        raise ProviderNotConfigured(Provider.ADYEN, "merchant_account", '"YourMerchantAccount"')
    from refundcli.providers.adyen.events import AdyenEvents, BasicAuth

    auth = None
    if adyen.webhook_username:
        if adyen.webhook_password is None:
            raise ProviderNotConfigured(Provider.ADYEN, "webhook_password", '"env:ADYEN_WEBHOOK_PASSWORD"')
        auth = BasicAuth(adyen.webhook_username, resolve(adyen.webhook_password, environ=environ).reveal())
    key = resolve(adyen.hmac_key, environ=environ).reveal()
    return AdyenEvents(key, adyen.merchant_account, livemode=adyen.environment == "live", auth=auth)


def _stripe(settings: Settings, environ: Mapping[str, str], cache: AccountCache, pace: Pace | None) -> PaymentProvider:
    key = _stripe_key(settings, environ)

    from refundcli.providers.stripe import refunds as stripe

    account = _stripe_account(key, settings, cache, pace)
    return stripe.StripeProvider(key, settings.stripe, settings.refunds, account, pace)


def _stripe_key(settings: Settings, environ: Mapping[str, str]) -> str:
    key = _secret(Provider.STRIPE, settings.stripe.api_key, environ).reveal()
    kind = _STRIPE_KEY.fullmatch(key)
    if kind is None:
        raise BadCredentials(Provider.STRIPE, "it does not start with sk_test_, rk_test_, sk_live_ or rk_live_")
    if kind[1] == "live" and settings.stripe.api_base:
        raise PracticeAddressWhenLive(Provider.STRIPE)
    return key


def _stripe_account(key: str, settings: Settings, cache: AccountCache, pace: Pace | None) -> str:
    from refundcli.providers.stripe import refunds as stripe

    account = cache.get(Provider.STRIPE, stripe.fingerprint(key))
    if account is None:
        account = stripe.account_of(key, settings.stripe, settings.refunds, pace)
        cache.put(Provider.STRIPE, stripe.fingerprint(key), account, stripe.is_live(key))
    return account


def _adyen(settings: Settings, environ: Mapping[str, str], cache: AccountCache, pace: Pace | None) -> PaymentProvider:
    key = _secret(Provider.ADYEN, settings.adyen.api_key, environ).reveal()
    if not settings.adyen.merchant_account:
        raise ProviderNotConfigured(Provider.ADYEN, "merchant_account", '"YourMerchantAccount"')
    if settings.adyen.environment == "live" and settings.adyen.api_base:
        raise PracticeAddressWhenLive(Provider.ADYEN)
    if settings.adyen.environment == "live" and not settings.adyen.live_endpoint_prefix:
        raise ProviderNotConfigured(Provider.ADYEN, "live_endpoint_prefix", '"1797a841fbb37ca7-YourCompany"')

    from refundcli.providers.adyen import refunds as adyen

    return adyen.AdyenProvider(key, settings.adyen, settings.refunds, settings.adyen.merchant_account, pace)


def _secret(provider: Provider, reference: str | None, environ: Mapping[str, str]) -> Secret:
    if reference is None:
        raise ProviderNotConfigured(provider, "api_key", f'"env:{provider.value.upper()}_API_KEY"')
    return resolve(reference, environ=environ)


_CONNECT: Mapping[Provider, Callable[[Settings, Mapping[str, str], AccountCache, Pace | None], PaymentProvider]] = {
    Provider.STRIPE: _stripe,
    Provider.ADYEN: _adyen,
}
