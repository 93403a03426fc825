"""Amounts are exact, in their currency's own decimals, and never guessed."""

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.currencies import CODES, UnknownCurrency, currency
from refundcli.domain.money import InvalidAmount, Money, parse_amount, parse_money

EUR, JPY, KWD = currency("EUR"), currency("JPY"), currency("KWD")


def test_the_table_is_the_published_one() -> None:
    published = {c.code: c.exponent for c in iso4217.Currency if c.exponent is not None}
    assert {code: currency(code).exponent for code in CODES} == published


@pytest.mark.parametrize(
    ("text", "of", "minor"),
    [
        ("12.50", EUR, 1250),
        ("12.5", EUR, 1250),
        ("12", EUR, 1200),
        ("0.01", EUR, 1),
        ("10", JPY, 10),
        ("1.234", KWD, 1234),
    ],
)
def test_a_point_is_the_decimal_mark(text: str, of: object, minor: int) -> None:
    assert parse_amount(text, of).minor == minor  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
     "12,50", "1.005", "1e3", "NaN", "-5", "+5", "１２", "", " 5", "5 ", "0", "0.00", "1_000", "1.000,00",
     "1'000",     ".5", "5.", "007", "inf", "0x10", "12.50 EUR", "€5", "9" * 16, "1\n", "٣"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_to_write_instead(text: str) -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount(text, EUR)
    assert refusal.value.code == "invalid-amount"
    assert refusal.value.hint


def test_yen_have_no_decimals() -> None:
    with pytest.raises(InvalidAmount, match="JPY has no decimal places"):
        parse_amount("1.5", JPY)


def test_a_comma_is_answered_with_the_likely_amount() -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount("12,50", EUR)
    assert "12.50" in refusal.value.hint


@given(st.integers(1, 10**15 - 1), st.sampled_from(sorted(CODES)))
def test_what_is_written_is_read_back_exactly(minor: int, code: str) -> None:
    amount = Money(minor, currency(code))
    assert parse_amount(amount.number, amount.currency) == amount
    assert parse_money(str(amount)) == amount


@given(st.text())
def test_no_text_is_read_as_anything_but_plain_digits(text: str) -> None:
    try:
        amount = parse_amount(text, EUR)
    except InvalidAmount:
        return
    assert text.isascii()
    assert set(text) <= set("0123456789.")
    assert amount.minor > 0


def test_currencies_are_never_mixed() -> None:
    with pytest.raises(TypeError):
        Money(1, EUR) + Money(1, JPY)


def test_an_unknown_currency_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownCurrency) as refusal:
        currency("EURO")
    assert "EUR" in refusal.value.hint
