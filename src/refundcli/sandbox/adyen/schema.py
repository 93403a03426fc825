"""Adyen's refund request, checked field by field as its published schema does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

REASONS = ("FRAUD", "CUSTOMER REQUEST", "RETURN", "DUPLICATE", "OTHER")
REFERENCE_LENGTH = 80
SPLIT_TYPES = frozenset(
    {"AcquiringFees", "AdyenCommission", "AdyenFees", "AdyenMarkup", "BalanceAccount", "Commission"}
    | {"Default", "Interchange", "MarketPlace", "PaymentFee", "Remainder", "SchemeFee", "Surcharge"}
    | {"Tip", "TopUp", "VAT"}
)


class Invalid(Exception):
    """What is wrong, and the vendor's code for it."""

    def __init__(self, message: str, code: str = "702") -> None:
        super().__init__(message)
        self.message, self.code = message, code


Check = Callable[[str, Any], None]


def text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise Invalid(f"Field '{name}' must be a string")


def number(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise Invalid(f"Field '{name}' must be an integer")


def merchant_account(name: str, value: Any) -> None:
    text(name, value)
    if not value:
        raise Invalid("Invalid Merchant Account", "901")


def reference(name: str, value: Any) -> None:
    text(name, value)
    if len(value) > REFERENCE_LENGTH:
        raise Invalid(f"Field '{name}' takes up to {REFERENCE_LENGTH} characters")


def one_of(allowed_words: frozenset[str] | tuple[str, ...], *, nullable: bool = False) -> Check:
    def check(name: str, value: Any) -> None:
        if not (nullable and value is None) and value not in allowed_words:
            raise Invalid(f"Field '{name}' must be one of {', '.join(sorted(allowed_words))}")

    return check


def hash_of(check_of_field: dict[str, Check], required_fields: tuple[str, ...] = ()) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise Invalid(f"Field '{name}' must be an object")
        unknown_fields = sorted(set(value) - set(check_of_field))
        if unknown_fields:
            raise Invalid(f"Structure of {name} contains the following unknown fields: {unknown_fields}")
        for field in required_fields:
            if field not in value:
                raise Invalid(f"Required field '{field}' is not provided", "100" if field == "amount" else "702")
        for field, member in value.items():
            check_of_field[field](field, member)

    return check


def list_of(check_element: Check) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, list):
            raise Invalid(f"Field '{name}' must be an array")
        for element in value:
            check_element(name, element)

    return check


def currency(name: str, value: Any) -> None:
    text(name, value)
    if len(value) != 3 or not value.isalpha() or not value.isupper():
        raise Invalid("Unsupported currency specified", "138")


def amount_value(name: str, value: Any) -> None:
    number(name, value)
    if value < 1:
        raise Invalid("Invalid amount specified", "137")


def anything(name: str, value: Any) -> None:
    """Nested fields that the sandbox does not check."""


def _all(names: str, check: Check) -> dict[str, Check]:
    return dict.fromkeys(names.split(), check)


AMOUNT = hash_of({"currency": currency, "value": amount_value}, ("currency", "value"))
SPLIT_AMOUNT = hash_of({"currency": text, "value": number}, ("value",))
LINE_ITEM = hash_of(
    _all("amountExcludingTax amountIncludingTax quantity taxAmount taxPercentage", number)
    | _all(
        "brand color description id imageUrl itemCategory manufacturer marketplaceSellerId productUrl"
        " receiverEmail size sku upc",
        text,
    )
)
SPLIT = hash_of(
    _all("account description reference", text) | {"amount": SPLIT_AMOUNT, "type": one_of(SPLIT_TYPES)},
    ("type",),
)
COMMON = hash_of(_all("name version", text))
APPLICATION_INFO = hash_of(
    _all("adyenLibrary adyenPaymentSource merchantApplication", COMMON)
    | {
        "externalPlatform": hash_of(_all("integrator name version", text)),
        "merchantDevice": hash_of(_all("os osVersion reference", text)),
        "shopperInteractionDevice": hash_of(_all("locale os osVersion", text)),
    }
)
REFUND_REQUEST = hash_of(
    {
        "merchantAccount": merchant_account,
        "amount": AMOUNT,
        "reference": reference,
        "merchantRefundReason": one_of(REASONS, nullable=True),
        "lineItems": list_of(LINE_ITEM),
        "splits": list_of(SPLIT),
        "store": text,
        "capturePspReference": text,
        "enhancedSchemeData": hash_of(_all("airline levelTwoThree", anything)),
        "applicationInfo": APPLICATION_INFO,
    },
    ("amount", "merchantAccount"),
)


def check_refund_request(body: Any) -> None:
    REFUND_REQUEST("PaymentRefundRequest", body)
