"""Each provider has its own minor units: 10 CLP in the books is sent as 10 or as 1000."""

import pytest

from desk import Desk

# amount in major units → minor units sent to (Stripe, Adyen)
ON_THE_WIRE = {
    "1234 JPY": (1234, 1234),
    "12.340 KWD": (12340, 12340),
    "12.34 EUR": (1234, 1234),
    "10 CLP": (10, 1000),
    "100 ISK": (10000, 10000),
    "5000 UGX": (500000, 5000),
    "1000.00 IDR": (100000, 1000),
}


@pytest.mark.parametrize("provider", ["stripe", "adyen"])
@pytest.mark.parametrize("amount", ON_THE_WIRE)
def test_each_currency_leaves_in_the_units_of_its_provider(desk: Desk, provider: str, amount: str) -> None:
    reference = desk.paid_by_card("INV-1", amount, provider=provider)
    number, _, code = amount.partition(" ")
    refund = desk.json(f"refund INV-1 --amount {number} --reason other --yes")["refunds"][0]
    assert refund["amount"] == {
        "amount": number,
        "amount_minor": desk.invoice("INV-1").paid.minor,
        "currency": code,
    }
    assert desk.refunded_at_provider(reference) == [ON_THE_WIRE[amount][provider == "adyen"]]


def test_a_rest_that_is_too_fine_for_the_provider_is_recorded(desk: Desk) -> None:
    desk.paid_by_card("INV-1", "8.250 KWD", returned_elsewhere=5)
    desk.refused("mark-refunded INV-1 --full --reason other --yes", "use-refund")
    desk.json("refund INV-1 --amount 8.240 --reason other --yes")
    desk.refused("refund INV-1 --full --reason other --yes", "amount-not-exact")
    answer = desk.json("mark-refunded INV-1 --full --reason other --yes")
    assert answer["invoice"]["status"] == "refunded"


def test_an_amount_finer_than_the_providers_is_refused_and_never_rounded(desk: Desk) -> None:
    desk.paid_by_card("INV-1", "12.340 KWD")
    error = desk.refused("refund INV-1 --amount 1.234 --reason other --yes", "amount-not-exact")
    assert "1.230 KWD" in str(error["hint"])
    assert desk.sandbox.refund_requests == []
    assert desk.invoice("INV-1").reserved.minor == 0
