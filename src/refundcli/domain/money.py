"""Money: a whole number of minor units in one currency, never a float."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from refundcli.domain.currencies import Currency, currency
from refundcli.domain.errors import UsageProblem

K = TypeVar("K")

# 18 digits of minor units fit a signed 64-bit column with room for sums.
_MAX_DIGITS = 15
_MOST_MINOR = 10**18
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_WITH_CURRENCY = re.compile(r"(\S+) ([A-Za-z]{3})")
# `1,234.50`, `1.234,50`, `1 234,50`, `1'234.50`: one separator of thousands, and another one of decimals.
_IN_THOUSANDS = re.compile(r"([1-9][0-9]{0,2}([., '’\u00a0\u202f])[0-9]{3}(?:\2[0-9]{3})*)(?:(?!\2)[.,]([0-9]+))?")
# Thousands to some readers, decimals to others.
_AMBIGUOUS = re.compile(r"[1-9][0-9]{0,2}[,.][0-9]{3}")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in ISO 4217 minor units: Money(1250, EUR) is 12.50 EUR, Money(1250, JPY) is 1250 JPY."""

    minor: int
    currency: Currency

    def __add__(self, amount: "Money") -> "Money":
        return Money(self.minor + self._same(amount), self.currency)

    def __sub__(self, amount: "Money") -> "Money":
        return Money(self.minor - self._same(amount), self.currency)

    def __lt__(self, amount: "Money") -> bool:
        return self.minor < self._same(amount)

    def __le__(self, amount: "Money") -> bool:
        return self.minor <= self._same(amount)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __str__(self) -> str:
        return f"{self.number} {self.currency.code}"

    @property
    def number(self) -> str:
        """The amount in major units with a point and all decimals of the currency: `12.50`."""
        return _in_major_units(self.minor, self.currency.exponent)

    def _same(self, amount: "Money") -> int:
        if amount.currency is not self.currency and amount.currency != self.currency:
            raise TypeError(f"{self.currency} and {amount.currency} cannot be combined")
        return amount.minor


def zero(of_currency: Currency) -> Money:
    return Money(0, of_currency)


def add_to(totals: dict[K, Money], key: K, amount: Money) -> None:
    """Add to the total under this key, which is of one currency."""
    totals[key] = totals[key] + amount if key in totals else amount


class InvalidAmount(UsageProblem):
    """An amount that is not plain digits with a point, exact to its currency (R3)."""

    code = "invalid-amount"

    def __init__(self, text: str, why: str, suggestion: str, *, message: str = "") -> None:
        super().__init__(
            message or f"{shown(text)} is not an amount: {why}{'' if why.endswith('?') else '.'}",
            hint=f"Write {suggestion}.",
            context={"value": text[:100]},
        )
        self.why = why


def parse_amount(text: str, of_currency: Currency, *, allow_zero: bool = False) -> Money:
    """Read an amount in major units, exactly; nothing is rounded or guessed. Raises InvalidAmount."""
    example = Money(1250 if of_currency.exponent < 3 else 12500, of_currency).number
    whole_digits, fraction_digits = _parts(text, example, of_currency.exponent)
    if len(fraction_digits) > of_currency.exponent:
        raise _too_many_decimals(text, of_currency)
    minor = int(whole_digits + fraction_digits.ljust(of_currency.exponent, "0"))
    if minor == 0 and not allow_zero:
        raise _not_positive(text)
    if minor >= _MOST_MINOR:
        raise InvalidAmount(text, "it is more than the books can hold", f"it like {example}")
    return Money(minor, of_currency)


def check_amount(text: str) -> None:
    """Check the form of an amount whose currency is not known yet. Raises InvalidAmount."""
    _parts(text, "12.50", None)
    if not text.strip("0."):
        raise _not_positive(text)


def _too_many_decimals(text: str, of_currency: Currency) -> InvalidAmount:
    decimals = of_currency.exponent
    numbers = _readings(text, decimals)
    decimal_words = f"{decimals} decimals" if decimals else "no decimals"
    question = f": {_or(numbers)}?" if len(numbers) > 1 else ""
    return InvalidAmount(text, f"{of_currency.code} has {decimal_words}{question}", _or(numbers))


def _readings(text: str, decimals: int) -> list[str]:
    """Every amount that `1.250` or `12.505` may mean: with a separator of thousands, and the nearest ones with a point.

    None of them is zero.
    """
    whole_digits, fraction_digits = re.split("[,.]", text)
    scale = 10 ** len(fraction_digits)
    lower_minor, is_between = divmod(int(whole_digits + fraction_digits) * 10**decimals, scale)
    minors = [int(whole_digits + fraction_digits) * 10**decimals] if _AMBIGUOUS.fullmatch(text) else []
    minors += [lower_minor, lower_minor + 1] if is_between else [lower_minor]
    return [_in_major_units(minor, decimals) for minor in minors if minor] or [_in_major_units(1, decimals)]


def _in_major_units(minor: int, decimals: int) -> str:
    sign, digits = ("-" if minor < 0 else ""), str(abs(minor)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else sign + digits


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _not_positive(text: str) -> InvalidAmount:
    why = "it must be greater than zero"
    return InvalidAmount(text, why, "an amount greater than zero", message="The amount must be greater than zero.")


def _parts(text: str, example: str, decimals: int | None) -> tuple[str, str]:
    """The digits before and after the point. Raises InvalidAmount.

    `decimals`: those of the currency; None while it is not known.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise InvalidAmount(text, _what_is_wrong(text, decimals), _instead(text, decimals) or f"it like {example}")
    if len(match[1]) > _MAX_DIGITS:
        raise InvalidAmount(text, f"more than {_MAX_DIGITS} digits", f"it like {example}")
    return match[1], match[2] or ""


def parse_money(text: str) -> Money:
    """Read `12.50 EUR`. Raises InvalidAmount or UnknownCurrency."""
    match = _WITH_CURRENCY.fullmatch(text.strip())
    if match is None:
        raise InvalidAmount(text, "the amount and its currency are needed", "it like 12.50 EUR")
    return parse_amount(match[1], currency(match[2].upper()))


def _what_is_wrong(text: str, decimals: int | None) -> str:
    stripped = text.strip()
    if not stripped:
        return "it is empty"
    if _without_currency_sign(stripped) != stripped:
        return "leave out the currency sign"
    if not stripped.isascii():
        return "it has characters other than the digits 0 to 9 and a point"
    if _is_ambiguous(stripped, decimals):
        return "a comma may mean thousands or decimals"
    reasons = (
        (r"[+-].*", "it has a sign"),
        (r"[0-9]+[eE].*", "exponents are not allowed"),
        (r"[A-Za-z]+", "it is not a number"),
        (r".*[A-Za-z]{3}", "leave out the currency, which is the invoice's"),
        (_IN_THOUSANDS, "leave out the thousands separator"),
        (r".*,.*", "the decimal separator is a point"),
        (r"0[0-9].*", "leave out the leading zero"),
        (r"\.[0-9]+|[0-9]+\.", "digits are needed on both sides of the point"),
    )
    return next(
        (why for pattern, why in reasons if re.fullmatch(pattern, stripped)),
        "only digits and a point are allowed",
    )


def _instead(text: str, decimals: int | None) -> str:
    """The amount that was most likely intended, or both if a comma may mean either; "" if it cannot be told."""
    bare_text = _without_currency_sign(text)
    if bare_text != text:
        return bare_text if _AMOUNT.fullmatch(bare_text) else _instead(bare_text, decimals)
    if _is_ambiguous(text, decimals):
        with_point, as_thousands = text.replace(",", "."), text.replace(",", "")
        if decimals is None:
            return f"{as_thousands}, or {with_point} in a currency with three decimals"
        if decimals < 3:
            return _or(_readings(text, decimals))
        return f"{with_point}, or {as_thousands} if the comma separates thousands"
    most_decimals = 2 if decimals is None else decimals
    if match := _IN_THOUSANDS.fullmatch(text):
        whole_text, fraction = match[1], match[3] or ""
        whole_digits = "".join(filter(str.isdigit, whole_text))
        return _with_point(whole_digits, fraction) if len(fraction) <= most_decimals else ""
    if (match := re.fullmatch(r"([0-9]+),([0-9]+)", text)) and len(match[2]) <= most_decimals:
        return _with_point(match[1], match[2])
    if re.fullmatch(r"[0-9]+,[0-9]+", text) and decimals == 0:
        return _or(_readings(text, decimals))
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s+[A-Za-z]{3}\s*", text):
        return text.split()[0]
    if re.fullmatch(r"\.[0-9]+", text):
        return f"0{text}"
    return ""


def _with_point(whole_digits: str, fraction_digits: str) -> str:
    return f"{whole_digits}.{fraction_digits}" if fraction_digits else whole_digits


def _is_ambiguous(text: str, decimals: int | None) -> bool:
    """Can its comma separate thousands, and also decimals?"""
    return decimals != 0 and "," in text and _AMBIGUOUS.fullmatch(text) is not None


def _without_currency_sign(text: str) -> str:
    """`12.50` of `€12.50` and of `12.50 €`; any other text as it is."""
    if text and unicodedata.category(text[0]) == "Sc":
        return text[1:].strip()
    if text and unicodedata.category(text[-1]) == "Sc":
        return text[:-1].strip()
    return text


def shown(text: str) -> str:
    """What was typed, in quotes and shortened, with control characters escaped."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
