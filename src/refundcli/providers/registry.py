"""Build providers from the settings. Only the SDK of the requested provider is imported."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from functools import partial
from typing import Protocol

from refundcli.domain.errors import Refused, SettingsProblem
from refundcli.domain.statuses import Provider
from refundcli.providers.stripe.keys import check_form, fingerprint, is_live
from refundcli.providers.vocabulary_version import vocabulary_version
from refundcli.secrets import Secret, resolve
from refundcli.services.dispatch.rate_limit import Pace
from refundcli.services.ports.providers import InvoiceCloser, PaymentProvider, ProviderRecords
from refundcli.services.ports.webhooks import DeliveryReader, EventReader
from refundcli.services.webhooks.reread import Vocabulary
from refundcli.settings import RefundSettings, Settings, StripeSettings, variable


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
    if provider is Provider.STRIPE:
        key = _stripe_key(settings, environ)
        from refundcli.providers.stripe.refunds import StripeProvider

        return StripeProvider(*_stripe_account(key, settings, account_cache, pace))
    key = _secret(Provider.ADYEN, settings.adyen.api_key, environ).reveal()
    merchant_account = _merchant_account(settings)
    if settings.adyen.environment == "live" and settings.adyen.api_base:
        raise PracticeAddressWhenLive(Provider.ADYEN)
    if settings.adyen.environment == "live" and not settings.adyen.live_endpoint_prefix:
        raise ProviderNotConfigured(Provider.ADYEN, "live_endpoint_prefix", '"1797a841fbb37ca7-YourCompany"')

    from refundcli.providers.adyen.refunds import AdyenProvider

    return AdyenProvider(key, settings.adyen, settings.refunds, merchant_account, pace)


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
    key = _stripe_key(settings, environ)
    from refundcli.providers.stripe.lookup import StripeRecords

    return StripeRecords(*_stripe_account(key, settings, account_cache, pace), zone=zone)


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
    key = _stripe_key(settings, environ)
    from refundcli.providers.stripe.closings import StripeInvoiceCloser

    return StripeInvoiceCloser(*_stripe_account(key, settings, account_cache, pace))


def event_reader(provider: Provider, *, records: Callable[[], ProviderRecords]) -> EventReader:
    """Reads a provider's events. A Stripe event leads to a snapshot; an Adyen event is complete by itself."""
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe.events import StripeMeaning

        return StripeMeaning(records())
    from refundcli.providers.adyen.updates import AdyenMeaning

    return AdyenMeaning()


def vocabulary_of(provider: Provider) -> Vocabulary:
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe.events import concerns_refunds, payments_named_by
    else:
        from refundcli.providers.adyen.updates import concerns_refunds, payments_named_by
    version, is_listed_word = vocabulary_version(provider), partial(is_listed, provider)
    return Vocabulary(provider, version, is_listed_word, concerns_refunds, payments_named_by)


def is_listed(provider: Provider, word: str) -> bool:
    """Is `word` an event code or a record type whose effect this program knows?"""
    if provider is Provider.STRIPE:
        from refundcli.providers.stripe.vocabulary import event_meaning

        return event_meaning(word) is not None
    from refundcli.providers.adyen.vocabulary import EVENTS, report_meaning

    return any(word == code for code, _ in EVENTS) or report_meaning(word) is not None


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

    key = _stripe_key(settings, environ)
    webhook_secret = resolve(settings.stripe.webhook_secret, environ=environ).reveal()
    account_cache.get(Provider.STRIPE, fingerprint(key))
    return StripeEvents(
        webhook_secret,
        lambda: account_cache.known(Provider.STRIPE, fingerprint(key)),
        livemode=is_live(key),
        tolerance=None if any_age else TOLERANCE,
    )


def _adyen_events(settings: Settings, environ: Mapping[str, str]) -> DeliveryReader:
    adyen_settings = settings.adyen
    if adyen_settings.hmac_key is None:
        raise ProviderNotConfigured(Provider.ADYEN, "hmac_key", '"env:ADYEN_HMAC_KEY"')
    merchant_account = _merchant_account(settings)
    from refundcli.providers.adyen.events import AdyenEvents, BasicAuth

    basic_auth = None
    if adyen_settings.webhook_username:
        if adyen_settings.webhook_password is None:
            raise ProviderNotConfigured(Provider.ADYEN, "webhook_password", '"env:ADYEN_WEBHOOK_PASSWORD"')
        basic_auth = BasicAuth(
            adyen_settings.webhook_username, resolve(adyen_settings.webhook_password, environ=environ).reveal()
        )
    hmac_key = resolve(adyen_settings.hmac_key, environ=environ).reveal()
    return AdyenEvents(hmac_key, merchant_account, livemode=adyen_settings.environment == "live", auth=basic_auth)


def _stripe_key(settings: Settings, environ: Mapping[str, str]) -> str:
    key = _secret(Provider.STRIPE, settings.stripe.api_key, environ).reveal()
    check_form(key)
    if is_live(key) and settings.stripe.api_base:
        raise PracticeAddressWhenLive(Provider.STRIPE)
    return key


def _stripe_account(
    key: str, settings: Settings, account_cache: AccountCache, pace: Pace | None
) -> tuple[str, StripeSettings, RefundSettings, str, Pace | None]:
    """What `StripeAccount` is made from."""
    account = account_cache.get(Provider.STRIPE, fingerprint(key))
    if account is None:
        from refundcli.providers.stripe.sdk import account_of

        account = account_of(key, settings.stripe, settings.refunds, pace)
        account_cache.put(Provider.STRIPE, fingerprint(key), account, is_live(key))
    return key, settings.stripe, settings.refunds, account, pace


def _merchant_account(settings: Settings) -> str:
    if not settings.adyen.merchant_account:
        raise ProviderNotConfigured(Provider.ADYEN, "merchant_account", '"YourMerchantAccount"')
    return settings.adyen.merchant_account


def _secret(provider: Provider, secret_reference: str | None, environ: Mapping[str, str]) -> Secret:
    if secret_reference is None:
        raise ProviderNotConfigured(provider, "api_key", f'"env:{provider.value.upper()}_API_KEY"')
    return resolve(secret_reference, environ=environ)
