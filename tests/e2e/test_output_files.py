"""--to, --dialect excel and -o xlsx: lists as files that finance opens, and the options after the command."""

import csv
import io
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from desk import Desk


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


def test_excel_dialect_has_a_mark_semicolons_and_decimal_commas(desk: Desk) -> None:
    desk.paid_outside("INV-1", "1200.50 EUR")
    answer = desk("invoice list -o csv --dialect excel")
    assert answer.out.startswith("\ufeffnumber;status;")
    (row,) = csv.DictReader(io.StringIO(answer.out.removeprefix("\ufeff")), delimiter=";")
    assert (row["number"], row["total"], row["issued_on"]) == ("INV-1", "1200,50", "2026-09-01")


def test_a_workbook_keeps_text_as_text_and_amounts_as_numbers(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside("0042", "1200.50 EUR")
    desk(f"invoice list -o xlsx --to {tmp_path}/list.xlsx")
    heading, row = CalamineWorkbook.from_path(tmp_path / "list.xlsx").get_sheet_by_index(0).to_python()
    cells = dict(zip(heading, row, strict=True))
    assert (cells["number"], cells["total"]) == ("0042", 1200.5)


def test_a_workbook_needs_a_file(desk: Desk) -> None:
    error = desk("invoice list -o xlsx")
    assert (error.exit_code, "--to FILE.xlsx" in error.err) == (2, True)


@pytest.mark.parametrize("output_format", ["csv", "tsv", "json", "ndjson"])
def test_to_writes_what_would_be_printed(desk: Desk, tmp_path: Path, output_format: str) -> None:
    desk.paid_outside()
    printed = desk(f"invoice list -o {output_format}")
    written = desk(f"invoice list -o {output_format} --to {tmp_path}/list")
    assert (written.out, (tmp_path / "list").read_text()) == ("", printed.out)


def test_a_command_that_refuses_leaves_no_file(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside()
    assert desk(f"invoice show NOPE -o json --to {tmp_path}/list").exit_code == 5
    assert list(tmp_path.glob("*list*")) == []


def test_status_writes_its_file_although_something_needs_attention(desk: Desk, tmp_path: Path) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after")
    assert desk("refund INV-1 --amount 40 --reason other --yes").exit_code == 8
    assert desk(f"status -o json --to {tmp_path}/status.json").exit_code == 8
    assert "unfinished" in (tmp_path / "status.json").read_text()


def test_a_file_that_cannot_be_written_is_named(desk: Desk) -> None:
    desk.paid_outside()
    error = desk("invoice list -o csv --to /no/such/folder/list.csv")
    assert (error.exit_code, "/no/such/folder/list.csv" in error.err) == (2, True)


def test_what_moves_money_writes_no_file(desk: Desk, tmp_path: Path) -> None:
    reference = desk.paid_by_card()
    answer = desk(f"refund INV-1 --full --reason other --yes --to {tmp_path}/refund.json")
    assert answer.exit_code == 2
    assert desk.refunded_at_provider(reference) == []


def test_options_of_refundcli_are_accepted_after_the_command(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside()
    del desk.environ["REFUNDCLI_STORE_URL"]
    answer = desk(f"invoice list --store {desk.url} -o json --quiet")
    assert [invoice["number"] for invoice in answer.json] == ["INV-2"]
