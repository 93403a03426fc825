"""The screen of a payment that pays several invoices."""

import pytest

from desk import Desk
from terminal.terminal import Terminal


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """One database is enough here."""
    return new_sqlite


def test_an_invoice_names_the_others_that_its_payment_pays(desk: Desk) -> None:
    share = {"amount": "100.00", "payment_amount": 15000, "reference": "pi_both"}
    desk.sandbox.invoice("100.00 EUR", number="INV-A", payments=[share])
    desk.sandbox.invoice("50.00 EUR", number="INV-B", payments=[{"amount": "50.00", "reference": "pi_both"}])
    desk.json("invoice pull stripe")
    refund_id = desk.sandbox.dashboard_refund("pi_both", 3000)
    desk("reconcile")
    first = next(number for number in ("INV-A", "INV-B") if desk.invoice(number).refunds)
    (second,) = {"INV-A", "INV-B"} - {first}
    looking = Terminal(["invoice", "show", second], desk.environ, columns=160)
    assert looking.ends() == 0
    screen = " ".join(looking.text.split())
    assert f"shared with {first}" in screen
    assert f"30.00 EUR refunded externally ({refund_id}), listed with {first}" in screen
