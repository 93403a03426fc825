"""reconcile --report: every report that can be compared, and what is said about the others."""

from pathlib import Path

import pytest

from desk import MERCHANT, Answer, Desk

EXPORTS = Path(__file__).parents[1] / "data" / "exports"


def comparing(desk: Desk, name: str, content: bytes | None = None, options: str = "") -> Answer:
    path = desk.folder / name
    path.write_bytes((EXPORTS / name).read_bytes().replace(b"SandboxMerchant", MERCHANT.encode()))
    if content is not None:
        path.write_bytes(content)
    return desk(f"reconcile --report {path} {options}")


def booked(desk: Desk, *rows: str) -> None:
    heading = "number,customer,currency,total,status,issued_on,paid_on,provider,payment_reference"
    file = desk.folder / "books.csv"
    file.write_text("\n".join((heading, *rows)) + "\n")
    assert desk(f"invoice import {file}").exit_code == 0


ADYEN = "INV-2001,c,EUR,45.00,paid,2026-09-03,2026-09-03,adyen,ABCDEFGH12345678"
STRIPE = (
    "A,c,EUR,120.00,paid,2026-09-03,2026-09-03,stripe,pi_3PabcAAAAAAAAA01",
    "B,c,EUR,89.90,paid,2026-09-03,2026-09-03,stripe,ch_3PabcAAAAAAAAA02",
)


@pytest.mark.parametrize("name", ["adyen_payment_accounting_mod.csv", "adyen_settlement.csv"])
def test_an_external_refund_in_a_report_of_adyen_is_found(sqlite_desk: Desk, name: str) -> None:
    booked(sqlite_desk, ADYEN)
    answer = comparing(sqlite_desk, name)
    # A refund that is only sent has no outcome yet.
    expected_code = 3 if "settlement" in name else 8
    assert (answer.exit_code, "MODREF1234567890" in answer.out) == (expected_code, True), answer
    assert sqlite_desk.json("invoice show INV-2001")["refundable"]["amount"] == "35.00"


def test_a_report_of_disputes_opens_them_and_misses_no_payment(sqlite_desk: Desk) -> None:
    booked(sqlite_desk, ADYEN, ADYEN.replace("2001", "2002").replace("5678", "5679"))
    answer = comparing(sqlite_desk, "adyen_dispute.csv")
    assert answer.exit_code == 3, answer
    assert "12345679" not in answer.out
    assert sqlite_desk.json("invoice show INV-2001")["dispute"] == "open"


def test_stripes_itemized_balance_is_compared_by_intent_and_by_charge(sqlite_desk: Desk) -> None:
    booked(sqlite_desk, *STRIPE)
    answer = comparing(sqlite_desk, "stripe_balance_itemized.csv")
    assert answer.exit_code == 3, answer
    assert "re_3PabcAAAAAAAAA02" in answer.out
    assert sqlite_desk.json("invoice show A")["dispute"] == "open"
    assert sqlite_desk.json("invoice show B")["refundable"]["amount"] == "69.90"


def test_a_category_that_is_not_listed_blocks_its_payment(sqlite_desk: Desk) -> None:
    booked(sqlite_desk, *STRIPE)
    content = (EXPORTS / "stripe_balance_itemized.csv").read_bytes().replace(b",refund,re", b",wonder,re")
    assert comparing(sqlite_desk, "stripe_balance_itemized.csv", content).exit_code == 8
    assert sqlite_desk.refused("refund B --full --reason other --confirm '89.90 EUR'", "unreviewed-event")


def test_a_report_saved_by_a_spreadsheet_is_read_too(sqlite_desk: Desk) -> None:
    booked(sqlite_desk, *STRIPE)
    text = (EXPORTS / "stripe_balance_itemized.csv").read_text().replace(",", ";")
    answer = comparing(sqlite_desk, "stripe_balance_itemized.csv", f"Report\n{text}".encode("utf-16"))
    assert "re_3PabcAAAAAAAAA02" in answer.out, answer


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("adyen_payment_accounting.csv", "not-a-report", "lacks the column Modification Psp Reference"),
        ("adyen_bp_payout.csv", "layout-not-supported", "is not supported yet"),
    ],
)
def test_a_report_that_cannot_be_compared_is_refused_in_one_sentence(
    sqlite_desk: Desk, name: str, code: str, words: str
) -> None:
    answer = comparing(sqlite_desk, name, options="-o json")
    assert (answer.exit_code, answer.error["code"], words in answer.error["message"]) == (2, code, True)
