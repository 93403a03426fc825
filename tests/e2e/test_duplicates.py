"""The same refund or record requested twice is questioned or refused, on every path (R5)."""

import csv
from pathlib import Path

import pytest
from sqlalchemy import text

from desk import Desk
from refundcli.domain.bulk_run import RunKind
from refundcli.store.checks.integrity import findings

KINDS = [RunKind.REFUND, RunKind.MARK_REFUNDED]
# The keys of two equal rows, in the stores of every release.
FROZEN_KEYS = {
    RunKind.MARK_REFUNDED: {
        "row-0b2ba84a5d1e368ab87cab1c708b5635d07c731e",
        "row-913b4715d49b155be5e081a26e927a377269d48d",
    },
    RunKind.REFUND: {"row-7c4ab082e82ffec75b58ce0aeb6b838383df326e", "row-36e4cb04afec8bdb1859de96e5b53c3b5caa0cdc"},
}


def paid(desk: Desk, kind: RunKind, *numbers: str) -> None:
    for number in numbers or ("T-1",):
        if kind is RunKind.REFUND:
            desk.paid_by_card(number)
        else:
            desk.paid_outside(number)


def rows(desk: Desk, *lines: str, columns: str = "invoice,amount,reason,memo,key", name: str = "f.csv") -> Path:
    path = desk.folder / name
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def refused_lines(answer: dict[str, object]) -> list[tuple[int, str]]:
    problems = answer["refused"]
    assert isinstance(problems, list)
    return [(problem["line"], problem["code"]) for problem in problems]


# --- one refund ----------------------------------------------------------------------------------------------


def test_the_same_amount_is_refused_however_long_the_first_has_no_outcome(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    reference = desk.paid_by_card("T-1")
    desk.sandbox.faults("drop_after")
    assert desk("refund T-1 --amount 40 --reason other --yes").exit_code == 8
    first_id = desk.json("invoice show T-1")["refunds"][0]["id"]
    with desk.books.engine.connect() as connection:
        an_hour_ago = "UPDATE refund SET created_at = datetime(created_at, '-1 hour')"
        connection.execution_options(writes=True).execute(text(an_hour_ago))
        connection.commit()
    error = desk.refused("refund T-1 --amount 40 --reason other --yes", "possible-duplicate")
    assert "its outcome is unknown" in error["message"]
    find_out = f"First find out what became of that one: refundcli resume {first_id}\n"
    assert error["hint"].startswith(find_out)
    answer = desk.json(f"refund --from {rows(desk, 'T-1,40,other,,')} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"possible-duplicate": 1}
    assert (
        answer["refused"][0]["hint"] == f"{find_out}To repeat it, give the row its own key, or add --allow-duplicate."
    )
    desk.json(f"resume {first_id}")
    desk.json("refund T-1 --amount 40 --reason other --yes")
    assert desk.refunded_at_provider(reference) == [4000, 4000]


# --- one record ----------------------------------------------------------------------------------------------


def test_the_same_record_twice_is_refused_without_a_terminal(desk: Desk) -> None:
    desk.paid_outside("T-1")
    command = "mark-refunded T-1 --amount 40 --reason other --yes"
    (first,) = desk.json(command)["refunds"]
    error = desk.refused(command, "possible-duplicate")
    assert first["id"] in error["message"]
    assert "already recorded on" in error["message"]
    assert "--allow-duplicate" in error["hint"]
    desk.refused("mark-refunded T-1 --amount 40.00 --reason overcharged --yes", "possible-duplicate")
    desk.refused("mark-refunded T-1 --amount 40 --reason other --dry-run", "possible-duplicate")
    assert desk.count("refund") == 1
    desk.json("mark-refunded T-1 --amount 30 --reason other --yes")
    desk.json("mark-refunded T-1 --full --reason other --yes")
    assert desk.invoice("T-1").status == "refunded"


@pytest.mark.parametrize("option", ["--allow-duplicate", "--request-key second"])
def test_a_deliberate_repeat_is_recorded_twice(desk: Desk, option: str) -> None:
    desk.paid_outside("T-1")
    command = "mark-refunded T-1 --amount 40 --reason other --yes"
    desk.json(command)
    desk.json(f"{command} {option}")
    assert desk.invoice("T-1").refunded.number == "80.00"


def test_a_record_that_was_undone_may_be_made_again(desk: Desk) -> None:
    desk.paid_outside("T-1")
    command = "mark-refunded T-1 --amount 40 --reason other --yes"
    (first,) = desk.json(command)["refunds"]
    desk.json(f"mark-refunded --undo {first['id']} --memo 'wrong date' --yes")
    desk.json(command)
    assert desk.invoice("T-1").refunded.number == "40.00"


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_repeats_a_request_of_minutes_ago_is_refused(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    desk.json(f"{kind} T-1 --amount 40 --reason overcharged --yes")
    file = rows(desk, "T-1,40,other,,")
    answer = desk.json(f"{kind} --from {file} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"possible-duplicate": 1}
    desk.json(f"{kind} --from {file} --allow-duplicate --yes")
    assert desk.invoice("T-1").refundable.number == "20.00"


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_repeats_a_row_of_minutes_ago_is_refused(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    desk.json(f"{kind} --from {rows(desk, 'T-1,40,other,,')} --yes")
    desk.refused(f"{kind} T-1 --amount 40 --reason overcharged --yes", "possible-duplicate")


# --- equal rows of one file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_of_equal_rows_is_refused_by_line(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind, "T-1", "T-2")
    file = rows(desk, "T-1,40,other,,", "T-2,40,other,,", "T-1,40.00,Other,another memo,", "T-1,40,other,,")
    answer = desk.json(f"{kind} --from {file} --yes", exit_code=9)
    assert refused_lines(answer) == [(4, "possible-duplicate"), (5, "possible-duplicate")]
    assert [row["message"].startswith("Line 2 already says the same") for row in answer["refused"]] == [True, True]
    assert "its own key" in answer["refused"][0]["hint"]
    assert [desk.invoice(number).refundable.number for number in ("T-1", "T-2")] == ["60.00", "60.00"]
    again = desk.json(f"{kind} --from {file} --yes", exit_code=9)
    assert (again["done_before"], refused_lines(again)) == (2, refused_lines(answer))
    assert findings(desk.books) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_row_with_a_key_of_its_own_is_done(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    file = rows(desk, "T-1,40,other,,", "T-1,40,other,,second")
    desk.json(f"{kind} --from {file} --yes")
    assert desk.invoice("T-1").refundable.number == "20.00"
    assert desk.json(f"{kind} --from {file} --yes")["done_before"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_differing_rows_of_one_payment_are_done_in_a_corrected_file_too(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    file = rows(desk, "T-1,40,other,,", "T-9,40,overcharged,,")
    desk.json(f"{kind} --from {file} --yes", exit_code=9)
    file.write_text(file.read_text().replace("T-9", "T-1"))
    assert desk.json(f"{kind} --from {file} --yes")["done_before"] == 1
    assert desk.invoice("T-1").refundable.number == "20.00"


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rows_that_were_done_before_stay_done_and_keep_their_keys(desk: Desk, kind: RunKind) -> None:
    """As in releases before equal rows needed confirmation."""
    paid(desk, kind)
    columns = "invoice,amount,reason,reference" if kind is RunKind.MARK_REFUNDED else "invoice,amount,reason"
    row = "T-1,40,other,a" if kind is RunKind.MARK_REFUNDED else "T-1,40,other"
    file = rows(desk, row, row, columns=columns)
    desk.json(f"{kind} --from {file} --allow-duplicate --yes")
    assert {refund.request_key for refund in desk.invoice("T-1").refunds} == FROZEN_KEYS[kind]
    sent = len(desk.sandbox.refund_requests)
    again = desk.json(f"{kind} --from {file} --yes")
    assert (again["done_before"], again["refused_count"], again["rejected_file"]) == (2, 0, None)
    assert (len(desk.sandbox.refund_requests), desk.count("refund")) == (sent, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_reports_equal_rows_and_omits_the_second(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    file = rows(desk, "T-1,40,other,,", "T-1,40,other,,")
    plan = desk.folder / "plan.json"
    planned = desk(f"{kind} --from {file} --plan {plan}")
    assert planned.exit_code == 9
    assert "line 3" in planned.err
    assert "Line 2 already says the same" in planned.err
    desk.json(f"{kind} --apply {plan} --confirm 1")
    assert desk.invoice("T-1").refundable.number == "60.00"


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_made_to_allow_duplicates_is_applied_as_it_was_made(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    desk.json(f"{kind} T-1 --amount 40 --reason other --yes")
    plan = desk.folder / "plan.json"
    desk.json(f"{kind} --from {rows(desk, 'T-1,40,other,,')} --plan {plan} --allow-duplicate")
    desk.json(f"{kind} --apply {plan} --confirm 1")
    assert desk.invoice("T-1").refundable.number == "20.00"


def rejected_rows(answer: dict[str, object]) -> list[dict[str, str]]:
    with open(str(answer["rejected_file"]), newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_duplicate_that_is_fed_back_as_it_is_is_not_done(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    file = rows(desk, "T-1,40,other,,", "T-1,40,other,,", "T-1,40,other,changed,")
    answer = desk.json(f"{kind} --from {file} --yes", exit_code=9)
    assert [row["key"] for row in rejected_rows(answer)] == ["", ""]
    again = desk.json(f"{kind} --from {answer['rejected_file']} --yes", exit_code=9)
    assert (again["done_before"], again["refused_by_code"]) == (1, {"possible-duplicate": 1})
    assert desk.invoice("T-1").refundable.number == "60.00"


def test_the_equal_row_of_one_that_was_undone_is_not_done_in_its_place(desk: Desk) -> None:
    desk.paid_outside("T-1")
    file = rows(desk, "T-1,40,other,,", "T-1,40,other,,")
    run = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)["run"]
    desk.json(f"mark-refunded --undo {run} --memo 'wrong invoice' --yes")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert refused_lines(answer) == [(2, "taken-back"), (3, "possible-duplicate")]
    assert desk.invoice("T-1").refunded.number == "0.00"


def test_a_file_of_which_a_part_was_undone_records_nothing_again(desk: Desk) -> None:
    paid(desk, RunKind.MARK_REFUNDED, "T-1", "T-2")
    file = rows(desk, "T-1,40,other,,", "T-2,40,other,,")
    desk.json(f"mark-refunded --from {file} --yes")
    (record,) = desk.invoice("T-2").refunds
    desk.json(f"mark-refunded --undo {record.id} --memo 'wrong invoice' --yes")
    answer = desk.json(f"mark-refunded --from {file} --yes", exit_code=9)
    assert (answer["done_before"], refused_lines(answer)) == (1, [(3, "taken-back")])
    assert f"already recorded as {record.id}, which has since been undone" in answer["refused"][0]["message"]
    assert rejected_rows(answer)[0]["key"] == ""


def test_a_file_whose_memo_was_changed_is_not_recorded_again(desk: Desk) -> None:
    desk.paid_outside("T-1")
    desk.json(f"mark-refunded --from {rows(desk, 'T-1,40,other,,')} --yes")
    answer = desk.json(f"mark-refunded --from {rows(desk, 'T-1,40,other,better,')} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"possible-duplicate": 1}


# --- a rejected row is written with its derived key -----------------------------------------------------------


def processing(desk: Desk, is_so: bool) -> None:
    with desk.books.engine.begin() as line:
        line.exec_driver_sql(f"UPDATE payment SET processing = {is_so}")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rows_refused_earlier_are_not_both_done_when_run_again(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    processing(desk, True)
    answer = desk.json(f"{kind} --from {rows(desk, 'T-1,40,other,,', 'T-1,40,other,,')} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"currently-processing": 2}
    assert len({row["key"] for row in rejected_rows(answer)} - {""}) == 2
    processing(desk, False)
    fed = desk.json(f"{kind} --from {answer['rejected_file']} --yes", exit_code=9)
    assert refused_lines(fed) == [(3, "possible-duplicate")]
    assert desk.invoice("T-1").refundable.number == "60.00"
    again = desk.json(f"{kind} --from {answer['rejected_file']} --yes", exit_code=9)
    assert (again["done_before"], refused_lines(again)) == (1, [(3, "possible-duplicate")])
    # The first file finds its row done under its old key.
    assert desk.json(f"{kind} --from {desk.folder / 'f.csv'} --yes", exit_code=9)["done_before"] == 1
    assert desk.invoice("T-1").refundable.number == "60.00"


@pytest.mark.parametrize("kind", KINDS)
def test_a_rejected_row_of_another_month_is_not_a_deliberate_repeat(desk: Desk, kind: RunKind) -> None:
    paid(desk, kind)
    desk.json(f"{kind} --from {rows(desk, 'T-1,40,other,october,')} --yes")
    processing(desk, True)
    answer = desk.json(f"{kind} --from {rows(desk, 'T-1,40,other,november,', name='n.csv')} --yes", exit_code=9)
    assert answer["refused_by_code"] == {"currently-processing": 1}
    processing(desk, False)
    fed = desk.json(f"{kind} --from {answer['rejected_file']} --yes", exit_code=9)
    assert fed["refused_by_code"] == {"possible-duplicate": 1}
    desk.json(f"{kind} --from {answer['rejected_file']} --allow-duplicate --yes")
    assert desk.invoice("T-1").refundable.number == "20.00"
    assert desk.json(f"{kind} --from {answer['rejected_file']} --yes")["done_before"] == 1
