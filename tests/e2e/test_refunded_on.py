"""The date of a recorded refund: bounded by the invoice, its payment and today, and shown afterwards."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from desk import Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.services.ports.records import NewPayment

# The desk's invoices are issued on 2026-09-01 and paid on 2026-09-03.
MARK = "mark-refunded T-1 --amount 40 --reason other --yes"


def rows(desk: Desk, *lines: str) -> Path:
    path = desk.folder / "t.csv"
    path.write_text("\n".join(["invoice,amount,reason,refunded_on", *lines]) + "\n")
    return path


def test_a_day_before_the_payment_is_refused_with_both_days(desk: Desk) -> None:
    desk.paid_outside("T-1")
    error = desk.refused(f"{MARK} --refunded-on 2026-09-02", "refunded-too-early", exit_code=2)
    assert "2026-09-02" in error["message"]
    assert "T-1 was paid on 2026-09-03" in error["message"]
    assert "2026-09-03 or later" in error["hint"]
    assert desk.count("refund") == 0
    desk.json(f"{MARK} --refunded-on 2026-09-03")


def test_a_day_before_the_invoice_is_refused_where_no_payment_day_is_known(desk: Desk) -> None:
    desk.bring_in(new_invoice("T-1", parse_money("100.00 EUR"), paid_on=None, payments=(NewPayment(10000),)))
    error = desk.refused(f"{MARK} --refunded-on 2026-08-31", "refunded-too-early", exit_code=2)
    assert "T-1 was issued on 2026-09-01" in error["message"]
    desk.json(f"{MARK} --refunded-on 2026-09-01")


def test_of_several_payments_the_day_of_the_refunded_one_counts(desk: Desk) -> None:
    payments = tuple(NewPayment(5000, method="cash", paid_on=date(2026, 9, day)) for day in (3, 20))
    desk.bring_in(new_invoice("T-1", parse_money("100.00 EUR"), paid_on=date(2026, 9, 20), payments=payments))
    desk.json(f"{MARK} --payment 1 --refunded-on 2026-09-10")
    desk.refused(f"{MARK} --payment 2 --refunded-on 2026-09-10", "refunded-too-early", exit_code=2)
    desk.refused(
        "mark-refunded T-1 --full --reason other --yes --refunded-on 2026-09-10", "refunded-too-early", exit_code=2
    )


def test_a_day_that_has_not_come_is_refused(desk: Desk) -> None:
    desk.paid_outside("T-1")
    # Two days, because the books' zone may be a day ahead of this machine's.
    day = datetime.now(UTC).date() + timedelta(days=2)
    error = desk.refused(f"{MARK} --refunded-on {day}", "refunded-in-future", exit_code=2)
    assert str(day) in error["message"]
    assert "today is" in error["message"]


@pytest.mark.parametrize("text", ["1.10.2026", "2026-13-01", "tomorrow"])
def test_a_day_that_is_no_date_is_refused(desk: Desk, text: str) -> None:
    desk.paid_outside("T-1")
    error = desk.refused(f"{MARK} --refunded-on {text}", "invalid-date", exit_code=2)
    assert text in error["message"]
    assert "Write it as year-month-day: --refunded-on 2026-1" in error["hint"]


# 25 hours apart, so one of them is never on this machine's day.
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_today_and_yesterday_are_days_of_the_books(desk: Desk, zone: str) -> None:
    desk.paid_outside("T-1")
    desk(f"store upgrade --timezone {zone} --force")
    today = datetime.now(ZoneInfo(zone)).date()
    answers = [
        desk.json(f"mark-refunded T-1 --amount {amount} --reason other --yes --refunded-on {day}")
        for amount, day in ((10, "today"), (20, "yesterday"))
    ]
    shown_days = [answer["refunds"][0]["refunded_on"] for answer in answers]
    assert shown_days == [str(today), str(today - timedelta(days=1))]
    assert len(desk.json("credit-notes list --since today --until Today")) == 2
    assert desk.json("credit-notes list --until yesterday") == []


def test_a_row_with_an_impossible_day_is_refused_by_its_column(desk: Desk) -> None:
    desk.paid_outside("T-1")
    day = datetime.now(UTC).date() + timedelta(days=2)
    file = rows(desk, "T-1,1,other,2026-09-02", f"T-1,2,other,{day}", "T-1,3,other,2026-09-03")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert answer["recorded"] == 1
    problems = [(row["line"], row["column"], row["value"], row["code"]) for row in answer["refused"]]
    assert sorted(problems) == [
        (2, "refunded_on", "2026-09-02", "refunded-too-early"),
        (3, "refunded_on", str(day), "refunded-in-future"),
    ]


@pytest.mark.parametrize("how", ["one", "file"])
def test_the_day_is_shown_afterwards(desk: Desk, how: str) -> None:
    desk.paid_outside("T-1")
    day = "2026-10-02"
    if how == "one":
        (refund,) = desk.json(f"{MARK} --refunded-on {day} --method cash")["refunds"]
        assert refund["refunded_on"] == day
    else:
        desk.json(f"mark-refunded --from {rows(desk, f'T-1,40,other,{day}')} --yes")
    (stored,) = desk.json("invoice show T-1")["refunds"]
    assert stored["refunded_on"] == day
    (note,) = desk.json("invoice show T-1")["credit_notes"]
    assert desk.json(f"credit-notes show {note['number']}")["refunded_on"] == day
    assert day in str(desk.json("invoice history T-1"))


def test_a_dry_run_shows_the_day(desk: Desk) -> None:
    desk.paid_outside("T-1")
    (would,) = desk.json(f"{MARK} --refunded-on 2026-10-02 --dry-run")["refunds"]
    assert would["refunded_on"] == "2026-10-02"
