"""status, and resolve for refunds that nothing else can finish."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from desk import Desk
from left_behind import leave_it_ready
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.statuses import Dispute
from refundcli.services.ports.provider_updates import DisputeUpdate
from refundcli.store.checks.integrity import findings
from updates import apply


def lose_the_answer(desk: Desk, *, provider: str = "stripe", hours_ago: float = 0) -> str:
    """A refund of 60.00 with an unknown outcome, first sent `ago`."""
    desk.sandbox.faults("drop_before", provider=provider)  # type: ignore[arg-type]
    refund = desk.json("refund INV-1 --amount 60 --reason duplicate --yes", exit_code=8)["refunds"][0]["id"]
    if hours_ago:
        age(desk, hours=hours_ago)
    return str(refund)


def age(desk: Desk, *, hours: float) -> None:
    at = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None)
    with desk.books.engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        connection.execute(text("UPDATE refund SET first_sent_at = :at"), {"at": at})
        connection.commit()


def test_ready_refunds_are_not_dropped_while_a_provider_rate_limits(desk: Desk) -> None:
    for number in ("INV-1", "INV-2"):
        desk.paid_by_card(number, provider="adyen")
        leave_it_ready(desk, number=number)
    desk.sandbox.faults("429", provider="adyen", retry_after=600)
    first, second = desk.json("resume --yes", exit_code=8)
    assert (first["status"], second["status"], second["step"]) == ("failed", "ready", "not-asked")
    assert "Adyen is limiting the number of requests; try again in" in second["note"]
    assert [outcome["status"] for outcome in desk.json("resume --yes")] == ["pending"]
    assert len(desk.sandbox.refunds) == 1


def test_a_quiet_day_ends_with_nothing(desk: Desk) -> None:
    desk.paid_by_card("INV-1", dispute=Dispute.OPEN)
    desk.paid_by_card("INV-2", provider="adyen")
    desk.json("refund INV-2 --amount 1 --reason other --yes")
    answer = desk.json("status")
    assert (answer["needs_attention"], answer["unfinished"]) == (False, [])
    assert [refund["invoice"] for refund in answer["pending"]] == ["INV-2"]
    assert answer["disputed"] == ["INV-1"]
    assert answer["livemode"] is False


def test_what_is_accepted_for_too_long_needs_a_person_and_says_how_to_look(desk: Desk) -> None:
    desk.paid_by_card("INV-1", provider="adyen")
    desk.paid_by_card("INV-2")
    desk.sandbox.faults("pending")
    for number in ("INV-1", "INV-2"):
        desk.json(f"refund {number} --amount 1 --reason other --yes")
    assert desk("status").exit_code == 0
    long_ago = datetime.now(UTC) - timedelta(days=6)
    with desk.books.engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        connection.execute(text("UPDATE refund SET created_at = :at"), {"at": long_ago.replace(tzinfo=None)})
        connection.commit()
    pending = desk.json("status", exit_code=8)["pending"]
    commands = {refund["invoice"]: refund["command"] for refund in pending}
    assert commands == {
        "INV-1": "refundcli reconcile --report FILE",
        "INV-2": "refundcli reconcile --provider stripe",
    }
    desk.environ["REFUNDCLI_REFUNDS_PENDING_DAYS"] = "7"
    assert desk("status").exit_code == 0


def test_an_unfinished_refund_is_listed_with_its_next_command(desk: Desk) -> None:
    desk.paid_by_card()
    refund = lose_the_answer(desk)
    (unfinished,) = desk.json("status", exit_code=8)["unfinished"]
    assert (unfinished["id"], unfinished["next"], unfinished["command"]) == (
        refund,
        "resume",
        f"refundcli resume {refund}",
    )
    assert desk(unfinished["command"].removeprefix("refundcli ")).exit_code == 0
    assert desk("status").exit_code == 0


@pytest.mark.parametrize(("provider", "following"), [("stripe", "resume"), ("adyen", "resolve")])
def test_past_the_key_window_only_a_person_can_end_it(desk: Desk, provider: str, following: str) -> None:
    desk.paid_by_card(provider=provider)
    refund = lose_the_answer(desk, provider=provider, hours_ago=24 * 8)
    (unfinished,) = desk.json("status", exit_code=8)["unfinished"]
    assert unfinished["next"] == following
    (outcome,) = desk.json("resume", exit_code=8)
    assert "refundcli resolve" in outcome["note"]
    answer = desk.json(f"resolve {refund} --not-executed --evidence 'dashboard, A. Osei' --yes")
    assert answer["refunds"][0]["status"] == "failed"
    assert answer["invoice"]["refundable"]["amount"] == "100.00"
    assert desk("status").exit_code == 0
    assert "dashboard, A. Osei" in str(desk.json("invoice history INV-1"))
    assert findings(desk.books) == []


@pytest.mark.parametrize(("provider", "state"), [("stripe", "succeeded"), ("adyen", "pending")])
def test_a_refund_made_after_all_is_recorded_by_its_reference(desk: Desk, provider: str, state: str) -> None:
    desk.paid_by_card(provider=provider)
    refund = lose_the_answer(desk, provider=provider, hours_ago=24 * 8)
    reference = {"stripe": "re_1Q", "adyen": "REF123"}[provider]
    answer = desk.json(f"resolve {refund} --provider-reference {reference} --evidence 'support, case 4711' --yes")
    recorded = answer["refunds"][0]
    assert (recorded["status"], recorded["provider_reference"], recorded["credit_note"]["status"]) == (
        state,
        reference,
        "issued",
    )
    assert findings(desk.books) == []


def test_resolve_is_refused_while_resume_can_settle(desk: Desk) -> None:
    desk.paid_by_card()
    refund = lose_the_answer(desk)
    desk.refused(f"resolve {refund} --not-executed --evidence x --yes", "resume-first")
    desk.json("resume")
    desk.refused(f"resolve {refund} --not-executed --evidence x --yes", "not-unresolved")
    desk.refused("resolve rf_none --not-executed --evidence x --yes", "refund-not-found", exit_code=5)


def test_a_resolution_needs_evidence_one_end_and_a_reference_of_its_own(desk: Desk) -> None:
    desk.paid_by_card()
    provider_reference = desk.json("refund INV-1 --amount 1 --reason other --yes")["refunds"][0]["provider_reference"]
    refund = lose_the_answer(desk, hours_ago=21)
    desk.refused(f"resolve {refund} --not-executed --yes", "evidence-needed", exit_code=2)
    desk.refused(f"resolve {refund} --evidence x --yes", "made-or-not", exit_code=2)
    desk.refused(f"resolve {refund} --provider-reference {provider_reference} --evidence x --yes", "reference-taken")
    desk.refused(f"resolve {refund} --not-executed --evidence x", "confirmation-required", exit_code=2)


def test_the_providers_answer_outweighs_any_evidence(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    refund = desk.json("refund INV-1 --amount 60 --reason duplicate --yes", exit_code=8)["refunds"][0]["id"]
    age(desk, hours=24)
    answer = desk.json(f"resolve {refund} --not-executed --evidence 'saw nothing' --yes")
    assert answer["refunds"][0]["status"] == "succeeded"
    assert desk.refunded_at_provider(reference) == [6000]
    assert desk.invoice("INV-1").refunded.number == "60.00"


def test_an_unreachable_stripe_postpones_resolve(desk: Desk) -> None:
    desk.paid_by_card()
    refund = lose_the_answer(desk, hours_ago=24)
    desk.sandbox.faults("drop_before", "drop_before", call="lookup")
    desk.refused(f"resolve {refund} --not-executed --evidence x --yes", "resume-first")


def test_what_was_reserved_and_never_sent_is_dropped_on_request(desk: Desk) -> None:
    desk.paid_by_card()
    refund = leave_it_ready(desk)
    desk.refused("refund INV-1 --amount 40 --reason other --yes", "unsettled-refund")
    assert desk.sandbox.refund_requests == []
    desk.json(f"resolve {refund} --not-executed --evidence 'thought better of it' --yes")
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert desk.sandbox.refund_requests == []


def report_dispute(desk: Desk, state: DisputeState) -> None:
    """The provider reports a dispute about all of the payment."""
    payment = desk.invoice("INV-1").payments[0]
    assert payment.provider
    update = DisputeUpdate(
        provider=payment.provider,
        reference="DISPUTE1",
        payment_references=payment.references,
        state=state,
        stage=DisputeStage.CHARGEBACK,
        status=state.value,
        at=datetime.now(UTC),
        amount=payment.captured,
    )
    apply(desk, update)


def test_what_was_reserved_before_a_dispute_was_lost_is_never_sent(desk: Desk) -> None:
    desk.paid_by_card()
    refund = leave_it_ready(desk, "--full")
    report_dispute(desk, DisputeState.LOST)
    (outcome,) = desk.json(f"resume {refund} --yes", exit_code=3)
    assert (outcome["status"], outcome["step"]) == ("failed", "settled")
    assert desk.sandbox.refund_requests == []


def test_nothing_is_sent_again_into_an_open_dispute(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    lose_the_answer(desk, provider="adyen")
    before = len(desk.sandbox.refund_requests)
    report_dispute(desk, DisputeState.OPEN)
    (outcome,) = desk.json("resume", exit_code=8)
    assert "open dispute" in outcome["note"]
    assert len(desk.sandbox.refund_requests) == before


@pytest.mark.parametrize("ended", ["rejected", "expired"])
def test_a_declined_stripe_approval_ends_with_the_next_resume(desk: Desk, ended: str) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("approval_required")
    assert desk("refund INV-1 --amount 40 --reason other --yes").exit_code == 8
    refund = desk.invoice("INV-1").refunds[0].id
    assert desk(f"resume {refund}").exit_code == 8
    desk.sandbox.decline(desk.sandbox.approvals[-1].id, ended)
    sent = len(desk.sandbox.refund_requests)
    answer = desk(f"resume {refund} -o json")
    assert answer.exit_code == 6, answer
    invoice = desk.invoice("INV-1")
    assert (invoice.refunds[0].state, invoice.refundable.number) == ("failed", "100.00")
    assert ended in invoice.refunds[0].failure
    assert len(desk.sandbox.refund_requests) == sent
    assert desk("status").exit_code == 0
