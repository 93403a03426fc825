"""reconcile on a real terminal: differences, progress and questions."""

import shlex

import pytest

from desk import Desk
from terminal.terminal import Terminal


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """One database is enough here."""
    return new_sqlite


def at_terminal(desk: Desk, command: str) -> Terminal:
    return Terminal(shlex.split(command), desk.environ, columns=120)


def shown(desk: Desk, command: str, *, exit_code: int = 0) -> str:
    terminal = at_terminal(desk, command)
    assert terminal.ends() == exit_code, terminal.text
    return terminal.text


def test_a_dashboard_refund_is_adopted_with_a_prompted_reason(desk: Desk) -> None:
    reference = desk.paid_by_card()
    words = shown(desk, "refund INV-1 --full --reason other --dry-run")
    assert (
        f"Checked with Stripe: {reference} has 100.00 EUR captured, 0.00 refunded, no dispute. The books agree."
        in words
    )

    refund_id = desk.sandbox.dashboard_refund(reference, 3000)
    words = shown(desk, "refund INV-1 --full --reason other --dry-run", exit_code=3)
    assert "refund: nothing here, 30.00 EUR there" in words
    assert "refundcli reconcile --invoice INV-1" in words

    comparing = at_terminal(desk, "reconcile")
    assert comparing.ends() == 3
    assert "Asking Stripe" in comparing.raw
    assert "1 payment compared with Stripe: 1 differs, 1 applied." in comparing.text
    assert "refund missing-here" in comparing.text
    assert f"Next: refundcli reconcile --adopt {refund_id} --reason REASON" in comparing.text

    assert "refundcli reconcile --adopt rf_" in shown(desk, "status", exit_code=8)
    adopting = at_terminal(desk, f"reconcile --adopt {refund_id}")
    adopting.wait_for("Reason")
    adopting.type("duplicate")
    assert adopting.ends() == 0
    assert "Adopted 30.00 EUR of INV-1   credit note CN-" in adopting.text
    assert "the books agree" in shown(desk, "reconcile")


def test_report_progress_is_shown_and_a_reversed_refund_is_acknowledged(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    desk.sandbox.settle(desk.sandbox.refunds[-1].id, event="REFUND_FAILED", reason="account closed")
    report = desk.folder / "report.csv"
    report.write_text(desk.sandbox.report("payment-accounting"))
    comparing = at_terminal(desk, f"reconcile --report {report}")
    assert comparing.ends() == 3
    for stage in ("Reading", "Comparing", "Looking for missing rows"):
        assert stage in comparing.raw
    assert "refund status" in comparing.text

    assert "1 thing needs attention" in shown(desk, "status", exit_code=8)
    assert "next: refundcli acknowledge" in " ".join(shown(desk, "invoice show INV-1").split())
    (refund,) = desk.invoice("INV-1").refunds
    knowing = at_terminal(desk, f"acknowledge {refund.id}")
    knowing.wait_for("Acknowledge it?")
    knowing.type("y")
    assert knowing.ends() == 0
    assert "Check in Adyen's dashboard" in knowing.text
    assert "All clear" in shown(desk, "status")
