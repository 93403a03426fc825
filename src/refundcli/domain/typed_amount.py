"""An amount as a person types it: with its currency, if they like."""

import re

from refundcli.domain.currencies import CODES, Currency
from refundcli.domain.money import InvalidAmount, Money, parse_amount, shown

_WITH_CURRENCY = re.compile(r"([A-Za-z]{3}|[$€£¥₩₹])? *([^A-Za-z$€£¥₩₹]+?) *([A-Za-z]{3}|[$€£¥₩₹])?")
# A sign that several currencies use stands for the invoice's own.
_CODES_OF_SIGNS = {
    "€": "EUR",
    "£": "GBP GIP FKP SHP",
    "$": "USD AUD BBD BMD BND BSD BZD CAD CLP COP DOP FJD GYD HKD JMD KYD LRD MXN NZD SGD TTD TWD XCD",
    "¥": "JPY CNY",
    "₩": "KRW",
    "₹": "INR",
}


def parse_typed_amount(text: str, of_currency: Currency) -> Money:
    """Read `30.00`, `30.00 EUR`, `EUR 30.00` or `€30.00`, exactly. Raises InvalidAmount."""
    stripped = text.strip()
    match = _WITH_CURRENCY.fullmatch(stripped)
    typed_currencies = [typed for typed in (match[1], match[3]) if typed] if match else []
    if match is None or not typed_currencies or not _all_known(typed_currencies):
        return parse_amount(stripped, of_currency)
    for typed_currency in typed_currencies:
        if of_currency.code not in _codes(typed_currency):
            raise _other_currency(text, typed_currency, of_currency)
    return parse_amount(match[2], of_currency)


def _other_currency(text: str, typed_currency: str, of_currency: Currency) -> InvalidAmount:
    why = f"the invoice is in {of_currency.code}, not {typed_currency}"
    return InvalidAmount(text, why, f"the amount in {of_currency.code}", message=f"{shown(text)}: {why}.")


def _all_known(typed_currencies: list[str]) -> bool:
    """Any other letters are a typing error of the amount."""
    return all(code in CODES for typed_currency in typed_currencies for code in _codes(typed_currency))


def _codes(typed_currency: str) -> list[str]:
    return _CODES_OF_SIGNS.get(typed_currency, typed_currency.upper()).split()
