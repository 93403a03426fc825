"""reconcile --report: what Adyen's report settles, what it adds to the books, and what is missing from it."""

from datetime import date

import pytest

from desk import MERCHANT, Desk
from left_behind import leave_it_ready
from refundcli.domain.statuses import Dispute, InvoiceStatus, RefundState
from refundcli.providers.adyen.vocabulary import report_meaning
from refundcli.sandbox.adyen.reports import Kind
from refundcli.services.ports.vocabulary import Direction
from refundcli.store.checks.integrity import findings

HEADER = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC)"
)


def row(kind: str, payment: str, refund: str = "", amount: str = "100.00", **of: str) -> str:
    cells = [of.get("company", "Co"), of.get("account", MERCHANT), payment, of.get("reference", ""), "visa"]
    cells += [of.get("at", "2026-10-02 14:03:00"), of.get("zone", "CEST"), kind, refund, of.get("currency", "EUR")]
    meaning = report_meaning(kind)
    side = "credit" if meaning and meaning.direction is Direction.CREDIT else "debit"
    return ",".join([*cells, *(("", amount) if of.get("side", side) == "credit" else (amount, ""))])


def compared(desk: Desk, *rows: str, exit_code: int = 3) -> list[tuple[str, str, bool]]:
    file = desk.folder / "report.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    comparison = desk.json(f"reconcile --report {file}", exit_code=exit_code)
    return [
        (difference["kind"], difference["object"], difference["applied"]) for difference in comparison["differences"]
    ]


def pending(desk: Desk) -> tuple[str, str, str]:
    """A payment at Adyen, its refund there, and our refund's id."""
    payment = desk.paid_by_card(provider="adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    (refund,) = desk.invoice("INV-1").refunds
    return payment, refund.provider_reference, refund.id


def test_a_report_settles_what_was_only_accepted_and_that_is_no_difference(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    rows = [row("Refunded", payment, refund, reference=ours), row("Settled", payment)]
    assert compared(desk, *rows, exit_code=0) == []
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    entries = desk.count("audit_entry")
    assert compared(desk, *rows, exit_code=0) == []
    assert desk.count("audit_entry") == entries
    assert findings(desk.books) == []


@pytest.mark.parametrize("turned", [False, True])
def test_a_reversed_refund_is_reported_in_any_row_order(desk: Desk, turned: bool) -> None:
    payment, refund, ours = pending(desk)
    rows = [row(kind, payment, refund, reference=ours) for kind in ("Refunded", "RefundedReversed")]
    assert compared(desk, *(rows[::-1] if turned else rows)) == [("status", "refund", True)]
    invoice = desk.invoice("INV-1")
    (recorded,) = invoice.refunds
    assert (invoice.status, recorded.state, recorded.needs_acknowledgement) == (
        InvoiceStatus.PAID,
        RefundState.REVERSED,
        True,
    )
    assert findings(desk.books) == []


def test_a_retry_by_adyen_after_a_late_failure_is_reported(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    days = {"Refunded": "2026-10-02 10:00:00", "RefundFailed": "2026-10-05 10:00:00"}
    failed = [row(kind, payment, refund, reference=ours, at=at) for kind, at in days.items()]
    assert compared(desk, *failed) == [("status", "refund", True)]
    assert compared(desk, *failed, exit_code=0) == []
    again = row("Refunded", payment, refund, reference=ours, at="2026-10-08 10:00:00")
    assert compared(desk, *failed, again) == [("status", "refund", True)]
    # A later report without the failure.
    later = row("Refunded", payment, refund, reference=ours, at="2099-10-08 10:00:00")
    assert compared(desk, later) == [("status", "refund", True)]
    assert compared(desk, later) == [("status", "refund", False)]
    assert desk.invoice("INV-1").refundable.number == "0.00"
    desk.refused(f"acknowledge {ours} --yes", "succeeded-after-failure")
    (entry,) = desk.json("status", exit_code=8)["needs_acknowledgement"]
    record = f"mark-refunded INV-1 --amount 100.00 --reason other --after-failed {ours} --evidence TEXT"
    assert entry["command"] == f"refundcli {record}"
    command = f"mark-refunded INV-1 --full --reason other --after-failed {ours} --evidence 'Adyen sent it again' --yes"
    assert desk.json(command)["invoice"]["status"] == "refunded"
    assert findings(desk.books) == []


def test_a_dashboard_refund_a_chargeback_and_another_amount_are_found(desk: Desk) -> None:
    first = desk.paid_by_card("INV-1", provider="adyen")
    second = desk.paid_by_card("INV-2", provider="adyen")
    third = desk.paid_by_card("INV-3", provider="adyen")
    differences = compared(
        desk,
        row("Refunded", first, "DASHBOARDREFUND1", "30.00"),
        row("Chargeback", second),
        row("Settled", third, amount="90.00"),
        row("Settled", "NOBODYKNOWSTHIS1", amount="5.00"),
        row("Settled", "ANOTHERACCOUNT01", account="Other"),
    )
    assert sorted(differences) == [
        ("amount", "captured", False),
        ("dispute", "dispute", True),
        ("missing-here", "refund", True),
    ]
    assert desk.invoice("INV-1").refundable.number == "70.00"
    assert desk.invoice("INV-2").dispute is Dispute.OPEN
    assert findings(desk.books) == []


def test_rows_about_none_of_our_payments_are_counted_and_change_nothing(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    own_rows = [row("Refunded", payment, refund, reference=ours), row("Settled", payment)]
    strangers = [
        row("Settled", "NOBODYKNOWSTHIS1", amount="5.00"),
        row("Refunded", "NOBODYKNOWSTHIS1", "THEIRS1", "5.00"),
        row("Chargeback", "NOBODYKNOWSTHIS2"),
        row("SomethingNew", "NOBODYKNOWSTHIS3"),
    ]
    assert compared(desk, *own_rows, *strangers, exit_code=0) == []
    entries = desk.count("audit_entry")
    file = desk.folder / "report.csv"
    comparison = desk.json(f"reconcile --report {file}")
    assert (comparison["result"], comparison["compared"], comparison["not_in_books"]) == ("agrees", 1, 4)
    assert desk.count("audit_entry") == entries
    assert desk.count("provider_event") == 0
    assert "4 rows about payments that are not in the books were not compared" in desk(f"reconcile --report {file}").err


def test_with_nothing_in_the_books_there_is_nothing_to_compare(desk: Desk) -> None:
    assert compared(desk, row("Settled", "NOBODYKNOWSTHIS1"), exit_code=0) == []
    file = desk.folder / "report.csv"
    comparison = desk.json(f"reconcile --report {file}")
    assert (comparison["result"], comparison["compared"], comparison["not_in_books"]) == ("nothing-to-compare", 0, 1)
    answer = desk(f"reconcile --report {file}").err
    assert "Nothing to compare: the books have no payments that this report covers" in answer
    assert "agree" not in answer


@pytest.mark.parametrize("in_the_books", [True, False])
def test_a_report_without_a_row_of_our_account_differs(desk: Desk, in_the_books: bool) -> None:
    if in_the_books:
        desk.paid_by_card(provider="adyen")
    theirs = row("Settled", "NOBODYKNOWSTHIS1", account="Other")
    assert compared(desk, theirs) == [("missing-there", "report", False)]
    assert compared(desk) == [("missing-there", "report", False)]
    assert "The report is empty" in desk(f"reconcile --report {desk.folder / 'report.csv'}").err
    assert desk.json("status")["providers"]["adyen"]["last_reconcile"] is None


def test_an_empty_file_is_called_empty(desk: Desk) -> None:
    file = desk.folder / "report.csv"
    for content in ("", "\n\n"):
        file.write_text(content)
        error = desk.refused(f"reconcile --report {file}", "empty-file", exit_code=2)
        assert "the file is empty" in str(error["message"])


def test_a_refund_that_succeeded_in_the_time_of_a_report_must_be_in_it(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    assert compared(desk, row("Refunded", payment, refund, reference=ours), exit_code=0) == []
    around = [row("Settled", f"OTHER{day}", at=f"{day} 10:00:00") for day in ("2026-09-25", "2026-10-20")]
    assert compared(desk, *around) == [("missing-there", "refund", False)]
    report_rows = [*around, row("SentForRefund", payment, refund, reference=ours, at="2026-10-01 10:00:00")]
    assert compared(desk, *report_rows, exit_code=0) == []
    # It succeeded on 2 October: too near the end of this report, and outside the other's period.
    for days in (("2026-09-25", "2026-10-06"), ("2026-10-05", "2026-10-20")):
        rows = [row("Settled", f"OTHER{day}", at=f"{day} 10:00:00") for day in days]
        assert compared(desk, *rows, exit_code=0) == []


@pytest.mark.parametrize("state", ["ready", "submitted"])
def test_a_refund_without_an_outcome_is_not_compared(desk: Desk, state: str) -> None:
    payment = desk.paid_by_card(provider="adyen")
    if state == "ready":
        leave_it_ready(desk)
    else:
        desk.sandbox.faults("drop_before", provider="adyen")
        assert desk("refund INV-1 --amount 60 --reason other --yes").exit_code == 8
    assert compared(desk, row("Settled", payment), exit_code=8) == []
    comparison = desk.json(f"reconcile --report {desk.folder / 'report.csv'}", exit_code=8)
    assert (comparison["result"], comparison["unconfirmed"]) == ("incomplete", 1)
    # An incomplete comparison outranks a difference.
    assert compared(desk, row("Settled", payment, amount="90.00"), exit_code=8) == [("amount", "captured", False)]


def test_a_payment_that_the_report_should_have_is_missing_there(desk: Desk) -> None:
    desk.paid_by_card("INV-1", provider="adyen", paid_on=date(2026, 9, 6))
    rows = [row("Settled", f"OTHER{at}", at=at) for at in ("2026-09-01 10:00:00", "2026-09-30 10:00:00")]
    assert ("missing-there", "payment", False) in compared(desk, *rows)


BAD: dict[str, tuple[str, str]] = {
    "a cell too many": (row("Refunded", "PAY", "REF", "12,x0"), "13 cells where the header has 12"),
    "cut short": (row("Refunded", "PAY", "REF")[:40], "cells where the header has 12"),
    "no payment": (row("Settled", ""), "payment's reference is missing"),
    "no date": (row("Refunded", "PAY", "REF", at="yesterday"), "not a date and time"),
    "a date out of range": (row("Refunded", "PAY", "REF", at="0001-01-01 00:00:00"), "not a date and time"),
    "no zone": (row("Refunded", "PAY", "REF", zone=""), "The time zone is missing"),
    "an unknown zone": (row("Refunded", "PAY", "REF", zone="XMT"), "XMT is not a known time zone"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_named_and_nothing_is_written(desk: Desk, what: str) -> None:
    payment, refund, ours = pending(desk)
    bad, why = BAD[what]
    file = desk.folder / "report.csv"
    file.write_text("\n".join([HEADER, row("Refunded", payment, refund, reference=ours), bad]) + "\n")
    error = desk.refused(f"reconcile --report {file}", "bad-report")
    assert "line 3" in str(error["message"])
    assert why in str(error["message"])
    assert desk.invoice("INV-1").refunds[0].state is RefundState.PENDING
    assert desk.json("status")["last_reconcile"] == {}


ODD: dict[str, tuple[dict[str, str], str]] = {
    "a comma for a point": ({"amount": '"12,50"'}, "which is not an amount in EUR"),
    "in thousands": ({"amount": '"1,000.00"'}, "which is not an amount in EUR"),
    "in words": ({"amount": "1e3"}, "which is not an amount in EUR"),
    "other digits": ({"amount": "\u0661\u0662"}, "which is not an amount in EUR"),
    "too fine": ({"amount": "12.345"}, "which is not an amount in EUR"),
    "of nothing": ({"amount": "0.00"}, "Refunded has no amount"),
    "negative": ({"amount": "-100.00"}, "negative amount in Gross Debit (GC)"),
    "the wrong way": ({"side": "credit"}, "money going out, but its amount is in Gross Credit (GC)"),
    "no refund": ({"refund": ""}, "does not say which refund"),
    "no currency": ({"currency": "EURO"}, "Unknown currency code EURO"),
    "an unlisted type": ({"kind": "RefundedByPigeon"}, "RefundedByPigeon is not a known record type"),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_row_about_a_payment_of_ours_is_shown_and_not_applied(desk: Desk, what: str) -> None:
    payment, refund, ours = pending(desk)
    odd_cells, why = ODD[what]
    file = desk.folder / "report.csv"
    cells: dict[str, str] = {"kind": "Refunded", "payment": payment, "refund": refund, "reference": ours} | odd_cells
    file.write_text("\n".join([HEADER, row(**cells)]) + "\n")
    (difference,) = desk.json(f"reconcile --report {file}", exit_code=8)["differences"]
    assert (difference["invoice"], difference["object"], difference["applied"]) == ("INV-1", "report line", False)
    assert why in difference["at_provider"]
    assert "line 2" in difference["at_provider"]
    assert desk.invoice("INV-1").refunds[0].state is RefundState.PENDING
    assert findings(desk.books) == []


def test_a_capture_in_the_wrong_column_is_not_taken_as_money_taken(desk: Desk) -> None:
    payment = desk.paid_by_card(provider="adyen")
    assert compared(desk, row("Settled", payment, side="debit"), exit_code=8) == [("status", "report line", False)]
    assert desk.invoice("INV-1").refundable.number == "100.00"


def test_an_unlisted_type_is_no_matter_for_a_payment_of_others(desk: Desk) -> None:
    payment = desk.paid_by_card(provider="adyen")
    rows = [row("Settled", payment), row("RefundedByPigeon", "NOBODYKNOWSTHIS1"), row("Refused", "NOBODYKNOWSTHIS2")]
    assert compared(desk, *rows, exit_code=0) == []


@pytest.mark.parametrize("words", [("SettledExternally", "RefundedExternally"), ("SettledBulk", "RefundedBulk")])
def test_variants_of_a_type_mean_what_their_base_means(desk: Desk, words: tuple[str, str]) -> None:
    payment, refund, ours = pending(desk)
    second = desk.paid_by_card("INV-2", provider="adyen")
    rows = [row(words[0], payment), row(words[1], payment, refund, reference=ours)]
    rows += [row("ChargebackExternallyWithInfo", second, "DISPUTE000000001")]
    assert compared(desk, *rows) == [("dispute", "dispute", True)]
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED
    assert desk.invoice("INV-2").dispute is Dispute.OPEN


def test_captures_are_added_up_and_what_failed_is_taken_off(desk: Desk) -> None:
    payment = desk.paid_by_card(provider="adyen")
    first, second = (row("Settled", payment, f"CAPTURE{n}", amount) for n, amount in ((1, "60.00"), (2, "40.00")))
    sent = row("SentForSettle", payment, "CAPTURE2", "40.00")
    assert compared(desk, first, second, exit_code=0) == []
    assert compared(desk, first, sent, second, exit_code=0) == []
    failed = row("CaptureFailed", payment, "CAPTURE2", "40.00")
    assert compared(desk, first, sent, failed) == [("amount", "captured", True)]
    assert desk.invoice("INV-1").refundable.number == "60.00"
    assert compared(desk, first, sent, failed, exit_code=0) == []
    assert compared(desk, failed, exit_code=0) == []
    # What is missing beside it is still reported.
    assert compared(desk, row("Settled", payment, "CAPTURE1", "50.00"), failed) == [("amount", "captured", False)]
    assert findings(desk.books) == []


def test_instalments_add_up_to_the_refund_or_capture(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    rows = [row("RefundedInstallment", payment, refund, "50.00", reference=ours) for _ in range(2)]
    rows += [row("SettledInstallment", payment, amount="25.00") for _ in range(4)]
    rows += [row("SettledInInstallments", payment)]
    assert compared(desk, *rows, exit_code=0) == []
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED


def test_a_payment_that_was_cancelled_there_is_doubtful_here(desk: Desk) -> None:
    payment = desk.paid_by_card(provider="adyen")
    file = desk.folder / "report.csv"
    file.write_text("\n".join([HEADER, row("Expired", payment, amount="")]) + "\n")
    (difference,) = desk.json(f"reconcile --report {file}", exit_code=8)["differences"]
    assert (difference["in_books"], difference["at_provider"]) == ("100.00 EUR", "Expired")


def test_rows_of_others_and_of_other_kinds_may_be_as_they_like(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    rows = [row("Fee", "", "", "x"), row("Refunded", payment, refund, "", account="Other"), "", "," * 11]
    assert compared(desk, row("Refunded", payment, refund, reference=ours), *rows, exit_code=0) == []
    assert desk.invoice("INV-1").status is InvoiceStatus.REFUNDED


@pytest.mark.parametrize("kind", ["payment-accounting", "settlement-details"])
@pytest.mark.parametrize(
    ("whole", "part"),
    [("1000 JPY", "1"), ("8.250 KWD", "0.125"), ("1000 CLP", "10"), ("1000 ISK", "1"), ("12.34 EUR", "0.04")],
)
def test_amounts_of_every_exponent_are_read_as_they_were_moved(desk: Desk, kind: Kind, whole: str, part: str) -> None:
    payments = [desk.paid_by_card(f"INV-{number}", whole, provider="adyen") for number in (1, 2, 3)]
    desk.json(f"refund INV-1 --amount {part} --reason other --yes")
    desk.json("refund INV-2 --full --reason other --yes")
    for refund in desk.sandbox.refunds:
        desk.sandbox.settle(refund.id, success=True)
    desk.sandbox.settle(desk.sandbox.refunds[0].id, event="REFUNDED_REVERSED")
    desk.sandbox.dispute(payments[2])
    desk.sandbox.dispute(payments[2], "lost")
    file = desk.folder / "report.csv"
    file.write_text(desk.sandbox.report(kind))
    differences = desk.json(f"reconcile --report {file}", exit_code=3)["differences"]
    kinds = {(dispute["kind"], dispute["invoice"], dispute["applied"]) for dispute in differences}
    assert kinds == {("status", "INV-1", True), ("dispute", "INV-3", True)}
    assert desk.invoice("INV-1").refundable == desk.invoice("INV-1").paid
    assert desk.invoice("INV-2").status is InvoiceStatus.REFUNDED
    (disputed,) = desk.invoice("INV-3").payments
    assert (disputed.dispute, [dispute.amount for dispute in disputed.disputes]) == (Dispute.OPEN, [disputed.captured])
    assert desk.json(f"reconcile --report {file}")["changed"] == 0
    assert findings(desk.books) == []


def test_a_refund_failed_here_and_made_at_adyen_is_reserved_and_reported(desk: Desk) -> None:
    payment = desk.paid_by_card(provider="adyen")
    desk.sandbox.faults("drop_after", provider="adyen")
    desk("refund INV-1 --amount 40 --reason other --yes")
    (refund,) = desk.invoice("INV-1").refunds
    with desk.books.engine.begin() as line:
        line.exec_driver_sql("UPDATE refund SET first_sent_at = '2026-01-01 00:00:00+00:00'")
    desk.json(f"resolve {refund.id} --not-executed --evidence 'Adyen said no' --yes")
    sent = row("SentForRefund", payment, "REFUNDOFADYEN001", "40.00", reference=refund.id)
    assert compared(desk, sent) == [("status", "refund", False)]
    refunded = row("Refunded", payment, "REFUNDOFADYEN001", "40.00", reference=refund.id)
    assert compared(desk, sent, refunded) == [("status", "refund", True)]
    assert desk.invoice("INV-1").refundable.number == "60.00"
    assert desk("status").exit_code == 8
    assert compared(desk, sent, refunded, exit_code=0) == []
    assert findings(desk.books) == []


def test_a_report_of_another_merchant_account_settles_nothing_of_ours(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    rows = [row("Refunded", payment, refund, reference=ours, account="Other")]
    assert compared(desk, *rows) == [("missing-there", "report", False)]
    assert (
        f"None of the report's rows are for {MERCHANT}" in desk(f"reconcile --report {desk.folder / 'report.csv'}").err
    )
    assert desk.json("status")["last_reconcile"] == {}
    desk.environ["REFUNDCLI_ADYEN_MERCHANT_ACCOUNT"] = "Other"
    assert compared(desk, *rows, exit_code=8) == [("status", "refund", False)]
    assert desk.invoice("INV-1").refunds[0].state is RefundState.PENDING


def test_another_amount_or_another_payment_settles_nothing_of_ours(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    second = desk.paid_by_card("INV-2", provider="adyen")
    of_less = row("Refunded", payment, refund, "99.99", reference=ours)
    assert compared(desk, of_less, exit_code=8) == [("amount", "refund", False)]
    of_another = row("Refunded", second, refund, reference=ours)
    assert compared(desk, of_another, exit_code=8) == [("missing-here", "refund", False)]
    in_dollars = row("Refunded", payment, refund, currency="USD")
    assert compared(desk, in_dollars, exit_code=8) == [("currency", "refund", False)]
    assert desk.invoice("INV-1").refunds[0].state is RefundState.PENDING
    assert desk.invoice("INV-2").refundable.number == "100.00"


def test_a_chargeback_does_not_reopen_an_imported_lost_dispute(desk: Desk) -> None:
    lost = desk.paid_by_card("INV-1", provider="adyen", dispute=Dispute.LOST)
    assert compared(desk, row("Chargeback", lost), exit_code=0) == []
    assert desk.invoice("INV-1").dispute is Dispute.LOST
    assert compared(desk, row("ChargebackReversed", lost)) == [("dispute", "dispute", True)]
    assert desk.invoice("INV-1").dispute is Dispute.WON


def test_a_chargeback_reopens_an_imported_won_dispute_and_is_reported(desk: Desk) -> None:
    won = desk.paid_by_card("INV-1", provider="adyen", dispute=Dispute.WON)
    # The file does not date the win, so it may be older than this.
    assert compared(desk, row("Chargeback", won, "DISPUTE1")) == [("dispute", "dispute", True)]
    assert desk.invoice("INV-1").dispute is Dispute.OPEN
    assert compared(desk, row("Chargeback", won, "DISPUTE1"), exit_code=0) == []


def test_the_first_report_completes_an_imported_dispute(desk: Desk) -> None:
    lost = desk.paid_by_card("INV-1", provider="adyen", dispute=Dispute.LOST, dispute_amount=3000)
    first = row("Chargeback", lost, "DISPUTE1", "30.00")
    assert compared(desk, first, exit_code=0) == []
    (dispute,) = desk.invoice("INV-1").payments[0].disputes
    assert (dispute.reference, desk.invoice("INV-1").refundable.number) == ("DISPUTE1", "70.00")
    # Another one is another dispute.
    assert compared(desk, first, row("Chargeback", lost, "DISPUTE2", "20.00")) == [("dispute", "dispute", True)]
    assert len(desk.invoice("INV-1").payments[0].disputes) == 2
    assert findings(desk.books) == []


def test_a_file_that_is_not_a_report_names_its_missing_columns(desk: Desk) -> None:
    file = desk.folder / "report.csv"
    file.write_text("number,total\n1,2\n")
    error = desk.refused(f"reconcile --report {file}", "not-a-report", exit_code=2)
    assert "Psp Reference, " in str(error["message"])
    assert str(error["message"]).count(" and ") == 1


# --- a dashboard refund that was recorded by hand ------------------------------------------------------------


@pytest.fixture
def matched(desk: Desk) -> tuple[str, str]:
    """The payment, and its record that was matched with `PSPR`, made on 2 October."""
    payment = desk.paid_by_card(provider="adyen", auto_refundable=False)
    desk.json("mark-refunded INV-1 --full --reason other --reference PSPR --yes")
    assert compared(desk, row("Refunded", payment, "PSPR")) == [("missing-here", "refund", True)]
    return payment, desk.invoice("INV-1").refunds[0].id


def test_a_recorded_refund_that_was_made_is_no_difference(desk: Desk, matched: tuple[str, str]) -> None:
    payment, _ = matched
    entries = desk.count("audit_entry")
    assert compared(desk, row("Refunded", payment, "PSPR"), exit_code=0) == []
    assert desk.count("audit_entry") == entries


@pytest.mark.parametrize("apart", [False, True])
def test_a_recorded_refund_that_failed_differs_and_may_be_undone(
    desk: Desk, matched: tuple[str, str], apart: bool
) -> None:
    payment, record = matched
    failed = row("RefundFailed", payment, "PSPR", at="2026-10-05 10:00:00")
    rows = [failed] if apart else [row("Refunded", payment, "PSPR"), failed]
    assert compared(desk, *rows, exit_code=8) == [("status", "refund", False)]
    assert compared(desk, *rows, exit_code=8) == [("status", "refund", False)]
    desk.json(f"mark-refunded --undo {record} --memo failed --yes")
    assert compared(desk, *rows, exit_code=0) == []
    # Adyen retried it, and the money was refunded.
    again = row("Refunded", payment, "PSPR", at="2026-10-08 10:00:00")
    assert compared(desk, again, exit_code=8) == [("status", "refund", False)]
    (unreviewed,) = desk.json("invoice show INV-1")["payments"][0]["unreviewed"]
    assert "which was undone; it has the status succeeded at the provider" in unreviewed["message"]
    assert findings(desk.books) == []


@pytest.mark.parametrize("apart", [False, True])
def test_a_recorded_refund_that_was_made_again_cannot_be_undone(
    desk: Desk, matched: tuple[str, str], apart: bool
) -> None:
    payment, record = matched
    failed = row("RefundFailed", payment, "PSPR", at="2026-10-05 10:00:00")
    again = row("Refunded", payment, "PSPR", at="2026-10-08 10:00:00")
    if apart:
        compared(desk, failed, exit_code=8)
        # The reported failure still needs an operator.
        assert compared(desk, again, exit_code=8) == [("status", "refund", True)]
    assert compared(desk, failed, again, exit_code=8 if apart else 0) == []
    desk.refused(f"mark-refunded --undo {record} --memo why --yes", "made-at-provider")
