"""invoice pull: invoices from Stripe with their payments, refunds and disputes; newer facts of the store stay."""

from datetime import UTC, datetime

import pytest

from desk import Desk
from refundcli.domain.statuses import Dispute, InvoiceStatus
from refundcli.store.checks.integrity import findings


def test_an_invoice_comes_with_its_payments_refunds_and_disputes(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice(
        "100.00 EUR",
        number="INV-1",
        customer="cus_7",
        customer_name="Grace Hopper",
        products=["Season pass", "Kit"],
        subscription="sub_1",
        payments=[
            {"amount": "60.00"},
            {"amount": "30.00", "kind": "charge"},
            {"amount": "10.00", "kind": "payment_record"},
        ],
    )
    desk.sandbox.dashboard_refund(stripe_invoice.payments[0], 2500)
    desk.sandbox.dispute(stripe_invoice.payments[1])
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["changed"], counts["unchanged"]) == (1, 0, 0)

    invoice = desk.json("invoice show INV-1")
    assert (invoice["status"], invoice["customer_name"], invoice["subscription"]) == ("paid", "Grace Hopper", "sub_1")
    assert (invoice["products"], invoice["invoice_reference"]) == (["Season pass", "Kit"], stripe_invoice.id)
    by_intent, by_charge, record = invoice["payments"]
    assert by_intent["refundable"]["amount"] == "35.00"
    assert (by_charge["dispute"], by_charge["captured"]["amount"]) == ("open", "30.00")
    assert (record["provider"], record["auto_refundable"], record["captured"]["amount"]) == (None, False, "10.00")
    (elsewhere,) = invoice["refunds"]
    assert (elsewhere["kind"], elsewhere["adopted"], elsewhere["amount"]["amount"]) == ("external", False, "25.00")
    assert findings(desk.books) == []


def test_the_same_pull_again_changes_nothing(desk: Desk) -> None:
    for number in range(3):
        desk.sandbox.invoice("10.00 EUR", number=f"INV-{number}")
    desk.json("invoice pull stripe")
    entries = desk.count("audit_entry")
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["changed"], counts["unchanged"], counts["updates"]) == (0, 0, 3, 0)
    assert desk.count("audit_entry") == entries


@pytest.mark.parametrize("status", ["draft", "open", "void", "uncollectible"])
def test_every_status_comes_as_it_is(desk: Desk, status: str) -> None:
    stripe_invoice = desk.sandbox.invoice("10.00 EUR", number="INV-1", status=status)
    desk.json("invoice pull stripe")
    name = stripe_invoice.id if status == "draft" else "INV-1"
    assert desk.invoice(name).status == status


def test_a_draft_that_gets_its_number_is_known_by_it(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("10.00 EUR", number="INV-1", status="draft")
    desk.json("invoice pull stripe")
    assert desk.invoice(stripe_invoice.id).status is InvoiceStatus.DRAFT
    desk.sandbox.state.invoices[stripe_invoice.id].status = "open"
    assert desk.json("invoice pull stripe")["changed"] == 1
    assert desk.invoice("INV-1").status is InvoiceStatus.OPEN
    assert desk.count("invoice") == 1
    assert [entry["action"] for entry in desk.json("invoice history INV-1")][1:] == [
        "invoice numbered",
        "invoice imported again",
    ]
    assert findings(desk.books) == []


def test_unsupported_invoices_are_reported_and_the_others_pulled(desk: Desk) -> None:
    credit = desk.sandbox.invoice("10.00 EUR", number="CREDIT")
    desk.sandbox.state.invoices[credit.id].total = -500
    desk.sandbox.invoice("10.00 EUR", number="TWICE")
    second = desk.sandbox.invoice("20.00 EUR", number="TWICE")
    desk.sandbox.invoice("10.00 EUR", number="INV-1")
    for new in (2, 0):
        counts = desk.json("invoice pull stripe")
        assert (counts["new"], counts["conflict_count"]) == (new, 2)
        why = {row["number"]: row["message"] for row in counts["conflicts"]}
        assert "not a valid amount" in why["CREDIT"]
        assert "has the same invoice number as" in why["TWICE"]
    assert desk.invoice("TWICE").invoice_reference == second.id
    desk.refused("invoice pull stripe --number CREDIT", "cannot-be-held")
    assert findings(desk.books) == []


def test_amounts_come_in_the_books_own_units(desk: Desk) -> None:
    desk.sandbox.invoice("1000", currency="JPY", number="INV-1")
    desk.sandbox.invoice("8.250", currency="KWD", number="INV-2")
    desk.sandbox.invoice("1000", currency="ISK", number="INV-3")
    desk.json("invoice pull stripe")
    totals = [str(desk.invoice(f"INV-{number}").total) for number in (1, 2, 3)]
    assert totals == ["1000 JPY", "8.250 KWD", "1000 ISK"]


def test_refunds_made_here_stay_what_they_are(desk: Desk) -> None:
    desk.sandbox.invoice("100.00 EUR", number="INV-1")
    desk.json("invoice pull stripe")
    desk.json("refund INV-1 --amount 40 --reason duplicate --yes")
    before = desk.json("invoice show INV-1")
    desk.json("invoice pull stripe")
    assert desk.json("invoice show INV-1") == before
    desk.json("refund INV-1 --full --reason other --yes")
    desk.json("invoice pull stripe")
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    assert findings(desk.books) == []


def test_a_payment_known_by_its_charge_and_by_its_intent_is_one(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-1")
    intent = stripe_invoice.payments[0]
    charge = desk.sandbox.state.find_charge(intent).id
    desk.paid_by_card("INV-1", reference=charge)
    desk.json("invoice pull stripe")
    (payment,) = desk.invoice("INV-1").payments
    assert set(payment.references) == {intent, charge}
    desk.json("refund INV-1 --full --reason other --yes")
    assert desk.refunded_at_provider(intent) == [10000]


@pytest.mark.parametrize("by", ["charge", "intent"])
@pytest.mark.parametrize("first", ["import", "pull"])
def test_a_payment_is_one_whichever_id_came_first_and_is_refunded_once(desk: Desk, first: str, by: str) -> None:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-1")
    intent = stripe_invoice.payments[0]
    charge = desk.sandbox.state.find_charge(intent).id
    reference = {"charge": charge, "intent": intent}[by]
    file = desk.folder / "invoices.csv"
    file.write_text(
        "number,customer,currency,total,status,issued_on,provider,payment_reference\n"
        f"INV-1,{stripe_invoice.customer},EUR,100.00,paid,2026-09-01,stripe,{reference}\n"
    )
    commands = [f"invoice import {file}", "invoice pull stripe"]
    # A second nightly import adds nothing.
    for command in (commands if first == "import" else commands[::-1]) * 2:
        desk.json(command)
        (payment,) = desk.invoice("INV-1").payments
        assert (payment.captured.number, reference in payment.references) == ("100.00", True)
    assert set(payment.references) == {intent, charge}
    desk.json("refund INV-1 --amount 60 --reason other --yes")
    for command in commands:
        desk.json(command)
    assert desk.invoice("INV-1").refundable.number == "40.00"
    desk.refused("refund INV-1 --amount 40.01 --reason other --yes", "over-refund")
    assert desk.refunded_at_provider(intent) == [6000]
    assert findings(desk.books) == []


def test_an_imported_invoice_keeps_its_number_when_pulled(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="STRIPE-0001")
    desk.unpaid("2026/17", invoice_reference=stripe_invoice.id)
    desk.json("invoice pull stripe")
    assert desk.invoice("2026/17").status is InvoiceStatus.PAID
    desk.refused("invoice show STRIPE-0001", "invoice-not-found", exit_code=5)


def test_all_pages_are_read(desk: Desk) -> None:
    for number in range(105):
        desk.sandbox.invoice("10.00 EUR", number=f"INV-{number:03}", status="open")
    assert desk.json("invoice pull stripe")["new"] == 105


@pytest.mark.slow_on_postgres
def test_a_stopped_pull_resumes_where_it_was(desk: Desk) -> None:
    invoices = [desk.sandbox.invoice("10.00 EUR", number=f"INV-{number:02}") for number in range(60)]
    newest_first = invoices[::-1]
    desk.sandbox.faults("500_before", call="lookup", payment=newest_first[45].payments[0])
    stopped = desk("invoice pull stripe -o json")
    assert (stopped.exit_code, stopped.error["code"]) == (7, "provider-unreachable")
    assert desk.count("invoice") == 40
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["resumed_after"]) == (20, newest_first[39].id)
    assert desk.json("invoice pull stripe")["unchanged"] == 60


def test_a_resumed_pull_includes_invoices_made_since(desk: Desk) -> None:
    invoices = [desk.sandbox.invoice("10.00 EUR", number=f"INV-{number:02}") for number in range(30)]
    desk.sandbox.faults("500_before", call="lookup", payment=invoices[0].payments[0])
    assert desk("invoice pull stripe").exit_code == 7
    desk.sandbox.invoice("10.00 EUR", number="NEW")
    counts = desk.json("invoice pull stripe")
    assert (counts["new"], counts["resumed_after"]) == (11, invoices[10].id)
    assert desk.invoice("NEW")


def test_a_pull_whose_place_is_gone_begins_anew(desk: Desk) -> None:
    for number in range(3):
        desk.sandbox.invoice("10.00 EUR", number=f"INV-{number}")
    desk.books.write(lambda tx: tx.store.set_sync_state("pull:stripe:all", "in_deletedDraft 2026-09-01"))
    assert desk.json("invoice pull stripe")["new"] == 3


def test_since_leaves_older_ones_out(desk: Desk) -> None:
    old = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    desk.sandbox.invoice("10.00 EUR", number="OLD", created=old)
    desk.sandbox.invoice("10.00 EUR", number="NEW")
    assert desk.json("invoice pull stripe --since 2026-06-01")["new"] == 1
    assert desk.invoice("NEW")


def test_one_invoice_by_its_number_or_its_id(desk: Desk) -> None:
    stripe_invoice = desk.sandbox.invoice("10.00 EUR", number="INV-1")
    second = desk.sandbox.invoice("10.00 EUR", number="INV-2")
    assert desk.json("invoice pull stripe --number INV-1")["new"] == 1
    assert desk.json(f"invoice pull stripe --number {second.id}")["new"] == 1
    assert desk.json(f"invoice pull stripe --number {stripe_invoice.id}")["unchanged"] == 1
    desk.refused("invoice pull stripe --number INV-9", "not-at-provider", exit_code=5)


def test_adyen_has_no_invoices(desk: Desk) -> None:
    desk.refused("invoice pull adyen", "cannot-be-asked")


def test_show_refresh_reads_one_again(desk: Desk) -> None:
    pulled = desk.sandbox.invoice("100.00 EUR", number="INV-1")
    desk.json("invoice pull stripe")
    by_file = desk.paid_by_card("INV-2")
    desk.sandbox.dispute(pulled.payments[0])
    desk.sandbox.dashboard_refund(by_file, 3000)
    assert desk.json("invoice show INV-1 --refresh")["dispute"] == Dispute.OPEN
    assert desk.json("invoice show INV-2 --refresh")["refundable"]["amount"] == "70.00"
    desk.paid_outside("INV-3")
    assert desk.json("invoice show INV-3 --refresh")["number"] == "INV-3"
