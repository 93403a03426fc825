"""ISO 4217: how many decimals each currency has.

Generated from the published list (a test compares it with the `iso4217` package); codes without a minor
unit, such as XAU or XTS, are left out: no refund is made in them.
"""

from dataclasses import dataclass

from refundcli.domain.errors import UsageProblem, did_you_mean


@dataclass(frozen=True, slots=True, order=True)
class Currency:
    """An ISO 4217 currency; `exponent` is the number of decimals of its minor unit."""

    code: str
    exponent: int

    def __str__(self) -> str:
        return self.code


class UnknownCurrency(UsageProblem):
    code = "unknown-currency"

    def __init__(self, typed_code: str) -> None:
        suggestion = did_you_mean(typed_code.upper(), _CURRENCIES)
        super().__init__(
            f"{typed_code!r} is not an ISO 4217 currency code that refundcli can use.",
            hint=suggestion or "Write the three letters, such as EUR.",
            context={"currency": typed_code},
        )


def currency(code: str) -> Currency:
    """The currency of a three-letter code. Raises UnknownCurrency."""
    match = _CURRENCIES.get(code)
    if match is None:
        raise UnknownCurrency(code)
    return match


_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
        "CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
        "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
        "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
        "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP "
        "TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_CURRENCIES = {code: Currency(code, exponent) for exponent, codes in _BY_EXPONENT.items() for code in codes.split()}
CODES = frozenset(_CURRENCIES)
