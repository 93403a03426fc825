"""Regressions: unusual orders of events and careless input, each of which once cost money."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from desk import Answer, Desk
from refundcli.domain.statuses import Dispute
from refundcli.services.dispatch.protocol import Dispatch

HEADER = "number,customer,currency,total,status,issued_on,paid_amount,provider,payment_reference,dispute,dispute_amount"


class Killed(BaseException):
    """Simulates kill -9."""


def bring_in(desk: Desk, *rows: str) -> Answer:
    Path("again.csv").write_text("\n".join((HEADER, *rows)) + "\n")
    return desk("invoice import again.csv")


def bring_in_payments(desk: Desk, *payments: dict[str, str]) -> Answer:
    invoice = {"number": "INV-1", "customer": "c", "currency": "EUR", "total": "150.00", "status": "paid"}
    Path("again.jsonl").write_text(json.dumps({**invoice, "issued_on": "2026-09-01", "payments": payments}) + "\n")
    return desk("invoice import again.jsonl")


def payment(reference: str, amount: str, **more: str) -> dict[str, str]:
    return {"paid_amount": amount, "provider": "adyen", "payment_reference": reference, **more}


def test_a_ready_refund_is_not_sent_once_a_lost_dispute_took_the_money(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = desk.sandbox.charge("100.00 EUR", provider="adyen").reference
    bring_in(desk, f"INV-1,c,EUR,100.00,paid,2026-09-01,,adyen,{reference},,")

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Dispatch, "first_send", kill)
        patched.setattr("refundcli.system.processes._started", lambda pid: "gone")
        with pytest.raises(Killed):
            desk("refund INV-1 --full --reason other --yes")
    bring_in(desk, f"INV-1,c,EUR,100.00,paid,2026-09-01,,adyen,{reference},lost,")
    desk("resume --yes")
    assert desk.refunded_at_provider(reference) == []


def test_what_was_stopped_before_it_was_sent_is_not_sent_by_the_next_refund(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = desk.paid_by_card()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Dispatch, "first_send", stop)
        patched.setattr("refundcli.system.processes._started", lambda pid: "gone")
        assert desk("refund INV-1 --amount 70 --reason other --yes").exit_code == 130
    desk("refund INV-1 --amount 7 --reason other --yes")
    assert desk.refunded_at_provider(reference) == [700]


def test_a_second_record_after_a_failed_refund_is_an_over_refund(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("failed")
    desk("refund INV-1 --amount 30 --reason other --yes")
    (failed,) = desk.json("invoice show INV-1")["refunds"]
    again = f"mark-refunded INV-1 --full --reason other --after-failed {failed['id']} --evidence x --yes"
    assert desk(again).exit_code == 0
    assert desk(again).exit_code == 3


def test_a_mark_is_never_answered_with_a_refund_that_had_its_key(desk: Desk) -> None:
    card = desk.sandbox.charge("50.00 EUR", provider="adyen").reference
    bring_in_payments(desk, payment(card, "50.00"), {"paid_amount": "100.00", "payment_method": "cash"})
    assert desk("refund INV-1 --amount 20 --reason other --request-key K --yes").exit_code == 0
    desk.refused("mark-refunded INV-1 --amount 20 --reason other --request-key K --yes", "request-key-reused")


def test_a_refused_row_is_recorded_when_its_file_is_run_again(desk: Desk) -> None:
    bring_in(desk, "INV-1,c,EUR,200.00,open,2026-09-01,100.00,,,,")
    Path("marks.csv").write_text("invoice,amount,reason\nINV-1,60.00,other\nINV-1,50.00,other\n")
    assert desk("mark-refunded --from marks.csv --yes").exit_code == 9
    bring_in(desk, "INV-1,c,EUR,200.00,paid,2026-09-01,200.00,,,,")
    desk("mark-refunded --from marks.csv.rejected.csv --yes")
    assert desk.json("invoice show INV-1")["refunded"]["amount"] == "110.00"


@pytest.mark.parametrize("blank", ["''", "' '"])
def test_an_empty_request_key_is_a_mistake(desk: Desk, blank: str) -> None:
    reference = desk.paid_by_card()
    for amount in ("10", "11"):
        assert desk(f"refund INV-1 --amount {amount} --reason other --request-key {blank} --yes").exit_code == 2
    assert desk.refunded_at_provider(reference) == []


def test_a_blank_dispute_decision_decides_nothing(desk: Desk) -> None:
    desk.paid_by_card(dispute=Dispute.WON)
    desk.refused("refund INV-1 --full --reason other --dispute-decision ' ' --yes", "dispute-closed")


def _past_the_window(desk: Desk) -> str:
    with desk.books.engine.begin() as connection:
        connection.execute(text("UPDATE refund SET first_sent_at = '2020-01-01 00:00:00' WHERE state = 'submitted'"))
    (refund,) = desk.json("invoice show INV-1")["refunds"]
    return str(refund["id"])


def test_a_person_cannot_resolve_as_never_made_what_stripe_still_lists(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    assert desk("refund INV-1 --amount 40 --reason other --yes").exit_code == 8
    unsettled = _past_the_window(desk)
    desk(f"resolve {unsettled} --not-executed --evidence 'saw nothing' --yes")
    desk("refund INV-1 --amount 40 --reason other --allow-duplicate --request-key again --yes")
    invoice = desk.json("invoice show INV-1")
    assert invoice["refunded"]["amount_minor"] == sum(desk.refunded_at_provider(reference))


def test_a_blank_reference_is_no_evidence_of_a_refund(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    desk("refund INV-1 --amount 40 --reason other --yes")
    unsettled = _past_the_window(desk)
    assert desk(f"resolve {unsettled} --provider-reference ' ' --evidence x --yes").exit_code == 2
