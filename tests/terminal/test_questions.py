"""What was left out is asked for on a real terminal, and never of a script."""

import shlex
from collections.abc import Callable

import pytest

from desk import Desk
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.services.ports.records import NewPayment
from terminal.terminal import Terminal

AMOUNT = "Amount [100.00 EUR, all that is left]:"
TYPE_IT = "Type 30.00 EUR to confirm:"


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """On one database: the rules are tested on both."""
    return new_sqlite


def sit_down(desk: Desk, command: str) -> Terminal:
    return Terminal(shlex.split(command), desk.environ, columns=140)


def answer(terminal: Terminal, *questions_and_answers: tuple[str, str]) -> None:
    for question, typed in questions_and_answers:
        terminal.wait_for(question)
        terminal.type(typed)


def test_refund_alone_leads_to_a_refund(desk: Desk) -> None:
    reference = desk.paid_by_card()
    terminal = sit_down(desk, "refund")
    answer(
        terminal,
        ("Invoice number:", "inv-1"),
        (AMOUNT, "120"),
        (AMOUNT, "12,5O"),
        (AMOUNT, "30"),
        ("Reason [1-8]:", "5"),
        (TYPE_IT, "30.00 EUR"),
    )
    assert terminal.ends() == 0
    for words in (
        "INV-1   Grace Hopper   Paid 100.00 EUR by card through Stripe   100.00 EUR left to refund",
        "INV-1 has 100.00 EUR left to refund; 120.00 EUR was requested.",
        "'12,5O' is not an amount",
        "Reason  1 Other  2 Chargeback  3 Returned goods  4 Product unsatisfactory",
        "Refunded 30.00 EUR",
    ):
        assert words in terminal.text
    assert desk.refunded_at_provider(reference) == [3000]
    (refund,) = desk.invoice("INV-1").refunds
    assert refund.reason == "overcharged"


QUESTIONS = {
    ("refund", "sent"): [
        ("Invoice number:", "INV-1"), (AMOUNT, "30"), ("Reason [1-8]:", "duplicate"), (TYPE_IT, ""),
    ],
    ("mark-refunded", "recorded"): [
        ("Invoice number:", "INV-2"), ("Reason [1-8]:", "1"), (AMOUNT, ""), ("cash, … (optional):", ""),
        ("of the transfer (optional):", ""), ("Record it? [y/N]", ""),
    ],
    ("void", "changed"): [("Invoice number:", "INV-3"), ("[y/N]", "")],
}  # fmt: skip
PLACES = [(command, place) for command, asked in QUESTIONS.items() for place in range(len(asked))]


@pytest.mark.parametrize("press", [Terminal.press_ctrl_c, Terminal.press_ctrl_d])
@pytest.mark.parametrize(("command", "place"), PLACES)
def test_each_question_can_be_left_without_effect(
    desk: Desk, command: tuple[str, str], place: int, press: Callable[[Terminal], None]
) -> None:
    desk.paid_by_card()
    desk.paid_outside()
    desk.unpaid()
    name, undone_action = command
    terminal = sit_down(desk, name)
    answer(terminal, *QUESTIONS[command][:place])
    terminal.wait_for(QUESTIONS[command][place][0])
    press(terminal)
    is_interrupted = press is Terminal.press_ctrl_c
    assert terminal.ends() == (130 if is_interrupted else 3)
    assert f"{'Interrupted' if is_interrupted else 'Cancelled'}. Nothing was {undone_action}." in terminal.text
    assert (desk.count("refund"), desk.sandbox.refund_requests) == (0, [])
    assert desk.invoice("INV-3").status == "open"


@pytest.mark.parametrize(
    ("question", "given", "wrong"),
    [
        ("Invoice number:", "", "INV-9"),
        (AMOUNT, "INV-1 --reason other", "0"),
        ("Reason [1-8]:", "INV-1 --full", "9"),
        ("Type 100.00 EUR to confirm:", "INV-1 --full --reason other", "100"),
    ],
)
def test_a_wrong_answer_may_be_corrected_three_times(desk: Desk, question: str, given: str, wrong: str) -> None:
    desk.paid_by_card()
    terminal = sit_down(desk, f"refund {given}")
    answer(terminal, *[(question, wrong)] * 4)
    assert terminal.ends() == 3
    assert "No valid answer. Nothing was sent.   [not-confirmed]" in terminal.text
    assert desk.count("refund") == 0


def test_what_was_given_is_not_asked_for(desk: Desk) -> None:
    desk.paid_by_card()
    terminal = sit_down(desk, "refund INV-1 --amount '30 EUR'")
    answer(terminal, ("Reason [1-8]:", "returned goods"), (TYPE_IT, "30.00 eur"))
    assert terminal.ends() == 0
    assert "Amount [" not in terminal.text


def test_the_rules_are_checked_before_any_question(desk: Desk) -> None:
    desk.paid_by_card(dispute=Dispute.OPEN)
    desk.paid_by_card("INV-5", processing=True)
    desk.paid_outside()
    for command, code in (
        ("refund INV-1", "disputed"),
        ("refund INV-5", "currently-processing"),
        ("refund INV-2", "not-auto-refundable"),
        ("mark-refunded INV-5", "use-refund"),
        ("void INV-2", "already-paid"),
    ):
        terminal = sit_down(desk, command)
        assert terminal.ends() == 3
        assert f"[{code}]" in terminal.text
        assert "Amount" not in terminal.text


def test_enter_at_the_amount_takes_all_that_is_left(desk: Desk) -> None:
    reference = desk.paid_by_card()
    terminal = sit_down(desk, "refund INV-1 --reason other")
    answer(terminal, (AMOUNT, ""), ("Type 100.00 EUR to confirm:", "100.00 EUR"))
    assert terminal.ends() == 0
    assert desk.refunded_at_provider(reference) == [10000]


def test_a_won_dispute_asks_for_the_decision(desk: Desk) -> None:
    desk.paid_by_card(dispute=Dispute.WON)
    terminal = sit_down(desk, "refund INV-1 --amount 30 --reason other")
    answer(terminal, ("Who decided what, and when:", "support lead, 2026-11-03"), (TYPE_IT, "30.00 EUR"))
    assert terminal.ends() == 0
    (refund,) = desk.invoice("INV-1").refunds
    assert refund.dispute_decision == "support lead, 2026-11-03"


def test_of_several_payments_one_is_chosen(desk: Desk) -> None:
    first, second = (desk.sandbox.charge("100.00 EUR", provider="stripe").reference for _ in range(2))
    payments = tuple(
        NewPayment(10000, Provider.STRIPE, method="card", reference=reference, auto_refundable=True)
        for reference in (first, second)
    )
    desk.unpaid("INV-6", "200.00 EUR", status=InvoiceStatus.PAID, payments=payments)
    terminal = sit_down(desk, "refund INV-6 --reason other")
    answer(terminal, ("all that is left]:", "30"), ("Payment [1-2]:", "2"), (TYPE_IT, "30.00 EUR"))
    assert terminal.ends() == 0
    assert (desk.refunded_at_provider(first), desk.refunded_at_provider(second)) == ([], [3000])

    desk.json(f"refund {first} --full --reason other --yes")
    assert (desk.refunded_at_provider(first), desk.refunded_at_provider(second)) == ([10000], [3000])


def test_a_record_asks_for_the_reason_first_and_for_optional_details(desk: Desk) -> None:
    desk.paid_outside()
    terminal = sit_down(desk, "mark-refunded")
    answer(
        terminal,
        ("Invoice number:", "INV-2"),
        ("Reason [1-8]:", "3"),
        (AMOUNT, "40"),
        ("Returned by bank transfer, cash, … (optional):", "cash"),
        ("Reference of the transfer (optional):", ""),
        ("Record it? [y/N]", "y"),
    )
    assert terminal.ends() == 0
    (record,) = desk.invoice("INV-2").refunds
    assert (str(record.amount), record.reason, record.out_of_band.method) == ("40.00 EUR", "returned-goods", "cash")  # type: ignore[union-attr]


def test_a_lost_dispute_is_recorded_with_the_reason_chargeback_only(desk: Desk) -> None:
    desk.paid_by_card(dispute=Dispute.LOST)
    terminal = sit_down(desk, "mark-refunded INV-1")
    answer(terminal, ("Reason [1-8]:", "2"), ("[100.00 EUR, all that is left]:", ""), ("(optional):", ""))
    answer(terminal, ("(optional):", ""), ("Record it? [y/N]", "y"))
    assert terminal.ends() == 0
    terminal = sit_down(desk, "mark-refunded INV-1")
    assert terminal.ends() == 3


@pytest.mark.parametrize(("command", "status"), [("void", "void"), ("uncollectible", "uncollectible")])
def test_void_and_uncollectible_ask_for_the_number(desk: Desk, command: str, status: str) -> None:
    desk.unpaid()
    terminal = sit_down(desk, command)
    answer(terminal, ("Invoice number:", ""), ("Invoice number:", "inv-3 "), ("[y/N]", "y"))
    assert terminal.ends() == 0
    assert desk.invoice("INV-3").status == status


def test_a_script_is_told_what_is_missing(desk: Desk) -> None:
    desk.paid_by_card()
    for command, code, hint in (
        ("refund --yes", "one-or-many", "refundcli refund INV-7 --full --reason duplicate"),
        ("refund INV-1 --reason other --yes", "full-or-amount", "refundcli refund INV-1 --full --reason other"),
        ("void --yes", "number-missing", "refundcli void NUMBER"),
    ):
        error = desk.refused(command, code, exit_code=2)
        assert hint in error["hint"]
    desk.refused("refund INV-1 --full --yes", "unknown-reason")
    terminal = sit_down(desk, "--no-input refund INV-1 --yes")
    assert terminal.ends() == 2
    assert "[full-or-amount]" in terminal.text


def test_full_with_amount_is_refused_plainly(desk: Desk) -> None:
    desk.paid_by_card()
    error = desk.refused("refund INV-1 --full --amount 5 --reason other --yes", "full-or-amount", exit_code=2)
    assert error["message"] == "--full and --amount cannot be combined: --full refunds all that is left."
    assert error["hint"].endswith("refundcli refund INV-1 --amount 5 --reason other")
