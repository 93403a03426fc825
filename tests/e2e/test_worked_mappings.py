"""The worked mappings of docs/files.md: each reads the file that it is made for."""

from pathlib import Path

import pytest

from desk import Desk

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
WOOCOMMERCE = (
    "Order Number,Order Status,Order Date,Paid Date,First Name (Billing),Last Name (Billing),Email (Billing),"
    "Customer User ID,Payment Method Title,Transaction ID,Order Currency,Order Total Amount,Order Refund Amount\n"
    "901,completed,2026-09-03 10:00,2026-09-03 10:01,Ada,Byron,ada@example.org,17,Card,ch_3Pabc,EUR,120.00,20.00\n"
    "902,processing,2026-09-03 11:00,,Bo,Lind,bo@example.org,,Bank transfer,,EUR,30.00,0\n"
    "903,cancelled,2026-09-03 12:00,,Cy,Moe,cy@example.org,,Card,,EUR,30.00,0\n"
)
XERO = (
    "ContactName,AccountNumber,InvoiceNumber,InvoiceDate,DueDate,Total,InvoiceAmountPaid,Currency,Type,Status,Description\n"
    "Acme,A1,X-1,03/08/2026,17/08/2026,200.00,200.00,EUR,Sales invoice,Paid,Shirt\n"
    "Acme,A1,X-1,03/08/2026,17/08/2026,200.00,200.00,EUR,Sales invoice,Paid,Shorts\n"
    "Acme,A1,X-2,04/08/2026,18/08/2026,50.00,0.00,EUR,Sales invoice,Awaiting Payment,Ball\n"
)
BANK = "Datum;Bedrag;Omschrijving\n05-09-2026;-20,00;Terugbetaling INV-5 dank\n06-09-2026;90,00;Contributie\n"


@pytest.fixture
def desk_with_mappings(sqlite_desk: Desk) -> Desk:
    blocks = [block.partition("```")[0] for block in PAGE.split("```toml\n")[1:]]
    settings = sqlite_desk.folder / "settings.toml"
    settings.write_text("\n".join(block for block in blocks if "[formats." in block))
    sqlite_desk.environ["REFUNDCLI_CONFIG"] = str(settings)
    return sqlite_desk


def importing(desk: Desk, content: str) -> dict[str, int]:
    file = desk.folder / "export.csv"
    file.write_text(content)
    passed_over: dict[str, int] = desk.json(f"invoice import {file}")["passed_over"]
    return passed_over


def test_woocommerce(desk_with_mappings: Desk) -> None:
    assert importing(desk_with_mappings, WOOCOMMERCE) == {"Order Status cancelled": 1}
    first = desk_with_mappings.json("invoice show 901")
    assert (first["customer_name"], first["auto_refundable"], first["refundable"]["amount"]) == (
        "Ada Byron",
        True,
        "100.00",
    )
    assert desk_with_mappings.json("invoice show 902")["auto_refundable"] is False


def test_xero(desk_with_mappings: Desk) -> None:
    assert importing(desk_with_mappings, XERO) == {"repeated lines": 1}
    assert desk_with_mappings.json("invoice show X-1")["issued_on"] == "2026-08-03"
    assert desk_with_mappings.json("invoice show X-2")["status"] == "open"


def test_a_bank(desk_with_mappings: Desk) -> None:
    desk_with_mappings.paid_outside("INV-5")
    statement, target = desk_with_mappings.folder / "bank.csv", desk_with_mappings.folder / "out.csv"
    statement.write_text(BANK)
    answer = desk_with_mappings(f"mark-refunded --propose {statement} --to {target} --format my-bank")
    assert answer.exit_code == 0, answer
    assert "INV-5,20.00,,bank transfer,,2026-09-05," in target.read_text()


def test_a_mapping_that_is_not_valid_is_named(sqlite_desk: Desk) -> None:
    settings = sqlite_desk.folder / "settings.toml"
    settings.write_text('[formats.shop]\nsignature = ["A"]\nnumbr = "A"\n')
    sqlite_desk.environ["REFUNDCLI_CONFIG"] = str(settings)
    answer = sqlite_desk("formats list")
    assert (answer.exit_code, "Did you mean number?" in answer.err) == (4, True)
