"""The pager and the screen-reader mode on a real terminal."""

import stat
from pathlib import Path

import pytest

from desk import Desk
from terminal.terminal import Terminal


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


def test_a_list_goes_through_the_pager_with_its_notes(desk: Desk, tmp_path: Path) -> None:
    for number in range(3):
        desk.paid_outside(f"INV-{number}")
    own_pager = tmp_path / "pager"
    own_pager.write_text("#!/bin/sh\necho BEGIN; cat; echo END\n")
    own_pager.chmod(own_pager.stat().st_mode | stat.S_IXUSR)
    screen = Terminal(["invoice", "list", "--limit", "2"], desk.environ | {"REFUNDCLI_PAGER": str(own_pager)})
    assert screen.ends() == 0
    begin, *paged, end = screen.text.split("\n")
    assert (begin, end) == ("BEGIN", "END")
    assert "INV-0" in "".join(paged)
    assert "--after INV-1" in "".join(paged)


def test_a_pager_that_is_left_early_ends_the_list_without_an_error(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside()
    screen = Terminal(["invoice", "list", "--all"], desk.environ | {"PAGER": "true"})
    assert screen.ends() == 0
    assert "bug" not in screen.text


def test_without_a_pager_on_the_machine_the_list_is_shown(desk: Desk) -> None:
    desk.paid_outside()
    screen = Terminal(["invoice", "list"], desk.environ | {"PAGER": "/no/such/pager"})
    assert screen.ends() == 0
    assert "INV-2" in screen.text


def test_accessible_shows_one_fact_a_line_and_no_marks(desk: Desk) -> None:
    desk.paid_outside()
    screen = Terminal(["invoice", "show", "INV-2"], desk.environ | {"ACCESSIBLE": "1"})
    assert screen.ends() == 0
    lines = screen.text.split("\n")
    assert {"Total 100.00 EUR", "Refunded 0.00", "Left to refund 100.00 EUR"} <= set(lines)
    assert not set("✓✗·") & set(screen.text)
    assert "\x1b" not in screen.raw


def test_an_accessible_list_names_each_value(desk: Desk) -> None:
    desk.paid_outside()
    screen = Terminal(["invoice", "list", "--accessible"], desk.environ)
    assert screen.ends() == 0
    assert {"Number: INV-2", "Total: 100.00", "Currency: EUR"} <= set(screen.text.split("\n"))


def accessible_lines(desk: Desk, *words: str, exit_code: int) -> set[str]:
    screen = Terminal(list(words), desk.environ | {"ACCESSIBLE": "1"})
    assert screen.ends() == exit_code, screen.text
    assert "\x1b" not in screen.raw
    return set(screen.text.split("\n"))


def test_an_accessible_file_check_names_each_value(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    path = desk.folder / "refunds.csv"
    path.write_text("invoice,amount,reason\nINV-1,10.00,other\nINV-1,abc,other\n")
    lines = accessible_lines(desk, "refund", "--from", str(path), "--dry-run", exit_code=9)
    assert {"Will refund", "10.00 EUR", "Stripe", "Refused", "Line: 3", "Column: amount", "Value: abc"} <= lines


def test_an_accessible_comparison_names_each_value(desk: Desk) -> None:
    refund_id = desk.sandbox.dashboard_refund(desk.paid_by_card(), 3000)
    lines = accessible_lines(desk, "reconcile", exit_code=3)
    assert {"What: refund missing-here", "Invoice: INV-1", f"At the provider: {refund_id}", "applied"} <= lines


def test_runs_are_listed_with_totals_and_shown_with_the_next_step(desk: Desk, tmp_path: Path) -> None:
    desk.paid_by_card("INV-1")
    desk.paid_by_card("INV-2", provider="adyen")
    for name, *rows in (("first.csv", "INV-1,1.00,other"), ("second.csv", "INV-1,10.00,other", "INV-2,5.00,other")):
        (tmp_path / name).write_text("\n".join(("invoice,amount,reason", *rows, "")))
        assert desk(f"refund --from {tmp_path / name} --yes").exit_code == 0
    run = desk.json("runs list")[0]["id"]
    environ = desk.environ | {"PAGER": "cat"}
    listed = Terminal(["runs", "list", "--limit", "1", "--kind", "refund"], environ)
    assert listed.ends() == 0
    assert f"{run}  finished  15.00 EUR" in listed.text
    assert "refund, 2 rows: 2 done   Ada Lovelace   second.csv" in listed.text
    assert "Total 11.00 EUR final, 5.00 EUR accepted, not final   3 refunds" in listed.text
    assert f"1 more: refundcli runs list --kind refund --after {run}" in listed.text
    shown = Terminal(["runs", "show", run], environ)
    assert shown.ends() == 0
    assert "10.00 EUR final, 5.00 EUR accepted, not final   2 refunds" in shown.text
    assert f"Next: refundcli refunds list --run {run} --state pending" in shown.text


def test_a_plan_is_shown_with_its_first_and_last_rows(desk: Desk, tmp_path: Path) -> None:
    for number in range(1, 8):
        desk.paid_by_card(f"INV-{number}", "10.00 EUR")
    plan = tmp_path / "plan.json"
    assert desk(f"plan make --provider stripe --percent 50 --reason other --out {plan}").exit_code == 0
    screen = Terminal(["plan", "show", str(plan)], desk.environ, columns=200)
    assert screen.ends() == 0
    assert "plan for refund   7 rows   35.00 EUR" in screen.text
    assert "from plan make --provider stripe --percent 50 --action refund --reason other" in screen.text
    assert "line 3   INV-3   Grace Hopper   5.00 EUR\n   … 2 rows more …\n   line 6" in screen.text
    assert f"✓ May be applied.\n   Next: refundcli refund --apply {plan}" in screen.text
