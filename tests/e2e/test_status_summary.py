"""The status summary: what needs attention, what is pending, who is at work, how fresh the data is."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

import oracle
from adyen_rows import HEADER, row
from desk import MERCHANT, Desk
from preloaded import run_script
from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.output.terminal import Screen
from refundcli.output.views.status import show_status
from refundcli.services.ports.books import Writing
from refundcli.services.ports.records import NewPayment
from refundcli.services.queries.status import current_status
from webhooks import ADYEN_KEY, Json, adyen, item, settle_secrets, signed

LISTS = (
    "unreviewed",
    "losses",
    "unfinished",
    "runs",
    "closings",
    "needs_acknowledgement",
    "external",
    "pending",
    "failed",
    "failed_captures",
    "disputed",
    "processing",
)


def shown(desk: Desk, *, days_later: float = 0) -> str:
    """The screen on a wide terminal."""

    class Terminal:
        def __init__(self) -> None:
            self.text = ""

        def write(self, words: str) -> int:
            self.text += words
            return len(words)

        def flush(self) -> None: ...
        def isatty(self) -> bool:
            return False

    stream: Any = Terminal()
    now = datetime.now(UTC) + timedelta(days=days_later)
    status = desk.books.read(lambda tx: current_status(tx, now=now, pending_days=5))
    show_status(status, {"url": "store", "schema": "1"}, Screen(stream, width=300), zone=ZoneInfo("UTC"))
    return str(stream.text)


def change(desk: Desk, statement: str, **values: Any) -> None:
    with desk.books.engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        connection.execute(text(statement), values)
        connection.commit()


@pytest.fixture(autouse=True)
def _consistent(desk: Desk) -> Iterator[None]:
    """After every test here: the exit code, the JSON and the screen agree."""
    yield
    answer = desk("status -o json")
    status, screen = answer.json, shown(desk)
    assert answer.exit_code == (8 if status["needs_attention"] else 0)
    assert status["needs_attention"] == (status["attention"] > 0)
    assert sum(finding["count"] for finding in status["findings"]) == status["attention"]
    nothing_to_do = "All clear." in screen or "Nothing needs attention." in screen
    assert nothing_to_do != status["needs_attention"]
    commands = [
        entry["command"] for name in LISTS for entry in status[name] if isinstance(entry, dict) and "command" in entry
    ]
    commands.append(status["not_applied"]["command"])
    if not status["needs_attention"]:
        assert set(commands) == {None}
        assert "refundcli " not in screen
    assert tuple(status["counts"]) == LISTS
    for name in LISTS:
        assert len(status[name]) == min(status["counts"][name]["all"], 50)


def test_nothing_known_is_null_and_nothing_counted_is_zero(desk: Desk) -> None:
    status = desk.json("status")
    assert status["livemode"] is None
    assert set(status["events"].values()) == {0}
    for provider in ("stripe", "adyen"):
        assert set(status["providers"][provider].values()) == {None}
    assert "not compared with a provider yet" in shown(desk)


def test_a_store_that_cannot_be_read_has_no_numbers_at_all(desk: Desk) -> None:
    url, desk.environ["REFUNDCLI_STORE_URL"] = desk.url, f"sqlite:///{desk.folder / 'elsewhere.db'}"
    answer = desk("status -o json")
    assert (answer.exit_code, answer.out, answer.error["code"]) == (4, "", "no-store")
    desk.environ["REFUNDCLI_STORE_URL"] = url


def test_lists_are_cut_at_fifty_and_say_how_many_there_are(desk: Desk) -> None:
    for number in range(53):
        desk.paid_by_card(f"INV-{number:03}", provider="adyen", processing=True)
    status = desk.json("status")
    assert (len(status["processing"]), status["counts"]["processing"]["all"]) == (50, 53)
    assert "Currently processing (53)" in shown(desk)
    assert "… and 3 more" in shown(desk)


def test_what_is_processing_has_the_amount_that_the_books_know(desk: Desk) -> None:
    desk.paid_by_card("INV-1", "70.00 EUR", processing=True)
    under_way = NewPayment(0, Provider.STRIPE, reference="pi_9", auto_refundable=True, processing=True)
    desk.unpaid("INV-2", "130.00 EUR", payments=(under_way,))
    desk.unpaid("INV-3", total=0, payments=(replace(under_way, reference="pi_10"),))
    screen = [line.split() for line in shown(desk).splitlines()]
    for number, amount in (("INV-1", ["70.00", "EUR"]), ("INV-2", ["130.00", "EUR"]), ("INV-3", [])):
        (line,) = (words for words in screen if words[:1] == [number])
        assert line[1:-2] == amount
        assert line[-2:] == ["Grace", "Hopper"]
    rows = {row[2]: row[3] for row in desk("status").rows}
    assert rows == {"INV-1": "70.00 EUR", "INV-2": "130.00 EUR", "INV-3": ""}


def test_what_needs_someone_is_shown_first_however_many_wait(desk: Desk) -> None:
    for number in range(52):
        desk.paid_by_card(f"INV-{number:03}", provider="adyen")
        desk(f"refund INV-{number:03} --full --reason other --yes")
    assert desk.json("status")["counts"]["pending"] == {"all": 52, "need_attention": 0}
    newest = desk.invoice("INV-051").refunds[0].id
    change(desk, "UPDATE refund SET pending_reason = 'insufficient_funds' WHERE id = :id", id=newest)
    status = desk.json("status", exit_code=8)
    assert status["counts"]["pending"] == {"all": 52, "need_attention": 1}
    assert status["pending"][0]["id"] == newest
    assert "Accepted, not final (52, 1 to do)" in shown(desk)


def kill_a_run(desk: Desk, rows: int = 4) -> str:
    """A worker killed with one row done, its leases still live; the id of its run."""
    for number in range(1, rows + 1):
        desk.paid_by_card(f"R-{number}")
    file = desk.folder / "refunds.csv"
    file.write_text("\n".join(["invoice,amount,reason", *(f"R-{n},40.00,other" for n in range(1, rows + 1))]) + "\n")
    script = (
        "import os; from refundcli.services.bulk import refund_run; from refundcli.cli.main import run\n"
        "tell = refund_run.RunWorker._report_row\n"
        "def die(*report): tell(*report); os.kill(os.getpid(), 9)\n"
        f"refund_run.RunWorker._report_row = die\nrun('refund --from {file} --yes'.split())"
    )
    killed = run_script(script, {"PATH": "", "REFUNDCLI_REFUNDS_IN_FLIGHT": "1"} | desk.environ)
    assert killed.returncode == -9, killed.err
    (run,) = desk.books.read(lambda tx: tx.runs.newest(limit=1))
    return run.id


def test_a_killed_run_is_listed_until_it_is_finished_also_after_resume(desk: Desk) -> None:
    run = kill_a_run(desk)
    (listed_run,) = desk.json("status", exit_code=8)["runs"]
    assert (listed_run["id"], listed_run["command"]) == (run, f"refundcli refund --resume {run}")
    assert sum(listed_run["counts"].values()) == listed_run["rows"] == 4
    assert all(holder["live"] is False for holder in listed_run["leased_by"])
    desk("resume")
    (listed_run,) = desk.json("status", exit_code=8)["runs"]
    assert listed_run["id"] == run
    assert "which is no longer running" in shown(desk) or not listed_run["leased_by"]
    assert desk(f"refund --resume {run}").exit_code == 0
    assert desk.json("status")["runs"] == []


def test_a_run_at_work_says_who_is_at_it_and_until_when(desk: Desk) -> None:
    run = kill_a_run(desk)
    # The killed worker may have reserved the next row.
    desk("resume --yes")
    until = (datetime.now(UTC) + timedelta(minutes=2)).replace(tzinfo=None)
    statement = "UPDATE bulk_item SET state = 'taken', worker = :worker, lease_until = :until WHERE state <> 'done'"
    change(desk, statement, worker="other-desk|a-machine|4711|99", until=until)
    status = desk.json("status")
    (listed,) = status["runs"]
    (holder,) = listed["leased_by"]
    assert (listed["id"], listed["next"], listed["command"]) == (run, "wait", None)
    assert (holder["process"], holder["live"]) == ("other-desk (process 4711)", True)
    assert holder["lease_until"]
    assert "being processed by other-desk (process 4711) until" in shown(desk)
    # Its lease expires.
    past = (datetime.now(UTC) - timedelta(minutes=1)).replace(tzinfo=None)
    change(desk, "UPDATE bulk_item SET lease_until = :past WHERE state = 'taken'", past=past)
    assert desk.json("status", exit_code=8)["runs"][0]["command"] == f"refundcli refund --resume {run}"


def test_a_run_of_records_has_null_for_unknown_counts(desk: Desk) -> None:
    for number in (1, 2):
        desk.paid_outside(f"T-{number}")
    file = desk.folder / "marks.csv"
    file.write_text("invoice,amount,reason\nT-1,40.00,other\nT-2,40.00,other\n")
    run = desk.json(f"mark-refunded --from {file} --yes")["run"]
    change(desk, "UPDATE bulk_run SET state = 'running' WHERE id = :id", id=run)
    (listed_run,) = desk.json("status")["runs"]
    assert (listed_run["next"], set(listed_run["counts"].values()), listed_run["rows"]) == ("wait", {None}, 2)
    assert listed_run["last_record_at"]
    past = (datetime.now(UTC) - timedelta(minutes=5)).replace(tzinfo=None)
    change(desk, "UPDATE refund SET created_at = :past", past=past)
    (listed_run,) = desk.json("status", exit_code=8)["runs"]
    assert listed_run["command"] == f"refundcli mark-refunded --resume {run}"
    change(desk, "UPDATE bulk_run SET state = 'finished'")


def test_a_refund_being_sent_says_by_whom(desk: Desk) -> None:
    desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    desk("refund INV-1 --full --reason other --yes")
    until = (datetime.now(UTC) + timedelta(minutes=1)).replace(tzinfo=None)
    change(desk, "UPDATE refund SET lease_owner = 'desk-2|m|311|5', lease_until = :until", until=until)
    (refund,) = desk.json("status")["unfinished"]
    assert (refund["next"], refund["leased_by"]["process"], refund["leased_by"]["live"]) == (
        "wait",
        "desk-2 (process 311)",
        True,
    )
    assert "with desk-2 (process 311) until" in shown(desk)
    change(desk, "UPDATE refund SET lease_owner = '', lease_until = NULL")


def ingest(desk: Desk, notification: Json, *, key: str = ADYEN_KEY) -> int:
    settle_secrets(desk)
    file = desk.folder / "deliveries.jsonl"
    file.write_text(adyen(signed(notification, key)).as_line + "\n")
    return desk(f"events ingest {file}").exit_code


def ingest_notification(desk: Desk, notification: Json) -> None:
    assert ingest(desk, notification) == 0


def test_a_failed_capture_is_shown_until_recaptured_or_closed(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    ingest_notification(desk, item("CAPTURE_FAILED", originalReference=payment, pspReference="CAP1"))
    (capture,) = desk.json("status")["failed_captures"]
    assert (capture["invoice"], capture["reference"], capture["amount"]["amount"]) == ("INV-1", "CAP1", "100.00")
    assert "Captures that failed (1)" in shown(desk)
    assert "not captured" in shown(desk)
    desk.json("void INV-1 --yes")
    assert desk.json("status")["failed_captures"] == []


def late_failure(desk: Desk) -> Refund:
    """A refund that failed at Adyen after acceptance, and may be retried for ten days."""
    desk.paid_by_card("INV-1", provider="adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    (refund,) = desk.invoice("INV-1").refunds
    failed = {"originalReference": desk.invoice("INV-1").payments[0].reference, "merchantReference": refund.id}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ingest_notification(desk, item("REFUND_FAILED", pspReference=refund.provider_reference, eventDate=now, **failed))
    return desk.invoice("INV-1").refunds[0]


def test_a_hold_that_has_lapsed_reserves_nothing_any_more(desk: Desk) -> None:
    refund = late_failure(desk)
    assert refund.holding
    assert desk.json("status", exit_code=8)["needs_acknowledgement"][0]["still_reserved"] is True
    assert "still reserved until" in shown(desk)
    assert desk.json("invoice show INV-1")["reserved"]["amount"] == "100.00"
    past = (datetime.now(UTC) - timedelta(days=1)).replace(tzinfo=None)
    change(desk, "UPDATE refund SET hold_until = :past", past=past)
    assert desk.json("status", exit_code=8)["needs_acknowledgement"][0]["still_reserved"] is False
    assert "still reserved" not in shown(desk)
    invoice = desk.json("invoice show INV-1")
    assert (invoice["reserved"]["amount"], invoice["refundable"]["amount"]) == ("0.00", "100.00")
    assert invoice["refunds"][0]["still_reserved"] is False


def test_only_an_update_that_waits_for_long_needs_attention(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    ingest_notification(desk, item("CAPTURE", originalReference=payment, pspReference="CAP1"))
    change(desk, "UPDATE provider_event SET state = 'waiting'")
    status = desk.json("status")
    assert (status["not_applied"]["waiting"], status["not_applied"]["command"]) == (1, None)
    past = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None)
    change(desk, "UPDATE provider_event SET received_at = :past", past=past)
    status = desk.json("status", exit_code=8)
    assert status["not_applied"]["command"] == "refundcli events apply"
    assert "1 update waiting to be applied" in shown(desk)
    assert desk("events apply").exit_code == 0
    assert desk.json("status")["not_applied"]["waiting"] == 0


def test_updates_about_payments_that_are_not_in_the_books_ask_for_nothing(desk: Desk) -> None:
    ingest_notification(desk, item("REFUND", originalReference="NOBODYKNOWSTHIS1", pspReference="REF1"))
    status = desk.json("status")
    assert (status["events"]["unmatched"], status["not_applied"]["command"]) == (1, None)
    assert "1 update about payments that are not in the books" in shown(desk)


def _begin(run: BulkRun, tx: Writing) -> None:
    tx.runs.begin(run)


def test_counts_beside_lists_count_what_is_not_listed_too(desk: Desk) -> None:
    at = datetime.now(UTC)
    kind, state = RunKind.MARK_REFUNDED, RunState.STOPPED
    runs = [BulkRun(f"run_{n}", kind, state, "x.csv", f"f{n}", 1, "Ada", at) for n in range(60)]
    for run in runs:
        desk.books.write(partial(_begin, run))
    settle_secrets(desk)
    status = (item("CAPTURE", originalReference="UNKNOWNYET", pspReference=f"CAP{n}") for n in range(60))
    oracle.ingest(desk, *oracle.delivered(*status))
    desk.paid_by_card("INV-1", provider="adyen", reference="UNKNOWNYET")
    status = desk.json("status", exit_code=8)
    assert status["counts"]["runs"] == {"all": 60, "need_attention": 60}
    assert (len(status["runs"]), status["not_applied"]["blocking"], status["attention"]) == (50, 60, 120)
    assert "Unfinished runs (60)" in shown(desk)
    assert "60 updates about payments that are now in the books" in shown(desk)


def test_how_fresh_the_data_is_and_what_was_rejected_is_said(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    desk.paid_by_card("INV-2")
    desk.sandbox.charge("5.00 EUR")
    ingest_notification(desk, item("CAPTURE", originalReference=payment, pspReference="CAP1"))
    assert ingest(desk, item("CAPTURE", originalReference=payment, pspReference="CAP2"), key=b"forged".hex()) == 3
    desk("reconcile")
    status = desk.json("status", exit_code=8)
    adyen, stripe = status["providers"]["adyen"], status["providers"]["stripe"]
    assert (adyen["last_reconcile"], bool(adyen["last_webhook"])) == (None, True)
    assert (stripe["result"], stripe["differences_left"], stripe["last_webhook"]) == ("differs", 1, None)
    assert status["rejected_webhooks"] == {"forged": 1}
    screen = shown(desk)
    assert "Rejected deliveries: 1 (1 wrong signature)" in screen
    assert ": 1 difference left" in screen
    assert "no delivery received yet" in screen


def test_a_small_report_does_not_replace_the_agreement_of_a_fuller_one(desk: Desk) -> None:
    payments = [desk.paid_by_card(f"INV-{n}", provider="adyen") for n in range(3)]

    def compare(name: str, *rows: str) -> int:
        file = desk.folder / name
        file.write_text("\n".join([HEADER, *rows]) + "\n")
        return desk(f"reconcile --report {file}").exit_code

    assert compare("full.csv", *(row("Settled", payment, minor=10_000) for payment in payments[:2])) == 0
    assert compare("tiny.csv", row("Settled", payments[0], minor=9_000)) == 3
    adyen_status = desk.json("status", exit_code=8)["providers"]["adyen"]
    of_full = {"result": "agrees", "account": MERCHANT, "compared": 2, "in_books": 3, "complete": False}
    assert {name: adyen_status[name] for name in of_full} == of_full
    assert adyen_status["report"].endswith("full.csv")
    assert (adyen_status["narrower"]["result"], adyen_status["narrower"]["compared"]) == ("differs", 1)
    assert "full.csv, 2 of 3 payments in the books): agreed; later compared" in shown(desk)
    assert "tiny.csv, 1 of 3 payments in the books): 1 difference left" in shown(desk)

    assert compare("whole.csv", *(row("Settled", payment, minor=10_000) for payment in payments)) == 0
    adyen_status = desk.json("status")["providers"]["adyen"]
    assert (adyen_status["compared"], adyen_status["complete"], adyen_status["narrower"]) == (3, True, None)


def test_a_difference_in_one_report_stays_after_another_agrees(desk: Desk) -> None:
    payments = [desk.paid_by_card(f"INV-{n}", provider="adyen") for n in range(6)]

    def compare(name: str, *rows: str) -> int:
        file = desk.folder / name
        file.write_text("\n".join([HEADER, *rows]) + "\n")
        return desk(f"reconcile --report {file}").exit_code

    def settled(some: list[str]) -> list[str]:
        return [row("Settled", payment, minor=10_000) for payment in some]

    assert compare("oct.csv", *settled(payments[:3])) == 0
    assert compare("nov.csv", row("Settled", payments[3], minor=9_000), *settled(payments[4:5])) == 3
    assert compare("dec.csv", *settled(payments[5:])) == 0
    adyen_status = desk.json("status", exit_code=8)["providers"]["adyen"]
    (unresolved,) = adyen_status["unresolved"]
    assert (unresolved["report"].endswith("nov.csv"), unresolved["differences_left"]) == (True, 1)
    assert adyen_status["report"].endswith("oct.csv")
    assert adyen_status["narrower"]["report"].endswith("dec.csv")
    assert "nov.csv, 2 of 6 payments in the books): 1 difference left" in shown(desk)

    assert compare("wide.csv", *settled(payments[:2] + payments[4:])) == 0
    assert len(desk.json("status", exit_code=8)["providers"]["adyen"]["unresolved"]) == 1
    assert compare("nov.csv", *settled(payments[3:5])) == 0
    assert desk.json("status")["providers"]["adyen"]["unresolved"] == []


def test_a_comparison_with_differences_needs_attention_until_it_agrees(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    file = desk.folder / "my nov.csv"
    file.write_text("\n".join([HEADER, row("Settled", payment, minor=9_000)]) + "\n")
    assert desk(f"reconcile --report '{file}'").exit_code == 3
    status = desk.json("status", exit_code=8)
    assert status["attention"] == 1
    assert "1 thing needs attention." in shown(desk)
    command = status["providers"]["adyen"]["command"]
    assert command == f"refundcli reconcile --report '{file}'"
    assert command in shown(desk)
    assert any(line.startswith("differences") for line in desk("status -o tsv").out.splitlines())

    file.write_text("\n".join([HEADER, row("Settled", payment, minor=10_000)]) + "\n")
    assert desk(command.removeprefix("refundcli ")).exit_code == 0
    assert desk("status").exit_code == 0
    assert desk.json("status")["providers"]["adyen"]["command"] is None


def test_a_comparison_of_some_days_does_not_replace_differences(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk.sandbox.charge("5.00 EUR")
    assert desk("reconcile").exit_code == 3
    desk("reconcile --since 2000-01-01")
    desk("reconcile --since 2099-01-01")
    stripe_status = desk.json("status", exit_code=8)["providers"]["stripe"]
    assert (stripe_status["result"], stripe_status["since"], stripe_status["complete"]) == ("differs", None, True)
    desk.paid_by_card("INV-2")
    stripe_status = desk.json("status", exit_code=8)["providers"]["stripe"]
    assert (stripe_status["compared"], stripe_status["in_books"], stripe_status["complete"]) == (1, 2, False)


def test_a_comparison_of_some_days_does_not_replace_that_of_all(desk: Desk) -> None:
    desk.paid_by_card("INV-1")
    desk("reconcile")
    assert desk("reconcile --since 2099-01-01").exit_code == 0
    stripe_status = desk.json("status")["providers"]["stripe"]
    assert (stripe_status["result"], stripe_status["since"], stripe_status["complete"]) == ("agrees", None, True)
    narrower = stripe_status["narrower"]
    assert (narrower["result"], narrower["since"], narrower["complete"]) == ("nothing-to-compare", "2099-01-01", False)
    assert "payments made since 2099-01-01, 0 of 1 payment in the books): nothing to compare" in shown(desk)


def test_status_loads_no_sdk(desk: Desk) -> None:
    desk.paid_by_card()
    environ = {"PATH": "", "PYTHONPATH": ":".join(sys.path)} | desk.environ
    code = (
        "import sys; from refundcli.cli.main import run\n"
        "run(['status', '-o', 'json'])\n"
        "sys.stderr.write(' '.join({'stripe', 'Adyen', 'requests', 'alembic', 'starlette'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert process.stderr == ""


def test_a_comparison_stored_by_an_older_version_is_shown_by_its_time(desk: Desk, tmp_path: Path) -> None:
    desk.books.write(lambda tx: tx.store.set_sync_state("reconcile:stripe", "3"))
    stripe_status = desk.json("status")["providers"]["stripe"]
    assert (stripe_status["result"], stripe_status["differences_left"], bool(stripe_status["last_reconcile"])) == (
        None,
        None,
        True,
    )
