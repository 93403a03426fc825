"""The settings: sections, keys, defaults and rules."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from refundcli.secrets import redact, shown_address
from refundcli.settings import checks
from refundcli.settings.rules import Rule, worded
from refundcli.settings.seller import SellerSettings
from refundcli.settings.variables import variable

_RATE = Rule(float, checks.rate)
_TIMEOUT = Rule(float, checks.up_to(checks.LONGEST_TIMEOUT))

_SECRET = worded(checks.optional(checks.reference))
_API_BASE = worded(checks.optional(checks.loopback_url))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where the books are."""

    url: str = field(metadata=worded(checks.store_url))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Who works here, and in which time zone."""

    name: str = field(metadata=worded(checks.operator_name))
    timezone: str = field(metadata=worded(checks.timezone))

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which the books' days begin and end."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSettings:
    """The keys of Stripe, and where it is."""

    api_key: str | None = field(default=None, metadata=_SECRET)
    webhook_secret: str | None = field(default=None, metadata=_SECRET)
    send_fraudulent: bool = field(default=False, metadata={"rule": Rule(checks.flag_from_text, checks.flag)})
    api_base: str | None = field(default=None, metadata=_API_BASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdyenSettings:
    """The keys and the account of Adyen, and where it is."""

    api_key: str | None = field(default=None, metadata=_SECRET)
    merchant_account: str | None = field(default=None, metadata=worded(checks.optional(checks.merchant_account)))
    environment: str = field(default="test", metadata=worded(checks.environment))
    live_endpoint_prefix: str | None = field(
        default=None, metadata=worded(checks.optional(checks.live_endpoint_prefix))
    )
    hmac_key: str | None = field(default=None, metadata=_SECRET)
    webhook_username: str | None = field(default=None, metadata=worded(checks.optional(checks.webhook_username)))
    webhook_password: str | None = field(default=None, metadata=_SECRET)
    api_base: str | None = field(default=None, metadata=_API_BASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSettings:
    """Timeouts, rates and limits of refunds."""

    connect_timeout: float = field(default=5.0, metadata={"rule": _TIMEOUT})
    read_timeout: float = field(default=30.0, metadata={"rule": _TIMEOUT})
    stripe_rate: float = field(default=20.0, metadata={"rule": _RATE})
    adyen_rate: float = field(default=20.0, metadata={"rule": _RATE})
    in_flight: int = field(default=8, metadata={"rule": Rule(int, checks.in_flight)})
    # A refund accepted longer ago should have a final state; `status` lists it.
    pending_days: int = field(default=5, metadata={"rule": Rule(int, checks.pending_days)})


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNoteSettings:
    """How credit notes are numbered, and the language and further fonts of their documents."""

    number_format: str = field(default="CN-{year}-{seq:06}", metadata=worded(checks.number_format))
    language: str = field(default="en", metadata=worded(checks.language))
    fonts: str | None = field(default=None, metadata=worded(checks.optional(checks.storable_text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """The command that `status --alert` runs, and for how many seconds at most."""

    command: tuple[str, ...] | None = field(
        default=None, metadata={"rule": Rule(checks.command_from_text, checks.command)}
    )
    timeout: float = field(default=30.0, metadata={"rule": _TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Where each command that changes the books anchors the audit trail, and the key that signs the anchors."""

    anchor: str | None = field(default=None, metadata=worded(checks.optional(checks.storable_text)))
    key: str | None = field(default=None, metadata=_SECRET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force."""

    store: StoreSettings
    operator: OperatorSettings
    stripe: StripeSettings = StripeSettings()
    adyen: AdyenSettings = AdyenSettings()
    refunds: RefundSettings = RefundSettings()
    credit_notes: CreditNoteSettings = CreditNoteSettings()
    seller: SellerSettings = field(default_factory=SellerSettings)
    alert: AlertSettings = AlertSettings()
    audit: AuditSettings = AuditSettings()
    # By name, each as it is written; `files.formats` checks it where it is used.
    formats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def without_keys(self) -> "Settings":
        """The same without providers: nothing that uses them can look up a key, so no money can move."""
        return replace(self, stripe=StripeSettings(), adyen=AdyenSettings())

    @property
    def secret_variables(self) -> frozenset[str]:
        """The variables of the environment that hold keys and passwords."""
        sections = (self.stripe, self.adyen, self.audit)
        values = (getattr(section, name.name) for section in sections for name in fields(section))
        return frozenset(
            value.removeprefix("env:") for value in values if isinstance(value, str) and value.startswith("env:")
        )


# A section with a table for each name that the user chose.
FORMATS = "formats"
SECTIONS: Mapping[str, Any] = {
    "store": StoreSettings,
    "operator": OperatorSettings,
    "stripe": StripeSettings,
    "adyen": AdyenSettings,
    "refunds": RefundSettings,
    "credit_notes": CreditNoteSettings,
    "seller": SellerSettings,
    "alert": AlertSettings,
    "audit": AuditSettings,
}
RULES: Mapping[str, Mapping[str, Rule]] = {
    section: {rule.name: rule.metadata["rule"] for rule in fields(kind)} for section, kind in SECTIONS.items()
}
VARIABLES: Mapping[str, tuple[str, str]] = {
    variable(section, key): (section, key) for section, rules in RULES.items() for key in rules
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the source of each `section.key`.

    `own_timezone`: the operator's, ignoring untrusted files; a new store uses it.
    """

    settings: Settings
    origins: dict[str, str]
    path: Path | None
    own_timezone: str

    def rows(self) -> Iterator[tuple[str, object, str]]:
        """Each key with its value and source, without passwords."""
        for section, rules in RULES.items():
            for key in rules:
                value = getattr(getattr(self.settings, section), key)
                dotted_key = f"{section}.{key}"
                yield dotted_key, shown(section, key, value), self.origins[dotted_key]


def shown(section: str, key: str, value: object) -> object:
    """The value without secrets: an address without its password."""
    if isinstance(value, tuple):
        return redact(shlex.join(value))
    if not isinstance(value, str):
        return value
    return shown_address(value) if (section, key) == ("store", "url") else redact(value)
