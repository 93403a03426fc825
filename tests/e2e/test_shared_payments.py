"""One provider payment for several invoices: each is refunded within its share, and nothing is refunded twice."""

import json
from dataclasses import asdict

import pytest
from sqlalchemy import text

from desk import Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.bulk.earlier_rows import EarlierRows
from refundcli.services.ports.records import NewPayment
from refundcli.store.checks.integrity import findings
from tampering import tamper
from webhooks import STRIPE_SECRET, settle_secrets

_BOTH = "pi_both"


def _two_invoices(sandbox: RunningSandbox) -> None:
    """INV-A has 100.00 EUR and INV-B 50.00 EUR of one payment of 150.00 EUR."""
    share = {"amount": "100.00", "payment_amount": 15000, "reference": _BOTH}
    sandbox.invoice("100.00 EUR", number="INV-A", payments=[share])
    sandbox.invoice("50.00 EUR", number="INV-B", payments=[{"amount": "50.00", "reference": _BOTH}])


def _pulled(desk: Desk) -> None:
    _two_invoices(desk.sandbox)
    desk.json("invoice pull stripe")


def test_a_payment_pays_two_invoices_and_each_is_refunded_in_full(desk: Desk) -> None:
    _two_invoices(desk.sandbox)
    pulled = desk.json("invoice pull stripe")
    assert (pulled["new"], pulled["conflict_count"]) == (2, 0)
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["100.00", "50.00"]
    desk.json("refund INV-A --full --reason other --yes")
    desk.refused("refund INV-A --amount 1 --reason other --yes", "nothing-to-refund")
    assert desk.invoice("INV-B").refundable.number == "50.00"
    desk.json("refund INV-B --full --reason other --yes")
    assert desk.refunded_at_provider(_BOTH) == [10000, 5000]
    assert {desk.invoice(number).status for number in ("INV-A", "INV-B")} == {InvoiceStatus.REFUNDED}
    desk.json("reconcile")
    desk.json("invoice pull stripe")
    assert findings(desk.books) == []


def test_the_same_pull_again_changes_nothing_of_shares(desk: Desk) -> None:
    _pulled(desk)
    entries = desk.count("audit_entry")
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["changed"], counts["unchanged"], counts["conflict_count"]) == (0, 0, 2, 0)
    assert desk.count("audit_entry") == entries
    assert desk.count("payment") == 2


def test_an_external_refund_counts_against_both_shares_until_it_is_adopted(desk: Desk) -> None:
    _pulled(desk)
    refund_id = desk.sandbox.dashboard_refund(_BOTH, 3000)
    desk("reconcile")
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["70.00", "20.00"]
    desk.refused("refund INV-B --amount 50 --reason other --yes", "over-refund")
    assert findings(desk.books) == []
    desk.json(f"reconcile --adopt {refund_id} --reason other --invoice INV-B")
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["100.00", "20.00"]
    assert desk.invoice("INV-B").refunded == parse_money("30.00 EUR")
    desk.json("refund INV-A --full --reason other --yes")
    desk.json("refund INV-B --full --reason other --yes")
    assert sum(desk.refunded_at_provider(_BOTH)) == 15000
    assert findings(desk.books) == []


def test_a_full_external_refund_counts_for_both_invoices(desk: Desk) -> None:
    _pulled(desk)
    desk.sandbox.dashboard_refund(_BOTH, 15000)
    desk("reconcile")
    assert {desk.invoice(number).status for number in ("INV-A", "INV-B")} == {InvoiceStatus.REFUNDED}
    assert desk.json("status", exit_code=8)["losses"] == []
    assert findings(desk.books) == []


def test_a_dispute_of_the_payment_bars_both_invoices(desk: Desk) -> None:
    _pulled(desk)
    dispute = desk.sandbox.dispute(_BOTH)
    desk("reconcile")
    for number in ("INV-A", "INV-B"):
        assert desk.invoice(number).dispute is Dispute.OPEN
        desk.refused(f"refund {number} --full --reason other --yes", "disputed")
    desk.sandbox.dispute(_BOTH, "lost", dispute=dispute)
    desk("reconcile")
    assert [str(desk.invoice(number).payments[0].lost) for number in ("INV-A", "INV-B")] == ["100.00 EUR", "50.00 EUR"]
    assert findings(desk.books) == []


def _imported(desk: Desk, number: str, amount: str, reference: str, *, auto_refundable: bool = True) -> None:
    """As an import file states it, with its paid amount."""
    whole = parse_money(amount)
    payment = NewPayment(whole.minor, Provider.STRIPE, "card", reference, auto_refundable=auto_refundable)
    desk.bring_in(new_invoice(number, whole, payments=(payment,)))


def _each_is_refunded_in_full(desk: Desk) -> None:
    for number in ("INV-B", "INV-A"):
        desk.json(f"refund {number} --full --reason other --yes")
    assert desk.refunded_at_provider(_BOTH) == [5000, 10000]
    for number in ("INV-A", "INV-B"):
        assert desk.invoice(number).status is InvoiceStatus.REFUNDED
        desk.refused(f"refund {number} --amount 1 --reason other --yes", "nothing-to-refund")
    assert findings(desk.books) == []


@pytest.mark.parametrize("paid", ["100.00 EUR", "150.00 EUR"])
def test_one_that_was_imported_first_becomes_the_first_share(desk: Desk, paid: str) -> None:
    _two_invoices(desk.sandbox)
    # The file may count all of the payment.
    _imported(desk, "INV-A", paid, _BOTH)
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["conflict_count"]) == (1, int(paid == "150.00 EUR"))
    assert [p.other_shares[0].invoice_number for p in desk.invoice("INV-A").payments] == ["INV-B"]
    _each_is_refunded_in_full(desk)


def test_one_invoice_pulled_after_the_other(desk: Desk) -> None:
    _two_invoices(desk.sandbox)
    for number in ("INV-B", "INV-A"):
        assert desk.json(f"invoice pull stripe --number {number}")["new"] == 1
    _each_is_refunded_in_full(desk)


def _known_by_two_ids(desk: Desk) -> str:
    """INV-A by the intent, INV-B by the charge, imported before they were known as one payment."""
    _two_invoices(desk.sandbox)
    charge = str(desk.sandbox.state.find_charge(_BOTH).id)
    _imported(desk, "INV-A", "100.00 EUR", _BOTH)
    _imported(desk, "INV-B", "50.00 EUR", charge)
    return charge


def test_one_payment_known_as_two_is_a_difference_that_bars_the_refund_of_both(desk: Desk) -> None:
    charge = _known_by_two_ids(desk)
    for number in ("INV-A", "INV-B"):
        error = desk.refused(f"refund {number} --full --reason other --yes", "differs-from-provider")
        assert "a separate payment on INV-" in error["message"]
        assert "invoice pull stripe" in error["hint"]
    listed = desk.json("reconcile", exit_code=3)
    assert any("a separate payment" in difference["in_books"] for difference in listed["differences"])
    assert desk.refunded_at_provider(_BOTH) == []
    assert desk.invoice("INV-B").payments[0].references == (charge,)
    assert findings(desk.books) == []


def test_events_of_one_payment_known_as_two_are_applied_and_refund_neither(desk: Desk) -> None:
    settle_secrets(desk)
    _known_by_two_ids(desk)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
    desk.sandbox.dashboard_refund(_BOTH, 3000)
    desk.sandbox.dispute(_BOTH, "warning_needs_response", amount=1000)
    file = desk.folder / "deliveries.jsonl"
    file.write_text("".join(f"{json.dumps(asdict(delivery))}\n" for delivery in desk.sandbox.deliveries("stripe")))
    desk.ingest(file)
    desk("events apply")
    for number in ("INV-A", "INV-B"):
        assert desk(f"refund {number} --full --reason other --yes").exit_code == 3
    assert desk.refunded_at_provider(_BOTH) == [3000]
    assert findings(desk.books) == []


def test_a_pull_makes_one_payment_known_as_two_into_shares(desk: Desk) -> None:
    charge = _known_by_two_ids(desk)
    refund_id = desk.sandbox.dashboard_refund(_BOTH, 3000)
    dispute = desk.sandbox.dispute(_BOTH, "warning_needs_response", amount=1000)
    desk("reconcile")
    assert desk.json("invoice pull stripe")["new"] == 0
    for number in ("INV-A", "INV-B"):
        (payment,) = desk.invoice(number).payments
        assert set(payment.references) == {_BOTH, charge}
        assert [entry.reference for entry in payment.disputes] == [dispute]
    assert findings(desk.books) == []
    desk.sandbox.dispute(_BOTH, "warning_closed", dispute=dispute)
    desk.json(f"reconcile --adopt {refund_id} --reason other --invoice INV-B")
    desk("reconcile")
    desk.json("refund INV-A --full --reason other --yes")
    desk.json("refund INV-B --full --reason other --yes")
    assert sum(desk.refunded_at_provider(_BOTH)) == 15000
    assert findings(desk.books) == []


def test_what_happened_before_the_second_invoice_was_known_counts_for_it_too(desk: Desk) -> None:
    _two_invoices(desk.sandbox)
    desk.json("invoice pull stripe --number INV-A")
    desk.sandbox.dashboard_refund(_BOTH, 3000)
    dispute = desk.sandbox.dispute(_BOTH, amount=1000)
    desk("reconcile")
    assert str(desk.invoice("INV-A").refunded) == "30.00 EUR"
    desk.json("invoice pull stripe --number INV-B")
    second = desk.invoice("INV-B")
    assert (second.dispute, second.refundable.number) == (Dispute.OPEN, "20.00")
    assert second.payments[0].disputes[0].reference == dispute
    # Which of the two it was is unknown.
    assert [str(desk.invoice(number).refunded) for number in ("INV-A", "INV-B")] == ["0.00 EUR", "0.00 EUR"]
    assert findings(desk.books) == []


def test_one_invoice_under_two_numbers_is_no_second_share(desk: Desk) -> None:
    desk.sandbox.invoice("100.00 EUR", number="STRIPE-1", payments=[{"amount": "100.00", "reference": _BOTH}])
    _imported(desk, "2026/17", "100.00 EUR", _BOTH)
    counts = desk.json("invoice pull stripe")
    assert counts["new"] == 0
    assert "together they claim 200.00 EUR of a payment of 100.00 EUR" in counts["conflicts"][0]["message"]
    desk.refused("invoice show STRIPE-1", "invoice-not-found", exit_code=5)
    desk.json("refund 2026/17 --full --reason other --yes")
    assert findings(desk.books) == []


def test_one_invoice_under_two_numbers_is_no_second_share_of_a_larger_payment(desk: Desk) -> None:
    share = {"amount": "50.00", "payment_amount": 15000, "reference": _BOTH}
    desk.sandbox.invoice("50.00 EUR", number="STRIPE-1", payments=[share])
    _imported(desk, "2026/17", "50.00 EUR", _BOTH)
    counts = desk.json("invoice pull stripe")
    assert counts["new"] == 0
    assert "2026/17, which may be the same invoice" in counts["conflicts"][0]["message"]
    assert findings(desk.books) == []


def test_two_invoices_of_the_same_amount_share_a_payment(desk: Desk) -> None:
    share = {"amount": "50.00", "payment_amount": 10000, "reference": _BOTH}
    desk.sandbox.invoice("50.00 EUR", number="INV-A", payments=[share])
    desk.sandbox.invoice("50.00 EUR", number="INV-B", payments=[{"amount": "50.00", "reference": _BOTH}])
    _imported(desk, "INV-A", "50.00 EUR", _BOTH)
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["conflict_count"]) == (1, 0)
    for number in ("INV-A", "INV-B"):
        desk.json(f"refund {number} --full --reason other --yes")
    assert desk.refunded_at_provider(_BOTH) == [5000, 5000]
    assert findings(desk.books) == []


def test_both_invoices_are_named_by_the_payment(desk: Desk) -> None:
    _pulled(desk)
    error = desk.refused(f"invoice show {_BOTH}", "several-invoices")
    assert error["context"]["invoices"] == ["INV-A", "INV-B"]
    assert desk.json("invoice show INV-B")["payments"][0]["shared_with"] == ["INV-A"]
    assert desk.json("invoice show INV-A")["payments"][0]["shared_with"] == ["INV-B"]


def test_an_external_refund_is_adopted_by_an_invoice_that_has_a_share(desk: Desk) -> None:
    _pulled(desk)
    desk.paid_by_card("INV-C")
    refund_id = desk.sandbox.dashboard_refund(_BOTH, 3000)
    desk("reconcile")
    desk.refused(f"reconcile --adopt {refund_id} --reason other --invoice INV-C", "no-share", exit_code=5)
    # Only an operator can tell which of the two it is for.
    error = desk.refused(f"reconcile --adopt {refund_id} --reason other", "invoice-needed", exit_code=2)
    assert sorted(error["context"]["invoices"]) == ["INV-A", "INV-B"]
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["70.00", "20.00"]
    assert desk.json(f"reconcile --adopt {refund_id} --reason other --invoice INV-A")["invoice"] == "INV-A"
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["70.00", "50.00"]
    assert findings(desk.books) == []


def test_a_file_that_names_the_payment_twice_says_where_shares_come_from(desk: Desk) -> None:
    _pulled(desk)
    file = desk.folder / "invoices.csv"
    head = "number,customer,currency,total,status,issued_on,provider,payment_reference\n"
    row = "{},cus_1,EUR,50.00,paid,2026-09-01,stripe,{}\n"
    file.write_text(head + row.format("INV-8", "pi_1") + row.format("INV-9", "pi_1"))
    (problem,) = desk.refused(f"invoice import {file}", "bad-rows")["context"]["problems"]
    assert (problem["code"], "invoice pull stripe" in problem["hint"]) == ("duplicate-payment", True)
    file.write_text(head + row.format("INV-9", _BOTH))
    (problem,) = desk.refused(f"invoice import {file}", "bad-rows")["context"]["problems"]
    assert (problem["code"], "invoice pull stripe" in problem["hint"]) == ("duplicate-payment", True)
    # An invoice with a share may be imported again.
    file.write_text(head + row.format("INV-B", _BOTH))
    desk.json(f"invoice import {file}")
    assert findings(desk.books) == []
    _each_is_refunded_in_full(desk)


def test_all_shares_together_give_no_more_than_was_captured(desk: Desk) -> None:
    _pulled(desk)
    with desk.books.engine.begin() as connection:
        connection.execute(text("UPDATE payment SET captured = 12000"))

    def reserve(number: str, amount: str) -> bool:
        payment = desk.invoice(number).payments[0]
        return desk.books.write(lambda tx: tx.payments.reserve(payment, parse_money(amount)))

    assert desk.invoice("INV-B").refundable.number == "50.00"
    assert reserve("INV-A", "100.00 EUR")
    assert desk.invoice("INV-B").refundable.number == "20.00"
    assert not reserve("INV-B", "20.01 EUR")
    assert reserve("INV-B", "20.00 EUR")


def test_a_refund_that_fails_is_free_again_for_its_own_share(desk: Desk) -> None:
    _pulled(desk)
    desk.json("refund INV-B --full --reason other --yes")
    desk.sandbox.dashboard_refund(_BOTH, 3000)
    desk("reconcile")
    # Certainly for A: B had refunded all of its share.
    assert [str(desk.invoice(number).refunded) for number in ("INV-A", "INV-B")] == ["30.00 EUR", "50.00 EUR"]
    ours = next(refund for refund in desk.invoice("INV-B").refunds if not refund.is_external)
    desk.sandbox.settle(ours.provider_reference, status="failed", failure_reason="declined")
    desk("reconcile")
    desk.json(f"acknowledge {ours.id} --yes")
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["70.00", "20.00"]
    assert findings(desk.books) == []


def test_a_lost_dispute_is_recorded_for_one_of_the_invoices(desk: Desk) -> None:
    _pulled(desk)
    dispute = desk.sandbox.dispute(_BOTH, amount=4000)
    desk.sandbox.dispute(_BOTH, "lost", amount=4000, dispute=dispute)
    desk("reconcile")
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["60.00", "10.00"]
    answer = desk.json("mark-refunded INV-B --amount 40 --reason chargeback --yes")
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["100.00", "10.00"]
    assert findings(desk.books) == []
    desk.json(f"mark-refunded --undo {answer['refunds'][0]['id']} --memo mistake --yes")
    assert [desk.invoice(number).refundable.number for number in ("INV-A", "INV-B")] == ["60.00", "10.00"]
    assert findings(desk.books) == []


def test_a_file_does_not_record_more_than_a_lost_dispute_took(desk: Desk) -> None:
    _pulled(desk)
    dispute = desk.sandbox.dispute(_BOTH, amount=5000)
    desk.sandbox.dispute(_BOTH, "lost", amount=5000, dispute=dispute)
    desk("reconcile")
    file = desk.folder / "records.csv"
    file.write_text("invoice,amount,reason\nINV-A,50.00,chargeback\nINV-B,50.00,chargeback\n")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert [(row["line"], row["code"]) for row in answer["refused"]] == [(3, "chargeback-recorded")]
    assert [str(desk.invoice(number).refunded) for number in ("INV-A", "INV-B")] == ["50.00 EUR", "0.00 EUR"]
    assert findings(desk.books) == []


def _three_records(desk: Desk) -> str:
    """Cash, and the same lost 20.00 EUR of the payment for each of its invoices."""
    _pulled(desk)
    desk.paid_outside("C-1")
    dispute = desk.sandbox.dispute(_BOTH, amount=2000)
    desk.sandbox.dispute(_BOTH, "lost", amount=2000, dispute=dispute)
    desk("reconcile")
    file = desk.folder / "records.csv"
    file.write_text("invoice,amount,reason\nC-1,5,other\nINV-A,20,chargeback\nINV-B,20,chargeback\n")
    return str(file)


def _records(desk: Desk) -> list[str]:
    return [desk.invoice(number).refunded.number for number in ("C-1", "INV-A", "INV-B")]


def test_the_check_sees_a_loss_that_two_rows_record_for_two_invoices(desk: Desk) -> None:
    file = _three_records(desk)
    checked = desk.json(f"mark-refunded --from {file} --dry-run", exit_code=9)
    recorded = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    for answer in (checked, recorded):
        assert [(row["line"], row["code"]) for row in answer["refused"]] == [(4, "chargeback-recorded")]
    assert (checked["recorded"], recorded["recorded"], _records(desk)) == (2, 2, ["5.00", "20.00", "0.00"])
    assert findings(desk.books) == []


def _unseen_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check pass what only the store refuses."""
    monkeypatch.setattr(EarlierRows, "of", lambda self, invoice: invoice)


def test_a_row_that_only_the_store_refuses_is_refused_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _three_records(desk)
    _unseen_by_the_check(monkeypatch)
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert answer["recorded"] == 2
    assert [(row["line"], row["code"]) for row in answer["refused"]] == [(4, "store-would-contradict")]
    assert _records(desk) == ["5.00", "20.00", "0.00"]
    again = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert (again["recorded"], again["done_before"]) == (0, 2)
    assert findings(desk.books) == []


def test_an_atomic_run_that_the_store_refuses_names_the_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _three_records(desk)
    _unseen_by_the_check(monkeypatch)
    answer = desk(f"mark-refunded --from {file} --atomic --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "atomic-refused")
    assert "Rows refused: 1 of 3, the first on line 4" in answer.error["message"]
    assert _records(desk) == ["0.00", "0.00", "0.00"]
    assert findings(desk.books) == []


def test_a_file_records_no_more_than_is_left_of_a_payment_behind_every_rule(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _unseen_by_the_check(monkeypatch)
    desk.paid_outside("C-1")
    file = desk.folder / "records.csv"
    file.write_text("invoice,amount,reason\nC-1,60,other\nC-1,70,other\nC-1,40,other\n")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert [(row["line"], row["code"]) for row in answer["refused"]] == [(3, "store-would-contradict")]
    assert desk.invoice("C-1").status is InvoiceStatus.REFUNDED
    assert findings(desk.books) == []


def test_a_file_of_refunds_refunds_both(desk: Desk) -> None:
    _pulled(desk)
    file = desk.folder / "refunds.csv"
    file.write_text("invoice,amount,reason\nINV-A,100.00,other\nINV-B,50.00,other\n")
    desk.json(f"refund --from {file} --yes")
    assert sorted(desk.refunded_at_provider(_BOTH)) == [5000, 10000]
    assert findings(desk.books) == []


@pytest.mark.parametrize("provider", [Provider.STRIPE, None])
def test_a_payment_imported_without_its_id_is_no_second_payment(desk: Desk, provider: Provider | None) -> None:
    _two_invoices(desk.sandbox)
    desk.json("invoice pull stripe --number INV-A")
    whole = parse_money("50.00 EUR")
    desk.bring_in(new_invoice("INV-B", whole, payments=(NewPayment(5000, provider, method="card"),)))
    desk.json("mark-refunded INV-B --full --reason other --yes")
    desk.json("invoice pull stripe")
    (payment,) = desk.invoice("INV-B").payments
    assert (payment.references[0], payment.captured, payment.refunded) == (_BOTH, whole, whole)
    desk.refused("refund INV-B --full --reason other --yes", "nothing-to-refund")
    assert desk.refunded_at_provider(_BOTH) == []
    assert findings(desk.books) == []


@pytest.mark.parametrize("number", ["INV-A", "INV-B"])
def test_a_forgotten_refund_that_was_counted_meanwhile_is_not_made_again(desk: Desk, number: str) -> None:
    _pulled(desk)
    refund = desk.json(f"refund {number} --amount 20 --reason other --request-key order-7 --yes")["refunds"][0]
    _forget(desk, refund["id"])
    desk("reconcile")
    again = f"refund {number} --amount 20 --reason other --request-key order-7 --yes"
    error = desk.refused(again, "already-at-provider")
    assert f"--adopt {refund['id']} --reason REASON --invoice {number}" in error["hint"]
    assert desk.refunded_at_provider(_BOTH) == [2000]
    assert findings(desk.books) == []


def _forget(desk: Desk, refund_id: str) -> None:
    """As after restoring a backup from before the refund."""
    tamper(
        desk.books.engine,
        f"DELETE FROM audit_entry WHERE seq >= (SELECT min(seq) FROM audit_entry WHERE subject = '{refund_id}')",
        f"DELETE FROM credit_note WHERE refund_id = '{refund_id}'",
        f"DELETE FROM refund WHERE id = '{refund_id}'",
        "UPDATE payment SET refunded = 0",
        "UPDATE invoice SET returned = 0",
        "DELETE FROM counter WHERE name <> 'audit'",
    )


def _recorded_and_maybe_reported(desk: Desk) -> str:
    """50.00 EUR of INV-B is recorded under another reference than Stripe's refund."""
    _two_invoices(desk.sandbox)
    _imported(desk, "INV-B", "50.00 EUR", _BOTH, auto_refundable=False)
    desk.json("invoice pull stripe")
    desk.json("mark-refunded INV-B --full --reason other --reference transfer-1 --yes")
    refund_id = desk.sandbox.dashboard_refund(_BOTH, 5000)
    desk("reconcile")
    return refund_id


def test_what_may_be_recorded_already_is_reserved_and_refunds_no_invoice(desk: Desk) -> None:
    refund_id = _recorded_and_maybe_reported(desk)
    first = desk.invoice("INV-A")
    assert (str(first.reserved), str(first.refunded), str(first.refundable)) == ("50.00 EUR", "0.00 EUR", "50.00 EUR")
    assert desk.json("status", exit_code=8)["losses"] == []
    assert findings(desk.books) == []
    record = next(refund for refund in desk.invoice("INV-B").refunds if not refund.is_external)
    desk.json(f"reconcile --match {refund_id} --record {record.id}")
    assert desk.invoice("INV-A").refundable.number == "100.00"
    assert findings(desk.books) == []


def test_a_record_counted_for_another_invoice_needs_confirmation(desk: Desk) -> None:
    _two_invoices(desk.sandbox)
    charge = str(desk.sandbox.state.find_charge(_BOTH).id)
    _imported(desk, "INV-A", "100.00 EUR", _BOTH, auto_refundable=False)
    _imported(desk, "INV-B", "50.00 EUR", charge, auto_refundable=False)
    desk.json("invoice pull stripe")
    desk.sandbox.dashboard_refund(_BOTH, 3000)
    desk("reconcile")
    for number in ("INV-A", "INV-B"):
        error = desk.refused(f"mark-refunded {number} --amount 30 --reason other --yes", "possible-duplicate")
        assert f"--invoice {number}" in error["hint"]


@pytest.mark.parametrize("number", ["INV-A", "INV-B"])
def test_a_recorded_chargeback_that_is_won_after_all_needs_a_person(desk: Desk, number: str) -> None:
    _pulled(desk)
    dispute = desk.sandbox.dispute(_BOTH, amount=4000)
    desk.sandbox.dispute(_BOTH, "lost", amount=4000, dispute=dispute)
    desk("reconcile")
    desk.json(f"mark-refunded {number} --amount 40 --reason chargeback --yes")
    desk.sandbox.dispute(_BOTH, "won", amount=4000, dispute=dispute)
    desk("reconcile")
    (event,) = desk.json("status", exit_code=8)["unreviewed"]
    assert "40.00 EUR is recorded as lost to it" in event["note"]
    assert findings(desk.books) == []
