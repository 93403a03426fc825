"""Amounts are exact, in their currency's own decimals, and never guessed."""

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundcli.domain.currencies import CODES, Currency, UnknownCurrency, currency
from refundcli.domain.money import InvalidAmount, Money, check_amount, parse_amount, parse_money
from refundcli.domain.typed_amount import parse_typed_amount

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


@pytest.mark.parametrize(
    ("text", "of", "question"),
    [
        ("12.50", JPY, "JPY has no decimals: 12 or 13?"),
        ("12.505", EUR, "EUR has 2 decimals: 12505.00, 12.50 or 12.51?"),
        ("1.250", EUR, "EUR has 2 decimals: 1250.00 or 1.25?"),
        ("0.005", EUR, "EUR has 2 decimals."),
    ],
)
def test_too_many_decimals_are_answered_with_what_may_be_meant(text: str, of: Currency, question: str) -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount(text, of)
    assert refusal.value.message.endswith(question)


@pytest.mark.parametrize("text", ["30", "30.00", " 30 ", "30 EUR", "30.00eur", "EUR 30", "€30", "30 €"])
def test_a_typed_amount_may_have_the_currency_of_the_invoice(text: str) -> None:
    assert parse_typed_amount(text, EUR) == Money(3000, EUR)


@pytest.mark.parametrize("text", ["30 USD", "$30", "JPY 30"])
def test_a_typed_amount_in_another_currency_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmount, match="the invoice is in EUR, not"):
        parse_typed_amount(text, EUR)


def test_a_comma_is_answered_with_the_likely_amount() -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount("12,50", EUR)
    assert "12.50" in refusal.value.hint


@pytest.mark.parametrize(
    ("text", "of", "hint"),
    [
        ("1,250", KWD, "Write 1.250, or 1250 if the comma separates thousands."),
        ("0,250", KWD, "Write 0.250."),
        ("1234,250", KWD, "Write 1234.250."),
        ("1,250", EUR, "Write 1250.00 or 1.25."),
        ("1.234,50", EUR, "Write 1234.50."),
        ("1,234.50", EUR, "Write 1234.50."),
        ("1,250", JPY, "Write 1250."),
        ("12,50", JPY, "Write 12 or 13."),
    ],
)
def test_a_comma_that_may_mean_thousands_or_decimals_gets_both_answers(text: str, of: Currency, hint: str) -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount(text, of)
    assert refusal.value.hint == hint


def test_without_a_currency_a_comma_before_three_digits_gets_both_answers() -> None:
    with pytest.raises(InvalidAmount) as refusal:
        check_amount("1,250")
    assert refusal.value.hint == "Write 1250, or 1.250 in a currency with three decimals."


@pytest.mark.parametrize("text", ["€12.50", "€12,50", "12.50 €", "$12.50", "£ 12.50"])
def test_a_currency_sign_is_shown_and_to_be_left_out(text: str) -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount(text, EUR)
    assert refusal.value.message == f"'{text}' is not an amount: leave out the currency sign."
    assert refusal.value.hint == "Write 12.50."


@pytest.mark.parametrize(("text", "shown"), [("\x1b[1m5", r"\x1b[1m5"), ("5\u202e", r"5\u202e"), ("5\n", r"5\n")])
def test_control_characters_of_an_amount_are_escaped(text: str, shown: str) -> None:
    with pytest.raises(InvalidAmount) as refusal:
        parse_amount(text, EUR)
    assert f"'{shown}' is not an amount" in refusal.value.message


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
