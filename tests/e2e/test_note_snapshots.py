"""What documents need is imported, and copied into a credit note when it is issued; later changes do not change it."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from desk import Desk
from refundcli.domain.tax.note_content import content_of

pytestmark = pytest.mark.both_databases

INVOICE = {
    "number": "INV-1",
    "customer": "cus_1",
    "customer_name": "Ada Lovelace",
    "currency": "EUR",
    "total": "119.00",
    "status": "paid",
    "issued_on": "2026-09-01",
    "payment_method": "cash",
    "products": ["Shoes", "Book"],
    "customer_address": "Hauptstrasse 1; 10115 Berlin",
    "customer_country": "de",
    "customer_vat_id": "DE 123456789",
    "tax_rate": "19",
}
LINES = [
    {"name": "Shoes", "amount": "100.00", "tax_rate": "19"},
    {"name": "Book", "amount": "19.00", "tax_rate": "7", "tax_amount": "1.24"},
]


def _file_of(desk: Desk, invoice: dict[str, Any]) -> Path:
    file = desk.folder / "invoices.jsonl"
    file.write_text(json.dumps(invoice) + "\n")
    return file


def _import(desk: Desk, invoice: dict[str, Any]) -> None:
    desk.json(f"invoice import {_file_of(desk, invoice)}")


def _notes(desk: Desk) -> list[tuple[Any, ...]]:
    query = """
        SELECT credit_note.number, credit_note.content, seller.content FROM credit_note
        LEFT JOIN seller ON seller.id = credit_note.seller_id WHERE number IS NOT NULL ORDER BY number
    """
    with desk.books.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_note_keeps_what_it_copied(desk: Desk) -> None:
    _import(desk, INVOICE | {"lines": LINES})
    desk.environ |= {"REFUNDCLI_SELLER_NAME": "Club", "REFUNDCLI_SELLER_VAT_ID": "DE123456789"}
    desk.json("mark-refunded INV-1 --amount 50 --reason other --yes")
    before = _notes(desk)
    _import(desk, INVOICE | {"customer_name": "Renamed", "tax_rate": "7", "customer_address": "Elsewhere"})
    desk.environ["REFUNDCLI_SELLER_NAME"] = "Another club"
    desk.json("mark-refunded INV-1 --full --reason other --yes --allow-duplicate")
    assert _notes(desk)[:1] == before
    ((_, first, seller), (_, second, other_seller)) = _notes(desk)
    assert content_of(first).customer_name == "Ada Lovelace"
    assert content_of(first).address == "Hauptstrasse 1\n10115 Berlin"
    assert (content_of(first).country, content_of(first).vat_id) == ("DE", "DE123456789")
    assert content_of(second).customer_name == "Renamed"
    assert [json.loads(name)["name"] for name in (seller, other_seller)] == ["Club", "Another club"]
    assert desk.json("store check")["sound"]


def test_partial_notes_of_every_kind_add_up_to_the_tax(desk: Desk) -> None:
    _import(desk, INVOICE | {"lines": LINES})
    for amount in ("33.33", "33.33"):
        desk.json(f"mark-refunded INV-1 --amount {amount} --reason other --yes --allow-duplicate")
    rows = desk.folder / "rows.csv"
    rows.write_text("invoice,amount,reason,key\nINV-1,10.00,other,a\nINV-1,42.34,other,b\n")
    desk.json(f"mark-refunded --from {rows} --yes")
    contents = [content_of(content) for _, content, _ in _notes(desk)]
    assert len(contents) == 4
    assert sum(line.tax for content in contents for line in content.lines) == 1597 + 124
    assert sum(line.amount for content in contents for line in content.lines) == 11900


def test_a_void_note_keeps_its_content_and_the_next_takes_its_tax(desk: Desk) -> None:
    _import(desk, INVOICE)
    record = desk.json("mark-refunded INV-1 --amount 50 --reason other --yes")["refunds"][0]["id"]
    desk.json(f"mark-refunded --undo {record} --memo wrong --yes")
    desk.json("mark-refunded INV-1 --full --reason other --yes")
    void, whole = (content_of(content) for _, content, _ in _notes(desk))
    assert sum(line.tax for line in void.lines) == 798
    assert sum(line.tax for line in whole.lines) == 1900


def test_a_refund_through_a_provider_copies_too(desk: Desk) -> None:
    reference = desk.sandbox.charge("119.00 EUR", provider="stripe").reference
    through_stripe = {"provider": "stripe", "payment_reference": reference, "payment_method": "card"}
    _import(desk, INVOICE | through_stripe)
    desk.json("refund INV-1 --full --reason other --yes")
    ((_, content, seller),) = _notes(desk)
    assert (sum(line.tax for line in content_of(content).lines), seller) == (1900, None)


def test_nothing_is_copied_where_nothing_is_set(desk: Desk) -> None:
    desk.paid_outside("INV-9")
    desk.json("mark-refunded INV-9 --full --reason other --yes")
    assert [copied for _, *copied in _notes(desk)] == [["", None]]
    assert desk.count("seller") == 0


@pytest.mark.parametrize(
    ("changes", "column", "code"),
    [
        ({"customer_country": "Germany"}, "customer_country", "unknown-country"),
        ({"customer_vat_id": "123"}, "customer_vat_id", "invalid-vat-id"),
        ({"tax_rate": "nineteen"}, "tax_rate", "invalid-rate"),
        ({"tax_category": "X"}, "tax_category", "unknown-tax_category"),
        ({"tax_category": "E"}, "tax_category", "rate-and-category"),
        ({"tax_rate": "", "tax_category": "E"}, "tax_exemption", "missing"),
        ({"tax_rate": "0"}, "tax_category", "missing"),
        ({"tax_rate": "", "tax_amount": "19.00"}, "tax_rate", "missing"),
        ({"tax_amount": "25.00"}, "tax_amount", "tax-does-not-fit"),
        ({"lines": LINES[:1]}, "lines", "lines-do-not-add-up"),
        ({"lines": "none"}, "lines", "wrong-type"),
        ({"lines": LINES, "tax_amount": "1.00"}, "tax_amount", "lines-do-not-add-up"),
        ({"lines": [{"name": "Shoes"}]}, "lines[1].amount", "missing"),
        ({"lines": [{"nam": "Shoes", "amount": "119.00"}]}, "lines[1].nam", "unknown-key"),
    ],
)
def test_cells_that_do_not_fit_are_named(sqlite_desk: Desk, changes: dict[str, Any], column: str, code: str) -> None:
    error = sqlite_desk.refused(f"invoice import {_file_of(sqlite_desk, INVOICE | changes)}", "bad-rows")
    problems = [(problem["column"], problem["code"]) for problem in error["context"]["problems"]]
    assert (column, code) in problems, problems


def test_a_table_has_the_same_columns(desk: Desk) -> None:
    file = desk.folder / "invoices.csv"
    exempt = {"tax_rate": "", "tax_category": "E", "tax_exemption": "Club, § 4 Nr. 22b UStG", "products": "Shoes"}
    row = {name: str(value) for name, value in (INVOICE | exempt).items()}
    file.write_text(",".join(row) + "\n" + ",".join(f'"{cell}"' for cell in row.values()) + "\n")
    desk.json(f"invoice import {file}")
    billing = desk.json("invoice show INV-1")["billing"]
    assert billing["country"] == "DE"
    assert [(line["tax_category"], line["tax_exemption"]) for line in billing["lines"]] == [
        ("E", "Club, § 4 Nr. 22b UStG")
    ]
    # A file without these columns does not forget them.
    short = ("number", "customer", "currency", "total", "status", "issued_on")
    file.write_text(",".join(short) + "\n" + ",".join(row[name] for name in short) + "\n")
    desk.json(f"invoice import {file}")
    assert desk.json("invoice show INV-1")["billing"] == billing


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("COUNTRY", "Germany"),
        ("VAT_ID", "1234"),
        ("IBAN", "DE02120300000000202052"),
        ("LOGO", "missing.png"),
        ("LOGO", "notes.txt"),
    ],
)
def test_settings_of_the_seller_are_checked(sqlite_desk: Desk, tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    sqlite_desk.environ[f"REFUNDCLI_SELLER_{key}"] = str(tmp_path / value) if key == "LOGO" else value
    sqlite_desk.refused("invoice list", "invalid-setting", exit_code=4)
