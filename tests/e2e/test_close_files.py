"""void and uncollectible with a file: checked whole, confirmed once, and safe to give again."""

from pathlib import Path

import pytest

from desk import Desk
from refundcli.domain.statuses import InvoiceStatus


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "close.csv"


@pytest.mark.parametrize("command", ["void", "uncollectible"])
def test_every_invoice_of_a_file_is_closed_once(desk: Desk, file: Path, command: str) -> None:
    for number in ("INV-1", "INV-2"):
        desk.unpaid(number)
    file.write_text("invoice,memo\nINV-1,ordered twice\ninv-2,\n")
    closed = desk.json(f"{command} --from {file} --memo general --yes")
    assert (closed["closed"], closed["refused_count"], closed["totals"][0]["amount"]) == (2, 0, "200.00")
    assert {desk.invoice(number).status for number in ("INV-1", "INV-2")} == {InvoiceStatus(command)}
    again = desk.json(f"{command} --from {file} --yes")
    assert (again["closed"], again["done_before"]) == (0, 2)
    memos = [entry["after"].get("memo") for entry in desk.json("invoice history INV-2")]
    assert "general" in memos


def test_refused_rows_are_named_and_saved_and_the_others_are_closed(desk: Desk, file: Path) -> None:
    desk.unpaid("INV-1")
    desk.paid_outside("INV-2")
    file.write_text("invoice\nINV-1\nINV-2\nINV-1\nNOPE\n\n")
    closed = desk.json(f"void --from {file} --yes", exit_code=9)
    refused = {row["line"]: row["code"] for row in closed["refused"]}
    assert (closed["closed"], refused) == (1, {3: "already-paid", 4: "duplicate-invoice", 5: "invoice-not-found"})
    rejected = Path(closed["rejected_file"])
    assert len(rejected.read_text().splitlines()) == 4
    assert desk(f"void --from {rejected} --yes").exit_code == 9


def test_a_dry_run_changes_nothing(desk: Desk, file: Path) -> None:
    desk.unpaid("INV-1")
    file.write_text("invoice\nINV-1\n")
    assert desk.json(f"void --from {file} --dry-run")["requested"] == 1
    assert desk.invoice("INV-1").status is InvoiceStatus.OPEN


def test_the_number_of_rows_is_confirmed(desk: Desk, file: Path) -> None:
    desk.unpaid("INV-1")
    file.write_text("invoice\nINV-1\n")
    desk.refused(f"void --from {file}", "confirmation-required", exit_code=2)
    desk.refused(f"void --from {file} --confirm 2", "not-confirmed")
    assert desk(f"void --from {file} --confirm 1").exit_code == 0


def test_a_number_and_a_file_are_not_combined(desk: Desk, file: Path) -> None:
    desk.refused(f"void INV-1 --from {file} --yes", "one-or-many", exit_code=2)
