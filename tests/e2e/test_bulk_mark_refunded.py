"""mark-refunded --from: bank transfers recorded as refunds by a script."""

import csv
import json
from pathlib import Path

import pytest

from desk import Desk
from refundcli.store.checks.integrity import findings

HEADER = "invoice,amount,reason,method,reference,refunded_on,memo,key"


@pytest.fixture
def transfers(desk: Desk) -> Path:
    """Six rows: four that can be recorded, of two currencies, and two that cannot."""
    desk.paid_outside("T-1", "100.00 EUR")
    desk.paid_outside("T-2", "50.00 EUR")
    desk.paid_outside("T-3", "9000 JPY")
    desk.paid_by_card("C-1", "100.00 EUR")
    path = desk.folder / "transfers.csv"
    rows = [
        "T-1,40.00,overcharged,bank transfer,SEPA 1,2026-10-02,,",
        "T-1,,Duplicate,bank transfer,SEPA 2,2026-10-03,the rest,",
        "C-1,,other,,,,,",
        "T-2,,other,cash,,,,",
        "T-3,4000,returned-goods,bank transfer,SWIFT 3,,,",
        "T-9,,other,,,,,",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_the_good_rows_are_recorded_and_the_others_handed_back(desk: Desk, transfers: Path) -> None:
    answer = desk.json(f"mark-refunded --from {transfers} --yes", exit_code=9)
    assert (answer["rows"], answer["recorded"], answer["refused_count"]) == (6, 4, 2)
    assert [(total["rows"], total["amount"]["amount"]) for total in answer["totals"]] == [(3, "150.00"), (1, "4000")]
    assert [(total["line"], total["code"]) for total in answer["refused"]] == [
        (4, "use-refund"),
        (7, "invoice-not-found"),
    ]
    assert desk.invoice("T-1").status == "refunded"
    assert desk.sandbox.requests == []
    with open(answer["rejected_file"], newline="") as file:
        rejected = list(csv.DictReader(file))
    assert [(row["invoice"], row["line"]) for row in rejected] == [("C-1", "4"), ("T-9", "7")]
    assert all(row["error"] and row["hint"] for row in rejected)
    assert findings(desk.books) == []


def test_the_same_file_again_records_nothing_twice(desk: Desk, transfers: Path) -> None:
    desk(f"mark-refunded --from {transfers} --yes")
    refunds = desk.count("refund")
    answer = desk.json(f"mark-refunded --from {transfers} --yes", exit_code=9)
    assert (answer["recorded"], answer["done_before"], answer["refused_count"]) == (0, 4, 2)
    assert desk.count("refund") == refunds


def test_a_row_that_was_corrected_is_new_and_the_others_stay_done(desk: Desk, transfers: Path) -> None:
    desk(f"mark-refunded --from {transfers} --yes")
    transfers.write_text(transfers.read_text().replace("T-9,,other,,,,,", "T-3,1000,other,,,,,"))
    answer = desk.json(f"mark-refunded --from {transfers} --yes", exit_code=9)
    assert (answer["recorded"], answer["done_before"]) == (1, 4)


def test_the_rejected_file_can_be_corrected_and_fed_back(desk: Desk, transfers: Path) -> None:
    rejected = Path(desk.json(f"mark-refunded --from {transfers} --yes", exit_code=9)["rejected_file"])
    with open(rejected, newline="") as file:
        rows = list(csv.DictReader(file))
    for row, amount in zip(rows, ("2000", "3000"), strict=True):
        row |= {"invoice": "T-3", "amount": amount}
    with open(rejected, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    answer = desk.json(f"mark-refunded --from {rejected} --yes")
    assert (answer["recorded"], answer["rejected_file"]) == (2, None)
    assert desk.invoice("T-3").status == "refunded"


def test_rows_of_one_invoice_are_summed(desk: Desk) -> None:
    desk.paid_outside("T-1", "100.00 EUR")
    path = desk.folder / "twice.csv"
    path.write_text("invoice,amount,reason,reference\n" + "".join(f"T-1,40,other,{name}\n" for name in "abc"))
    answer = desk.json(f"mark-refunded --from {path} --yes", exit_code=9)
    assert (answer["recorded"], [row["code"] for row in answer["refused"]]) == (2, ["over-refund"])
    assert desk.invoice("T-1").refunded.number == "80.00"


def test_rows_with_one_key_and_content_are_one_request(desk: Desk) -> None:
    desk.paid_outside("T-1", "100.00 EUR")
    path = desk.folder / "keys.csv"
    path.write_text("invoice,amount,reason,key\nT-1,40,other,a\nT-1,40,other,a\nT-1,10,other,b\n")
    answer = desk.json(f"mark-refunded --from {path} --yes")
    assert (answer["recorded"], answer["done_before"]) == (2, 1)
    path.write_text("invoice,amount,reason,key\nT-1,41,other,a\n")
    answer = desk.json(f"mark-refunded --from {path} --yes", exit_code=9)
    assert [row["code"] for row in answer["refused"]] == ["request-key-reused"]


def test_the_number_of_rows_is_the_confirmation(desk: Desk, transfers: Path) -> None:
    desk.refused(f"mark-refunded --from {transfers} --confirm 6", "not-confirmed")
    assert desk.count("refund") == 0
    desk.json(f"mark-refunded --from {transfers} --confirm 4", exit_code=9)
    assert desk.count("refund") == 4


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(desk: Desk, transfers: Path) -> None:
    before = sorted(desk.folder.iterdir())
    answer = desk.json(f"mark-refunded --from {transfers} --dry-run", exit_code=9)
    assert (answer["dry_run"], answer["recorded"], answer["rejected_file"]) == (True, 4, None)
    assert desk.count("refund") == 0
    assert sorted(desk.folder.iterdir()) == before


def test_a_file_from_a_pipe_is_taken_too(desk: Desk, transfers: Path) -> None:
    answer = desk("mark-refunded --from - --yes -o json", stdin=transfers.read_text())
    assert (answer.exit_code, answer.json["recorded"]) == (9, 4)
    assert answer.json["rejected_file"] == "stdin.rejected.csv"


def test_a_broken_file_is_refused_before_anything_is_recorded(desk: Desk) -> None:
    path = desk.folder / "broken.csv"
    path.write_text("invoce,amount,reason\nT-1,40,other\n")
    error = desk.refused(f"mark-refunded --from {path} --yes", "unknown-column", exit_code=2)
    assert "invoice" in str(error["hint"])
    desk.refused("mark-refunded --from none.csv --yes", "file-not-found", exit_code=2)


def test_one_invoice_or_a_file_but_not_both(desk: Desk, transfers: Path) -> None:
    desk.refused(f"mark-refunded T-1 --from {transfers} --yes", "one-or-many", exit_code=2)
    desk.refused("mark-refunded --full --reason other --yes", "one-or-many", exit_code=2)
    desk.refused(f"mark-refunded --from {transfers} --amount 5 --yes", "only-for-one", exit_code=2)


def test_every_row_has_its_own_audit_entry_and_credit_note(desk: Desk, transfers: Path) -> None:
    desk(f"mark-refunded --from {transfers} --yes")
    notes = desk.json("credit-notes list")
    assert [note["number"][-1] for note in notes] == ["1", "2", "3", "4"]
    history = json.dumps(desk.json("invoice history T-1"))
    assert "SEPA 1" in history
    assert "SEPA 2" in history


@pytest.mark.parametrize("accessible", ["", "--accessible "])
def test_the_first_and_last_rows_are_listed_with_customers_before_the_question(desk: Desk, accessible: str) -> None:
    path = desk.folder / "seven.csv"
    numbers = [f"B-{n}" for n in range(1, 8)]
    for number in numbers:
        desk.paid_outside(number, "10.00 EUR")
    path.write_text("\n".join([HEADER, *(f"{number},,other,,,,," for number in numbers)]) + "\n")
    shown = desk(f"{accessible}mark-refunded --from {path} --yes").err
    assert [word for word in shown.split() if word.startswith("B-")] == ["B-1", "B-2", "B-3", "B-6", "B-7"]
    assert "2 rows more" in shown
    assert shown.count(desk.invoice("B-1").customer_name) == 5
