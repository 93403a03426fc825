"""reconcile: each kind of difference, what is applied, and what an operator must do."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from desk import Desk, new_invoice
from preloaded import exit_code, script_of, start
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider, RefundState
from refundcli.providers import ProviderUnreachable
from refundcli.providers.stripe.lookup import StripeRecords
from refundcli.services.ports.records import NewPayment
from refundcli.services.reconciliation import against_provider
from refundcli.store.checks.integrity import findings
from refundcli.store.errors import StoreFull
from refundcli.store.unit_of_work import SqlBooks
from webhooks import until


def kinds(desk: Desk, command: str = "reconcile", *, exit_code: int = 3) -> list[tuple[str, str, bool]]:
    answer = desk.json(command, exit_code=exit_code)
    return [(difference["kind"], difference["object"], difference["applied"]) for difference in answer["differences"]]


def test_matching_books_agree(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 40 --reason other --yes")
    assert kinds(desk, exit_code=0) == []
    assert desk.json("status")["last_reconcile"]["stripe"]


def test_a_dashboard_refund_is_found_counted_and_adopted(desk: Desk) -> None:
    reference = desk.paid_by_card()
    refund_id = desk.sandbox.dashboard_refund(reference, 3000)
    desk.refused("refund INV-1 --full --reason other --yes", "differs-from-provider")
    assert kinds(desk) == [("missing-here", "refund", True)]
    assert kinds(desk) == [("unadopted", "refund", False)]
    assert desk.invoice("INV-1").refundable.number == "70.00"

    desk.refused(f"reconcile --adopt {refund_id}", "unknown-reason")
    adopted = desk.json(f"reconcile --adopt {refund_id} --reason duplicate --memo 'dashboard, A. Osei'")
    assert (adopted["kind"], adopted["adopted"], adopted["reason"]) == ("external", True, "duplicate")
    assert adopted["credit_note"]["number"]
    (note,) = desk.json("credit-notes list")
    assert (note["amount"]["amount"], note["reason"]) == ("30.00", "duplicate")
    desk.refused(f"reconcile --adopt {refund_id} --reason duplicate", "not-to-adopt")
    assert kinds(desk, exit_code=0) == []
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    assert desk.refunded_at_provider(reference) == [3000, 7000]
    assert findings(desk.books) == []


def test_a_reversed_adopted_refund_has_its_credit_note_voided(desk: Desk) -> None:
    reference = desk.paid_by_card()
    refund_id = desk.sandbox.dashboard_refund(reference, 10000)
    kinds(desk)
    desk.json(f"reconcile --adopt {refund_id} --reason other")
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    desk.sandbox.settle(refund_id, status="failed", failure_reason="declined")
    assert kinds(desk) == [("status", "refund", True)]
    invoice = desk.invoice("INV-1")
    (refund,) = invoice.refunds
    assert (invoice.status, refund.state, refund.needs_acknowledgement) == (
        InvoiceStatus.PAID,
        RefundState.FAILED,
        True,
    )
    (note,) = desk.json("credit-notes list")
    assert note["status"] == "void"
    assert findings(desk.books) == []


def test_a_dispute_opened_since_the_import_stops_the_refund(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.dispute(reference)
    desk.refused("refund INV-1 --full --reason other --yes", "differs-from-provider")
    assert kinds(desk, "reconcile --invoice INV-1") == [("dispute", "dispute", True)]
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    desk.sandbox.dispute(reference, "won")
    assert kinds(desk, "reconcile --invoice INV-1") == [("dispute", "dispute", True)]
    assert desk.invoice("INV-1").dispute is Dispute.WON
    desk.refused("refund INV-1 --full --reason other --yes", "dispute-closed")


def test_a_dry_run_shows_the_snapshot_and_its_differences(desk: Desk) -> None:
    reference = desk.paid_by_card()
    (preflight,) = desk.json("refund INV-1 --amount 40 --reason other --dry-run")["preflight"]
    assert (preflight["provider"], preflight["payment"], preflight["captured"]["amount"]) == (
        "stripe",
        reference,
        "100.00",
    )
    assert (preflight["refunded"]["amount"], preflight["processing"], preflight["disputes"]) == ("0.00", False, [])
    desk.sandbox.dashboard_refund(reference, 1)
    error = desk.refused("refund INV-1 --amount 40 --reason other --dry-run", "differs-from-provider")
    assert "reconcile --invoice INV-1" in str(error["hint"])
    desk.paid_by_card("INV-2", provider="adyen")
    assert desk.json("refund INV-2 --full --reason other --dry-run")["preflight"] == []


def test_an_inquiry_is_refunded_by_a_persons_decision_alone(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.dispute(reference, "warning_needs_response")
    assert kinds(desk) == [("dispute", "dispute", True)]
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    assert desk.refunded_at_provider(reference) == []
    desk.json("refund INV-1 --full --reason other --dispute-decision 'Bo: refund instead' --yes")
    assert desk.refunded_at_provider(reference) == [10000]


def test_a_late_failure_is_reported_until_it_is_acknowledged(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --full --reason other --yes")
    desk.sandbox.settle(desk.sandbox.refunds[-1].id, status="failed", failure_reason="expired_or_canceled_card")
    assert kinds(desk) == [("status", "refund", True)]
    assert desk("status").exit_code == 8
    (refund,) = desk.invoice("INV-1").refunds
    assert "expired_or_canceled_card" in refund.failure
    desk.json(f"acknowledge {refund.id} --yes")
    desk.json("refund INV-1 --full --reason other --yes")
    assert findings(desk.books) == []


def test_comparing_while_a_refund_is_on_the_wire_counts_it_once(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("delay_ms", delay_ms=1500)
    command = script_of("refund", "INV-1", "--amount", "40", "--reason", "other", "--yes")
    sending = start(command, os.environ | desk.environ, desk.folder)
    until(lambda: desk.sandbox.refunds)
    assert desk.invoice("INV-1").refunds[0].state is RefundState.SUBMITTED
    assert kinds(desk, exit_code=0) == []
    desk.json("refund INV-1 --full --reason duplicate --yes")
    assert exit_code(sending) == 0
    assert [refund.state for refund in desk.invoice("INV-1").refunds] == [RefundState.SUCCEEDED] * 2
    assert desk.refunded_at_provider(reference) == [4000, 6000]
    assert findings(desk.books) == []


def test_a_payment_missing_in_the_books_is_only_reported(desk: Desk) -> None:
    desk.sandbox.charge("50.00 EUR")
    comparison = desk.json("reconcile", exit_code=3)
    assert [(d["kind"], d["invoice"], d["applied"]) for d in comparison["differences"]] == [
        ("missing-here", None, False)
    ]
    assert comparison["money"][0]["amount"]["amount"] == "50.00"


def test_with_nothing_in_the_books_and_nothing_at_stripe_that_is_said(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    desk.paid_outside()
    comparison = desk.json("reconcile")
    assert (comparison["result"], comparison["compared"]) == ("nothing-to-compare", 0)
    answer = desk("reconcile").err
    assert "Nothing to compare: the books have no Stripe payments" in answer
    assert "agree" not in answer
    assert "INV-2 has no Stripe payment" in desk("reconcile --invoice INV-2").err


def test_payments_of_a_provider_that_was_not_asked_are_named(desk: Desk) -> None:
    desk.paid_by_card()
    assert desk.json("reconcile")["not_asked"] == []
    assert "not compared" not in desk("reconcile").err
    desk.paid_by_card("INV-2", provider="adyen")
    comparison = desk.json("reconcile")
    assert (comparison["result"], comparison["not_asked"]) == ("agrees", ["adyen"])
    note = "Adyen was not compared: its 1 payment needs a report: refundcli reconcile --report FILE"
    assert note in desk("reconcile").err
    desk.paid_by_card("INV-3", provider="adyen")
    assert "its 2 payments need a report" in desk("reconcile").err
    for options in ("--provider stripe", "--invoice INV-1"):
        assert desk.json(f"reconcile {options}")["not_asked"] == []
        assert "not compared" not in desk(f"reconcile {options}").err


def credited_at_stripe(desk: Desk) -> str:
    """A Stripe invoice; after the import, 40.00 of it was credited to the customer's balance."""
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-1", status="paid")
    desk.json("invoice pull stripe")
    assert desk.json("reconcile")["result"] == "agrees"
    return desk.sandbox.credit_note(stripe_invoice.id, 4000).id


def test_a_credit_note_at_stripe_to_the_customers_balance_is_found_and_applied(desk: Desk) -> None:
    note = credited_at_stripe(desk)
    assert kinds(desk) == [("amount", "credit notes", True)]
    assert desk.invoice("INV-1").refundable.number == "60.00"
    assert kinds(desk, exit_code=0) == []
    desk.sandbox.void_credit_note(note)
    assert kinds(desk) == [("amount", "credit notes", True)]
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert kinds(desk, exit_code=0) == []
    assert findings(desk.books) == []


def test_what_was_applied_before_the_store_failed_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        desk.sandbox.dashboard_refund(desk.paid_by_card(f"INV-{number}"), 3000)
    desk("reconcile --invoice INV-0")
    monkeypatch.setattr(against_provider, "_AT_ONCE", 1)
    write, written = SqlBooks.write, list[object]()

    def fail_late(self: SqlBooks, work: Any) -> Any:
        if written:
            raise StoreFull("the disk is full")
        written.append(work)
        return write(self, work)

    monkeypatch.setattr(SqlBooks, "write", fail_late)
    answer = desk("reconcile")
    assert answer.exit_code == 4
    assert "Stopped. Compared before that: 1 payment; 1 change was applied" in answer.err
    assert "agree" not in answer.err
    monkeypatch.undo()
    assert sum(invoice.refundable.number == "70.00" for invoice in map(desk.invoice, ("INV-0", "INV-1", "INV-2"))) == 2


def test_credit_notes_that_cannot_be_listed_are_said_not_to_be_compared(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    credited_at_stripe(desk)

    def refuse(self: StripeRecords) -> None:
        raise ProviderUnreachable(Provider.STRIPE, "this key may not list credit notes")

    monkeypatch.setattr(StripeRecords, "credits", refuse)
    comparison = desk.json("reconcile", exit_code=8)
    assert (comparison["result"], list(comparison["unread_lists"])) == ("incomplete", ["credit notes"])
    assert "The credit notes could not be listed, so they were not compared" in desk("reconcile").err
    assert desk.json("status")["providers"]["stripe"]["result"] == "incomplete"


def test_a_refund_that_another_process_is_sending_is_said_not_to_be_compared(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    assert desk("refund INV-1 --amount 40 --reason other --yes").exit_code == 8
    until = (datetime.now(UTC) + timedelta(minutes=10)).replace(tzinfo=None)
    with desk.books.engine.begin() as line:
        statement = "UPDATE refund SET lease_owner = 'other-desk|a-machine|311|5', lease_until = :until"
        line.execute(text(statement), {"until": until})
    assert desk.json("reconcile")["being_sent"] == 1
    assert "1 refund is being sent right now, so not compared" in desk("reconcile").err
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE refund SET lease_until = NULL"))
    assert desk.json("reconcile", exit_code=8)["being_sent"] == 0


def test_a_payment_that_took_no_money_is_no_difference(desk: Desk) -> None:
    desk.sandbox.charge("50.00 EUR", captured=False)
    assert kinds(desk, exit_code=0) == []


def test_a_payment_missing_at_stripe_is_only_reported(desk: Desk) -> None:
    desk.paid_by_card(reference="pi_nowhere")
    assert kinds(desk) == [("missing-here", "payment", False), ("missing-there", "payment", False)]
    desk.refused("refund INV-1 --full --reason other --yes", "differs-from-provider")


def test_an_unreadable_payment_is_reported_and_the_others_compared(desk: Desk) -> None:
    odd = desk.sandbox.dashboard_refund(desk.paid_by_card("INV-1"), 2500)
    desk.sandbox.dashboard_refund(desk.paid_by_card("INV-2"), 2500)
    desk.sandbox.state.refunds[odd].amount = -5
    differences = desk.json("reconcile", exit_code=8)["differences"]
    kinds_found = sorted(
        (difference["invoice"], difference["kind"], difference["applied"]) for difference in differences
    )
    assert kinds_found == [("INV-1", "status", False), ("INV-2", "missing-here", True)]
    assert desk.invoice("INV-1").refundable.number == "100.00"
    desk.refused("reconcile --invoice INV-1", "cannot-be-held")


def test_a_refund_in_a_status_that_is_not_listed_could_not_be_compared(desk: Desk) -> None:
    odd = desk.sandbox.dashboard_refund(desk.paid_by_card("INV-1"), 2500)
    desk.sandbox.dashboard_refund(desk.paid_by_card("INV-2"), 2500)
    desk.sandbox.state.refunds[odd].status = "odd"
    differences = desk.json("reconcile", exit_code=8)["differences"]
    assert sorted((difference["invoice"], difference["applied"]) for difference in differences) == [
        ("INV-1", True),
        ("INV-2", True),
    ]
    differences = desk.json("reconcile", exit_code=8)
    assert (differences["unreviewed"], differences["by_kind"]) == (1, {"unadopted": 2})
    assert desk.invoice("INV-1").refundable.number == "75.00"
    desk.refused("refund INV-1 --amount 10 --reason other --yes", "unreviewed-event")
    desk.json("events acknowledge --code 'refund status odd' --as none")
    differences = desk.json("reconcile", exit_code=3)
    assert (differences["unreviewed"], differences["by_kind"]) == (0, {"unadopted": 2})


def test_more_captured_than_the_share_is_reported_and_never_refunded(desk: Desk) -> None:
    desk.paid_by_card(captured=9000)
    assert kinds(desk) == [("unallocated", "captured", False)]
    assert desk.invoice("INV-1").refundable.number == "90.00"
    desk.refused("refund INV-1 --amount 90.01 --reason other --yes", "over-refund")
    assert kinds(desk) == [("unallocated", "captured", False)]


def test_less_captured_than_the_books_count_is_as_the_provider_says(desk: Desk) -> None:
    desk.paid_by_card(captured=11000)
    assert kinds(desk) == [("amount", "captured", True)]
    assert desk.invoice("INV-1").refundable.number == "100.00"
    assert kinds(desk, exit_code=0) == []


def test_less_captured_than_refunded_is_reported_as_a_loss(desk: Desk) -> None:
    desk.paid_by_card("INV-1", "60.00 EUR")
    desk.json("refund INV-1 --full --reason other --yes")
    desk.sandbox.state.find_charge(desk.invoice("INV-1").payments[0].reference).amount_captured = 5000
    assert kinds(desk) == [("amount", "captured", True)]
    assert (desk.invoice("INV-1").status, desk.invoice("INV-1").loss.number) == (InvoiceStatus.REFUNDED, "10.00")
    assert desk("status").exit_code == 8
    assert findings(desk.books) == []


def test_a_pending_refund_ends_by_comparing_and_that_is_no_difference(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("pending")
    desk.json("refund INV-1 --full --reason other --yes")
    (refund,) = desk.invoice("INV-1").refunds
    assert refund.state is RefundState.PENDING
    desk.sandbox.settle(desk.sandbox.refunds[-1].id, status="succeeded")
    assert kinds(desk, exit_code=0) == []
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED


@pytest.mark.parametrize("form", ["csv", "ndjson", "tsv"])
def test_differences_are_rows_for_programs(desk: Desk, form: str) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.dashboard_refund(reference, 3000)
    answer = desk(f"reconcile -o {form}")
    assert answer.exit_code == 3
    assert "missing-here" in answer.out
    assert "30.00" in answer.out


def test_adyen_is_compared_by_its_report_alone(desk: Desk) -> None:
    desk.refused("reconcile --provider adyen", "cannot-be-asked")
    for options in ("--adopt rf_1 --since 2026-01-01", "--report x --since 2026-01-01", "--reason other", "--memo x"):
        desk.refused(f"reconcile {options}", "one-at-a-time", exit_code=2)


def test_a_refund_counted_by_the_import_is_reported_the_first_time_too(desk: Desk) -> None:
    payment = desk.sandbox.charge("100.00 EUR").reference
    desk.sandbox.dashboard_refund(payment, 2500)
    captured = NewPayment(10000, Provider.STRIPE, reference=payment, auto_refundable=True, returned_elsewhere=2500)
    desk.bring_in(new_invoice("INV-1", parse_money("100.00 EUR"), payments=(captured,)))
    assert kinds(desk) == [("unadopted", "refund", False)]
    assert kinds(desk) == [("unadopted", "refund", False)]
    assert desk.invoice("INV-1").refundable.number == "75.00"


@pytest.mark.parametrize("provider", ["stripe", "adyen"])
def test_a_refund_without_an_outcome_that_is_settled_is_shown(sqlite_desk: Desk, provider: str) -> None:
    desk = sqlite_desk
    desk.paid_by_card(provider=provider)
    desk.sandbox.faults("drop_after", provider=provider)  # type: ignore[arg-type]
    assert desk("refund INV-1 --amount 60 --reason duplicate --yes").exit_code == 8
    (refund,) = desk.invoice("INV-1").refunds
    command = "reconcile"
    if provider == "adyen":
        report = desk.folder / "report.csv"
        report.write_text(desk.sandbox.report("payment-accounting"))
        command = f"reconcile --report {report}"
    answer = desk(command)
    assert answer.exit_code == 0, answer
    assert f"Settled {refund.id} of INV-1: 60.00 EUR " in answer.err
    assert "Settled" not in desk(command).err


def test_json_lists_what_was_settled_and_the_next_command_of_each_difference(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    refund_id = desk.sandbox.dashboard_refund(desk.paid_by_card(), 3000)
    desk.paid_by_card("INV-2")
    desk.sandbox.faults("drop_after")
    assert desk("refund INV-2 --full --reason duplicate --yes").exit_code == 8
    comparison = desk.json("reconcile", exit_code=3)
    (settled,), (difference,) = comparison["settled"], comparison["differences"]
    assert (settled["invoice"], settled["status"]) == ("INV-2", "succeeded")
    assert difference["next"] == f"refundcli reconcile --adopt {refund_id} --reason REASON"
