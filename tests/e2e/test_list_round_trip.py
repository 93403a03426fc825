"""What `invoice list --all` writes can be imported into an empty store, which then lists the same."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import NewStore
from desk import Desk
from refundcli.files.invoices.exported_list import SIGNATURE
from refundcli.output.exported_list import INVOICE_COLUMNS

INVOICES = (
    {"number": "OPEN-1", "status": "open", "due_on": "2026-10-01", "invoice_reference": "in_1", "products": "Kit;=1+1"},
    {"number": "VOID-1", "status": "void", "customer_name": "Ørsted; Søn", "subscription": "sub_1"},
    {"number": "PAID-1", "status": "paid", "provider": "stripe", "payment_reference": "pi_1", "auto_refundable": True,
     "payment_method": "card", "card_last4": "0042", "card_brand": "visa", "paid_on": "2026-09-03",
     "customer_email": "a@example.org"},
    {"number": "PART-1", "status": "paid", "payment_method": "bank transfer", "refunded_amount": "12.50",
     "customer_name": '"=HYPERLINK(1)", Ltd'},
    {"number": "BACK-1", "status": "paid", "provider": "adyen", "payment_reference": "8835511210000001",
     "refunded_amount": "100.00"},
    {"number": "DISP-1", "status": "paid", "provider": "stripe", "payment_reference": "pi_2", "auto_refundable": True,
     "dispute": "open", "dispute_amount": "40.00"},
    {"number": "TWO-1", "status": "paid", "paid_on": "2026-09-04", "payments": [
        {"paid_amount": "60.00", "provider": "stripe", "payment_reference": "pi_3", "auto_refundable": True,
         "refunded_amount": "10.00", "card_last4": "4242"},
        {"paid_amount": "40.00", "payment_method": "bank transfer", "paid_on": "2026-09-05"}]},
    {"number": "TAX-1", "status": "paid", "customer_address": "Weg 1\n10115 Berlin", "customer_country": "DE",
     "customer_vat_id": "DE123456788", "lines": [
        {"name": "Course", "amount": "80.00", "tax_rate": "19"},
        {"name": "Book; thick", "amount": "20.00", "tax_rate": "7"}]},
)  # fmt: skip
COMMON = {"customer": "cus_1", "currency": "EUR", "total": "100.00", "issued_on": "2026-09-01"}
FORMS = {
    "csv": "-o csv", "tsv": "-o tsv", "json": "-o json", "ndjson": "-o ndjson", "xlsx": "-o xlsx",
    "excel.csv": "-o csv --dialect excel",
}  # fmt: skip


@pytest.fixture
def new_store(new_sqlite: NewStore) -> NewStore:
    return new_sqlite


@pytest.mark.parametrize("ending", FORMS)
def test_a_list_comes_back_as_the_same_list(desk: Desk, new_sqlite: NewStore, ending: str, tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text("\n".join(json.dumps(COMMON | invoice) for invoice in INVOICES))
    desk.json(f"invoice import {source}")
    desk.json("mark-refunded PART-1 --amount 20 --reason other --yes")
    written = tmp_path / f"list.{ending}"
    assert desk(f"invoice list --all {FORMS[ending]} --to {written}").exit_code == 0
    (tmp_path / "other").mkdir()
    other = Desk(new_sqlite(), desk.sandbox, tmp_path / "other")
    imported = other(f"invoice import {written}")
    assert imported.exit_code == 0, imported
    assert other("invoice list --all -o csv").out.splitlines() == desk("invoice list --all -o csv").out.splitlines()
    assert other.json("invoice list --all") == desk.json("invoice list --all")


def test_a_list_is_recognised_and_can_be_imported_again(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside()
    desk(f"invoice list -o csv --to {tmp_path}/list.csv")
    answer = desk(f"invoice import {tmp_path}/list.csv")
    assert "refundcli-list" in answer.err
    assert answer.exit_code == 0, answer


def test_what_does_not_say_what_was_given_back_is_not_taken_for_a_list(
    desk: Desk, new_sqlite: NewStore, tmp_path: Path
) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 40 --reason other --yes")
    columns = [column for column in INVOICE_COLUMNS if column not in ("refunded_amount", "payments")]
    (tmp_path / "part.csv").write_text(desk(f"invoice list --columns {','.join(columns)} -o csv").out)
    (tmp_path / "part-for-excel.csv").write_bytes((tmp_path / "part.csv").read_bytes().replace(b",", b";"))
    (tmp_path / "shown.ndjson").write_text(json.dumps(desk.json("invoice show INV-1")))
    (whole,) = desk.json("invoice list")
    parts: dict[str, Callable[[dict[str, Any]], object]] = {
        "no-payments": lambda part: part.pop("payments"),
        "null": lambda part: part.update(payments=None),
        "text": lambda part: part.update(payments=["40.00"]),
        "not-given-back": lambda part: part["payments"][0].pop("given_back"),
        "null-given-back": lambda part: part["payments"][0].update(given_back=None),
        "text-given-back": lambda part: part["payments"][0].update(given_back="none"),
    }
    for name, remove in parts.items():
        remove(part := copy.deepcopy(whole))
        (tmp_path / f"{name}.json").write_text(json.dumps([part]))
    (tmp_path / "other").mkdir()
    other = Desk(new_sqlite(), desk.sandbox, tmp_path / "other")
    files = [*tmp_path.glob("*.csv"), *tmp_path.glob("*json")]
    assert len(files) == 9
    for file in files:
        assert other(f"invoice import {file}").exit_code in (2, 3), file
    assert other.json("invoice list") == []


def test_a_list_has_every_column_that_makes_it_one() -> None:
    assert set(SIGNATURE) == set(INVOICE_COLUMNS)
