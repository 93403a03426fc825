"""invoice import of other programs' files: exports of providers, and what spreadsheets make of our own layout."""

import csv
import io
import json
from pathlib import Path

import pytest

from desk import Answer, Desk

EXPORTS = Path(__file__).parents[1] / "data" / "exports"
EXCEL = (EXPORTS / "excel_de_cp1252.csv").read_bytes().decode("cp1252")
PAYMENTS = (EXPORTS / "stripe_payments.csv").read_text()
OWN = "number,customer,currency,total,status,issued_on\n"


def importing(desk: Desk, content: str | bytes, options: str = "", *, name: str = "export.csv") -> Answer:
    path = desk.folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return desk(f"invoice import {path} {options}")


def totals(desk: Desk) -> dict[str, str]:
    return {invoice["number"]: invoice["total"]["amount"] for invoice in desk.json("invoice list --all")}


def made(rows: str, changes: dict[str, str]) -> str:
    """The rows of a CSV text, its first row changed."""
    records = list(csv.DictReader(io.StringIO(rows)))
    records[0] |= changes
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writeheader()
    writer.writerow(records[0])
    return text.getvalue()


@pytest.mark.parametrize(
    ("name", "read_as", "numbers"),
    [
        ("stripe_invoices.csv", "stripe-invoices", {"ABCD1234-0001", "ABCD1234-0002", "in_1PabcAAAA0003"}),
        ("stripe_payments.csv", "stripe-payments", {"in_1PabcAAAA0001", "in_1PabcAAAA0002"}),
        ("adyen_received_payments.csv", "adyen-received-payments", {"INV-2001"}),
        ("excel_de_cp1252.csv", "refundcli, cp1252, `;`, heading in line 1", {"INV-3001"}),
        ("own.xlsx", "refundcli, sheet “Sheet”", {"INV-9"}),
    ],
)
def test_an_export_is_recognised_and_imported(desk: Desk, name: str, read_as: str, numbers: set[str]) -> None:
    answer = desk(f"invoice import {EXPORTS / name}")
    assert answer.exit_code == 0, answer
    assert f"Read as {read_as}" in answer.err
    assert set(totals(desk)) == numbers


def test_a_stripe_payment_can_be_refunded_and_an_unpaid_invoice_has_none(sqlite_desk: Desk) -> None:
    assert importing(sqlite_desk, (EXPORTS / "stripe_invoices.csv").read_bytes()).exit_code == 0
    paid = sqlite_desk.json("invoice show ABCD1234-0001")
    assert (paid["auto_refundable"], paid["payments"][0]["reference"]) == (True, "ch_3PabcAAAAAAAAA01")
    assert sqlite_desk.json("invoice show ABCD1234-0002")["payments"] == []


def test_failed_payments_are_passed_over_and_counted(sqlite_desk: Desk) -> None:
    answer = importing(sqlite_desk, PAYMENTS, "-o json")
    assert answer.json["passed_over"] == {"Status Failed": 1}
    assert answer.json["read_as"].startswith("stripe-payments, UTF-8, `,`, heading in line 1")


def test_a_word_that_is_not_listed_makes_a_bad_row(sqlite_desk: Desk) -> None:
    answer = importing(sqlite_desk, made(PAYMENTS, {"Status": "Marvellous"}), "-o json")
    (problem,) = {found["code"]: found for found in answer.error["context"]["problems"]}.values()
    assert (problem["code"], problem["column"], problem["line"]) == ("unknown-value", "Status", 2)


@pytest.mark.parametrize(("word", "dispute"), [("needs_response", "open"), ("won", "won"), ("lost", "lost")])
def test_a_dispute_comes_with_its_amount(sqlite_desk: Desk, word: str, dispute: str) -> None:
    changes = {"Dispute Status": word, "Disputed Amount": "20,00"}
    assert importing(sqlite_desk, made(PAYMENTS, changes)).exit_code == 0
    (payment,) = sqlite_desk.json("invoice show in_1PabcAAAA0001")["payments"]
    assert (payment["dispute"], payment["disputes"][0]["amount"]["amount"]) == (dispute, "20.00")


def test_an_inquiry_that_was_closed_is_no_dispute(sqlite_desk: Desk) -> None:
    changes = {"Dispute Status": "warning_closed", "Disputed Amount": "20,00"}
    assert importing(sqlite_desk, made(PAYMENTS, changes)).exit_code == 0
    assert sqlite_desk.json("invoice show in_1PabcAAAA0001")["payments"][0]["disputes"] == []


def test_an_authorised_payment_is_still_being_processed(sqlite_desk: Desk) -> None:
    importing(sqlite_desk, (EXPORTS / "adyen_received_payments.csv").read_bytes())
    invoice = sqlite_desk.json("invoice show INV-2001")
    assert (invoice["status"], invoice["processing"], invoice["paid"]["amount"]) == ("open", True, "0.00")


def test_the_customers_address_and_card_come_along(sqlite_desk: Desk) -> None:
    importing(sqlite_desk, (EXPORTS / "adyen_received_payments.csv").read_bytes().replace(b",0000,", b",XXXX 4242,"))
    invoice = sqlite_desk.invoice("INV-2001")
    assert invoice.customer_email == "a@example.org"
    assert [(payment.card_last4, payment.card_brand) for payment in invoice.payments] == [("4242", "visa")]


def test_a_payment_finds_its_invoice_by_the_providers_id(desk: Desk) -> None:
    """Stripe's two exports name one invoice differently."""
    desk(f"invoice import {EXPORTS / 'stripe_invoices.csv'}")
    answer = importing(desk, PAYMENTS)
    assert answer.exit_code == 0, answer
    assert "line 3: in_1PabcAAAA0002 is ABCD1234-0002 in the store" in answer.err
    assert set(totals(desk)) == {"ABCD1234-0001", "ABCD1234-0002", "in_1PabcAAAA0003"}
    second = desk.json("invoice show ABCD1234-0002")
    assert (second["status"], second["refunded"]["amount"], second["customer_name"]) == ("paid", "20.00", "Bo Example")
    assert importing(desk, PAYMENTS, "-o json").json["changed"] == 0


def test_a_row_whose_own_number_is_another_invoice_is_refused(sqlite_desk: Desk) -> None:
    heading = OWN.replace("\n", ",invoice_reference\n")
    importing(sqlite_desk, f"{heading}A,c,EUR,1.00,open,2026-09-01,in_1\nB,c,EUR,2.00,open,2026-09-01,\n")
    answer = importing(sqlite_desk, f"{heading}B,c,EUR,2.00,open,2026-09-01,in_1\n", "-o json")
    assert answer.error["context"]["problems"][0]["code"] == "duplicate-reference"


def test_a_row_with_another_number_of_its_own_is_refused(sqlite_desk: Desk) -> None:
    heading = OWN.replace("\n", ",invoice_reference\n")
    importing(sqlite_desk, f"{heading}A,c,EUR,1.00,open,2026-09-01,in_1\n")
    answer = importing(sqlite_desk, f"{heading}B,c,EUR,1.00,open,2026-09-01,in_1\n", "-o json")
    assert answer.error["context"]["problems"][0]["code"] == "duplicate-reference"
    assert "It belongs to A in the store." in answer.err


def test_two_lines_about_one_known_invoice_are_refused(sqlite_desk: Desk) -> None:
    heading = OWN.replace("\n", ",invoice_reference\n")
    importing(sqlite_desk, f"{heading}A,c,EUR,1.00,open,2026-09-01,in_1\n")
    rows = "in_1,c,EUR,1.00,open,2026-09-01,in_1\nA,c,EUR,2.00,open,2026-09-01,\n"
    answer = importing(sqlite_desk, heading + rows, "--skip-invalid -o json")
    assert answer.exit_code == 3
    assert "A in the store, which is also on line 3" in answer.error["context"]["problems"][0]["message"]


@pytest.mark.parametrize(
    "content",
    [
        EXCEL.encode("utf-8-sig"),
        EXCEL.replace(";", "\t").encode("utf-16"),
        EXCEL.replace(";", "\t").encode("utf-16-le"),
        EXCEL.replace(";", "|").encode("cp1252"),
        f"sep=;\r\n{EXCEL}".encode(),
        f"Export vom 01.09.2026\n\nKonto;12\n{EXCEL}".encode(),
        f"{EXCEL}Summe;;;;1.200,50;;;;\n".encode(),
        f"{EXCEL}Gesamt;1.200,50\n".encode(),
        EXCEL.replace("1.200,50", "1 200,50 €").encode(),
        EXCEL.replace("Jörg Müller", '"Jörg\nMüller"').encode(),
    ],
)
def test_what_spreadsheets_make_of_our_layout_is_read(sqlite_desk: Desk, content: bytes) -> None:
    answer = importing(sqlite_desk, content)
    assert answer.exit_code == 0, answer
    invoice = sqlite_desk.json("invoice show INV-3001")
    assert (invoice["total"]["amount"], invoice["issued_on"]) == ("1200.50", "2026-08-03")
    assert invoice["customer_name"].split() == ["Jörg", "Müller"]


def test_our_own_layout_is_not_said_to_be_read_as_anything(sqlite_desk: Desk) -> None:
    assert "Read as" not in importing(sqlite_desk, f"{OWN}A,c,EUR,1.00,open,2026-09-01\n").err


def test_an_amount_with_two_readings_is_refused_until_the_mark_is_given(sqlite_desk: Desk) -> None:
    rows = "number;customer;currency;total;status;issued_on\nA;c;EUR;1.200;open;2026-09-01\n"
    answer = importing(sqlite_desk, rows)
    assert (answer.exit_code, "1.200 can be 1200 or 1.200" in answer.err) == (2, True)
    assert "--decimal" in answer.err
    assert importing(sqlite_desk, rows, "--decimal ,").exit_code == 0
    assert totals(sqlite_desk) == {"A": "1200.00"}


def test_another_amount_of_the_file_shows_the_mark(sqlite_desk: Desk) -> None:
    rows = "A;c;EUR;1.200;open;2026-09-01\nB;c;EUR;3,50;open;2026-09-01\n"
    importing(sqlite_desk, "number;customer;currency;total;status;issued_on\n" + rows)
    assert totals(sqlite_desk) == {"A": "1200.00", "B": "3.50"}


@pytest.mark.parametrize(("order", "day"), [("dmy", "2026-08-03"), ("mdy", "2026-03-08")])
def test_a_date_with_two_readings_is_refused_until_the_order_is_given(sqlite_desk: Desk, order: str, day: str) -> None:
    rows = f"{OWN}A,c,EUR,1.00,open,03/08/2026\n"
    answer = importing(sqlite_desk, rows)
    assert (answer.exit_code, "2026-08-03 (dmy) or 2026-03-08 (mdy)" in answer.err) == (2, True)
    assert importing(sqlite_desk, rows, f"--date {order}").exit_code == 0
    assert sqlite_desk.json("invoice show A")["issued_on"] == day


def test_another_date_of_the_file_shows_the_order(sqlite_desk: Desk) -> None:
    importing(sqlite_desk, f"{OWN}A,c,EUR,1.00,open,8/3/2026\nB,c,EUR,1.00,open,8/13/2026\n")
    assert sqlite_desk.json("invoice show A")["issued_on"] == "2026-08-03"


def test_rejected_rows_come_back_in_their_own_layout(sqlite_desk: Desk) -> None:
    importing(sqlite_desk, EXCEL.replace(";paid;", ";gone;").encode("cp1252"), "--skip-invalid")
    rejected = sqlite_desk.folder / "export.csv.rejected.csv"
    text = rejected.read_bytes().decode("utf-8-sig")
    assert text.startswith("number;customer;customer_name;currency;total;status;")
    assert "INV-3001;k1;Jörg Müller;EUR;1.200,50;gone;03.08.2026;04.08.2026" in text
    assert sqlite_desk(f"invoice import {rejected} --skip-invalid").exit_code == 9
    # A file that was read is never overwritten.
    assert rejected.read_bytes().decode("utf-8-sig") == text
    rejected.write_text(text.replace("gone", "paid", 1), encoding="utf-8-sig")
    assert sqlite_desk(f"invoice import {rejected}").exit_code == 0
    assert totals(sqlite_desk) == {"INV-3001": "1200.50"}


def test_the_review_file_is_our_layout_and_imports_nothing(sqlite_desk: Desk) -> None:
    review = sqlite_desk.folder / "review.csv"
    assert importing(sqlite_desk, PAYMENTS, f"--to-csv {review}").exit_code == 0
    assert totals(sqlite_desk) == {}
    assert "exists" in importing(sqlite_desk, PAYMENTS, f"--to-csv {review}").err or review.exists()
    assert sqlite_desk(f"invoice import {review}").exit_code == 0
    assert totals(sqlite_desk) == {"in_1PabcAAAA0001": "120.00", "in_1PabcAAAA0002": "89.90"}


def test_the_audit_trail_has_the_hashes_of_the_file_and_of_the_mapping(sqlite_desk: Desk) -> None:
    importing(sqlite_desk, PAYMENTS)
    (entry, *_) = sqlite_desk.json("invoice history in_1PabcAAAA0001")
    text = json.dumps(entry)
    assert text.count("sha256:") >= 2
    assert "as stripe-payments sha256:" in text


def test_a_column_that_is_missing_is_named(sqlite_desk: Desk) -> None:
    answer = importing(sqlite_desk, PAYMENTS.replace("Amount Refunded", "Something"))
    assert (answer.exit_code, "looks like stripe-payments, but lacks the column Amount Refunded" in answer.err) == (
        2,
        True,
    )


def test_money_in_a_spreadsheet_with_too_many_decimals_is_refused(sqlite_desk: Desk) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    path = sqlite_desk.folder / "book.xlsx"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet("Notes")
        sheet = book.add_worksheet("Data")
        sheet.write_row(0, 0, OWN.strip().split(","))
        sheet.write_row(1, 0, ["A", 1042, "EUR", 12.345, "open", "2026-09-01"])
        sheet.write_row(2, 0, ["B", 1042, "EUR", 1200, "open", "2026-09-01"])
    answer = sqlite_desk(f"invoice import {path} --skip-invalid")
    assert answer.exit_code == 9
    assert "EUR has 2 decimals" in answer.err
    assert totals(sqlite_desk) == {"B": "1200.00"}
    assert "there is no sheet" in sqlite_desk(f"invoice import {path} --sheet Other").err


def test_formats_are_listed_and_shown(sqlite_desk: Desk) -> None:
    names = [known["name"] for known in sqlite_desk.json("formats list")]
    assert {"stripe-invoices", "stripe-payments", "adyen-received-payments", "bank-statement"} <= set(names)
    assert sqlite_desk.json("formats show stripe-payments")["mapping"]["constant"] == {"provider": "stripe"}
    assert "Did you mean stripe-payments?" in sqlite_desk("formats show stripe-payment").err
