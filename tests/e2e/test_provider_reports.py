"""Regressions: provider messages that were once misread, so that money was sent or counted twice."""

from pathlib import Path
from typing import Any

import pytest

import oracle
from desk import MERCHANT, Desk
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.store.checks.integrity import findings
from webhooks import Json, item, settle_secrets

YES = "--reason other --yes"
HEADING = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC),Modification Merchant Reference"
)


@pytest.fixture(autouse=True)
def _webhooks(desk: Desk) -> None:
    settle_secrets(desk)


def paid(desk: Desk, number: str = "INV-1", **changes: Any) -> str:
    return desk.paid_by_card(number, provider="adyen", **changes)


def ingest(desk: Desk, *events: Json) -> None:
    oracle.ingest(desk, *oracle.delivered(*events))


def money(desk: Desk, number: str, name: str) -> str:
    amount: str = desk.json(f"invoice show {number}")[name]["amount"]
    return amount


def the_refund(desk: Desk, number: str = "INV-1") -> Refund:
    (refund,) = desk.invoice(number).refunds
    return refund


# --- Adyen ---------------------------------------------------------------------------------------------------


def test_a_refund_that_is_refused_after_it_was_accepted_is_reported(desk: Desk) -> None:
    payment = paid(desk)
    assert desk("status").exit_code == 0
    sent = desk.json(f"refund INV-1 --full {YES}")["refunds"][0]
    about = {"originalReference": payment, "merchantReference": sent["id"], "reason": "Insufficient balance on payment"}
    ingest(desk, item("REFUND", pspReference=sent["provider_reference"], success="false", **about))
    assert money(desk, "INV-1", "refundable") == "100.00"
    status = desk.json("status", exit_code=8)
    assert [refund["id"] for refund in status["needs_acknowledgement"]] == [sent["id"]]
    desk.json(f"acknowledge {sent['id']} --yes")
    assert desk("status").exit_code == 0
    assert findings(desk.books) == []


def test_without_a_connection_nothing_is_sent_and_it_is_safe_to_repeat(desk: Desk) -> None:
    paid(desk)
    there = desk.environ["REFUNDCLI_ADYEN_API_BASE"]
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = "http://127.0.0.1:9"
    answer = desk(f"refund INV-1 --full {YES} -o json")
    assert (answer.exit_code, answer.error["code"]) == (7, "not-sent")
    assert "refundcli refund INV-1" in answer.error["hint"]
    assert money(desk, "INV-1", "refundable") == "100.00"
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = there
    assert desk.json(f"refund INV-1 --full {YES}")["refunds"][0]["status"] == "pending"


def test_a_cancel_or_refund_that_does_not_say_which_needs_a_person(desk: Desk) -> None:
    payment = paid(desk)
    ingest(desk, item("CANCEL_OR_REFUND", originalReference=payment, pspReference="REVERSAL1"))
    assert desk("status").exit_code == 8
    desk.refused(f"refund INV-1 --full {YES}", "unreviewed-event")
    assert desk.refunded_at_provider(payment) == []


def test_the_captures_of_a_report_do_not_hide_refunds_and_chargebacks(desk: Desk, tmp_path: Path) -> None:
    ours, dashboard, disputed = paid(desk, "INV-1"), paid(desk, "INV-2"), paid(desk, "INV-3")
    sent = desk.json(f"refund INV-1 --amount 30.00 {YES}")["refunds"][0]
    reference = sent["provider_reference"]
    lines = [
        f"{ours},INV-1,paypal,2026-11-02 10:00:00,CET,SettledExternally,CAP1,EUR,,100.00,",
        f"{ours},INV-1,paypal,2026-11-28 08:00:00,CET,RefundedExternally,{reference},EUR,30.00,,{sent['id']}",
        f"{dashboard},INV-2,amex,2026-11-20 10:00:00,CET,RefundedExternally,DASH2,EUR,100.00,,",
        f"{disputed},INV-3,amex,2026-11-20 10:00:00,CET,ChargebackExternallyWithInfo,DSP3,EUR,100.00,,",
    ]
    report = tmp_path / "report.csv"
    report.write_text("\n".join([HEADING, *(f"C,{MERCHANT},{line}" for line in lines)]) + "\n")
    assert desk(f"reconcile --report {report}").exit_code == 3
    assert money(desk, "INV-1", "refunded") == "30.00"
    desk.refused(f"refund INV-2 --full {YES}", "nothing-to-refund")
    desk.refused(f"refund INV-3 --full {YES}", "disputed")
    # INV-2 has no credit note until its refund is adopted, so the report still differs.
    assert desk(f"reconcile --report {report}").exit_code == 3
    desk.json("reconcile --adopt DASH2 --reason other")
    assert desk(f"reconcile --report {report}").exit_code == 0


def test_a_refund_in_another_currency_or_unreadable_bars_the_next_one(desk: Desk) -> None:
    dollars, kronur = paid(desk, "INV-1"), paid(desk, "INV-2", amount="5000 ISK")
    ingest(
        desk,
        item("REFUND", originalReference=dollars, pspReference="RFD", amount={"currency": "USD", "value": 11_000}),
        item("REFUND", originalReference=kronur, pspReference="RFI", amount={"currency": "ISK", "value": 125_050}),
    )
    for number in ("INV-1", "INV-2"):
        desk.refused(f"refund {number} --full {YES}", "unreviewed-event")
    assert desk.refunded_at_provider(dollars) + desk.refunded_at_provider(kronur) == []


@pytest.mark.parametrize("code", ["CAPTURE_FAILED", "CANCELLATION", "TECHNICAL_CANCEL"])
def test_what_was_never_captured_is_not_paid_and_may_be_voided(desk: Desk, code: str) -> None:
    payment = paid(desk)
    ingest(desk, item(code, originalReference=payment, pspReference="MOD1"))
    assert desk.json("invoice show INV-1")["status"] == "open"
    desk.refused(f"refund INV-1 --full {YES}", "not-paid")
    desk.refused(f"mark-refunded INV-1 --full {YES}", "not-paid")
    assert desk("void INV-1 --yes").exit_code == 0
    assert findings(desk.books) == []


def test_a_partial_refund_by_a_method_that_needs_more_has_another_way(desk: Desk) -> None:
    payment = paid(desk, method="klarna")
    refusal = desk.refused(f"refund INV-1 --amount 40.00 {YES}", "unsupported-refund")
    assert "mark-refunded" in refusal["hint"]
    assert desk.refunded_at_provider(payment) == []
    desk.json(f"mark-refunded INV-1 --amount 40.00 --reference RF1 {YES}")
    assert money(desk, "INV-1", "refundable") == "60.00"


def test_a_payment_that_is_split_between_accounts_is_not_refunded_from_here(desk: Desk) -> None:
    payment = paid(desk)
    split = {"split.api": "1", "split.nrOfItems": "1", "split.item1.account": "BA1", "split.item1.amount": "10000"}
    ingest(desk, item("AUTHORISATION", pspReference=payment, originalReference=None, additionalData=split))
    desk.refused(f"refund INV-1 --full {YES}", "unsupported-refund")
    assert desk.refunded_at_provider(payment) == []
    assert desk("mark-refunded INV-1 --full --reason other --reference RF1 --yes").exit_code == 0


def test_one_unidentified_failure_of_two_captures(desk: Desk) -> None:
    payment = paid(desk)
    ingest(desk, item("CAPTURE", originalReference=payment, pspReference="CAP1"))
    ingest(desk, item("CAPTURE_FAILED", originalReference=payment, pspReference="CAP2"))
    desk.refused(f"refund INV-1 --full {YES}", "unreviewed-event")
    assert desk("status").exit_code == 8


# --- Stripe --------------------------------------------------------------------------------------------------


def test_nothing_captured_at_stripe_is_an_open_invoice(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1")
    desk.sandbox.payment_becomes(payment, "requires_capture")
    assert desk("reconcile --invoice INV-1").exit_code == 3
    assert desk("reconcile --invoice INV-1").exit_code == 0
    desk.refused(f"mark-refunded INV-1 --full {YES}", "not-paid")
    assert desk("void INV-1 --yes").exit_code == 0


def test_a_marked_refund_is_not_counted_again_when_stripe_reports_it(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", auto_refundable=False)
    refund_id = desk.sandbox.dashboard_refund(payment, 4000)
    marked = desk.json(f'mark-refunded INV-1 --amount 40.00 {YES} --reference "dashboard, Anna 29 Nov"')["refunds"][0]
    assert desk("reconcile --invoice INV-1").exit_code == 3
    assert (money(desk, "INV-1", "refunded"), money(desk, "INV-1", "refundable")) == ("40.00", "20.00")
    (undecided,) = desk.json("status", exit_code=8)["external"]
    assert undecided["command"].startswith(f"refundcli reconcile --match {undecided['id']}")
    number = marked["credit_note"]["number"]
    desk.json(f"reconcile --match {refund_id} --record {number}")
    assert (money(desk, "INV-1", "refunded"), money(desk, "INV-1", "refundable")) == ("40.00", "60.00")
    assert desk("status").exit_code == 0
    assert desk("reconcile --invoice INV-1").exit_code == 0
    assert findings(desk.books) == []


def test_a_second_refund_beside_the_marked_one_is_adopted(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", auto_refundable=False)
    refund_id = desk.sandbox.dashboard_refund(payment, 4000)
    desk.json(f"mark-refunded INV-1 --amount 40.00 {YES} --reference cash")
    desk("reconcile --invoice INV-1")
    desk.json(f"reconcile --adopt {refund_id} --reason duplicate")
    assert (money(desk, "INV-1", "refunded"), money(desk, "INV-1", "refundable")) == ("80.00", "20.00")
    assert findings(desk.books) == []


def test_what_stripe_reported_is_adopted_and_not_marked_as_well(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", auto_refundable=False)
    refund_id = desk.sandbox.dashboard_refund(payment, 4000)
    desk("reconcile --invoice INV-1")
    refusal = desk.refused(f"mark-refunded INV-1 --amount 40.00 {YES}", "possible-duplicate")
    assert f"--adopt {refund_id}" in refusal["hint"]


def test_a_plain_400_is_a_definite_failure(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.sandbox.faults("400")
    answer = desk(f"refund INV-1 --full {YES}")
    assert answer.exit_code == 6, answer
    assert the_refund(desk).state is RefundState.FAILED
    assert money(desk, "INV-1", "refundable") == "100.00"


def test_what_went_to_the_customers_balance_is_not_refunded_too(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="S-1")
    desk.sandbox.credit_note("S-1", 10_000)
    assert desk("invoice pull stripe").exit_code == 0
    refusal = desk.refused(f"refund S-1 --full {YES}", "nothing-to-refund")
    assert "credited to the customer's balance" in refusal["message"]
    assert desk.refunded_at_provider(stripe_invoice.payments[0]) == []


def test_a_credit_note_made_after_the_pull_is_seen_before_the_refund(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="S-1")
    desk("invoice pull stripe")
    desk.sandbox.credit_note("S-1", 10_000)
    desk.refused(f"refund S-1 --full {YES}", "differs-from-provider")
    assert desk.refunded_at_provider(stripe_invoice.payments[0]) == []


def test_a_connect_charge_is_refused_by_name_and_may_be_marked(desk: Desk) -> None:
    charge = desk.sandbox.charge("100.00 EUR", transfer_data={"destination": "acct_club1"})
    desk.paid_by_card("INV-1", reference=charge.reference)
    refusal = desk.refused(f"refund INV-1 --full {YES}", "unsupported-refund")
    assert "acct_club1" in refusal["message"]
    assert desk.refunded_at_provider(str(charge.reference)) == []
    assert desk(f"mark-refunded INV-1 --full {YES} --reference re_dashboard").exit_code == 0


def test_the_share_of_an_invoice_bounds_its_refund(desk: Desk) -> None:
    payment = desk.sandbox.charge("150.00 EUR")
    desk.paid_by_card("INV-1", reference=payment.reference)
    assert desk("reconcile --invoice INV-1").exit_code == 3
    desk.json(f"refund INV-1 --full {YES}")
    assert desk.refunded_at_provider(str(payment.reference)) == [10_000]


def test_what_was_never_captured_is_no_refund(desk: Desk) -> None:
    charge = desk.sandbox.charge("100.00 EUR", captured=False)
    desk.paid_by_card("INV-1", reference=charge.reference)
    desk.sandbox.capture(str(charge.reference), 6000)
    desk("reconcile --invoice INV-1")
    assert (money(desk, "INV-1", "paid"), money(desk, "INV-1", "refundable")) == ("60.00", "60.00")
    assert desk.invoice("INV-1").refunds == ()
    desk.json(f"refund INV-1 --full {YES}")
    assert desk.refunded_at_provider(str(charge.reference))[-1] == 6000


def test_a_prevented_dispute_took_its_amount_and_no_more(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1")
    desk.sandbox.dispute(payment, "prevented", 3000)
    desk("reconcile --invoice INV-1")
    desk.refused(f"refund INV-1 --amount 80.00 {YES}", "over-refund")
    desk.json(f"refund INV-1 --amount 50.00 {YES}")
    record = desk.json("mark-refunded INV-1 --amount 30.00 --reason chargeback --yes")["refunds"][0]
    assert (record["kind"], money(desk, "INV-1", "refundable")) == (RefundKind.RECORD, "20.00")
    assert findings(desk.books) == []
