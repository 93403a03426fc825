"""Adyen's report beside the books: what it settles, what it tells of that nobody here knew, and what it lacks."""

from datetime import date

import pytest

from desk import MERCHANT, Desk
from refundcli.domain.statuses import Dispute, InvoiceStatus, RefundState
from refundcli.store.checking import findings

HEADER = (
    "Company Account,Merchant Account,Psp Reference,Merchant Reference,Payment Method,Creation Date,TimeZone,Type,"
    "Modification Reference,Gross Currency,Gross Debit (GC),Gross Credit (GC)"
)


def row(kind: str, payment: str, refund: str = "", amount: str = "100.00", **of: str) -> str:
    cells = [of.get("company", "Co"), of.get("account", MERCHANT), payment, of.get("reference", ""), "visa"]
    cells += [of.get("at", "2026-10-02 14:03:00"), "CET", kind, refund, of.get("currency", "EUR")]
    return ",".join([*cells, *(("", amount) if kind == "Settled" else (amount, ""))])


def compared(desk: Desk, *rows: str, exit_code: int = 3) -> list[tuple[str, str, bool]]:
    file = desk.folder / "report.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    told = desk.json(f"reconcile --report {file}", exit_code=exit_code)
    return [(each["kind"], each["what"], each["taken_in"]) for each in told["differences"]]


def pending(desk: Desk) -> tuple[str, str, str]:
    """A payment at Adyen, its refund there, and our own name of that."""
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
def test_a_refund_that_came_back_is_told_whatever_the_order_of_the_rows(desk: Desk, turned: bool) -> None:
    payment, refund, ours = pending(desk)
    rows = [row(kind, payment, refund, reference=ours) for kind in ("Refunded", "RefundedReversed")]
    assert compared(desk, *(rows[::-1] if turned else rows)) == [("status", "refund", True)]
    invoice = desk.invoice("INV-1")
    (told,) = invoice.refunds
    assert (invoice.status, told.state, told.needs_acknowledgement) == (
        InvoiceStatus.PAID,
        RefundState.REVERSED,
        True,
    )
    assert findings(desk.books) == []


def test_a_dashboard_refund_a_chargeback_and_another_amount_are_found(desk: Desk) -> None:
    first = desk.paid_by_card("INV-1", provider="adyen")
    second = desk.paid_by_card("INV-2", provider="adyen")
    third = desk.paid_by_card("INV-3", provider="adyen")
    found = compared(
        desk,
        row("Refunded", first, "DASHBOARDREFUND1", "30.00"),
        row("Chargeback", second),
        row("Settled", third, amount="90.00"),
        row("Settled", "NOBODYKNOWSTHIS1", amount="5.00"),
        row("Settled", "ANOTHERACCOUNT01", account="Other"),
    )
    assert sorted(found) == [
        ("amount", "captured", False),
        ("dispute", "dispute", True),
        ("missing-here", "payment", False),
        ("missing-here", "refund", True),
    ]
    assert desk.invoice("INV-1").refundable.number == "70.00"
    assert desk.invoice("INV-2").dispute is Dispute.OPEN
    assert findings(desk.books) == []


def test_a_payment_that_the_report_should_have_is_missing_there(desk: Desk) -> None:
    desk.paid_by_card("INV-1", provider="adyen", paid_on=date(2026, 9, 6))
    rows = [row("Settled", f"OTHER{at}", at=at) for at in ("2026-09-01 10:00:00", "2026-09-30 10:00:00")]
    assert ("missing-there", "payment", False) in compared(desk, *rows)


def test_a_bad_row_is_named_and_nothing_is_written(desk: Desk) -> None:
    payment, refund, ours = pending(desk)
    file = desk.folder / "report.csv"
    bad = [row("Refunded", payment, refund, reference=ours), row("Refunded", payment, refund, "12,x0")]
    file.write_text("\n".join([HEADER, *bad]) + "\n")
    error = desk.refused(f"reconcile --report {file}", "bad-report")
    assert "line 3" in str(error["message"])
    assert desk.invoice("INV-1").refunds[0].state is RefundState.PENDING


def test_a_file_that_is_no_report_is_told_what_it_lacks(desk: Desk) -> None:
    file = desk.folder / "report.csv"
    file.write_text("number,total\n1,2\n")
    error = desk.refused(f"reconcile --report {file}", "not-a-report", exit_code=2)
    assert "Psp Reference" in str(error["message"])
