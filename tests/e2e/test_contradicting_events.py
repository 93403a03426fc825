"""Events that contradict the books or each other need a review before the next refund; nothing is counted twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import oracle
from adyen_rows import HEADER
from adyen_rows import row as report_row
from desk import Answer, Desk, new_invoice
from oracle import delivered
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.services.ports.records import NewPayment
from refundcli.store.checks.integrity import findings
from webhooks import STRIPE_SECRET, Json, Post, item, settle_secrets

PART = 4000


@pytest.fixture(autouse=True)
def _webhooks(sqlite_desk: Desk) -> None:
    settle_secrets(sqlite_desk)


@pytest.fixture
def desk(sqlite_desk: Desk) -> Desk:
    return sqlite_desk


def days_ago(count: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(days=count)


def event(code: str, payment: str | None, about: str, minor: int = PART, *, ago: int = 5, **changes: str) -> Json:
    of = {"amount": {"currency": "EUR", "value": minor}, "eventDate": days_ago(ago).isoformat()}
    return item(code, originalReference=payment, pspReference=about, **(of | changes))


def ingest(desk: Desk, *items: Json) -> None:
    oracle.ingest(desk, *delivered(*items))


def at_adyen(desk: Desk, number: str = "INV-1", amount: str = "100.00 EUR") -> str:
    return desk.paid_by_card(number, amount, provider="adyen")


def compared(desk: Desk, *rows: str) -> Answer:
    path = Path(desk.folder) / "report.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return desk(f"reconcile --report {path} -o json")


def row(kind: str, payment: str, about: str, minor: int = PART, *, ago: int) -> str:
    return report_row(kind, payment, about, minor, at=days_ago(ago).strftime("%Y-%m-%d %H:%M:%S"))


def left(desk: Desk, number: str = "INV-1") -> str:
    return desk.invoice(number).refundable.number


def partly_captured(desk: Desk) -> str:
    """100.00 was authorised and 60.00 of it captured: Stripe lists the other 40.00 like a refund."""
    charge = desk.sandbox.charge("100.00 EUR", captured_amount=6000)
    payment = NewPayment(6000, Provider.STRIPE, method="card", reference=charge.reference, auto_refundable=True)
    desk.bring_in(new_invoice("INV-1", parse_money("60.00 EUR"), payments=(payment,)))
    return charge.reference


# --- Stripe --------------------------------------------------------------------------------------------------


def test_a_pending_refund_is_not_taken_for_the_part_that_was_not_captured(desk: Desk) -> None:
    payment = partly_captured(desk)
    desk.sandbox.dashboard_refund(payment, PART, status="pending", balance_transaction=None)
    assert desk("refund INV-1 --full --reason other --yes").exit_code == 3
    assert desk("reconcile --invoice INV-1").exit_code == 3
    assert left(desk) == "20.00"


def test_our_own_refund_of_that_amount_is_found_at_stripe(desk: Desk) -> None:
    payment = partly_captured(desk)
    desk.json("refund INV-1 --amount 40.00 --reason other --yes")
    desk.sandbox.patch(desk.sandbox.refunds_of(payment)[-1].id, {"balance_transaction": None})
    assert desk("reconcile --invoice INV-1").exit_code == 0
    desk.json("refund INV-1 --amount 20.00 --reason other --yes")


@pytest.mark.parametrize("odd", [{"currency": "usd"}, {"currency": "zzz"}, {"amount": 0}])
def test_a_refund_that_its_payment_cannot_have_blocks_until_acknowledged(desk: Desk, odd: dict[str, object]) -> None:
    payment = desk.paid_by_card()
    desk.sandbox.patch(desk.sandbox.dashboard_refund(payment, PART), odd)
    assert desk("reconcile").exit_code == 8
    assert desk("status").exit_code == 8
    desk.refused("refund INV-1 --amount 10.00 --reason other --yes", "unreviewed-event")
    desk.json("events acknowledge 1 --memo looked")
    assert desk("events list --state unreviewed").out == ""
    assert findings(desk.books) == []


@pytest.mark.parametrize("amount", [-5, 12.5])
def test_a_payment_that_cannot_be_read_is_not_compared_and_not_refunded(desk: Desk, amount: float) -> None:
    desk.sandbox.patch(desk.sandbox.dashboard_refund(desk.paid_by_card(), PART), {"amount": amount})
    answer = desk("reconcile -o json")
    assert (answer.exit_code, answer.json["compared"], answer.json["unreadable"]) == (8, 0, 1)
    desk.refused("refund INV-1 --amount 10.00 --reason other --yes", "cannot-be-held")


def test_a_moment_that_no_calendar_has_is_no_reason_to_stop(desk: Desk) -> None:
    refund = desk.sandbox.dashboard_refund(desk.paid_by_card(), PART)
    desk.sandbox.patch(refund, {"created": 10**18})
    assert desk("reconcile").exit_code == 3
    assert left(desk) == "60.00"


def test_a_disputed_charge_without_a_list_stays_disputed_here(desk: Desk) -> None:
    desk.paid_by_card()
    charge = list(desk.sandbox.state.charges)[-1]
    desk.sandbox.patch(charge, {"disputed": True})
    desk("reconcile")
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    desk.sandbox.patch(charge, {"disputed": False})
    desk("reconcile")
    desk.json("refund INV-1 --full --reason other --yes")


def test_stripe_events_before_their_invoice_block_nothing_after_a_look_up(desk: Desk) -> None:
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
    charge = desk.sandbox.charge("100.00 EUR")
    desk.sandbox.dashboard_refund(charge.reference, PART)
    queued = desk.sandbox.deliveries("stripe", drain=True)
    oracle.ingest(desk, *(Post("/stripe", delivery.body.encode(), delivery.headers) for delivery in queued))
    payment = NewPayment(10000, Provider.STRIPE, method="card", reference=charge.reference, auto_refundable=True)
    desk.bring_in(new_invoice("INV-1", parse_money("100.00 EUR"), payments=(payment,)))
    desk.refused("refund INV-1 --amount 10.00 --reason other --yes", "differs-from-provider")
    desk("reconcile --invoice INV-1")
    desk.json("refund INV-1 --amount 10.00 --reason other --yes")


# --- Adyen: captures and refunds -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", [lambda events: events, lambda events: events[::-1]], ids=["in order", "reversed"])
def test_a_failed_capture_under_another_reference_is_looked_at(
    desk: Desk, order: Callable[[list[Json]], list[Json]]
) -> None:
    payment = at_adyen(desk)
    events = [event("CAPTURE", payment, "CAPA", 10000, ago=5), event("CAPTURE_FAILED", payment, "CAPB", 10000, ago=4)]
    ingest(desk, *order(events))
    desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")


def test_what_was_captured_again_under_another_reference_is_paid(desk: Desk) -> None:
    payment = at_adyen(desk)
    events = [
        event("CAPTURE", payment, "CAPA", 10000, ago=6),
        event("CAPTURE_FAILED", payment, "CAPA", 10000, ago=5),
        event("CAPTURE", payment, "CAPB", 10000, ago=4),
    ]
    ingest(desk, *events[::-1])
    assert left(desk) == "100.00"
    desk.json("refund INV-1 --full --reason other --yes")


def test_more_expired_than_the_invoice_has_is_not_taken_for_its_payment(desk: Desk) -> None:
    payment = at_adyen(desk, amount="60.00 EUR")
    ingest(desk, event("EXPIRE", None, payment, 10000))
    assert desk.invoice("INV-1").status is InvoiceStatus.PAID
    desk.refused("refund INV-1 --full --reason other --yes", "unreviewed-event")


def test_an_invoice_is_not_voided_while_its_refund_is_under_way(desk: Desk) -> None:
    payment = at_adyen(desk)
    desk.json("refund INV-1 --full --reason other --yes")
    ingest(desk, event("CANCELLATION", payment, "CANCEL", 10000, ago=0))
    desk.refused("void INV-1 --yes", "already-paid")


def test_a_reversal_of_our_refund_under_another_reference_needs_review(desk: Desk) -> None:
    payment = at_adyen(desk)
    ours = desk.json("refund INV-1 --full --reason other --yes")["refunds"][0]
    names = {"merchantReference": ours["id"]}
    ingest(desk, event("REFUND", payment, ours["provider_reference"], 10000, **names))
    ingest(desk, event("REFUNDED_REVERSED", payment, "OTHER", 10000, ago=4, **names))
    assert [refund.id for refund in desk.invoice("INV-1").refunds] == [ours["id"]]
    assert desk("status").exit_code == 8


@pytest.mark.parametrize("how", ["--method 'bank transfer'", "--after-failed REFUND --evidence 'bank, 29 Nov'"])
def test_money_returned_another_way_is_not_the_refund_in_the_dashboard(desk: Desk, how: str) -> None:
    payment = at_adyen(desk)
    failed = desk.json("refund INV-1 --amount 40.00 --reason other --yes")["refunds"][0]
    names = {"merchantReference": failed["id"]}
    ingest(desk, event("REFUND", payment, failed["provider_reference"], success="false", **names))
    if "--method" in how:
        how += " --after-failed REFUND --evidence paid"
    how = how.replace("REFUND", failed["id"])
    desk.json(f"mark-refunded INV-1 --amount 40.00 --reason other {how} --yes")
    ingest(desk, event("REFUND", payment, "DASHBOARD", ago=1))
    # Until an operator decides whether it is the same money, nothing more is refunded.
    assert left(desk) == "20.00"
    assert desk("status").exit_code == 8


# --- Adyen: disputes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [{"dispute": "won"}, {"dispute": "lost", "dispute_amount": "10.00"}])
def test_a_file_does_not_end_a_dispute_that_adyen_reports_as_open(desk: Desk, columns: dict[str, str]) -> None:
    path = oracle.invoice_file(desk, [("INV-1", "PSPDISPUTED")])
    desk.json(f"invoice import {path}")
    ingest(desk, event("CHARGEBACK", "PSPDISPUTED", "DISPUTE", 10000))
    desk.json(f"invoice import {oracle.invoice_file(desk, [('INV-1', 'PSPDISPUTED')], **columns)}")
    desk.refused("refund INV-1 --full --reason other --dispute-decision 'won, by file' --yes", "disputed")


def test_one_dispute_named_with_two_payments_is_looked_at(desk: Desk) -> None:
    first, second = at_adyen(desk), at_adyen(desk, "INV-2")
    ingest(desk, event("CHARGEBACK", first, "DISPUTE"))
    assert compared(desk, row("Chargeback", second, "DISPUTE", ago=4)).exit_code == 8
    desk.refused("refund INV-2 --full --reason other --yes", "unreviewed-event")
    ingest(desk, event("CHARGEBACK", at_adyen(desk, "INV-3"), "DISPUTE", ago=3))
    desk.refused("refund INV-3 --full --reason other --yes", "unreviewed-event")


def test_a_recorded_chargeback_that_is_won_after_all_needs_a_person(desk: Desk) -> None:
    payment = at_adyen(desk)
    ingest(desk, event("SECOND_CHARGEBACK", payment, "DISPUTE", 10000))
    desk.json("mark-refunded INV-1 --full --reason chargeback --yes")
    ingest(desk, event("SCHEME_ARBITRATION_WON", payment, "DISPUTE", 10000, ago=4))
    assert desk("status").exit_code == 8
    desk.json("events acknowledge 2 --as won")
    assert desk("status").exit_code == 0
    desk.sandbox.dispute(desk.paid_by_card("INV-2"), "lost", 10000)
    desk("reconcile")
    desk.json("mark-refunded INV-2 --full --reason chargeback --yes")
    desk.sandbox.dispute(desk.invoice("INV-2").payments[0].reference, "won")
    assert desk("reconcile").exit_code == 8
    assert desk("status").exit_code == 8


def test_a_dispute_decision_may_be_changed(desk: Desk) -> None:
    payment = at_adyen(desk)
    ingest(desk, event("DISPUTE_FOO", payment, "DISPUTE", PART))
    desk.json("events acknowledge 1 --as open")
    desk.refused("refund INV-1 --full --reason other --yes", "disputed")
    desk.json("events acknowledge 1 --as lost --memo 'by letter'")
    assert left(desk) == "60.00"
    desk.refused("events acknowledge 1 --memo again", "nothing-to-review")


# --- reports -------------------------------------------------------------------------------------------------


def test_a_refund_that_failed_and_was_made_again_in_one_report_stays_held(desk: Desk) -> None:
    payment = at_adyen(desk)
    refund = desk.json("refund INV-1 --amount 40.00 --reason other --yes")["refunds"][0]
    kinds = ["SentForRefund", "RefundFailed", "Refunded"]
    rows = [row(kind, payment, refund["provider_reference"], ago=40 - day) for day, kind in enumerate(kinds)]
    compared(desk, *rows)
    # Adyen does not retry after ten days; this one it did.
    assert left(desk) == "60.00"
    desk.refused("refund INV-1 --amount 70.00 --reason other --yes", "over-refund")
    assert findings(desk.books) == []


def test_rows_with_different_amounts_of_one_refund_are_looked_at(desk: Desk) -> None:
    payment = at_adyen(desk)
    rows = [row("SentForRefund", payment, "REF", PART, ago=9), row("Refunded", payment, "REF", PART - 1000, ago=8)]
    assert compared(desk, *rows).exit_code == 8
    desk.refused("refund INV-1 --amount 10.00 --reason other --yes", "unreviewed-event")


def test_a_capture_that_failed_and_was_made_again_in_one_report_is_paid(desk: Desk) -> None:
    payment = at_adyen(desk)
    kinds = ["SentForSettle", "CaptureFailed", "SentForSettle", "Settled"]
    rows = [row(kind, payment, "CAP", 10000, ago=9 - day) for day, kind in enumerate(kinds)]
    compared(desk, *rows)
    assert desk.invoice("INV-1").status is InvoiceStatus.PAID
    assert left(desk) == "100.00"
    assert compared(desk, *rows).exit_code == 0


def test_the_books_do_not_agree_while_a_refund_is_not_settled(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    desk("refund INV-1 --amount 40.00 --reason other --yes")
    answer = desk("reconcile -o json")
    assert (answer.exit_code, answer.json["unconfirmed"]) == (8, 1)
    payment = at_adyen(desk, "INV-2")
    assert compared(desk, row("Settled", payment, "CAP", 10000, ago=9)).exit_code == 0
