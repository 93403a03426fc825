"""`runs list` and `runs show`."""

import json
from pathlib import Path
from typing import Any

import pytest

from desk import Desk


def run_of(desk: Desk, command: str, file: Path, *rows: str, exit_code: int = 0) -> str:
    file.write_text("\n".join(("invoice,amount,reason", *rows, "")))
    answer = desk(f"{command} --from {file} --yes -o json")
    assert answer.exit_code == exit_code, answer
    return str(json.loads(answer.out)["run"])


@pytest.fixture
def refund_run(desk: Desk, tmp_path: Path) -> str:
    """One row accepted by Adyen, one that Stripe returned, one refused."""
    desk.paid_by_card("INV-1")
    desk.paid_by_card("INV-2", provider="adyen")
    rows = ("INV-1,10.00,other", "INV-2,5.00,other", "INV-9,1.00,other")
    return run_of(desk, "refund", tmp_path / "refunds.csv", *rows, exit_code=9)


def numbers(total: dict[str, Any]) -> list[str]:
    return [total[name]["amount"] for name in ("final", "accepted", "unfinished", "failed")]


@pytest.mark.both_databases
def test_a_run_of_refunds_separates_final_from_accepted_amounts(desk: Desk, refund_run: str, tmp_path: Path) -> None:
    details = desk.json(f"runs show {refund_run}")
    assert (details["kind"], details["state"], details["operator"]) == ("refund", "finished", "Ada Lovelace")
    assert (details["counts"]["done"], details["counts"]["waiting"]) == (2, 0)
    assert [(total["refunds"], *numbers(total)) for total in details["totals"]] == [
        (2, "10.00", "5.00", "0.00", "0.00")
    ]
    assert details["rejected_file"] == f"{tmp_path}/refunds.csv.rejected.csv"
    assert details["command"] == f"refundcli refund --from {tmp_path}/refunds.csv.rejected.csv"
    Path(details["rejected_file"]).unlink()
    assert (
        desk.json(f"runs show {refund_run}")["command"] == f"refundcli refunds list --run {refund_run} --state pending"
    )


def test_a_run_that_stopped_shows_how_it_is_resumed(desk: Desk, tmp_path: Path) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_after", call="refund")
    run_id = run_of(desk, "refund", tmp_path / "refunds.csv", "INV-1,10.00,other", exit_code=8)
    details = desk.json(f"runs show {run_id}")
    assert (details["state"], details["counts"]["unknown"]) == ("stopped", 1)
    assert numbers(details["totals"][0]) == ["0.00", "0.00", "10.00", "0.00"]
    assert details["command"] == f"refundcli refund --resume {run_id}"


def test_rows_refused_while_the_run_went_on_are_counted_by_code(desk: Desk, tmp_path: Path) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("failed", call="refund")
    run_id = run_of(desk, "refund", tmp_path / "refunds.csv", "INV-1,10.00,other", exit_code=9)
    details = desk.json(f"runs show {run_id}")
    assert (details["counts"]["refused"], sum(details["refused_by_code"].values())) == (1, 1)
    assert numbers(details["totals"][0]) == ["0.00", "0.00", "0.00", "10.00"]


def test_a_run_of_records_counts_what_it_recorded_and_what_was_undone(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside("INV-1")
    run_id = run_of(desk, "mark-refunded", tmp_path / "marks.csv", "INV-1,10.00,other", "INV-1,11.00,other")
    details = desk.json(f"runs show {run_id}")
    assert (details["rows"], details["counts"]["done"], details["counts"]["waiting"]) == (2, 2, None)
    assert numbers(details["totals"][0]) == ["21.00", "0.00", "0.00", "0.00"]
    assert desk(f"mark-refunded --undo {run_id} --memo wrong --yes").exit_code == 0
    details = desk.json(f"runs show {run_id}")
    assert (numbers(details["totals"][0]), details["command"]) == (["0.00", "0.00", "0.00", "21.00"], None)


@pytest.mark.both_databases
def test_runs_are_found_by_what_is_known_about_them(desk: Desk, refund_run: str, tmp_path: Path) -> None:
    desk.paid_outside("INV-5")
    desk.environ["REFUNDCLI_OPERATOR_NAME"] = "Bob"
    record_run = run_of(desk, "mark-refunded", tmp_path / "marks.csv", "INV-5,1.00,other")

    def found(options: str) -> list[str]:
        return [run["id"] for run in desk.json(f"runs list {options}")]

    assert found("") == found("--state finished --since yesterday --until today") == [record_run, refund_run]
    assert (
        found("--kind refund") == found(f"--after {record_run}") == found("--operator 'Ada Lovelace'") == [refund_run]
    )
    assert found("--operator Bob") == found("--limit 1") == [record_run]
    assert found("--state stopped") == found("--until 2020-01-01") == []
    columns, *rows = desk("runs list -o csv").out.splitlines()
    assert (columns.split(",")[:3], len(rows)) == (["id", "kind", "state"], 2)
    desk.refused("runs show run_none", "run-not-found", exit_code=5)
