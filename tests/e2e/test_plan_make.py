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
