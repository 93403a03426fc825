"""Decimals of each vendor's amounts; a separate table, so that tests find an adapter's error."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal

Provider = Literal["stripe", "adyen"]

ISO_ZERO = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"}
    | {"RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"}
)
ISO_THREE = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
ISO_FOUR = frozenset({"CLF", "UYW"})
# All other currencies have two.
ISO_EXPONENTS = dict.fromkeys(ISO_ZERO, 0) | dict.fromkeys(ISO_THREE, 3) | dict.fromkeys(ISO_FOUR, 4)

# Where a vendor deviates from ISO 4217.
ADYEN_OVERRIDES = {"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}
# ISK and UGX have no decimals any more, but Stripe still expects two, which must be 00.
STRIPE_OVERRIDES = {"MGA": 0, "ISK": 2, "UGX": 2}
STRIPE_STEPS = {"ISK": 100, "UGX": 100} | dict.fromkeys(ISO_THREE, 10)


def exponent(provider: Provider, currency: str) -> int:
    """The number of decimals in the vendor's minor unit."""
    currency_code = currency.upper()
    overrides = STRIPE_OVERRIDES if provider == "stripe" else ADYEN_OVERRIDES
    return overrides.get(currency_code, ISO_EXPONENTS.get(currency_code, 2))


def step(provider: Provider, currency: str) -> int:
    """Amounts must be a multiple of this many minor units."""
    return STRIPE_STEPS.get(currency.upper(), 1) if provider == "stripe" else 1


def to_minor(provider: Provider, amount: str, currency: str) -> int:
    """Major units with a point, as the vendor's integer; ValueError where it cannot be exact."""
    try:
        scaled_amount = Decimal(amount.strip()).scaleb(exponent(provider, currency))
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not an amount") from None
    if not scaled_amount.is_finite() or scaled_amount != scaled_amount.to_integral_value():
        raise ValueError(f"{amount} {currency} has more decimals than {provider} counts")
    minor_units = int(scaled_amount)
    if minor_units % step(provider, currency):
        raise ValueError(f"{amount} {currency} is finer than {provider} takes")
    return minor_units


def to_major(provider: Provider, minor_units: int, currency: str) -> str:
    return format(Decimal(minor_units).scaleb(-exponent(provider, currency)), "f")
