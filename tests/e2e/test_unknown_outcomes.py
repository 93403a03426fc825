"""Refunds while the provider or the network fails, and how `resume` finishes them."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from desk import Desk, new_invoice
from meanwhile import meanwhile
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.ports.provider_updates import DisputeUpdate
from refundcli.services.ports.records import NewPayment
from refundcli.store.checks.integrity import findings
from updates import apply

HOUR = 3600


@pytest.fixture(autouse=True)
def _books_stay_sound(desk: Desk) -> object:
    yield
    assert findings(desk.books) == []


def only_refund(desk: Desk, number: str = "INV-1") -> dict[str, object]:
    (refund,) = desk.json(f"invoice show {number}")["refunds"]
    single: dict[str, object] = refund
    return single


@pytest.mark.parametrize("behaviour", ["drop_after", "500_after", "malformed", "wrong_amount"])
def test_a_refund_whose_response_was_lost_is_found_and_not_repeated(desk: Desk, behaviour: str) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults(behaviour)
    answer = desk("refund INV-1 --amount 60 --reason duplicate --yes")
    assert answer.exit_code == 8
    assert "[outcome-unknown]" in answer.err
    assert "refundcli resume rf_" in answer.err
    invoice = desk.json("invoice show INV-1")
    assert (invoice["reserved"]["amount"], invoice["refundable"]["amount"]) == ("60.00", "40.00")
    assert invoice["credit_notes"] == []
    desk.refused("refund INV-1 --amount 40.01 --reason other --yes", "over-refund")
    refund_id = invoice["refunds"][0]["id"]
    assert (invoice["actions"][0]["action"], invoice["actions"][0]["command"]) == (
        "resume",
        f"refundcli resume {refund_id}",
    )
    (settled,) = desk.json("resume")
    assert (settled["step"], settled["status"]) == ("settled", "succeeded")
    assert desk.refunded_at_provider(reference) == [6000]
    assert desk.json("invoice show INV-1")["refunded"]["amount"] == "60.00"


@pytest.mark.parametrize("behaviour", ["drop_before", "500_before", "409"])
def test_a_refund_that_never_arrived_is_sent_again_with_its_own_key(desk: Desk, behaviour: str) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults(behaviour)
    assert desk("refund INV-1 --amount 60 --reason duplicate --yes").exit_code == 8
    desk.json("resume")
    assert desk.refunded_at_provider(reference) == [6000]
    first, second = desk.sandbox.refund_requests[:1] + desk.sandbox.refund_requests[-1:]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.params == second.params


def test_a_reservation_outlives_every_answer_that_proves_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    desk("refund INV-1 --full --reason duplicate --yes")
    for behaviour in ("drop_before", "500_before", "409"):
        desk.sandbox.faults(behaviour)
        desk("resume")
        assert only_refund(desk)["status"] == "submitted"
    desk.refused("refund INV-1 --amount 1 --reason other --yes", "nothing-to-refund")


def test_adyen_has_no_lookup_so_a_replay_settles_it(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    desk.sandbox.faults("drop_after", provider="adyen")
    assert desk("refund INV-1 --amount 60 --reason duplicate --yes").exit_code == 8
    (settled,) = desk.json("resume")
    assert settled["status"] == "pending"
    assert desk.refunded_at_provider(reference) == [6000]
    assert desk.json("invoice show INV-1")["reserved"]["amount"] == "60.00"


@pytest.mark.parametrize(("provider", "hours"), [("stripe", 21), ("adyen", 6 * 24 + 1)])
def test_nothing_is_sent_after_the_key_window(desk: Desk, provider: str, hours: int) -> None:
    desk.paid_by_card(provider=provider)
    desk.sandbox.faults("drop_before", provider=provider)  # type: ignore[arg-type]
    assert desk("refund INV-1 --amount 60 --reason duplicate --yes").exit_code == 8
    sent_at = datetime.now(UTC) - timedelta(hours=hours)
    with desk.books.engine.connect() as connection:
        connection.execution_options(writes=True).execute(
            text("UPDATE refund SET first_sent_at = :at"), {"at": sent_at.replace(tzinfo=None)}
        )
        connection.commit()
    before = len(desk.sandbox.refund_requests)
    (outcome,) = desk.json("resume", exit_code=8)
    assert (outcome["step"], outcome["status"]) == ("needs-attention", "submitted")
    assert len(desk.sandbox.refund_requests) == before


@pytest.mark.parametrize("behaviour", ["401", "403"])
def test_a_key_without_the_right_is_a_definite_no_and_frees_the_amount(desk: Desk, behaviour: str) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.sandbox.faults(behaviour)
    answer = desk("refund INV-1 --amount 60 --reason duplicate --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (6, "provider-declined")
    assert desk.invoice("INV-1").refundable.number == "99.00"


def test_an_unreachable_provider_was_sent_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.paid_by_card("INV-2", provider="adyen")
    desk.json("refund INV-2 --amount 1 --reason other --yes")
    desk.sandbox.stop()
    # Stripe has a snapshot before the send; Adyen does not.
    answer = desk("refund INV-1 --amount 60 --reason duplicate --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (7, "provider-unreachable")
    assert answer.error["message"].endswith(" Nothing was sent.")
    assert [refund.state for refund in desk.invoice("INV-1").refunds] == [RefundState.SUCCEEDED]
    command = "refund INV-2 --amount 60 --reason duplicate --memo 'two of them'"
    answer = desk(f"{command} --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (7, "not-sent")
    assert answer.error["message"] == (
        "No connection to Adyen: Connection refused. Nothing was sent. It is safe to run the command again."
    )
    repeat = "refundcli refund INV-2 --amount 60.00 --reason duplicate --memo 'two of them'"
    assert answer.error["hint"] == f"60.00 EUR is available to refund again. Try again: {repeat}"
    assert desk.invoice("INV-2").refundable.number == "99.00"
    assert [refund.state for refund in desk.invoice("INV-2").refunds] == [RefundState.PENDING, RefundState.FAILED]


def test_a_busy_provider_is_retried_after_a_while(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("429")
    desk.json("refund INV-1 --amount 60 --reason duplicate --yes")
    assert desk.refunded_at_provider(reference) == [6000]


def test_a_provider_that_stays_busy_took_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("429", times=9)
    answer = desk("refund INV-1 --full --reason other --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (7, "not-sent")
    assert answer.error["message"] == (
        "Stripe: Too many requests hit the API too quickly. (HTTP 429, rate_limit). "
        "Nothing was done. It is safe to run the command again."
    )
    assert only_refund(desk)["status"] == "failed"


def test_a_pause_beyond_the_lease_is_not_waited_out(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("429", retry_after=60, times=9)
    began = time.monotonic()
    assert desk("refund INV-1 --full --reason other --yes").exit_code == 7
    assert time.monotonic() - began < 30
    assert (only_refund(desk)["status"], len(desk.sandbox.refund_requests)) == ("failed", 1)


def test_a_dispute_in_between_bars_the_second_of_two_payments(desk: Desk) -> None:
    charges = [desk.sandbox.charge("100.00 EUR", provider="adyen") for _ in range(2)]
    payments = tuple(
        NewPayment(10_000, Provider.ADYEN, "card", charge.reference, auto_refundable=True) for charge in charges
    )
    desk.bring_in(new_invoice("INV-1", parse_money("200.00 EUR"), payments=payments))
    desk.sandbox.faults("delay_ms", provider="adyen", delay_ms=1000)

    def open_a_dispute() -> None:
        while not desk.sandbox.refund_requests:
            time.sleep(0.01)
        second = desk.invoice("INV-1").payments[1]
        update = DisputeUpdate(
            Provider.ADYEN,
            "PSPDISPUTE1",
            (second.reference,),
            DisputeState.OPEN,
            DisputeStage.CHARGEBACK,
            "Undefended",
            datetime.now(UTC),
        )
        assert apply(desk, update)[0].changed

    with meanwhile(0, open_a_dispute):
        answer = desk("refund INV-1 --full --reason other --yes -o json")
        assert (answer.exit_code, answer.error["code"]) == (3, "never-sent")
    assert [desk.refunded_at_provider(charge.reference) for charge in charges] == [[10_000], []]
    invoice = desk.invoice("INV-1")
    by_payment = {refund.payment_id: refund for refund in invoice.refunds}
    sent, unsent = (by_payment[payment.id] for payment in invoice.payments)
    assert (sent.state, unsent.state) == (RefundState.PENDING, RefundState.FAILED)
    assert unsent.failure.startswith("never sent:")


def test_a_reused_key_shows_its_last_attempt(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("401")
    command = "refund INV-1 --full --reason other --request-key K --yes"
    assert desk(command).exit_code == 6
    assert desk(command).exit_code == 0
    assert desk(command).exit_code == 0
    assert desk.refunded_at_provider(reference) == [10_000]


def test_what_is_not_at_the_provider_as_it_is_here_is_not_refunded(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.dispute(reference)
    for command in ("refund INV-1 --full --reason other --yes", "refund INV-1 --full --reason other --dry-run"):
        error = desk.refused(command, "differs-from-provider")
        assert "dispute: none here, open there" in str(error["message"])
        assert "refundcli reconcile --invoice INV-1" in str(error["hint"])
    assert desk.sandbox.refund_requests == []
    assert desk.invoice("INV-1").refunds == ()


def test_the_same_request_key_again_is_the_same_refund(desk: Desk) -> None:
    reference = desk.paid_by_card()
    command = "refund INV-1 --amount 60 --reason duplicate --request-key job-7 --yes"
    first, second = desk.json(command), desk.json(command)
    assert first["refunds"][0]["id"] == second["refunds"][0]["id"]
    assert desk.refunded_at_provider(reference) == [6000]
    desk.refused(command.replace("60", "61"), "request-key-reused")
    desk.refused(command.replace("--amount 60", "--full"), "request-key-reused")


def test_a_key_whose_refund_failed_may_be_used_again(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.sandbox.faults("403")
    command = "refund INV-1 --amount 60 --reason duplicate --request-key job-7 --yes"
    desk.json(command, exit_code=6)
    assert desk.json(command)["refunds"][0]["status"] == "succeeded"
    assert desk.refunded_at_provider(reference) == [100, 6000]
    keys = [request.headers["idempotency-key"] for request in desk.sandbox.refund_requests]
    assert len(set(keys)) == 3


def test_a_key_whose_outcome_is_not_known_answers_so_and_sends_nothing(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    command = "refund INV-1 --amount 60 --reason duplicate --request-key job-7 --yes"
    desk.json(command, exit_code=8)
    desk.json(command, exit_code=8)
    assert len(desk.sandbox.refund_requests) == 1


def test_what_was_left_behind_is_settled_before_more_is_sent(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    desk.json("refund INV-1 --amount 60 --reason duplicate --yes", exit_code=8)
    answer = desk("refund INV-1 --amount 40 --reason other --yes")
    assert answer.exit_code == 0
    assert "settling it first" in answer.err
    assert desk.refunded_at_provider(reference) == [6000, 4000]
    assert desk.invoice("INV-1").status == "refunded"


def test_nothing_is_sent_while_an_earlier_refund_cannot_be_settled(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    desk.json("refund INV-1 --amount 60 --reason duplicate --yes", exit_code=8)
    desk.sandbox.faults("drop_before", call="lookup")
    desk.sandbox.faults("drop_before")
    answer = desk("refund INV-1 --amount 40 --reason other --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "unsettled-refund")
    assert desk.invoice("INV-1").reserved.number == "60.00"


def test_a_refund_that_failed_for_good_is_recorded_once_returned_otherwise(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("403")
    refund = desk.json("refund INV-1 --amount 60 --reason duplicate --yes", exit_code=6)["refunds"][0]["id"]
    command = f"mark-refunded INV-1 --amount 60 --reason duplicate --after-failed {refund} --yes"
    too_much = f"mark-refunded INV-1 --amount 61 --reason duplicate --after-failed {refund} --yes"
    desk.refused(command, "evidence-needed", exit_code=2)
    desk.refused(f"{too_much} --evidence 'SEPA 4711'", "over-refund")
    answer = desk.json(f"{command} --evidence 'SEPA 4711'")
    assert answer["refunds"][0]["status"] == "recorded"
    desk.refused(f"{command} --evidence 'SEPA 4711'", "already-recorded")


def test_a_late_payment_of_another_mode_is_not_touched(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.environ["STRIPE_API_KEY"] = "sk_" + "live_desk"
    del desk.environ["REFUNDCLI_STRIPE_API_BASE"]
    answer = desk('refund INV-1 --amount 2 --reason other --confirm "2.00 EUR" -o json')
    # Stripe does not know the key, or is unreachable.
    assert answer.exit_code in (4, 7)
    assert len(desk.sandbox.refund_requests) == 1


def test_resume_of_a_refund_that_is_finished_or_unknown(desk: Desk) -> None:
    desk.paid_by_card()
    refund = desk.json("refund INV-1 --amount 1 --reason other --yes")["refunds"][0]["id"]
    (outcome,) = desk.json(f"resume {refund}")
    assert outcome["step"] == "already-finished"
    desk.refused("resume rf_none", "refund-not-found", exit_code=5)
    assert desk.json("resume") == []
