"""The books count in ISO 4217 minor units; each provider has its own exceptions.

10 Chilean pesos are 10 at Stripe and 1000 at Adyen: without this table an amount would be wrong by a factor of 100.
An amount that a provider cannot represent exactly is refused, never rounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

from refundcli.domain.currencies import Currency
from refundcli.domain.errors import Refused
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider


@dataclass(frozen=True, slots=True)
class WireUnit:
    """A provider's minor unit: its number of decimals, and the step that amounts must be multiples of."""

    exponent: int
    step: int = 1


_STRIPE = {
    "MGA": WireUnit(0),  # of Stripe's zero-decimal currencies the only one that has decimals in ISO 4217
    # These no longer have decimals, but are still sent with two, which must be 00.
    **dict.fromkeys(("ISK", "UGX"), WireUnit(2, step=100)),
    # Three decimals, of which the last must be 0.
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), WireUnit(3, step=10)),
}
# Only these four of Adyen's table differ from ISO 4217.
_ADYEN = {"CLP": WireUnit(2), "CVE": WireUnit(0), "IDR": WireUnit(0), "ISK": WireUnit(2)}

_EXCEPTIONS: Mapping[Provider, Mapping[str, WireUnit]] = {Provider.STRIPE: _STRIPE, Provider.ADYEN: _ADYEN}


class AmountNotExact(Refused):
    """The provider's unit of this currency is coarser than the books'; nothing is rounded."""

    code = "amount-not-exact"

    def __init__(self, provider: Provider, amount: Money, finest: Money) -> None:
        """`finest`: the smallest amount that the provider can represent."""
        rounded_down = Money(amount.minor - amount.minor % finest.minor, amount.currency)
        alternative = (
            f"Refund {rounded_down} instead"
            if rounded_down
            else f"The smallest amount that can be refunded is {finest}"
        )
        super().__init__(
            (
                f"{provider.label} cannot refund {amount}: it handles {amount.currency} only in steps of "
                f"{finest.number}."
            ),
            hint=f"{alternative}; an amount smaller than one step can only be returned by other means.",
            context={"provider": provider.value, "amount": amount.number, "currency": amount.currency.code},
        )


class UnreadableAmount(ValueError):
    """An amount reported by a provider that the books cannot represent exactly."""


def wire_unit(provider: Provider, of_currency: Currency) -> WireUnit:
    return _EXCEPTIONS[provider].get(of_currency.code, WireUnit(of_currency.exponent))


def to_provider_minor(provider: Provider, amount: Money) -> int:
    """The amount in the provider's minor units. Raises AmountNotExact."""
    unit = wire_unit(provider, amount.currency)
    finest_minor = _finest(unit, amount.currency)
    if amount.minor % finest_minor:
        raise AmountNotExact(provider, amount, Money(finest_minor, amount.currency))
    return int(amount.minor * 10**unit.exponent // 10**amount.currency.exponent)


def from_provider_minor(provider: Provider, provider_minor: int, of_currency: Currency) -> Money:
    """A provider's amount in the books' units. Raises UnreadableAmount."""
    scaled_minor = provider_minor * 10**of_currency.exponent
    minor_per_major = 10 ** wire_unit(provider, of_currency).exponent
    if scaled_minor % minor_per_major:
        raise UnreadableAmount(
            f"{provider_minor} in {provider.label}'s smallest unit of {of_currency} cannot be converted "
            "exactly to an amount in the books"
        )
    return Money(int(scaled_minor // minor_per_major), of_currency)


def is_too_fine(provider: Provider, amount: Money) -> bool:
    """Is it less than the smallest amount that the provider can refund? Then it must be returned in another way."""
    return 0 < amount.minor < _finest(wire_unit(provider, amount.currency), amount.currency)


def _finest(unit: WireUnit, of_currency: Currency) -> int:
    """The smallest amount that the provider can represent, in the books' units."""
    scaled_step: int = 10**of_currency.exponent * unit.step
    return scaled_step // gcd(scaled_step, 10**unit.exponent)
