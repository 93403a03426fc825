"""Amounts in each provider's minor units: never off by a factor of a hundred, never rounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.currencies import CODES, currency
from refundcli.domain.money import Money, parse_money
from refundcli.domain.provider_units import (
    AmountNotExact,
    UnreadableAmount,
    from_provider_minor,
    to_provider_minor,
    wire_unit,
)
from refundcli.domain.statuses import Provider
from refundcli.sandbox.core.exponents import to_minor

STRIPE, ADYEN = Provider.STRIPE, Provider.ADYEN


@pytest.mark.parametrize(
    ("amount", "at_stripe", "at_adyen"),
    [
        ("12.34 EUR", 1234, 1234),
        ("0.01 EUR", 1, 1),
        ("500 JPY", 500, 500),
        ("1.230 KWD", 1230, 1230),
        ("10 CLP", 10, 1000),
        ("10 ISK", 1000, 1000),
        ("10 UGX", 1000, 10),
        ("10.00 MGA", 10, 1000),
        ("10.00 CVE", 1000, 10),
        ("10.00 IDR", 1000, 10),
    ],
)
def test_the_amount_leaves_in_the_providers_own_units(amount: str, at_stripe: int, at_adyen: int) -> None:
    money = parse_money(amount)
    assert to_provider_minor(STRIPE, money) == at_stripe
    assert to_provider_minor(ADYEN, money) == at_adyen
    assert from_provider_minor(STRIPE, at_stripe, money.currency) == money
    assert from_provider_minor(ADYEN, at_adyen, money.currency) == money


@pytest.mark.parametrize(
    ("provider", "amount", "instead"),
    [
        (STRIPE, "1.234 KWD", "Refund 1.230 KWD instead"),
        (STRIPE, "10.50 MGA", "Refund 10.00 MGA instead"),
        (STRIPE, "0.50 MGA", "The smallest amount that can be refunded is 1.00 MGA"),
        (ADYEN, "10.50 CVE", "Refund 10.00 CVE instead"),
        (ADYEN, "999.99 IDR", "Refund 999.00 IDR instead"),
    ],
)
def test_what_the_provider_cannot_count_is_refused_and_not_rounded(
    provider: Provider, amount: str, instead: str
) -> None:
    with pytest.raises(AmountNotExact) as refusal:
        to_provider_minor(provider, parse_money(amount))
    assert refusal.value.hint.startswith(instead)
    assert amount in refusal.value.message
    assert refusal.value.context == {
        "provider": provider.value,
        "amount": amount.split()[0],
        "currency": amount.split()[1],
    }


def test_stripes_zero_decimal_currencies_have_no_decimals() -> None:
    published = (
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "JPY",
        "KMF",
        "KRW",
        "MGA",
        "PYG",
        "RWF",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    )
    assert {wire_unit(STRIPE, currency(code)).exponent for code in published} == {0}


def test_only_four_currencies_differ_from_iso_at_adyen() -> None:
    differ = {code for code in CODES if wire_unit(ADYEN, currency(code)).exponent != currency(code).exponent}
    assert differ == {"CLP", "CVE", "IDR", "ISK"}


def test_an_amount_finer_than_the_books_is_not_read() -> None:
    with pytest.raises(UnreadableAmount):
        from_provider_minor(ADYEN, 1050, currency("CLP"))


amounts = st.builds(Money, st.integers(1, 10**14), st.sampled_from(sorted(CODES)).map(currency))


@given(st.sampled_from(Provider), amounts)
def test_every_amount_converts_back_or_is_refused(provider: Provider, amount: Money) -> None:
    try:
        sent = to_provider_minor(provider, amount)
    except AmountNotExact:
        with pytest.raises(ValueError, match=r"decimals|finer"):
            to_minor(provider.value, amount.number, amount.currency.code)
    else:
        assert from_provider_minor(provider, sent, amount.currency) == amount
        # The sandbox's table is independent of this one.
        assert to_minor(provider.value, amount.number, amount.currency.code) == sent
