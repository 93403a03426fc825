"""What a support engineer queries: list, show, history, credit notes."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from desk import Desk, new_invoice
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import Provider
from refundcli.services.ports.records import NewPayment


def test_an_invoice_is_found_by_every_name_it_has(desk: Desk) -> None:
    charge = desk.sandbox.charge("100.00 EUR")
    payment = NewPayment(10000, Provider.STRIPE, "card", charge.reference, auto_refundable=True)
    invoice = new_invoice("INV-1", parse_money("100.00 EUR"), payments=(payment,))
    desk.bring_in(replace(invoice, invoice_reference="in_1Q"))
    refund = desk.json("refund INV-1 --amount 1 --reason other --yes")["refunds"][0]
    names = ("INV-1", charge.reference, "in_1Q", refund["id"], refund["provider_reference"])
    for name in (*names, refund["credit_note"]["number"]):
        assert desk.json(f"invoice show {name}")["number"] == "INV-1", name
        assert desk.json(f"invoice history {name}")[-1]["subject"] in ("INV-1", refund["id"])


def test_an_adyen_payment_is_found_by_its_psp_reference(desk: Desk) -> None:
    reference = desk.paid_by_card(provider="adyen")
    assert desk.json(f"invoice show {reference}")["number"] == "INV-1"


def test_the_shape_of_an_invoice_is_a_promise(desk: Desk) -> None:
    desk.paid_by_card()
    assert {
        "number",
        "status",
        "customer",
        "customer_name",
        "currency",
        "total",
        "paid",
        "refunded",
        "reserved",
        "refundable",
        "partially_refunded",
        "auto_refundable",
        "processing",
        "dispute",
        "payments",
        "refunds",
        "credit_notes",
        "products",
        "subscription",
        "actions",
    } <= set(desk.json("invoice show INV-1"))
    answer = desk.json("refund INV-1 --amount 1 --reason other --yes")
    assert {"dry_run", "refunds", "invoice"} <= set(answer)
    assert {"id", "status", "kind", "amount", "reason", "provider", "provider_reference", "request_key"} <= set(
        answer["refunds"][0]
    )
    assert set(answer["invoice"]) == {"number", "status", "refunded", "reserved", "refundable"}


def test_the_list_is_narrowed_and_paged_by_number(desk: Desk) -> None:
    desk.paid_by_card("INV-1", customer="cus_1")
    desk.paid_by_card("INV-2", provider="adyen")
    desk.paid_outside("INV-3")
    desk.unpaid("INV-4")
    desk.json("refund INV-2 --full --reason other --yes")

    def numbers(options: str) -> list[str]:
        return [invoice["number"] for invoice in desk.json(f"invoice list {options}")]

    assert numbers("") == ["INV-1", "INV-2", "INV-3", "INV-4"]
    assert numbers("--status open") == ["INV-4"]
    assert numbers("--provider adyen") == ["INV-2"]
    assert numbers("--customer cus_1") == ["INV-1"]
    assert numbers("--refundable") == ["INV-1", "INV-3"]
    assert numbers("--limit 2") == ["INV-1", "INV-2"]
    assert numbers("--limit 2 --after INV-2") == ["INV-3", "INV-4"]
    assert numbers("--limit 2 --all") == ["INV-1", "INV-2", "INV-3", "INV-4"]
    assert numbers("--all --after INV-2 --status paid") == ["INV-3"]
    assert numbers("--all --status void") == []
    assert len(desk("invoice list --all").rows) == 4


def test_history_shows_who_changed_what_when_and_why(desk: Desk) -> None:
    desk.paid_by_card()
    desk.environ["REFUNDCLI_OPERATOR_NAME"] = "Bob"
    desk.json("refund INV-1 --full --reason duplicate --memo 'paid twice' --yes")
    history = desk.json("invoice history INV-1")
    actions = [(entry["operator"], entry["action"]) for entry in history]
    assert actions == [
        ("Ada Lovelace", "invoice imported"),
        ("Bob", "refund ready"),
        ("Bob", "refund submitted"),
        ("Bob", "refund succeeded"),
        ("Bob", "invoice refunded"),
        ("Bob", "credit note issued"),
    ]
    assert history[1]["after"]["memo"] == "paid twice"
    assert [entry["at"] for entry in history] == sorted(entry["at"] for entry in history)


def test_credit_notes_are_found_by_invoice_reason_and_day(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.paid_outside("INV-2")
    desk.json("refund INV-1 --amount 1 --reason duplicate --yes")
    desk.json("mark-refunded INV-2 --amount 2 --reason other --memo m --yes")
    today = date.today()  # noqa: DTZ011 - within the test's own zone

    def amounts(options: str) -> list[str]:
        return [note["amount"]["amount"] for note in desk.json(f"credit-notes list {options}")]

    assert amounts("") == ["1.00", "2.00"]
    assert amounts("--invoice INV-2") == ["2.00"]
    assert amounts("--reason Duplicate") == ["1.00"]
    assert amounts(f"--since {today - timedelta(days=2)} --until {today + timedelta(days=2)}") == ["1.00", "2.00"]
    assert amounts(f"--since {today + timedelta(days=2)}") == []
    desk.refused("credit-notes list --invoice INV-9", "invoice-not-found", exit_code=5)
    desk.refused("credit-notes list --reason nonsense", "unknown-reason")


def test_a_credit_note_that_is_not_there_is_answered_with_the_nearest(desk: Desk) -> None:
    desk.paid_outside()
    number = desk.json("mark-refunded INV-2 --full --reason other --yes")["refunds"][0]["credit_note"]["number"]
    error = desk.refused(f"credit-notes show {number[:-1]}2", "credit-note-not-found", exit_code=5)
    assert number in str(error["hint"])


@pytest.mark.parametrize(
    "command", ["invoice show", "invoice history", "refund --full --reason other --yes", "void --yes"]
)
def test_an_unknown_number_is_answered_everywhere(desk: Desk, command: str) -> None:
    desk.paid_by_card("INV-2041")
    error = desk.refused(f"{command} INV-2014", "invoice-not-found", exit_code=5)
    assert "INV-2041" in str(error["hint"])


@pytest.mark.parametrize(
    "command",
    [
        "reconcile --since",
        "invoice pull stripe --since",
        "credit-notes list --until",
        "mark-refunded INV-1 --full --reason other --yes --refunded-on",
    ],
)
def test_a_wrong_date_names_the_format(sqlite_desk: Desk, command: str) -> None:
    error = sqlite_desk.refused(f"{command} 01.11.2026", "invalid-date", exit_code=2)
    option = command.split()[-1]
    assert error["message"] == f"{option}: '01.11.2026' is not a date."
    assert error["hint"] == f"Write it as year-month-day: {option} 2026-11-01"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("28.11.2026", ["2026-11-28"]),
        ("03/04/2026", ["2026-04-03", "2026-03-04"]),
        ("13/04/2026", ["2026-04-13"]),
        ("04/13/2026", ["2026-04-13"]),
        ("05/05/2026", ["2026-05-05"]),
        ("2026/11/28", ["2026-11-28"]),
        ("31.02.2026", ["2026-11-28"]),
    ],
)
def test_a_date_in_another_form_is_answered_with_what_may_be_meant(
    sqlite_desk: Desk, text: str, days: list[str]
) -> None:
    error = sqlite_desk.refused(f"credit-notes list --since {text}", "invalid-date", exit_code=2)
    meant = "   or   ".join(f"--since {day}" for day in days)
    assert error["hint"] == f"Write it as year-month-day: {meant}"
