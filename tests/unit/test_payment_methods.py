"""Limits of each payment method, checked before sending where the vendor documents them."""

import pytest

from refundcli.domain.payment_methods import ANYTHING_GOES, method_rule, warning, why_not_this_way
from refundcli.domain.statuses import Provider

ADYEN, STRIPE = Provider.ADYEN, Provider.STRIPE


@pytest.mark.parametrize(
    "method",
    [
        *("klarna", "klarna_paynow", "Klarna", "Klarna Pay Later", "Pay later with Klarna", "affirm", "afterpaytouch"),
        *("afterpay_default", "Afterpay / Clearpay", "clearpay", "atome", "oney", "facilypay_3x", "3x 4x Oney"),
        *("ratepay", "ratepay_directdebit", "walley", "walley_b2b", "zip", "ZIP"),
    ],
)
def test_a_part_of_a_payment_with_line_items_is_refused_and_all_of_it_is_not(method: str) -> None:
    assert "line items" in why_not_this_way(ADYEN, method, is_partial=True)
    assert why_not_this_way(ADYEN, method, is_partial=False) == ""


@pytest.mark.parametrize(
    "method", ["", "card", "visa", "mc", "AmEx", "ideal", "MoneyGram", "bank transfer", "gift card"]
)
@pytest.mark.parametrize("provider", Provider)
def test_ordinary_methods_are_refunded_in_part_and_in_full(provider: Provider, method: str) -> None:
    assert why_not_this_way(provider, method, is_partial=True) == ""
    assert why_not_this_way(provider, method, is_partial=False) == ""


def test_paypal_is_refunded_in_part_with_a_warning_about_several_captures() -> None:
    assert why_not_this_way(ADYEN, "PayPal", is_partial=True) == ""
    assert "captured in several parts" in warning(ADYEN, "PayPal")
    assert warning(STRIPE, "paypal") == ""


@pytest.mark.parametrize("is_partial", [True, False])
def test_paypal_captured_in_several_parts_is_refused(is_partial: bool) -> None:
    assert "capturePspReference" in why_not_this_way(ADYEN, "paypal", is_partial=is_partial, captures=2)
    assert why_not_this_way(ADYEN, "visa", is_partial=is_partial, captures=2) == ""


@pytest.mark.parametrize(("provider", "method"), [(STRIPE, "boleto"), (STRIPE, "Boleto"), (ADYEN, "oxxo")])
@pytest.mark.parametrize("is_partial", [True, False])
def test_a_method_without_refunds_is_refused_and_the_next_step_named(
    provider: Provider, method: str, is_partial: bool
) -> None:
    assert "mark-refunded" in why_not_this_way(provider, method, is_partial=is_partial)


@pytest.mark.parametrize("method", ["customer_balance", "bank transfer", "konbini", "promptpay", "PromptPay"])
def test_the_customer_must_answer_an_email_within_45_days(method: str) -> None:
    rule = method_rule(STRIPE, method)
    assert (rule.needs_email, rule.answer_days, rule.window_days) == (True, 45, 180)
    assert "45 days" in warning(STRIPE, method)


@pytest.mark.parametrize("method", ["sepadirectdebit", "SEPA direct debit", "ach", "directdebit_GB", "BACS"])
def test_a_bank_debit_at_adyen_can_still_be_charged_back(method: str) -> None:
    assert "charge this payment back" in warning(ADYEN, method)


def test_a_method_that_is_not_listed_allows_anything() -> None:
    assert method_rule(STRIPE, "card") is ANYTHING_GOES
    assert warning(ADYEN, "visa") == ""


@pytest.mark.parametrize("method", ["klarna", "boleto", "oxxo"])
def test_a_rule_holds_for_its_own_provider_only(method: str) -> None:
    provider = STRIPE if method != "boleto" else ADYEN
    assert why_not_this_way(provider, method, is_partial=True) == ""
