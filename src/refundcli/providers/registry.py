"""Build providers from the settings. Only the SDK of the requested provider is imported."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from functools import partial
from typing import Protocol

from refundcli.domain.errors import Refused, SettingsProblem
from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials
from refundcli.providers.vocabulary_version import vocabulary_version
from refundcli.secrets import Secret, resolve
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, ProviderRecords
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

    def __init__(self, provider: Provider, setting: str, example: str) -> None:
        super().__init__(
            f"{provider.label} is not set up: {provider.value}.{setting} is missing.",
            hint=f"Set {setting} = {example} under [{provider.value}] in refundcli.toml,"
            f" or {variable(provider, setting)}.",
            context={"provider": provider.value, "key": f"{provider.value}.{setting}"},
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
    provider: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    pace: Pace | None = None,
) -> PaymentProvider:
    """The provider as the settings describe it; `pace` limits its requests.

    Raises SettingsProblem, one class per cause.
    """
    return _CONNECT[provider](settings, environ, account_cache, pace)


def records(
    provider: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    zone: tzinfo = UTC,
    pace: Pace | None = None,
) -> ProviderRecords:
    """The provider's records; dates are in `zone`, `pace` limits its requests.

    Raises SettingsProblem, CannotBeAsked.
    """
    if provider is not Provider.STRIPE:
        raise CannotBeAsked(provider)
    from refundcli.providers.stripe.lookup import StripeRecords

    api_key = _stripe_key(settings, environ)
    account = _stripe_account(api_key, settings, account_cache, pace)
    return StripeRecords(api_key, settings.stripe, settings.refunds, account, zone=zone, pace=pace)


def closer(
    provider: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    pace: Pace | None = None,
) -> InvoiceCloser:
    """Closes invoices at the provider; `pace` limits its requests. Raises SettingsProblem, CannotBeAsked for Adyen."""
    if provider is not Provider.STRIPE:
        raise CannotBeAsked(provider)
    from refundcli.providers.stripe.closings import StripeInvoiceCloser

    api_key = _stripe_key(settings, environ)
    account = _stripe_account(api_key, settings, account_cache, pace)
    return StripeInvoiceCloser(api_key, settings.stripe, settings.refunds, account, pace)


def event_reader(provider: Provider, *, records: Callable[[], ProviderRecords]) -> EventReader:
    """Reads a provider's events. A Stripe event leads to a snapshot; an Adyen event is complete by itself."""
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe.events import StripeMeaning

        return StripeMeaning(records())
    from refundcli.providers.adyen.updates import AdyenMeaning

    return AdyenMeaning()


def vocabulary_of(provider: Provider) -> Vocabulary:
    is_listed_word = partial(is_listed, provider)
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe import events

        return Vocabulary(
            provider, vocabulary_version(provider), is_listed_word, events.concerns_refunds, events.payments_named_by
        )
    from refundcli.providers.adyen import updates

    return Vocabulary(
        provider, vocabulary_version(provider), is_listed_word, updates.concerns_refunds, updates.payments_named_by
    )


def is_listed(provider: Provider, word: str) -> bool:
    """Is `word` an event code or a record type whose effect this program knows?"""
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe import vocabulary as stripe_vocabulary

        return stripe_vocabulary.event_meaning(word) is not None
    from refundcli.providers.adyen import vocabulary as adyen_vocabulary

    event_codes = {code for code, _ in adyen_vocabulary.EVENTS}
    return word in event_codes or adyen_vocabulary.report_meaning(word) is not None


def delivery_reader(
    provider: Provider,
    *,
    settings: Settings,
    environ: Mapping[str, str],
    account_cache: AccountCache,
    any_age: bool,
) -> DeliveryReader:
    """Verifies deliveries; `any_age`: a signature may be old. Raises SettingsProblem."""
    if provider is Provider.STRIPE:
        return _stripe_events(settings, environ, account_cache, any_age=any_age)
    return _adyen_events(settings, environ)


def _stripe_events(
    settings: Settings, environ: Mapping[str, str], account_cache: AccountCache, *, any_age: bool
) -> DeliveryReader:
    """With `any_age`, a signature may be old."""
    if settings.stripe.webhook_secret is None:
        raise ProviderNotConfigured(Provider.STRIPE, "webhook_secret", '"env:STRIPE_WEBHOOK_SECRET"')
    from refundcli.providers.stripe.events import TOLERANCE, StripeEvents
    from refundcli.providers.stripe.refunds import fingerprint, is_live

    api_key = _stripe_key(settings, environ)
    webhook_secret = resolve(settings.stripe.webhook_secret, environ=environ).reveal()
    key_fingerprint = fingerprint(api_key)
    account_cache.get(Provider.STRIPE, key_fingerprint)
    return StripeEvents(
        webhook_secret,
        lambda: account_cache.known(Provider.STRIPE, key_fingerprint),
        livemode=is_live(api_key),
        tolerance=None if any_age else TOLERANCE,
    )


def _adyen_events(settings: Settings, environ: Mapping[str, str]) -> DeliveryReader:
    adyen_settings = settings.adyen
    if adyen_settings.hmac_key is None:
        raise ProviderNotConfigured(Provider.ADYEN, "hmac_key", '"env:ADYEN_HMAC_KEY"')
    if not adyen_settings.merchant_account:
        raise ProviderNotConfigured(Provider.ADYEN, "merchant_account", '"YourMerchantAccount"')
    from refundcli.providers.adyen.events import AdyenEvents, BasicAuth

    basic_auth = None
    if adyen_settings.webhook_username:
        if adyen_settings.webhook_password is None:
            raise ProviderNotConfigured(Provider.ADYEN, "webhook_password", '"env:ADYEN_WEBHOOK_PASSWORD"')
        basic_auth = BasicAuth(
            adyen_settings.webhook_username, resolve(adyen_settings.webhook_password, environ=environ).reveal()
        )
    hmac_key = resolve(adyen_settings.hmac_key, environ=environ).reveal()
    return AdyenEvents(
        hmac_key, adyen_settings.merchant_account, livemode=adyen_settings.environment == "live", auth=basic_auth
    )


def _stripe(
    settings: Settings, environ: Mapping[str, str], account_cache: AccountCache, pace: Pace | None
) -> PaymentProvider:
    api_key = _stripe_key(settings, environ)

    from refundcli.providers.stripe import refunds as stripe

    account = _stripe_account(api_key, settings, account_cache, pace)
    return stripe.StripeProvider(api_key, settings.stripe, settings.refunds, account, pace)


def _stripe_key(settings: Settings, environ: Mapping[str, str]) -> str:
    api_key = _secret(Provider.STRIPE, settings.stripe.api_key, environ).reveal()
    key_match = _STRIPE_KEY.fullmatch(api_key)
    if key_match is None:
        raise BadCredentials(Provider.STRIPE, "it does not start with sk_test_, rk_test_, sk_live_ or rk_live_")
    if key_match[1] == "live" and settings.stripe.api_base:
        raise PracticeAddressWhenLive(Provider.STRIPE)
    return api_key


def _stripe_account(api_key: str, settings: Settings, account_cache: AccountCache, pace: Pace | None) -> str:
    from refundcli.providers.stripe import refunds as stripe

    account = account_cache.get(Provider.STRIPE, stripe.fingerprint(api_key))
    if account is None:
        account = stripe.account_of(api_key, settings.stripe, settings.refunds, pace)
        account_cache.put(Provider.STRIPE, stripe.fingerprint(api_key), account, stripe.is_live(api_key))
    return account


def _adyen(
    settings: Settings, environ: Mapping[str, str], account_cache: AccountCache, pace: Pace | None
) -> PaymentProvider:
    api_key = _secret(Provider.ADYEN, settings.adyen.api_key, environ).reveal()
    if not settings.adyen.merchant_account:
        raise ProviderNotConfigured(Provider.ADYEN, "merchant_account", '"YourMerchantAccount"')
    if settings.adyen.environment == "live" and settings.adyen.api_base:
        raise PracticeAddressWhenLive(Provider.ADYEN)
    if settings.adyen.environment == "live" and not settings.adyen.live_endpoint_prefix:
        raise ProviderNotConfigured(Provider.ADYEN, "live_endpoint_prefix", '"1797a841fbb37ca7-YourCompany"')

    from refundcli.providers.adyen import refunds as adyen

    return adyen.AdyenProvider(api_key, settings.adyen, settings.refunds, settings.adyen.merchant_account, pace)


def _secret(provider: Provider, secret_reference: str | None, environ: Mapping[str, str]) -> Secret:
    if secret_reference is None:
        raise ProviderNotConfigured(provider, "api_key", f'"env:{provider.value.upper()}_API_KEY"')
    return resolve(secret_reference, environ=environ)


_CONNECT: Mapping[Provider, Callable[[Settings, Mapping[str, str], AccountCache, Pace | None], PaymentProvider]] = {
    Provider.STRIPE: _stripe,
    Provider.ADYEN: _adyen,
}
