"""Bulk runs: plan and apply, stop and resume, all-or-nothing, undo."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from desk import Desk
from refundcli.domain.bulk_run import RunState
from refundcli.domain.statuses import Provider
from refundcli.services.bulk import refund_run, run_records, run_refunds
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.store.checks.integrity import findings
from runs import Runner, forget_the_worker
from wire import refused_url


def transfers(desk: Desk, *rows: str, columns: str = "invoice,amount,reason,reference", name: str = "t.csv") -> Path:
    path = desk.folder / name
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def paid(desk: Desk, count: int, amount: str = "100.00 EUR") -> None:
    for place in range(1, count + 1):
        desk.paid_outside(f"T-{place}", amount)


@pytest.fixture
def three(desk: Desk) -> Path:
    paid(desk, 3)
    return transfers(desk, "T-1,40,other,a", "T-2,,duplicate,b", "T-3,10,other,c")


def colleague(desk: Desk) -> Desk:
    return replace(desk, operator="Grace Hopper", environ=desk.environ | {"REFUNDCLI_OPERATOR_NAME": "Grace Hopper"})


def entries(desk: Desk, action: str) -> list[dict[str, object]]:
    with desk.books.engine.connect() as line:
        query = text('SELECT operator, "after" FROM audit_entry WHERE action = :action ORDER BY seq')
        return [{"operator": who, **json.loads(after)} for who, after in line.execute(query, {"action": action})]


# --- plan and apply ------------------------------------------------------------------------------------------


def test_one_person_plans_and_another_applies_and_the_audit_names_both(desk: Desk, three: Path) -> None:
    plan = desk.folder / "plan.json"
    planned = desk.json(f"mark-refunded --from {three} --plan {plan}")
    assert (planned["recorded"], planned["run"], desk.count("refund")) == (3, None, 0)
    answer = json.loads(plan.read_text())
    assert answer["refundcli_plan"]["planned_by"] == "Ada Lovelace"
    assert [(row["takes_minor"], row["remaining_minor"]) for row in answer["rows"]] == [
        (4000, 10000),
        (10000, 10000),
        (1000, 10000),
    ]
    report = colleague(desk).json(f"mark-refunded --apply {plan} --confirm 3")
    assert (report["recorded"], desk.count("refund")) == (3, 3)
    (begun,) = entries(desk, "run begun")
    assert (begun["operator"], begun["planned_by"]) == ("Grace Hopper", "Ada Lovelace")
    assert colleague(desk).json(f"mark-refunded --apply {plan} --yes")["done_before"] == 3
    # No row is left to plan: the old plan must not look like a new one.
    error = desk.refused(f"mark-refunded --from {three} --plan {plan}", "plan-exists", exit_code=2)
    assert "older" in error["message"]
    assert findings(desk.books) == []


@pytest.mark.parametrize(
    ("old", "new"), [('"T-1"', '"T-3"'), ("4000", "9000"), ("Ada Lovelace", "Somebody"), ("\n{", "\n\n{"), ("]", "")]
)
def test_an_edited_plan_is_refused(desk: Desk, three: Path, old: str, new: str) -> None:
    plan = desk.folder / "plan.json"
    desk.json(f"mark-refunded --from {three} --plan {plan}")
    planned = plan.read_text()
    assert old in planned
    plan.write_text(planned.replace(old, new, 1))
    desk.refused(f"mark-refunded --apply {plan} --yes", "plan-edited")
    assert desk.count("refund") == 0


def test_a_plan_of_another_store_or_command_is_refused(desk: Desk, three: Path) -> None:
    plan = desk.folder / "plan.json"
    desk.json(f"mark-refunded --from {three} --plan {plan}")
    desk.refused(f"refund --apply {plan} --yes", "plan-for-other-command")
    elsewhere = replace(desk, url=f"sqlite:///{desk.folder}/elsewhere.db", environ={})
    paid(elsewhere, 3)
    elsewhere.refused(f"mark-refunded --apply {plan} --yes", "plan-edited")


def test_only_rows_whose_invoice_changed_since_the_plan_are_refused(desk: Desk, three: Path) -> None:
    plan = desk.folder / "plan.json"
    desk.json(f"mark-refunded --from {three} --plan {plan}")
    desk.json("mark-refunded T-1 --amount 5 --reason other --yes")
    answer = desk.json(f"mark-refunded --apply {plan} --yes", exit_code=9)
    assert (answer["recorded"], answer["refused_by_code"]) == (2, {"changed-meanwhile": 1})
    assert desk.invoice("T-1").refunded.number == "5.00"


def test_a_plan_with_several_rows_of_one_invoice_is_applied_as_planned(desk: Desk) -> None:
    paid(desk, 1)
    file = transfers(desk, "T-1,40,other,a", "T-1,,other,b", "T-1,10,other,c")
    plan = desk.folder / "plan.json"
    assert desk.json(f"mark-refunded --from {file} --plan {plan}", exit_code=9)["recorded"] == 2
    assert desk.json(f"mark-refunded --apply {plan} --yes")["recorded"] == 2
    assert desk.invoice("T-1").status == "refunded"


def test_equal_rows_of_which_one_was_done_keep_their_keys_in_a_plan(desk: Desk) -> None:
    paid(desk, 1)
    single, double = (
        transfers(desk, "T-1,40,other,a"),
        transfers(desk, "T-1,40,other,a", "T-1,40,other,a", name="two.csv"),
    )
    desk.json(f"mark-refunded --from {single} --yes")
    plan = desk.folder / "plan.json"
    assert desk.json(f"mark-refunded --from {double} --plan {plan} --allow-duplicate")["done_before"] == 1
    assert desk.json(f"mark-refunded --apply {plan} --yes")["recorded"] == 1
    assert desk.invoice("T-1").refunded.number == "80.00"


def test_a_plan_never_overwrites_and_says_already_what_rows_mean(desk: Desk, three: Path) -> None:
    plan = desk.folder / "plan.json"
    desk.json(f"mark-refunded --from {three} --plan {plan}")
    desk.refused(f"mark-refunded --from {three} --plan {plan}", "plan-exists", exit_code=2)
    desk.refused(f"mark-refunded --apply {plan} --reason other --yes", "not-with-plan", exit_code=2)
    desk.refused(f"mark-refunded --apply {plan} --from {three} --yes", "one-file", exit_code=2)


# --- stopped, and again --------------------------------------------------------------------------------------


def test_a_default_reason_is_for_rows_without_one(desk: Desk) -> None:
    paid(desk, 2)
    file = transfers(desk, "T-1,40", "T-2,10", columns="invoice,amount")
    assert desk.json(f"mark-refunded --from {file} --reason returned-goods --yes")["recorded"] == 2
    assert {note["reason"] for note in desk.json("credit-notes list")} == {"returned-goods"}


def test_a_failing_run_is_stopped_and_resumed(desk: Desk, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refundcli.services.bulk.validation.CHUNK", 1)
    spent = _spent_meanwhile(desk, monkeypatch, "T-1")
    error = desk.refused(f"mark-refunded --from {three} --max-errors 1 --yes", "too-many-errors")
    assert desk.count("refund") == 1
    assert spent == ["T-1"]
    resume = str(error["hint"]).partition("refundcli ")[2].partition("  ")[0]
    assert desk.json(f"{resume} --yes", exit_code=9)["recorded"] == 2
    assert [desk.invoice(number).refunded.number for number in ("T-2", "T-3")] == ["100.00", "10.00"]
    rejected = f"{three}.rejected.csv"
    error = desk.refused(f"{resume} --yes", "run-finished")
    assert f"refundcli mark-refunded --from {rejected}" in error["hint"]
    Path(rejected).unlink()
    assert "rejected.csv" not in desk.refused(f"{resume} --yes", "run-finished")["hint"]


def test_too_many_bad_rows_stop_a_file_before_it_begins(desk: Desk) -> None:
    paid(desk, 1)
    file = transfers(desk, "T-1,40,other,a", "T-8,1,other,b", "T-9,1,other,c")
    desk.refused(f"mark-refunded --from {file} --max-errors 2 --yes", "too-many-errors")
    assert desk.count("refund") == 0
    assert desk.json(f"mark-refunded --from {file} --max-errors 3 --yes", exit_code=9)["recorded"] == 1


def test_a_run_whose_file_is_gone_says_how_to_go_on(desk: Desk, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refundcli.services.bulk.validation.CHUNK", 1)
    _spent_meanwhile(desk, monkeypatch, "T-1")
    error = desk.refused(f"mark-refunded --from {three} --max-errors 1 --yes", "too-many-errors")
    resume = str(error["hint"]).partition("refundcli ")[2].partition("  ")[0]
    three.rename(desk.folder / "other.csv")
    desk.refused(f"{resume} --yes", "file-needed")
    answer = desk.json(f"mark-refunded --from {desk.folder / 'other.csv'} --yes", exit_code=9)
    assert answer["recorded"] == 2


def test_an_unknown_run_names_those_that_are(desk: Desk, three: Path) -> None:
    run = desk.json(f"mark-refunded --from {three} --yes")["run"]
    error = desk.refused("mark-refunded --resume run_nothing --yes", "run-not-found", exit_code=5)
    assert run in str(error["hint"])
    assert "Running the same file again resumes its run too" in str(error["hint"])


def _spent_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch, number: str) -> list[str]:
    """Another refund uses up an invoice's amount between the check and the run."""
    spent: list[str] = []

    def record(self: Any, *args: Any) -> Any:
        if not spent:
            spent.append(number)
            desk.json(f"mark-refunded {number} --full --reason other --yes")
        return original(self, *args)

    original = run_records.RunRecords._record
    monkeypatch.setattr(run_records.RunRecords, "_record", record)
    return spent


# --- all or nothing ------------------------------------------------------------------------------------------


def test_an_atomic_file_is_recorded_whole_or_not_at_all(desk: Desk, three: Path) -> None:
    bad = transfers(desk, "T-1,40,other,a", "T-2,900,other,b", name="bad.csv")
    error = desk.refused(f"mark-refunded --from {bad} --atomic --yes", "atomic-refused")
    assert "line 3" in str(error["message"])
    assert desk.count("refund") == 0
    assert desk.json(f"mark-refunded --from {three} --atomic --yes")["recorded"] == 3
    assert findings(desk.books) == []


def test_what_changes_between_check_and_run_undoes_an_atomic_file(
    desk: Desk, three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refundcli.services.bulk.validation.CHUNK", 1)
    _spent_meanwhile(desk, monkeypatch, "T-3")
    desk.refused(f"mark-refunded --from {three} --atomic --yes", "atomic-refused")
    assert desk.invoice("T-1").refunded.number == "0.00"
    assert findings(desk.books) == []


def test_an_atomic_file_has_a_limit(desk: Desk, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_records, "MOST_AT_ONCE", 2)
    desk.refused(f"mark-refunded --from {three} --atomic --yes", "too-many-for-atomic", exit_code=2)
    assert desk.count("refund") == 0


# --- duplicates ----------------------------------------------------------------------------------------------


def test_a_row_equal_to_one_of_an_earlier_run_needs_confirmation(desk: Desk, three: Path) -> None:
    desk.json(f"mark-refunded --from {three} --yes")
    columns = "invoice,amount,reason,reference,memo,key"
    again = transfers(desk, "T-1,40.00,other,a,second file,", "T-3,20,other,c,,", columns=columns, name="again.csv")
    answer = desk.json(f"mark-refunded --from {again} --dry-run", exit_code=9)
    assert (answer["recorded"], answer["refused_by_code"]) == (1, {"possible-duplicate": 1})
    keyed = transfers(desk, "T-1,40.00,other,a,second file,mine", columns=columns, name="keyed.csv")
    assert desk.json(f"mark-refunded --from {keyed} --yes")["recorded"] == 1
    desk.json("mark-refunded T-3 --amount 1 --reason other --yes")
    deliberate = transfers(desk, "T-3,10,other,c,again,", columns=columns, name="meant.csv")
    assert desk.json(f"mark-refunded --from {deliberate} --allow-duplicate --yes")["recorded"] == 1


def test_equal_rows_over_the_limit_are_refused_on_a_second_run_too(desk: Desk) -> None:
    paid(desk, 1, "50.00 EUR")
    file = transfers(desk, "T-1,40,other,a", "T-1,40,other,a")
    assert desk.json(f"mark-refunded --from {file} --yes", exit_code=9)["recorded"] == 1
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert (answer["done_before"], answer["refused_by_code"]) == (1, {"over-refund": 1})


def test_a_key_for_two_different_rows_names_the_first_line(desk: Desk) -> None:
    paid(desk, 2)
    file = transfers(desk, "T-1,40,other,k", "T-2,10,other,k", columns="invoice,amount,reason,key")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    (refused,) = answer["refused"]
    assert (refused["line"], refused["column"], refused["code"]) == (3, "key", "duplicate-key")
    assert "Line 2" in refused["message"]


def test_rejected_rows_carry_their_code_and_can_be_fed_back(desk: Desk) -> None:
    paid(desk, 1)
    file = transfers(desk, "T-1,40,other,a", "T-9,1,other,b")
    rejected = Path(desk.json(f"mark-refunded --from {file} --yes", exit_code=9)["rejected_file"])
    with open(rejected, newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["line"], row["error_code"], row["invoice"]) == ("3", "invoice-not-found", "T-9")
    rejected.write_text(rejected.read_text().replace("T-9", "T-1"))
    assert desk.json(f"mark-refunded --from {rejected} --yes")["recorded"] == 1


# --- taken back ----------------------------------------------------------------------------------------------


def test_a_run_made_in_error_is_taken_back(desk: Desk, three: Path) -> None:
    run = desk.json(f"mark-refunded --from {three} --yes")["run"]
    assert desk.invoice("T-2").status == "refunded"
    desk.refused(f"mark-refunded --undo {run} --yes", "memo-needed", exit_code=2)
    desk.refused(f"mark-refunded --undo {run} --memo wrong --confirm 2", "not-confirmed")
    answer = desk.json(f"mark-refunded --undo {run} --memo 'wrong file' --confirm 3")
    assert (answer["records"], [total["amount"]["amount"] for total in answer["totals"]]) == (3, ["150.00"])
    assert [desk.invoice(number).refunded.number for number in ("T-1", "T-2", "T-3")] == ["0.00"] * 3
    assert desk.invoice("T-2").status == "paid"
    assert {(note["number"][-1], note["status"]) for note in desk.json("credit-notes list")} == {
        (place, "void") for place in "123"
    }
    assert findings(desk.books) == []
    desk.refused(f"mark-refunded --undo {run} --memo again --yes", "nothing-to-undo")


def test_rows_that_were_taken_back_are_not_silently_done_before(desk: Desk, three: Path) -> None:
    run = desk.json(f"mark-refunded --from {three} --yes")["run"]
    desk.json(f"mark-refunded --undo {run} --memo 'wrong file' --yes")
    answer = desk.json(f"mark-refunded --from {three} --yes", exit_code=9)
    assert (answer["recorded"], answer["refused_by_code"]) == (0, {"taken-back": 3})
    rows = transfers(desk, "T-1,40,other,a,new", columns="invoice,amount,reason,reference,key", name="anew.csv")
    assert desk.json(f"mark-refunded --from {rows} --yes")["recorded"] == 1
    assert findings(desk.books) == []


def test_one_record_is_taken_back_by_its_id(desk: Desk) -> None:
    paid(desk, 1)
    (record,) = desk.json("mark-refunded T-1 --amount 5 --reason other --yes")["refunds"]
    desk.json(f"mark-refunded --undo {record['id']} --memo 'wrong invoice' --yes")
    assert desk.invoice("T-1").refundable.number == "100.00"
    desk.refused(f"mark-refunded --undo {record['id']} --memo again --yes", "not-a-record")
    desk.refused("mark-refunded --undo rf_nothing --memo why --yes", "refund-not-found", exit_code=5)
    desk.refused(f"mark-refunded T-1 --undo {record['id']} --memo why --yes", "undo-alone", exit_code=2)
    assert "wrong invoice" in json.dumps(desk.json("invoice history T-1"))


def test_a_refund_through_a_provider_is_never_taken_back_as_a_record(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    (refund,) = desk.json("refund INV-1 --amount 5 --reason other --yes")["refunds"]
    desk.refused(f"mark-refunded --undo {refund['id']} --memo why --yes", "not-a-record")


def test_undoing_a_chargeback_record_counts_its_dispute_as_lost(desk: Desk) -> None:
    from refundcli.domain.statuses import Dispute

    desk.paid_by_card("INV-1", dispute=Dispute.LOST, dispute_amount=4000)
    (record,) = desk.json("mark-refunded INV-1 --full --reason chargeback --yes")["refunds"]
    assert record["amount"]["amount"] == "40.00"
    desk.json(f"mark-refunded --undo {record['id']} --memo 'not yet' --yes")
    assert desk.invoice("INV-1").payments[0].taken_by_dispute.number == "40.00"
    assert desk.invoice("INV-1").refundable.number == "60.00"


# --- through the provider ------------------------------------------------------------------------------------


def test_a_file_of_refunds_is_sent_row_by_row_and_the_refused_are_handed_back(desk: Desk) -> None:
    references = [desk.paid_by_card(f"C-{place}") for place in range(1, 5)]
    desk.paid_outside("T-1")
    rows = ("C-1,40,", "C-2,,", "C-1,40,again", "T-1,5,", "C-3,900,", "C-4,1,")
    file = transfers(desk, *rows, columns="invoice,amount,key")
    answer = desk.json(f"refund --from {file} --reason duplicate --yes", exit_code=9)
    assert (answer["refunded"], answer["state"]) == (4, "finished")
    assert answer["refused_by_code"] == {"not-auto-refundable": 1, "over-refund": 1}
    assert [desk.refunded_at_provider(reference) for reference in references] == [[4000, 4000], [10000], [], [100]]
    with open(answer["rejected_file"], newline="") as lines:
        assert [row["invoice"] for row in csv.DictReader(lines)] == ["T-1", "C-3"]
    again = desk.json(f"refund --from {file} --reason duplicate --yes", exit_code=9)
    assert (again["done_before"], len(desk.refunded_at_provider(references[0]))) == (4, 2)
    assert findings(desk.books) == []


def test_what_a_provider_declines_is_handed_back_with_its_key(desk: Desk) -> None:
    reference = desk.paid_by_card("C-1")
    desk.sandbox.dispute(reference)
    desk.paid_by_card("C-2")
    file = transfers(desk, "C-1,40,other", "C-2,1,other", columns="invoice,amount,reason")
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert (answer["refunded"], answer["refused_count"]) == (1, 1)
    with open(answer["rejected_file"], newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["invoice"], row["error_code"]) == ("C-1", "differs-from-provider")
    assert row["key"]


def test_an_unsent_row_is_written_back_and_sent_later(desk: Desk) -> None:
    reference = desk.paid_by_card("C-1", provider="adyen")
    file = transfers(desk, "C-1,40,other", columns="invoice,amount,reason")
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = refused_url()
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert (answer["refunded"], answer["refused_by_code"]) == (0, {"not-sent": 1})
    assert "Nothing was sent. It is safe to run the command again." in json.dumps(answer)
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = desk.sandbox.url
    again = desk.json(f"refund --from {answer['rejected_file']} --yes")
    assert (again["refunded"], again["accepted"], again["state"]) == (0, 1, "finished")
    assert desk.refunded_at_provider(reference) == [4000]
    assert findings(desk.books) == []


def test_an_outcome_that_is_not_known_is_said_and_the_run_can_go_on(desk: Desk) -> None:
    reference = desk.paid_by_card("C-1")
    desk.paid_by_card("C-2")
    file = transfers(desk, "C-1,40,other", "C-2,1,other", columns="invoice,amount,reason")
    desk.sandbox.faults("drop_after")
    answer = desk.json(f"refund --from {file} --yes", exit_code=8)
    assert (answer["refunded"], answer["unknown"], answer["state"]) == (1, 1, "stopped")
    report = desk.json(f"refund --resume {answer['run']} --yes")
    assert (report["refunded"], report["unknown"], report["state"]) == (1, 0, "finished")
    assert len(desk.refunded_at_provider(reference)) <= 1
    assert findings(desk.books) == []


def test_a_plan_of_refunds_is_applied_by_another(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    file = transfers(desk, "C-1,40,other", columns="invoice,amount,reason")
    plan = desk.folder / "plan.json"
    desk.json(f"refund --from {file} --plan {plan}")
    assert desk.sandbox.requests == []
    assert colleague(desk).json(f"refund --apply {plan} --confirm 1")["refunded"] == 1
    (begun,) = entries(desk, "run begun")
    assert (begun["operator"], begun["planned_by"]) == ("Grace Hopper", "Ada Lovelace")


def test_a_refund_just_made_singly_is_not_repeated_by_a_file(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    desk.json("refund C-1 --amount 40 --reason other --yes")
    file = transfers(desk, "C-1,40,other", columns="invoice,amount,reason")
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"possible-duplicate": 1}
    assert desk.json(f"refund --from {file} --allow-duplicate --yes")["refunded"] == 1


# --- through the provider, stopped and again -----------------------------------------------------------------


class Killed(Exception):
    """Simulates a kill."""


def kill_at(desk: Desk, command: str, step: str, nth: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The worker dies the nth time at this step, without clean-up; the id of its run."""
    reached: list[None] = []
    worker: Any = refund_run.RunWorker
    owner = RefundSending if step == "_is_sent_again" else worker
    original = getattr(owner, step)

    def go_or_die(self: Any, *args: Any) -> Any:
        result = original(self, *args)
        reached.append(None)
        if len(reached) == nth:
            raise Killed
        return result

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, go_or_die)
        patched.setattr(worker, "_leave", lambda self: self._context.pool.close())
        assert desk(command).exit_code == 1
    (run,) = desk.books.read(lambda tx: tx.runs.newest(limit=1))
    forget_the_worker(desk)
    return run.id


ONE_AT_A_TIME = {"REFUNDCLI_REFUNDS_IN_FLIGHT": "1", "REFUNDCLI_REFUNDS_STRIPE_RATE": "0"}


@pytest.fixture
def half_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Four rows: the first was refused, and the worker died after the second."""
    desk.environ |= ONE_AT_A_TIME
    desk.sandbox.dispute(desk.paid_by_card("C-1"))
    for place in range(2, 5):
        desk.paid_by_card(f"C-{place}")
    file = transfers(desk, *(f"C-{place},40,other" for place in range(1, 5)), columns="invoice,amount,reason")
    return file, kill_at(desk, f"refund --from {file} --yes", "_report_row", 2, monkeypatch)


def rejected_invoices(answer: dict[str, Any]) -> list[str]:
    with open(answer["rejected_file"], newline="") as lines:
        return [row["invoice"] for row in csv.DictReader(lines)]


def test_running_the_same_file_again_resumes_and_lists_refused_rows(desk: Desk, half_done: tuple[Path, str]) -> None:
    file, run = half_done
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert (answer["run"], answer["refunded"] + answer["done_before"], answer["state"]) == (run, 3, "finished")
    assert (answer["refused_count"], answer["refused_by_code"]) == (1, {"differs-from-provider": 1})
    assert rejected_invoices(answer) == ["C-1"]
    assert findings(desk.books) == []


def test_a_resumed_run_lists_rows_that_another_worker_refused(desk: Desk, half_done: tuple[Path, str]) -> None:
    _, run = half_done
    answer = desk.json(f"refund --resume {run} --yes", exit_code=9)
    assert answer["state"] == "finished"
    assert answer["refused_by_code"] == {"differs-from-provider": 1}
    assert rejected_invoices(answer) == ["C-1"]


def test_a_resumed_run_says_where_real_money_moves(desk: Desk, half_done: tuple[Path, str]) -> None:
    _, run = half_done
    assert "LIVE" not in desk(f"refund --resume {run} --dry-run").err
    desk.books.write(lambda tx: tx.accounts.remember(Provider.STRIPE, "another key", "acct_live", livemode=True))
    for words, code in (("--yes", "confirmation-required"), ("--confirm 3", "not-confirmed")):
        assert f"[{code}]" in desk(f"refund --resume {run} {words}").err
    answer = desk(f"refund --resume {run} --confirm 4")
    assert "LIVE Stripe acct_live: real money will move." in answer.err
    assert answer.exit_code == 9


def test_refused_rows_do_not_count_for_max_errors_in_a_resumed_run(desk: Desk, half_done: tuple[Path, str]) -> None:
    file, _ = half_done
    assert desk.json(f"refund --from {file} --max-errors 1 --yes", exit_code=9)["state"] == "finished"


@pytest.mark.parametrize("how", ["--from {file}", "--resume {run}"])
def test_a_run_killed_after_its_last_row_is_finished_by_the_next(
    desk: Desk, three: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def kill(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_records.RunRecords, "_end", kill)
        assert desk(f"mark-refunded --from {three} --yes").exit_code == 130
    (run,) = desk.books.read(lambda tx: tx.runs.newest(limit=2))
    assert (run.state, desk.count("refund")) == (RunState.RUNNING, 3)
    again = desk.json(f"mark-refunded {how.format(file=three, run=run.id)} --yes")
    assert (again["run"], again["recorded"], again["done_before"]) == (run.id, 0, 3)
    assert [stored_run.state for stored_run in desk.books.read(lambda tx: tx.runs.newest(limit=2))] == [
        RunState.FINISHED
    ]
    assert desk.count("refund") == 3


def test_a_run_that_others_finish_while_its_file_is_checked_is_not_begun_anew(
    desk: Desk, half_done: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, run = half_done
    send = run_refunds.RunRefunds._refund

    def late(*args: Any) -> Any:
        begun = desk.books.read(lambda tx: tx.runs.get(run))
        assert begun
        Runner(desk).work(begun)
        return send(*args)

    monkeypatch.setattr(run_refunds.RunRefunds, "_refund", late)
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert (answer["run"], answer["state"], desk.count("bulk_run")) == (run, "finished", 1)
    assert rejected_invoices(answer) == ["C-1"]
    assert findings(desk.books) == []


def test_a_row_that_may_be_done_joins_the_resumed_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.environ |= ONE_AT_A_TIME
    desk.paid_by_card("C-1")
    desk.paid_by_card("C-2")
    file = transfers(desk, "C-3,40,other", "C-1,40,other", "C-2,40,other", columns="invoice,amount,reason")
    run = kill_at(desk, f"refund --from {file} --yes", "_report_row", 1, monkeypatch)
    late = desk.paid_by_card("C-3")
    answer = desk.json(f"refund --from {file} --yes")
    assert (answer["run"], answer["refunded"] + answer["done_before"]) == (run, 3)
    assert desk.refunded_at_provider(late) == [4000]
    assert desk.json(f"refund --from {file} --yes")["done_before"] == 3


def test_what_is_on_its_way_is_not_counted_twice_when_its_file_is_checked_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.environ |= ONE_AT_A_TIME
    reference = desk.paid_by_card("C-1")
    file = transfers(desk, "C-1,40,other", "C-1,60,other", columns="invoice,amount,reason")
    kill_at(desk, f"refund --from {file} --yes", "_is_sent_again", 1, monkeypatch)
    answer = desk.json(f"refund --from {file} --yes")
    assert (answer["refunded"], answer["refused_count"], answer["state"]) == (2, 0, "finished")
    assert sorted(desk.refunded_at_provider(reference)) == [4000, 6000]


def test_a_run_that_was_done_but_not_finished_is_finished_by_the_same_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.environ |= ONE_AT_A_TIME
    desk.paid_by_card("C-1")
    file = transfers(desk, "C-1,40,other", columns="invoice,amount,reason")
    run = kill_at(desk, f"refund --from {file} --yes", "_report_row", 1, monkeypatch)
    answer = desk.json(f"refund --from {file} --yes")
    assert (answer["run"], answer["done_before"], answer["state"]) == (run, 1, "finished")


def test_refused_rows_that_cannot_be_written_hide_nothing_of_what_was_refunded(desk: Desk) -> None:
    desk.sandbox.dispute(desk.paid_by_card("C-1"))
    desk.paid_by_card("C-2")
    file = transfers(desk, "C-1,40,other", "C-2,40,other", columns="invoice,amount,reason")
    file.with_name(f"{file.name}.rejected.csv").mkdir()
    answer = desk(f"refund --from {file} --yes -o json")
    assert answer.exit_code == 9, answer
    assert (answer.json["refunded"], answer.json["refused_count"], answer.json["rejected_file"]) == (1, 1, None)
    assert "rejected rows cannot be written" in answer.err
    assert "Nothing was done" not in answer.err


@pytest.mark.parametrize("command", ["mark-refunded", "refund"])
def test_a_file_without_rows_says_so_and_asks_for_nothing(sqlite_desk: Desk, command: str) -> None:
    desk = sqlite_desk
    file, plan = desk.folder / "rows.csv", desk.folder / "plan.json"
    file.write_text("invoice,amount,reason\n")
    answer = desk(f"{command} --from {file}")
    assert (answer.exit_code, "has no rows: nothing to do." in answer.err) == (0, True), answer
    answer = desk(f"{command} --from {file} --plan {plan}")
    assert (answer.exit_code, "--apply" in answer.err, plan.exists()) == (0, False, False), answer
    for content, code in (("", "empty-file"), ("[]", "no-rows")):
        file.write_text(content)
        desk.refused(f"{command} --from {file}", code, exit_code=2)


def test_a_bulk_refund_ends_with_reminders_and_where_its_credit_notes_are(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_by_card("T-1")
    file, plan = transfers(desk, "T-1,40,other", columns="invoice,amount,reason"), desk.folder / "plan.json"
    desk.json(f"refund --from {file} --plan {plan}")
    answer = desk(f"refund --apply {plan} --yes").err
    assert "5–10 business days" in answer
    command = answer.partition("Credit notes and refund ids: refundcli ")[2].strip()
    (note,) = desk(command).out.splitlines()[1:]
    assert desk.invoice("T-1").refunds[0].id in note
    assert "Credit notes" not in desk(f"refund --apply {plan} --yes").err
