"""status on a real terminal."""

import pytest

from desk import Desk
from terminal.terminal import Terminal


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """One database is enough here."""
    return new_sqlite


def test_status_shows_the_step_of_an_unfinished_refund_and_the_next_command(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    assert desk("refund INV-1 --amount 40 --reason other --yes").exit_code == 8
    (refund,) = desk.json("status", exit_code=8)["unfinished"]
    looking = Terminal(["status"], desk.environ, columns=100, new_python=True)
    assert looking.ends() == 8
    screen = " ".join(looking.text.split())
    assert "INV-1 40.00 EUR Stripe not confirmed for" in screen
    assert refund["command"] in screen
    assert "Stripe: not compared yet; no delivery received yet" in screen
