"""plan make: invoices of a cancelled event are selected, planned, applied once, and not returned twice."""

from pathlib import Path

import pytest

from desk import Desk


@pytest.fixture
def new_store(new_sqlite: object) -> object:
    return new_sqlite


def test_a_cancelled_event_is_refunded_less_a_tenth_once(desk: Desk, tmp_path: Path) -> None:
    references = [
        desk.paid_by_card(f"INV-{number}", amount, products=("Summer Cup U12",))
        for number, amount in enumerate(("100.00 EUR", "89.95 EUR"), start=1)
    ]
    desk.paid_by_card("INV-3", products=("Season pass",))
    plan = tmp_path / "plan.json"
    making = f"plan make --product 'Summer Cup*' --keep 10% --reason other --memo cancelled --out {plan}"
    made = desk(making)
    assert made.exit_code == 0, made
    assert "Selected 2 invoices" in made.err
    assert "Amounts rounded: 1" in made.err
    assert desk(f"refund --apply {plan} --yes").exit_code == 0
    assert [desk.refunded_at_provider(reference) for reference in references] == [[9000], [8095]]
    plan.unlink()
    again = desk(making)
    assert "Left out 2 with as much returned, reserved or lost already: INV-1, INV-2" in again.err
    assert not plan.exists()


def test_records_are_planned_for_invoices_paid_outside(desk: Desk, tmp_path: Path) -> None:
    desk.paid_outside("INV-1", "50.00 EUR")
    plan = tmp_path / "plan.json"
    made = desk(f"plan make --paid-since 2026-09-01 --full --reason other --action mark-refunded --out {plan}")
    assert made.exit_code == 0, made
    assert desk(f"mark-refunded --apply {plan} --yes").exit_code == 0
    assert str(desk.invoice("INV-1").refunded) == "50.00 EUR"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("--reason other --full --out plan.json", "selection-needed"),
        ("--product x --reason other --out plan.json", "one-amount-rule"),
        ("--product x --reason other --full --keep 10% --out plan.json", "one-amount-rule"),
        ("--product x --reason other --keep 10 --out plan.json", "invalid-percentage"),
        ("--product x --reason other --full", "plan-file-needed"),
    ],
)
def test_an_incomplete_command_says_what_is_missing(desk: Desk, options: str, code: str) -> None:
    desk.refused(f"plan make {options}", code, exit_code=2)


def test_a_dry_run_saves_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.paid_by_card()
    assert desk(f"plan make --provider stripe --percent 50 --reason other --out {tmp_path}/p --dry-run").exit_code == 0
    assert list(tmp_path.glob("p*")) == []


def test_a_plan_is_shown_with_its_rows_and_whether_it_may_be_applied(desk: Desk, tmp_path: Path) -> None:
    for number in range(1, 8):
        desk.paid_by_card(f"INV-{number}", "10.00 EUR")
    plan = tmp_path / "plan.json"
    assert desk(f"plan make --provider stripe --percent 50 --reason other --out {plan}").exit_code == 0
    shown = desk.json(f"plan show {plan}")
    assert [row["invoice"] for row in shown["first_and_last"]] == ["INV-1", "INV-2", "INV-3", "INV-6", "INV-7"]
    assert (shown["rows"], shown["totals"][0]["amount"], shown["planned_by"]) == (7, "35.00", "Ada Lovelace")
    assert shown["command"] == f"refundcli refund --apply {plan}"
    assert desk("refund INV-1 --amount 1 --reason other --yes").exit_code == 0
    shown = desk.json(f"plan show {plan}")
    assert (shown["changed"], shown["may_be_applied"]) == (1, True)
    assert desk(f"refund --apply {plan} --yes").exit_code == 9
    shown = desk.json(f"plan show {plan}")
    assert (shown["may_be_applied"], shown["command"]) == (False, f"refundcli runs show {shown['run']}")
    assert shown["refusal"] == f"applied already, as {shown['run']}"
    plan.write_text(plan.read_text().replace("INV-2", "INV-1"))
    desk.refused(f"plan show {plan}", "plan-edited")
