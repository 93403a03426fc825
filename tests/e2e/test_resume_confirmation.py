"""resume: look-ups and replays never ask; a first send needs the same confirmation as refund and void."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from desk import Desk
from left_behind import leave_it_ready
from terminal.terminal import Terminal


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    """Does not depend on the store."""
    return new_sqlite


def make_live(desk: Desk) -> None:
    """The books of a live Adyen account; connecting needs no network, and nothing is sent."""
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE store_info SET livemode = :live"), {"live": True})
    del desk.environ["REFUNDCLI_ADYEN_API_BASE"]
    desk.environ |= {"REFUNDCLI_ADYEN_ENVIRONMENT": "live", "REFUNDCLI_ADYEN_LIVE_ENDPOINT_PREFIX": "1797a841-Shop"}


def test_an_unconfirmed_ready_refund_stays_ready_with_its_next_command(desk: Desk) -> None:
    desk.paid_by_card()
    refund = leave_it_ready(desk, "--amount 40")
    (outcome,) = desk.json("resume", exit_code=8)
    assert (outcome["status"], outcome["step"]) == ("ready", "not-confirmed")
    command = outcome["note"].partition("Next: refundcli ")[2]
    assert command == f"resume {refund} --yes"
    assert desk.sandbox.refund_requests == []
    assert f"resume {refund} --yes" in desk("resume").err
    (entry,) = desk.json(command)
    assert entry["status"] == "succeeded"


def test_what_may_have_been_sent_is_settled_meanwhile_and_asks_nothing(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    ready = leave_it_ready(desk, "--amount 40", "INV-1")
    desk.paid_by_card("INV-2")
    desk.sandbox.faults("drop_after")
    desk.json("refund INV-2 --amount 10 --reason other --yes", exit_code=8)
    count = len(desk.sandbox.refund_requests)
    first, second = desk.json("resume", exit_code=8)
    assert (first["id"], first["status"]) == (ready, "ready")
    assert (second["status"], second["step"]) == ("succeeded", "settled")
    assert len(desk.sandbox.refund_requests) == count


def test_several_are_confirmed_by_the_total_of_each_currency(desk: Desk) -> None:
    references = [desk.paid_by_card(f"INV-{n}", amount) for n, amount in ((1, "100.00 USD"), (2, "100.00 EUR"))]
    references.append(desk.paid_by_card("INV-3", "100.00 EUR"))
    for n in (1, 2, 3):
        leave_it_ready(desk, "--amount 40", f"INV-{n}")
    for wrong in ("40.00 EUR", "120.00 EUR", "80.00 EUR", "40.00 USD, 80.00 EUR"):
        error = desk.refused(f"resume --confirm '{wrong}'", "not-confirmed")
        assert "80.00 EUR, 40.00 USD" in str(error["message"])
    assert desk.sandbox.refund_requests == []
    outcomes = desk.json("resume --confirm '80.00 eur,  40.00 usd'")
    assert [outcome["status"] for outcome in outcomes] == ["succeeded"] * 3
    assert [desk.refunded_at_provider(reference) for reference in references] == [[4000]] * 3


def test_what_a_living_process_is_about_to_send_is_in_no_sum_and_left_to_it(desk: Desk) -> None:
    references = [desk.paid_by_card(f"INV-{n}") for n in (1, 2)]
    leased, _ = (leave_it_ready(desk, "--amount 40", f"INV-{n}") for n in (1, 2))
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=10)
    with desk.books.engine.begin() as line:
        line.execute(
            text("UPDATE refund SET lease_owner = 'web-2|boot/1|7|8', lease_until = :until WHERE id = :id"),
            {"until": until, "id": leased},
        )
    first, second = desk.json("resume --confirm '40.00 EUR'", exit_code=8)
    assert (first["status"], first["step"]) == ("ready", "leased-elsewhere")
    assert "web-2 (process 7)" in first["note"]
    assert second["status"] == "succeeded"
    assert [desk.refunded_at_provider(reference) for reference in references] == [[], [4000]]


@pytest.mark.parametrize("answer", ["", "--yes"])
def test_live_money_needs_the_amount_and_says_so_first(desk: Desk, answer: str) -> None:
    desk.paid_by_card(provider="adyen")
    refund = leave_it_ready(desk, "--amount 40")
    make_live(desk)
    output = desk(f"resume {answer} -o json")
    assert (output.exit_code, output.json[0]["status"]) == (8, "ready")
    assert "LIVE Adyen" in output.err
    assert output.json[0]["note"].endswith(f'refundcli resume {refund} --confirm "40.00 EUR"')
    wrong = desk(f"resume {refund} --confirm '41.00 EUR'")
    assert (wrong.exit_code, "[not-confirmed]" in wrong.err) == (3, True)


def test_the_banner_is_shown_without_a_prompt_too(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    desk.sandbox.faults("drop_before", provider="adyen")
    desk("refund INV-1 --amount 40 --reason other --yes")
    make_live(desk)
    answer = desk("resume -o json")
    assert "LIVE Adyen" in answer.err
    assert answer.json[0]["step"] == "other-account"


def test_a_refund_whose_provider_cannot_be_connected_is_not_sent(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    leave_it_ready(desk, "--amount 40")
    del desk.environ["REFUNDCLI_ADYEN_API_KEY"]
    (outcome,) = desk.json("resume --yes", exit_code=8)
    assert (outcome["status"], outcome["step"]) == ("ready", "not-asked")


def sit_down(desk: Desk, *command: str) -> Terminal:
    return Terminal(command, desk.environ)


@pytest.mark.parametrize(("typed", "code", "amounts"), [("40.00 EUR", 0, [4000]), ("n", 8, []), ("", 8, [])])
def test_at_a_terminal_the_total_is_typed(desk: Desk, typed: str, code: int, amounts: list[int]) -> None:
    reference = desk.paid_by_card()
    refund = leave_it_ready(desk, "--amount 40")
    terminal = sit_down(desk, "resume")
    terminal.wait_for("Type 40.00 EUR to confirm:")
    for words in (
        "This will send 1 refund that was never sent before (test mode)",
        "40.00 EUR of INV-1",
        refund,
        "cannot be undone",
    ):
        assert words in terminal.text
    terminal.type(typed)
    assert terminal.ends() == code
    assert desk.refunded_at_provider(reference) == amounts
    if code:
        assert f"resume {refund} --yes" in " ".join(terminal.text.split())


def test_ctrl_c_at_the_question_settles_and_sends_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    leave_it_ready(desk, "--amount 40")
    terminal = sit_down(desk, "resume")
    terminal.wait_for("to confirm:")
    terminal.press_ctrl_c()
    assert terminal.ends() == 130
    assert desk.sandbox.refund_requests == []


def test_there_is_no_prompt_without_a_first_send(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    desk("refund INV-1 --amount 40 --reason other --yes")
    terminal = sit_down(desk, "resume")
    assert terminal.ends() == 0
    assert "to confirm" not in terminal.text
