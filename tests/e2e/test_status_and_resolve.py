"""The first look of the day, and the last resort."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from desk import Desk
from refundcli.domain.statuses import Dispute
from refundcli.store.checking import unsound


def lose_the_answer(desk: Desk, *, provider: str = "stripe", hours_ago: float = 0) -> str:
    """A refund of 60.00 whose outcome is not known, first sent so long ago."""
    desk.sandbox.faults("drop_before", provider=provider)  # type: ignore[arg-type]
    refund = desk.json("refund INV-1 --amount 60 --reason duplicate --yes", exit_code=8)["refunds"][0]["id"]
    if hours_ago:
        at = (datetime.now(UTC) - timedelta(hours=hours_ago)).replace(tzinfo=None)
        with desk.books.engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            connection.execute(text("UPDATE refund SET first_sent_at = :at"), {"at": at})
            connection.commit()
    return str(refund)


def test_a_quiet_day_ends_with_nothing(desk: Desk) -> None:
    desk.paid_by_card("INV-1", dispute=Dispute.OPEN)
    desk.paid_by_card("INV-2", provider="adyen")
    desk.json("refund INV-2 --amount 1 --reason other --yes")
    answer = desk.json("status")
    assert (answer["needs_someone"], answer["unfinished"]) == (False, [])
    assert [each["invoice"] for each in answer["pending"]] == ["INV-2"]
    assert answer["disputed"] == ["INV-1"]
    assert answer["livemode"] is False


def test_what_was_left_behind_is_told_with_the_command_that_settles_it(desk: Desk) -> None:
    desk.paid_by_card()
    refund = lose_the_answer(desk)
    (told,) = desk.json("status", exit_code=8)["unfinished"]
    assert (told["id"], told["next"], told["command"]) == (refund, "resume", f"refundcli resume {refund}")
    assert desk(told["command"].removeprefix("refundcli ")).exit_code == 0
    assert desk("status").exit_code == 0


def test_past_the_key_window_only_a_person_can_end_it(desk: Desk) -> None:
    desk.paid_by_card()
    refund = lose_the_answer(desk, hours_ago=21)
    (told,) = desk.json("status", exit_code=8)["unfinished"]
    assert told["next"] == "resolve"
    answer = desk.json(f"resolve {refund} --not-executed --evidence 'dashboard, A. Osei' --yes")
    assert answer["refunds"][0]["status"] == "failed"
    assert answer["invoice"]["refundable"]["amount"] == "100.00"
    assert desk("status").exit_code == 0
    assert "dashboard, A. Osei" in str(desk.json("invoice history INV-1"))
    assert desk.books.inspect(lambda session: list(unsound(session))) == []


@pytest.mark.parametrize(("provider", "state"), [("stripe", "succeeded"), ("adyen", "pending")])
def test_a_refund_that_was_made_after_all_is_taken_down_by_its_reference(desk: Desk, provider: str, state: str) -> None:
    desk.paid_by_card(provider=provider)
    refund = lose_the_answer(desk, provider=provider, hours_ago=24 * 8)
    answer = desk.json(f"resolve {refund} --provider-reference REF123 --evidence 'support, case 4711' --yes")
    told = answer["refunds"][0]
    assert (told["status"], told["provider_reference"], told["credit_note"]["status"]) == (state, "REF123", "issued")
    assert desk.books.inspect(lambda session: list(unsound(session))) == []


def test_nothing_is_resolved_by_hand_that_a_machine_can_settle(desk: Desk) -> None:
    desk.paid_by_card()
    refund = lose_the_answer(desk)
    desk.refused(f"resolve {refund} --not-executed --evidence x --yes", "resume-first")
    desk.json("resume")
    desk.refused(f"resolve {refund} --not-executed --evidence x --yes", "not-unresolved")
    desk.refused("resolve rf_none --not-executed --evidence x --yes", "refund-not-found", exit_code=5)


def test_a_resolution_needs_evidence_one_end_and_a_reference_of_its_own(desk: Desk) -> None:
    desk.paid_by_card()
    made = desk.json("refund INV-1 --amount 1 --reason other --yes")["refunds"][0]["provider_reference"]
    refund = lose_the_answer(desk, hours_ago=21)
    desk.refused(f"resolve {refund} --not-executed --yes", "evidence-needed", exit_code=2)
    desk.refused(f"resolve {refund} --evidence x --yes", "made-or-not", exit_code=2)
    desk.refused(f"resolve {refund} --provider-reference {made} --evidence x --yes", "reference-taken")
    desk.refused(f"resolve {refund} --not-executed --evidence x", "confirmation-required", exit_code=2)
