"""invoice list: filters, order, columns, totals and pages."""

import json
from typing import Any

import pytest

from desk import Desk
from refundcli.services.invoices import pages

INVOICES = (
    {"number": "A-1", "customer_name": "Amara Osei", "customer_email": "amara@example.org", "total": "120.00",
     "status": "paid", "issued_on": "2026-08-03", "paid_on": "2026-08-04", "provider": "stripe",
     "payment_reference": "pi_1", "auto_refundable": True, "card_last4": "4242", "products": "Season pass"},
    {"number": "A-2", "customer_name": "Bo Åkesson", "total": "50.00", "status": "open", "issued_on": "2026-09-01",
     "due_on": "2026-09-15"},
    {"number": "A-3", "customer_name": "Cy Osei", "total": "80.00", "status": "open", "issued_on": "2026-09-02",
     "due_on": "2099-01-01"},
    {"number": "A-4", "customer_name": "Di Bell", "total": "200.00", "currency": "SEK", "status": "paid",
     "issued_on": "2026-09-03", "provider": "stripe", "payment_reference": "pi_4", "dispute": "open"},
)  # fmt: skip


def listed(desk: Desk, options: str = "") -> list[str]:
    return [invoice["number"] for invoice in desk.json(f"invoice list {options}")]


@pytest.fixture
def filled(desk: Desk) -> Desk:
    file = desk.folder / "some.jsonl"
    common: dict[str, Any] = {"customer": "cus_1", "currency": "EUR"}
    file.write_text("\n".join(json.dumps(common | invoice) for invoice in INVOICES))
    desk.json(f"invoice import {file}")
    return desk


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ("--name osei", ["A-1", "A-3"]),
        ("--name akesson", ["A-2"]),
        ("--email amara", ["A-1"]),
        ("--last4 4242", ["A-1"]),
        ("--amount 50..90", ["A-2", "A-3"]),
        ("--since 2026-09-01 --until 2026-09-02", ["A-2", "A-3"]),
        ("--product season", ["A-1"]),
        ("--disputed", ["A-4"]),
        ("--overdue", ["A-2"]),
        ("--refundable", ["A-1"]),
        ("--name osei --status open", ["A-3"]),
        ("--name nobody", []),
        ("--name '!!!' --amount 50..90", []),
        ("--sort -total", ["A-4", "A-1", "A-3", "A-2"]),
        ("--sort customer --all", ["A-1", "A-2", "A-3", "A-4"]),
        ("--sort -number --limit 2", ["A-4", "A-3"]),
        ("--sort -number --limit 2 --after A-3", ["A-2", "A-1"]),
        ("--sort total --after A-3", ["A-1", "A-4"]),
        ("--sort due", ["A-1", "A-4", "A-2", "A-3"]),
    ],
)
def test_filters_and_order(filled: Desk, options: str, numbers: list[str]) -> None:
    assert listed(filled, options) == numbers


def test_columns_are_chosen_by_name(filled: Desk) -> None:
    answer = filled("invoice list --columns number,refundable --name osei -o csv")
    assert answer.out.splitlines() == ["number,refundable", "A-1,120.00", "A-3,0.00"]
    assert filled.refused("invoice list --columns number,refundble", "unknown-column-name", exit_code=2)["hint"] == (
        "Did you mean refundable?"
    )
    as_json = filled("invoice list --columns number -o json")
    assert (as_json.exit_code, as_json.error["code"]) == (2, "columns-are-for-tables")
    filled.refused("invoice list --sort size", "unknown-sort", exit_code=2)
    filled.refused("invoice list --amount ten", "invalid-search-amount", exit_code=2)


@pytest.mark.parametrize("words", ["osei 120 euros in august", "Osei EUR 120", "osei aug"])
def test_what_a_person_says_besides_does_not_hide_the_invoice(filled: Desk, words: str) -> None:
    assert filled.json(f"find {words}")[0]["number"] == "A-1"


@pytest.mark.parametrize(("ending", "begin"), [("csv", b"number,"), ("json", b"["), ("xlsx", b"PK"), ("txt", b"A-1\t")])
def test_a_file_is_written_as_its_name_says(filled: Desk, ending: str, begin: bytes) -> None:
    path = filled.folder / f"list.{ending}"
    said = filled(f"invoice list --to {path}").err
    assert said.strip() in ("", f"Written to {path}.")
    assert path.read_bytes().startswith(begin)


def test_a_name_where_a_number_is_needed_leads_to_find(filled: Desk) -> None:
    assert "refundcli find Osei" in filled("refund Osei --full --reason other --yes").err
    assert "refundcli refunds list --invoice A-1" in filled("refunds show a-1").err


@pytest.mark.parametrize("options", ["--amount 1..500", "--amount 1..500 --sort -total", "--sort customer", ""])
def test_a_list_of_all_is_the_same_page_by_page(filled: Desk, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    whole = listed(filled, options)
    assert len(whole) == 4
    for size in (1, 3, 4):
        monkeypatch.setattr(pages, "PAGE", size)
        assert listed(filled, f"{options} --all") == whole
