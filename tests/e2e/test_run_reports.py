"""Run reports: every row of the file once, accepted rows as accepted, and null for what is unknown."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from desk import Desk, new_invoice
from hosts import Machine, wait_until
from refundcli.domain.bulk_run import PARTLY_REFUNDED, BulkRun, RunKind, RunState
from refundcli.domain.money import parse_money
from refundcli.domain.statuses import Provider
from refundcli.output.terminal import Screen
from refundcli.output.views.bulk import show_refunded
from refundcli.output.views.imports import show_problems
from refundcli.services.bulk import record_run, refund_run
from refundcli.services.bulk.report import RowCounts, RunReport
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.records import NewPayment
from refundcli.store.checks.integrity import findings
from runs import forget_the_worker, refunded_file

COUNTS = (
    "refunded",
    "accepted",
    "done_before",
    "partly_refunded",
    "refused_count",
    "unknown",
    "waiting",
    "leased_by_others",
    "not_in_run",
)
ONE_AT_A_TIME = {"REFUNDCLI_REFUNDS_IN_FLIGHT": "1", "REFUNDCLI_REFUNDS_STRIPE_RATE": "0"}


def refunds(desk: Desk, *rows: str, name: str = "r.csv") -> Path:
    path = desk.folder / name
    path.write_text("\n".join(["invoice,amount,reason", *rows]) + "\n")
    return path


def adds_up(answer: dict[str, Any]) -> bool:
    return bool(sum(answer[name] for name in COUNTS) == answer["rows"])


def test_what_the_provider_only_accepted_is_not_called_refunded(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    desk.paid_by_card("C-2", provider="adyen")
    file = refunds(desk, "C-1,40,other", "C-2,30,other")
    plan = desk.folder / "plan.json"
    desk.json(f"refund --from {file} --plan {plan}")
    answer = desk.json(f"refund --apply {plan} --yes")
    assert (answer["refunded"], answer["accepted"], answer["rows"]) == (1, 1, 2)
    assert [total["amount"]["amount"] for total in answer["totals"]] == ["40.00"]
    assert [total["amount"]["amount"] for total in answer["accepted_totals"]] == ["30.00"]
    assert adds_up(answer)


def test_the_screen_says_accepted_and_accounts_for_every_row() -> None:
    out = StringIO()
    counts = RowCounts(10, 1, 2, 1, 0, 0, 1, 2, 3)
    show_refunded(refunded_file(RunReport(refunded=1, accepted=2), counts), Screen(out))
    for words in (
        "Refunded 1 row.   run_1",
        "2 rows accepted by the provider, not final yet.",
        "1 row already done.",
        "1 row sent, but the outcome is not known",
        "2 rows not started.",
        "3 rows being processed by other refundcli processes.",
    ):
        assert words in out.getvalue()


def test_every_row_of_a_file_is_in_one_count(desk: Desk) -> None:
    for place in range(1, 6):
        desk.paid_by_card(f"C-{place}", provider="adyen" if place == 3 else "stripe")
    first = refunds(desk, "C-1,10,other", name="first.csv")
    desk.json(f"refund --from {first} --yes")
    # Done before, refunded, accepted, refused by the check, refused by the provider, unknown.
    file = refunds(desk, "C-1,10,other", "C-2,10,other", "C-3,10,other", "C-9,1,other", "C-4,10,other", "C-5,10,other")
    desk.sandbox.faults("failed", payment=desk.invoice("C-4").payments[0].reference)
    desk.sandbox.faults("drop_after", payment=desk.invoice("C-5").payments[0].reference)
    answer = desk.json(f"refund --from {file} --yes", exit_code=8)
    counts = {name: answer[name] for name in COUNTS}
    assert counts == dict.fromkeys(COUNTS, 0) | {
        "refunded": 1,
        "accepted": 1,
        "done_before": 1,
        "refused_count": 2,
        "unknown": 1,
    }
    assert adds_up(answer)
    assert answer["refused_by_code"] == {"invoice-not-found": 1, "provider-declined": 1}
    assert answer["next"] == f"refundcli refund --resume {answer['run']}"
    again = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert adds_up(again)
    assert (again["refunded"], again["done_before"], again["refused_count"]) == (1, 3, 2)
    assert findings(desk.books) == []


def test_rows_of_a_run_that_is_resumed_are_those_of_its_file(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    file = refunds(desk, "C-1,10,other", "C-9,1,other")
    desk.sandbox.faults("drop_after")
    run = desk.json(f"refund --from {file} --yes", exit_code=8)["run"]
    answer = desk.json(f"refund --resume {run}")
    assert (answer["rows"], answer["refunded"], answer["not_in_run"]) == (2, 1, 1)
    assert adds_up(answer)


def test_a_row_settled_by_resume_counts_as_done_in_the_summary(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    desk.paid_by_card("C-2")
    file = refunds(desk, "C-1,10,other", "C-2,10,other")
    desk.sandbox.faults("drop_after", payment=desk.invoice("C-1").payments[0].reference)
    desk.json(f"refund --from {file} --yes", exit_code=8)
    desk("resume")
    looked = desk.json(f"refund --from {file} --dry-run")
    assert (looked["refunded"], looked["done_before"], looked["totals"]) == (0, 2, [])
    answer = desk.json(f"refund --from {file} --yes")
    assert (answer["state"], answer["done_before"] + answer["refunded"]) == ("finished", 2)
    assert adds_up(answer)


def test_a_row_declined_in_its_run_is_refused_once_in_the_summary(desk: Desk) -> None:
    reference = desk.paid_by_card("C-1")
    file = refunds(desk, "C-1,10,other")
    desk.sandbox.faults("drop_after", payment=reference)
    desk.json(f"refund --from {file} --yes", exit_code=8)
    refund_id = desk.invoice("C-1").refunds[0].id
    desk.sandbox.clear_faults()
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE refund SET state = 'failed', lease_owner = '' WHERE id = :id"), {"id": refund_id})
        line.execute(text("UPDATE payment SET reserved = 0"))
    looked = desk.json(f"refund --from {file} --dry-run", exit_code=9)
    assert (looked["refunded"], looked["refused_count"]) == (0, 1)
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert (answer["refused_count"], answer["waiting"]) == (1, 0)
    assert adds_up(answer)


def test_a_file_whose_rows_are_all_done_says_that_there_is_nothing_to_do(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    file = refunds(desk, "C-1,10,other")
    desk.json(f"refund --from {file} --yes")
    answer = desk.json(f"refund --from {file} --yes")
    assert (answer["refunded"], answer["done_before"], answer["run"]) == (0, 1, None)


def test_a_dry_run_of_a_run_that_would_be_resumed_sends_nothing(desk: Desk) -> None:
    reference = desk.paid_by_card("C-1")
    file = refunds(desk, "C-1,10,other")
    desk.sandbox.faults("drop_before", times=9)
    run = desk.json(f"refund --from {file} --yes", exit_code=8)["run"]
    desk.sandbox.clear_faults()
    before = len(desk.sandbox.requests)
    answer = desk.json(f"refund --resume {run} --dry-run")
    assert (answer["dry_run"], answer["id"], answer["counts"]["unknown"]) == (True, run, 1)
    assert len(desk.sandbox.requests) == before
    assert desk.refunded_at_provider(reference) == []


# --- a store that is lost ------------------------------------------------------------------------------------


def lose_the_store(desk: Desk) -> Callable[[], None]:
    """Makes the database unreachable; returns a function that restores it."""
    url = make_url(desk.url)
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        away = path.with_suffix(".away")
        path.rename(away)
        path.write_bytes(b"no database at all " * 100)
        return lambda: os.replace(away, path)
    admin = create_engine(url.set(drivername="postgresql+psycopg", database="postgres"), isolation_level="AUTOCOMMIT")

    def allow(flag: str) -> None:
        with admin.connect() as line:
            line.execute(text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS {flag}"))
            gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            line.execute(text(gone), {"name": url.database})

    allow("false")
    return lambda: allow("true")


@pytest.fixture
def lost_store(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Callable[[], None]]]:
    """Makes the store unreachable after the nth call of a method; returns a function that restores it."""

    def at(owner: Any, method: str, nth: int) -> list[Callable[[], None]]:
        back: list[Callable[[], None]] = []
        calls: list[None] = []
        original = getattr(owner, method)

        def then(*args: Any, **more: Any) -> Any:
            answer = original(*args, **more)
            calls.append(None)
            if len(calls) == nth:
                desk.books.engine.dispose()
                back.append(lose_the_store(desk))
            return answer

        monkeypatch.setattr(owner, method, then)
        return back

    return at


@pytest.mark.slow_on_postgres
@pytest.mark.parametrize(("step", "nth"), [("_report_row", 2), ("_is_sent_again", 3)])
def test_a_run_that_loses_its_store_reports_sent_rows_and_null_for_unknown(
    desk: Desk, lost_store: Callable[..., list[Callable[[], None]]], step: str, nth: int
) -> None:
    desk.environ |= ONE_AT_A_TIME
    references = [desk.paid_by_card(f"C-{place}") for place in range(1, 7)]
    file = refunds(desk, *(f"C-{place},10,other" for place in range(1, 7)))
    owner = refund_run.RunWorker if step == "_report_row" else RefundSending
    back = lost_store(owner, step, nth)
    answer = desk(f"refund --from {file} --yes -o json")
    report = json.loads(answer.out)
    sent = sum(len(desk.refunded_at_provider(reference)) for reference in references)
    assert 2 <= report["refunded"] + len(report["not_written"]) == sent < 6, answer
    unknown = ("done_before", "refused_count", "unknown", "waiting", "leased_by_others", "state")
    assert [report[name] for name in unknown] == [None] * len(unknown)
    # An unwritten response leaves the outcome unknown; otherwise the store is unusable.
    assert answer.exit_code == (8 if report["not_written"] else 4)
    assert "othing was changed" not in answer.out + answer.err
    assert report["next"] == f"refundcli refund --resume {report['run']}"
    back[0]()
    forget_the_worker(desk)
    response = desk.json(f"refund --resume {report['run']}")
    assert adds_up(response)
    assert [len(desk.refunded_at_provider(reference)) for reference in references] == [1] * 6
    assert findings(desk.books) == []


def test_records_of_a_store_that_is_lost_say_what_was_recorded_and_what_is_left(
    desk: Desk, lost_store: Callable[..., list[Callable[[], None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refundcli.services.bulk.validation.CHUNK", 1)
    for place in range(1, 5):
        desk.paid_outside(f"T-{place}")
    file = refunds(desk, *(f"T-{place},10,other" for place in range(1, 5)))
    back = lost_store(record_run, "_count", 2)
    answer = desk(f"mark-refunded --from {file} --yes -o json")
    report = json.loads(answer.out)
    assert (answer.exit_code, report["recorded"], report["waiting"], report["refused_count"]) == (4, 2, 2, 0)
    assert "othing was changed" not in answer.err
    back[0]()
    assert desk.json(report["next"].removeprefix("refundcli ") + " --yes")["recorded"] == 2
    assert findings(desk.books) == []


def test_records_that_are_interrupted_say_what_was_recorded_and_what_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refundcli.services.bulk.validation.CHUNK", 1)
    for place in range(1, 5):
        desk.paid_outside(f"T-{place}")
    file = refunds(desk, *(f"T-{place},10,other" for place in range(1, 5)))
    original, calls = record_run.RecordRun._record_chunk, list[None]()

    def then(*args: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(record_run.RecordRun, "_record_chunk", then)
    answer = desk(f"mark-refunded --from {file} --yes -o json")
    report = json.loads(answer.out)
    assert (answer.exit_code, report["recorded"], report["waiting"]) == (130, 2, 2)
    assert desk.json(report["next"].removeprefix("refundcli ") + " --yes")["recorded"] == 2


def test_ctrl_c_in_a_run_reports_every_row(desk: Desk) -> None:
    references = [desk.paid_by_card(f"C-{place}") for place in range(1, 13)]
    file = refunds(desk, *(f"C-{place},10,other" for place in range(1, 13)))
    desk.sandbox.faults("delay_ms", times=100, delay_ms=200)
    worker = Machine("web").start(desk, "refund", "--from", str(file), "--yes")
    wait_until(lambda: bool(desk.sandbox.refunds), [worker])
    worker.process.send_signal(signal.SIGINT)
    report = worker.ended()
    assert report.code == 130, report
    assert report.sum == report.said["rows"] == 12
    assert report.said["refunded"] == sum(len(desk.refunded_at_provider(reference)) for reference in references)
    assert report.said["waiting"] == 12 - report.said["refunded"] > 0
    assert report.said["state"] == "stopped"


def test_a_bug_in_the_middle_of_a_run_still_reports_what_was_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.environ |= ONE_AT_A_TIME
    for place in range(1, 5):
        desk.paid_by_card(f"C-{place}")
    file = refunds(desk, *(f"C-{place},10,other" for place in range(1, 5)))
    worker: Any = refund_run.RunWorker
    original, calls = worker._report_row, list[None]()

    def then(*args: Any, **more: Any) -> None:
        original(*args, **more)
        calls.append(None)
        if len(calls) == 2:
            raise KeyError(7)

    monkeypatch.setattr(worker, "_report_row", then)
    answer = desk(f"refund --from {file} --yes -o json")
    report = json.loads(answer.out)
    assert (answer.exit_code, adds_up(report), report["state"]) == (1, True, "stopped")
    assert 2 <= report["refunded"] <= len(desk.sandbox.refunds)
    assert "KeyError" in answer.err


# --- resume --------------------------------------------------------------------------------------------------


def test_resume_names_the_runs_that_are_unfinished(desk: Desk) -> None:
    desk.paid_by_card("C-1")
    desk.paid_by_card("C-2")
    file = refunds(desk, "C-1,10,other", "C-2,10,other")
    desk.sandbox.faults("drop_after")
    run = desk.json(f"refund --from {file} --yes", exit_code=8)["run"]
    refund, unfinished = desk.json("resume", exit_code=9)
    assert (refund["step"], unfinished["id"], unfinished["step"]) == ("settled", run, "run-unfinished")
    assert unfinished["command"] == f"refundcli refund --resume {run}"
    answer = desk("resume")
    assert answer.exit_code == 9
    assert f"Next: refundcli refund --resume {run}" in answer.err
    desk.json(f"refund --resume {run}")
    assert desk.json("resume") == []


def test_resume_that_is_interrupted_shows_what_it_settled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from refundcli.services.recovery.resume import Resume

    for place in range(1, 4):
        desk.paid_by_card(f"C-{place}")
        desk.sandbox.faults("drop_after")
        desk(f"refund C-{place} --amount 10 --reason other --yes")
    original, calls = Resume.settle_one, list[None]()

    def then(*args: Any, **more: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(None)
        return original(*args, **more)

    monkeypatch.setattr(Resume, "settle_one", then)
    answer = desk("resume -o json")
    assert answer.exit_code == 130
    assert [outcome["step"] for outcome in answer.json] == ["settled", "settled", "not-asked"]
    with suppress(ValueError):
        assert not json.loads(answer.err)


def test_resume_that_is_interrupted_shows_the_closings_it_settled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from refundcli.services.recovery.resume import Resume

    numbers = [f"INV-{place}" for place in range(1, 4)]
    for number in numbers:
        desk.sandbox.invoice("100.00 EUR", number=number, status="open")
    desk.json("invoice pull stripe")
    for number in numbers:
        desk.sandbox.faults("drop_after", call="invoice")
        assert desk(f"void {number} --yes").exit_code == 8
    original, calls = Resume.settle_one, list[None]()

    def then(*args: Any, **more: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(None)
        return original(*args, **more)

    monkeypatch.setattr(Resume, "settle_one", then)
    answer = desk("resume -o json")
    assert answer.exit_code == 130
    assert [outcome["step"] for outcome in answer.json] == ["settled", "settled", "not-asked"]


@pytest.mark.parametrize(("minutes_ago", "exit_code", "next_step"), [(1, 0, "wait"), (3, 9, "resume")])
def test_resume_and_status_agree_whether_a_run_of_records_is_at_work(
    desk: Desk, minutes_ago: int, exit_code: int, next_step: str
) -> None:
    begun = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    run = BulkRun("run_1", RunKind.MARK_REFUNDED, RunState.RUNNING, "x.csv", "f", 1, "Ada", begun)
    desk.books.write(lambda tx: tx.runs.begin(run))
    (outcome,) = desk.json("resume", exit_code=exit_code)
    assert outcome["leased"] is (next_step == "wait")
    status = desk("status -o json")
    assert (status.json["runs"][0]["next"], status.exit_code) == (next_step, 8 if exit_code else 0)


@pytest.mark.slow_on_postgres
def test_resume_whose_store_is_lost_shows_what_it_settled(
    desk: Desk, lost_store: Callable[..., list[Callable[[], None]]]
) -> None:
    from refundcli.services.recovery.resume import Resume

    for place in range(1, 4):
        desk.paid_by_card(f"C-{place}")
        desk.sandbox.faults("drop_after")
        desk(f"refund C-{place} --amount 10 --reason other --yes")
    back = lost_store(Resume, "settle_one", 1)
    answer = desk("resume -o json")
    back[0]()
    assert answer.exit_code == 8, answer
    assert [outcome["status"] for outcome in answer.json] == ["succeeded", "submitted", "submitted"]
    assert answer.json[0]["step"] == "settled"
    assert "othing was changed" not in answer.out + answer.err


def test_a_row_that_was_refunded_in_part_is_not_called_refused(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    references = [desk.sandbox.charge("50.00 EUR").reference for _ in range(2)]
    payments = tuple(
        NewPayment(5_000, Provider.STRIPE, method="card", reference=reference, auto_refundable=True)
        for reference in references
    )
    desk.bring_in(new_invoice("C-1", parse_money("100.00 EUR"), payments=payments))
    desk.sandbox.faults("400")
    file = refunds(desk, "C-1,,other")
    answer = desk.json(f"refund --from {file} --yes", exit_code=9)
    assert (answer["partly_refunded"], answer["refused_count"], answer["refunded"]) == (1, 0, 0)
    assert adds_up(answer)
    assert [total["amount"]["amount"] for total in answer["totals"]] == ["50.00"]
    assert (answer["refused"], answer["refused_by_code"], answer["rejected_file"]) == ([], {}, None)
    (row,) = answer["partly_refunded_rows"]
    assert "50.00 EUR of C-1 was refunded" in row["message"]
    declined = next(reference for reference in references if not desk.refunded_at_provider(reference))
    rest = f"refund C-1 --amount 50.00 --reason other --payment {declined}"
    assert row["hint"] == f"Refund the rest: refundcli {rest}"
    # The same file again sends nothing; the rest is refunded separately.
    for way in ("--yes", "--dry-run", f"--plan {desk.folder / 'p.json'}"):
        again = desk.json(f"refund --from {file} {way}", exit_code=9)
        assert (again["partly_refunded"], again["refused_count"], again["refused_by_code"]) == (1, 0, {})
        assert (again["rejected_file"], again["partly_refunded_rows"][0]["hint"]) == (None, row["hint"])
    screen = desk(f"refund --from {file} --yes -o table")
    assert rest in screen.err
    assert "Correct them" not in screen.err
    assert list(desk.folder.glob("*.rejected.csv")) == []
    desk.json(f"{rest} --yes")
    assert desk.invoice("C-1").refundable.minor == 0
    assert desk.json(f"refund --from {file} --yes")["done_before"] == 1


def test_the_screen_shows_a_partly_refunded_row() -> None:
    out = StringIO()
    problem = Problem(2, "invoice", "C-1", PARTLY_REFUNDED, "50.00 EUR of C-1 was refunded, 50.00 EUR was not.", "Next")
    codes, first = Counter({PARTLY_REFUNDED: 1, "over-refund": 1}), [BadRow(2, (problem,), (), "")]
    counts = RowCounts(2, 0, 0, 0, 1, 1, 0, 0, 0)
    show_refunded(refunded_file(RunReport(partly=1), counts, codes, first), Screen(out))
    assert "1 row refunded in part. Needs attention" in out.getvalue()
    assert "50.00 EUR was not. Next" in out.getvalue()
    assert "1 row refused: 1 over-refund" in out.getvalue()
    accepted = RunReport(partly=1, accepted_totals={"EUR": parse_money("50.00 EUR")})
    show_refunded(refunded_file(accepted, counts, codes), Screen(out))
    assert "0 rows accepted by the provider, not final yet: 50.00 EUR." in out.getvalue()


@pytest.mark.parametrize(
    ("report", "counts", "first_line"),
    [
        (RunReport(refused=2), RowCounts(2, 0, 0, 0, 0, 2, 0, 0, 0), "! Refunded no rows.   run_1"),
        (RunReport(), RowCounts(2, 0, 0, 2, 0, 0, 0, 0, 0), "· Refunded no rows.   run_1"),
        (RunReport(), RowCounts(2, 0, 0, None, None, None, None, None, None), "! Refunded no rows.   run_1"),
        (
            RunReport(accepted=2),
            RowCounts(2, 0, 2, 0, 0, 0, 0, 0, 0),
            "✓ 2 rows accepted by the provider, not final yet.   run_1",
        ),
        (
            RunReport(partly=1, totals={"EUR": parse_money("50.00 EUR")}),
            RowCounts(1, 0, 0, 0, 1, 0, 0, 0, 0),
            "! Refunded no rows in full, parts of rows: 50.00 EUR.   run_1",
        ),
    ],
)
def test_only_refunded_or_accepted_rows_get_a_check_mark(report: RunReport, counts: RowCounts, first_line: str) -> None:
    out = StringIO()
    show_refunded(refunded_file(report, counts), Screen(out))
    assert out.getvalue().splitlines()[0].strip() == first_line


def test_rows_that_never_reached_the_provider_are_to_be_run_again_as_they_are(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_by_card("C-1", provider="adyen")
    file = refunds(desk, "C-1,40,other")
    address = desk.environ["REFUNDCLI_ADYEN_API_BASE"]
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = "http://127.0.0.1:9"
    screen = desk(f"refund --from {file} --yes -o table")
    assert "No refund was made for them, and there is nothing to correct. Run that file again: " in screen.err
    assert "Correct them" not in screen.err
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = address
    again = screen.err.partition("Run that file again: refundcli ")[2].splitlines()[0]
    assert desk.json(f"{again} --yes")["accepted"] == 1


def test_rows_to_correct_are_named_even_beside_rows_to_run_again(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_by_card("C-1", provider="adyen")
    desk.environ["REFUNDCLI_ADYEN_API_BASE"] = "http://127.0.0.1:9"
    screen = desk(f"refund --from {refunds(desk, 'C-1,40,other', 'C-9,1,other')} --yes -o table")
    assert "Correct them in that file, then: " in screen.err


def test_a_hint_of_two_lines_shows_no_escape() -> None:
    class Tty(StringIO):
        def isatty(self) -> bool:
            return True

    problem = Problem(2, "invoice", "C-1", "provider-declined", "Declined.", "One.\nTwo.")
    for out in (StringIO(), Tty()):
        show_problems([problem], Screen(out))
        assert "\\n" not in out.getvalue()
        assert "Two." in out.getvalue()


def test_a_file_that_is_resumed_counts_its_partly_refunded_row_once(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    references = [desk.sandbox.charge("50.00 EUR").reference for _ in range(2)]
    payments = tuple(
        NewPayment(5_000, Provider.STRIPE, method="card", reference=reference, auto_refundable=True)
        for reference in references
    )
    desk.bring_in(new_invoice("C-1", parse_money("100.00 EUR"), payments=payments))
    desk.paid_by_card("C-2")
    desk.sandbox.faults("400", payment=references[0])
    desk.sandbox.faults("drop_after", payment=desk.invoice("C-2").payments[0].reference)
    file = refunds(desk, "C-1,,other", "C-9,1,other", "C-2,10,other")
    first = desk.json(f"refund --from {file} --yes", exit_code=8)
    assert (first["partly_refunded"], first["refused_count"], adds_up(first)) == (1, 1, True)
    looked = desk.json(f"refund --from {file} --dry-run", exit_code=9)
    assert (looked["partly_refunded"], looked["refused_count"]) == (1, 1)
    screen = desk(f"refund --from {file} --yes -o table")
    assert "Rows left out: 1 of 3" in screen.err
    assert "Refunded in part  1 row" in screen.err
    assert "C-1" not in Path(f"{file}.rejected.csv").read_text()
