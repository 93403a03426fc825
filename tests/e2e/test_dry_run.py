"""A dry run changes nothing: not a byte of the store, no POST to a provider, for every command."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desk import Desk
from leaves import leaves
from refundcli.services.ports.records import NewPayment


def takes_dry_run(command: Any) -> bool:
    return any("--dry-run" in parameter.opts for parameter in command.params)


def written(desk: Desk, name: str, *lines: str) -> Path:
    file = desk.folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


def one_refund(desk: Desk) -> str:
    desk.paid_by_card()
    return "refund INV-1 --amount 40 --reason duplicate"


def refund_at_adyen(desk: Desk) -> str:
    desk.paid_by_card(provider="adyen")
    return "refund INV-1 --full --reason duplicate"


def refunds_in_a_file(desk: Desk) -> str:
    desk.paid_by_card()
    return f"refund --from {written(desk, 'refunds.csv', 'invoice,amount,reason', 'INV-1,40.00,duplicate')}"


def refunds_of_a_plan(desk: Desk) -> str:
    desk(f"{refunds_in_a_file(desk)} --plan {desk.folder / 'plan.json'}")
    return f"refund --apply {desk.folder / 'plan.json'}"


def one_mark(desk: Desk) -> str:
    desk.paid_outside()
    return "mark-refunded INV-2 --full --reason duplicate"


def marks_in_a_file(desk: Desk) -> str:
    desk.paid_outside()
    return f"mark-refunded --from {written(desk, 'marks.csv', 'invoice,amount,reason', 'INV-2,40.00,duplicate')}"


def marks_of_a_plan(desk: Desk) -> str:
    desk(f"{marks_in_a_file(desk)} --plan {desk.folder / 'plan.json'}")
    return f"mark-refunded --apply {desk.folder / 'plan.json'}"


def undo_of_one_mark(desk: Desk) -> str:
    (refund,) = desk.json(f"{one_mark(desk)} --yes")["refunds"]
    return f"mark-refunded --undo {refund['id']} --memo 'made in error'"


def undo_of_a_run(desk: Desk) -> str:
    run = desk.json(f"{marks_in_a_file(desk)} --yes")["run"]
    return f"mark-refunded --undo {run} --memo 'wrong file'"


def void_here(desk: Desk) -> str:
    desk.unpaid("INV-3")
    return "void INV-3"


def void_at_stripe(desk: Desk) -> str:
    stripe_invoice = desk.sandbox.invoice("100.00 EUR", number="INV-1", status="open")
    desk.unpaid("INV-1", invoice_reference=stripe_invoice.id)
    return "void INV-1"


def voids_in_a_file(desk: Desk) -> str:
    desk.unpaid("INV-3")
    return f"void --from {written(desk, 'voids.csv', 'invoice', 'INV-3')}"


def write_offs_in_a_file(desk: Desk) -> str:
    return voids_in_a_file(desk).replace("void --from", "uncollectible --from")


def write_off_here(desk: Desk) -> str:
    return void_here(desk).replace("void", "uncollectible")


def write_off_at_stripe(desk: Desk) -> str:
    return void_at_stripe(desk).replace("void", "uncollectible")


CASES: dict[str, list[Callable[[Desk], str]]] = {
    "refund": [one_refund, refund_at_adyen, refunds_in_a_file, refunds_of_a_plan],
    "mark-refunded": [one_mark, marks_in_a_file, marks_of_a_plan, undo_of_one_mark, undo_of_a_run],
    "void": [void_here, void_at_stripe, voids_in_a_file],
    "uncollectible": [write_off_here, write_off_at_stripe, write_offs_in_a_file],
}


def state_of(desk: Desk) -> tuple[str, list[str]]:
    """The store's file, byte by byte, and what was posted to the providers."""
    path = Path(desk.url.removeprefix("sqlite:///"))
    posted = [f"{request.method} {request.path}" for request in desk.sandbox.requests if request.method != "GET"]
    return hashlib.sha256(path.read_bytes()).hexdigest(), posted


@pytest.mark.parametrize("form", ["", " -o json"], ids=["tabs", "json"])
@pytest.mark.parametrize(
    "case",
    [case for cases in CASES.values() for case in cases],
    ids=lambda case: case.__name__,
)
def test_a_dry_run_changes_nothing(sqlite_desk: Desk, case: Callable[[Desk], str], form: str) -> None:
    command = case(sqlite_desk)
    before = state_of(sqlite_desk)
    answer = sqlite_desk(f"{command} --dry-run{form}")
    assert answer.exit_code == 0, answer
    assert state_of(sqlite_desk) == before
    if form:
        assert answer.json["dry_run"] is True
    # Without the option the same command changes the store.
    assert sqlite_desk(f"{command} --yes").exit_code == 0
    assert state_of(sqlite_desk)[0] != before[0]


def test_every_command_that_takes_dry_run_is_tried_here() -> None:
    # `plan make` never changes the store: it has a test of its own.
    assert {name for name, command in leaves() if takes_dry_run(command)} == {*CASES, "plan make"}


def test_a_dry_run_of_a_plan_writes_no_file(sqlite_desk: Desk) -> None:
    sqlite_desk.paid_by_card()
    command = f"plan make --provider stripe --full --reason other --out {sqlite_desk.folder / 'plan.json'}"
    before = state_of(sqlite_desk)
    assert sqlite_desk.json(f"{command} --dry-run")["dry_run"] is True
    assert (state_of(sqlite_desk), (sqlite_desk.folder / "plan.json").exists()) == (before, False)
    sqlite_desk.json(command)
    assert (state_of(sqlite_desk), (sqlite_desk.folder / "plan.json").exists()) == (before, True)


def test_a_write_in_a_dry_run_is_refused_by_the_books(sqlite_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_desk.unpaid("INV-3")
    # A command that ignores the option.
    forgetful = "refundcli.cli.commands.refunds.close._show_dry_run"
    monkeypatch.setattr(forgetful, lambda app, preview: app.services.books.write(lambda tx: 1))
    before = state_of(sqlite_desk)
    assert sqlite_desk("void INV-3 --dry-run").exit_code == 1
    assert state_of(sqlite_desk) == before


def test_a_dry_run_remembers_neither_mode_nor_account(sqlite_desk: Desk) -> None:
    sqlite_desk.json(f"{one_refund(sqlite_desk)} --dry-run")
    status = sqlite_desk.json("status")
    assert (status["livemode"], status["accounts"]) == (None, [])


def test_a_dry_run_of_a_closing_shows_the_request_to_stripe(sqlite_desk: Desk) -> None:
    answer = sqlite_desk.json(f"{void_at_stripe(sqlite_desk)} --dry-run")
    assert (answer["status"], answer["status_after"], answer["status_at_provider"]) == ("open", "void", "open")
    assert answer["owed_at_provider"] == answer["owed"] == answer["total"]
    assert (answer["closing"]["kind"], answer["closing"]["provider"]) == ("void", "stripe")
    here = sqlite_desk.json(f"{write_off_here(sqlite_desk)} --dry-run")
    assert (here["closing"], here["status_after"]) == (None, "uncollectible")


def test_a_dry_run_of_a_closing_checks_the_rules_and_the_provider(sqlite_desk: Desk) -> None:
    sqlite_desk.paid_by_card("INV-9")
    sqlite_desk.refused("void INV-9 --dry-run", "already-paid")
    command = void_at_stripe(sqlite_desk)
    sqlite_desk.sandbox.state.invoices[sqlite_desk.invoice("INV-1").invoice_reference].status = "paid"
    sqlite_desk.refused(f"{command} --dry-run", "differs-from-provider")


def test_written_off_is_never_called_final(sqlite_desk: Desk) -> None:
    sqlite_desk.unpaid("INV-3")
    sqlite_desk.json("uncollectible INV-3 --yes")
    error = sqlite_desk.refused("uncollectible INV-3 --yes", "already-closed")
    assert "INV-3 is already uncollectible. It can still be voided, or paid later." in str(error["message"])
    assert "final" not in str(sqlite_desk.json("invoice show INV-3")["actions"])
    sqlite_desk.json("void INV-3 --yes")
    refusal = sqlite_desk.refused("void INV-3 --yes", "already-closed")
    assert refusal["message"] == "INV-3 is already voided, which cannot be undone."


def test_a_part_paid_invoice_that_is_written_off_is_not_said_to_be_voidable(sqlite_desk: Desk) -> None:
    sqlite_desk.unpaid("INV-3", payments=(NewPayment(6000, method="cash"),))
    sqlite_desk.json("uncollectible INV-3 --yes")
    error = sqlite_desk.refused("uncollectible INV-3 --yes", "already-closed")
    assert error["message"] == "INV-3 is already uncollectible. It can still be paid later."
    sqlite_desk.refused("void INV-3 --yes", "already-paid")
