"""mark-refunded --propose: bank statements become files of records to review, and nothing is recorded."""

import csv
from pathlib import Path

import pytest

from desk import Answer, Desk

EXPORTS = Path(__file__).parents[1] / "data" / "exports"
CAMT = (EXPORTS / "camt053.xml").read_text()
SPARKASSE = (EXPORTS / "bank_sparkasse_cp1252.csv").read_bytes()


@pytest.fixture
def bank_desk(sqlite_desk: Desk) -> Desk:
    heading = "number,customer,currency,total,status,issued_on,payment_method"
    rows = [f"INV-{number},c,EUR,2000.00,paid,2026-08-01,bank transfer" for number in (1009, 1011)]
    file = sqlite_desk.folder / "books.csv"
    file.write_text("\n".join((heading, *rows)) + "\n")
    assert sqlite_desk(f"invoice import {file}").exit_code == 0
    return sqlite_desk


def proposing(
    desk: Desk, content: bytes, options: str = "", *, name: str = "statement"
) -> tuple[Answer, list[list[str]]]:
    statement, target = desk.folder / name, desk.folder / "out.csv"
    statement.write_bytes(content)
    target.unlink(missing_ok=True)
    answer = desk(f"mark-refunded --propose {statement} --to {target} {options}")
    return answer, list(csv.reader(target.read_text().splitlines()))[1:] if target.exists() else []


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "bank_sparkasse_cp1252.csv",
            [["INV-1009", "40.00", "2026-10-20"], ["INV-1011", "1450.00", "2026-10-21"]],
        ),
        ("bank_postbank.csv", [["INV-1009", "40.00", "2026-08-07"]]),
        ("camt053.xml", [["INV-1009", "40.00", "2026-10-20"]]),
    ],
)
def test_a_statement_proposes_its_refunds(bank_desk: Desk, name: str, rows: list[list[str]]) -> None:
    answer, proposed = proposing(bank_desk, (EXPORTS / name).read_bytes())
    assert answer.exit_code == 0, answer
    assert [[row[0], row[1], row[5]] for row in proposed] == rows
    assert {(row[2], row[3]) for row in proposed} == {("", "bank transfer")}
    assert bank_desk.invoice("INV-1009").refunds == ()


def test_a_proposal_with_a_reason_is_recorded_as_it_is(bank_desk: Desk) -> None:
    _, proposed = proposing(bank_desk, CAMT.encode(), "--reason overcharged")
    assert proposed[0][4] == "RF-INV-1009"
    assert bank_desk(f"mark-refunded --from {bank_desk.folder / 'out.csv'} --yes").exit_code == 0
    assert str(bank_desk.invoice("INV-1009").refunds[0].amount) == "40.00 EUR"
    answer, proposed = proposing(bank_desk, CAMT.encode())
    assert (answer.exit_code, proposed) == (9, [])
    assert "has a record with the reference RF-INV-1009 already" in answer.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Document xmlns=", 'Document xmlns:unused="urn:x" xmlns='),
        ("camt.053.001.08", "camt.053.001.02"),
        ("<BookgDt><Dt>2026-10-20</Dt></BookgDt>", "<BookgDt><DtTm>2026-10-20T09:00:00+02:00</DtTm></BookgDt>"),
        ("40.00", "40.00000"),
    ],
)
def test_variants_of_camt_053_are_read(bank_desk: Desk, before: str, after: str) -> None:
    _, proposed = proposing(bank_desk, CAMT.replace(before, after).encode())
    assert [row[:2] for row in proposed] == [["INV-1009", "40.00"]]


def test_a_credit_is_passed_over_and_a_foreign_name_is_listed(bank_desk: Desk) -> None:
    answer, proposed = proposing(bank_desk, CAMT.replace("DBIT", "CRDT").encode(), "-o json")
    assert (proposed, answer.json["passed_over"]) == ([], 1)
    answer, proposed = proposing(bank_desk, CAMT.replace("INV-1009", "INV-7777").encode())
    assert (answer.exit_code, proposed, "names no invoice in the books" in answer.err) == (9, [], True)


def test_a_transfer_that_names_two_invoices_is_left_to_a_person(bank_desk: Desk) -> None:
    answer, proposed = proposing(bank_desk, CAMT.replace("Erstattung ", "Erstattung INV-1011 und ").encode())
    assert (proposed, "names several invoices" in answer.err) == ([], True)


def test_entities_are_not_expanded(bank_desk: Desk) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    answer, _ = proposing(bank_desk, CAMT.replace("<Document", f"{bomb}<Document", 1).encode())
    assert (answer.exit_code, "not-a-statement" in answer.err) == (2, True)


def test_a_namespace_prefix_changes_nothing(bank_desk: Desk) -> None:
    text = CAMT.replace("<", "<n:").replace("<n:/", "</n:").replace("<n:?", "<?").replace("xmlns=", "xmlns:n=")
    assert [row[0] for row in proposing(bank_desk, text.encode())[1]] == ["INV-1009"]


def test_a_proposal_needs_a_target(bank_desk: Desk) -> None:
    assert "[propose-to]" in bank_desk("mark-refunded --propose statement").err


def test_a_reviewed_file_may_come_back_from_a_spreadsheet(bank_desk: Desk) -> None:
    proposing(bank_desk, SPARKASSE)
    text = (bank_desk.folder / "out.csv").read_text().replace(",,bank", ",other,bank").replace(",", ";")
    edited = text.replace("1450.00", "1.450,00").replace("40.00", "40,00").replace("2026-10-20", "20.10.2026")
    reviewed = bank_desk.folder / "reviewed.csv"
    reviewed.write_bytes(edited.encode("cp1252"))
    answer = bank_desk(f"mark-refunded --from {reviewed} --yes")
    assert answer.exit_code == 0, answer
    assert str(bank_desk.invoice("INV-1011").refunds[0].amount) == "1450.00 EUR"


def test_an_amount_with_two_readings_is_a_bad_row_of_a_reviewed_file(bank_desk: Desk) -> None:
    reviewed = bank_desk.folder / "reviewed.csv"
    reviewed.write_text("invoice;amount;reason\nINV-1009;1.200;other\n")
    answer = bank_desk(f"mark-refunded --from {reviewed} --yes")
    assert (answer.exit_code, "can be read as 1200 or as 1.200" in answer.err) == (9, True)
