"""What a cron job watches: `status --max-age`, its metrics and its alerts."""

import json
import re
import stat
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import refundcli.system.disk
from desk import Desk
from refundcli.cli.commands.books.alerts import still_there
from refundcli.domain.statuses import Provider
from refundcli.output.findings import REST, Finding
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.clock import SystemClock
from refundcli.services.webhooks.heartbeat import record_heartbeat
from webhooks import ADYEN_KEY, STRIPE_SECRET, adyen, item, listening, settle_secrets, signed, until

WATCH = "status --max-age reconcile=26h,events=2h,pending=5d"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def desk(sqlite_desk: Desk) -> Desk:
    """One database is enough: tests/integration/test_query_texts.py runs the queries on both."""
    sqlite_desk.environ["XDG_STATE_HOME"] = str(sqlite_desk.folder / "state")
    return sqlite_desk


def change(desk: Desk, statement: str, **values: Any) -> None:
    with desk.books.engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        connection.execute(text(statement), values)
        connection.commit()


def paid(desk: Desk, number: str = "INV-1", *, provider: str = "stripe", paid_on: date = TODAY) -> str:
    return desk.paid_by_card(number, provider=provider, paid_on=paid_on)


def all_is_well(desk: Desk) -> None:
    """A listener runs, and the books were just compared with both providers."""
    record_heartbeat(desk.books, list(Provider), host="desk-1")
    change(desk, "DELETE FROM sync_state WHERE name LIKE 'reconcile:%'")
    now = datetime.now(UTC).replace(tzinfo=None)
    for provider in Provider:
        change(desk, "INSERT INTO sync_state VALUES (:name, 'done', :now)", name=f"reconcile:{provider}", now=now)


def found(desk: Desk, command: str = WATCH) -> dict[str, str | None]:
    """The command of each finding, by kind."""
    answer = desk(f"{command} -o json")
    status = answer.json
    assert answer.exit_code == (8 if status["findings"] else 0)
    assert sum(finding["count"] for finding in status["findings"]) == status["attention"]
    rows = desk(command).out
    for finding in status["findings"]:
        assert finding["command"] is None or finding["command"] in rows
    return {finding["kind"]: finding["command"] for finding in status["findings"]}


def later(monkeypatch: pytest.MonkeyPatch, **by: float) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda clock: datetime.now(UTC) + timedelta(**by))


def ingest(desk: Desk, *notifications: dict[str, Any], key: str = ADYEN_KEY) -> None:
    settle_secrets(desk)
    file = desk.folder / "deliveries.jsonl"
    file.write_text("".join(adyen(signed(notification, key)).as_line + "\n" for notification in notifications))
    desk(f"events ingest {file}")


def of_refund(desk: Desk, code: str, **changes: Any) -> dict[str, Any]:
    (payment,), (refund,) = desk.invoice("INV-1").payments, desk.invoice("INV-1").refunds
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return item(
        code,
        pspReference=refund.provider_reference,
        originalReference=payment.reference,
        merchantReference=refund.id,
        eventDate=now,
        **changes,
    )


# --- twelve broken situations -----------------------------------------------------------------------------------


def pending_too_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    paid(desk, provider="adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    past = (datetime.now(UTC) - timedelta(days=6)).replace(tzinfo=None)
    change(desk, "UPDATE refund SET created_at = :past", past=past)
    return "refundcli reconcile --report FILE"


def no_listener(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    paid(desk)
    change(desk, "DELETE FROM sync_state WHERE name LIKE 'listener:%'")
    return "refundcli events listen"


def never_reconciled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    paid(desk)
    change(desk, "DELETE FROM sync_state WHERE name LIKE 'reconcile:%'")
    return "refundcli reconcile --provider stripe"


def dispute(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    payment = paid(desk, provider="adyen")
    ingest(desk, item("NOTIFICATION_OF_CHARGEBACK", originalReference=payment, pspReference="DIS1"))
    return "refundcli invoice show INV-1"


def external_refund(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    payment = paid(desk, provider="adyen")
    ingest(desk, item("REFUND", originalReference=payment, pspReference="EXT1", merchantReference="by-hand"))
    (refund,) = desk.invoice("INV-1").refunds
    return f"refundcli reconcile --adopt {refund.id} --reason REASON"


def rejected_webhooks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    ingest(desk, item("REFUND"), key=b"forged".hex())
    return "refundcli events list"


def abandoned_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    desk.paid_outside("INV-2")
    file = desk.folder / "marks.csv"
    file.write_text("invoice,amount,reason\nINV-2,40.00,other\n")
    run = desk.json(f"mark-refunded --from {file} --yes")["run"]
    past = (datetime.now(UTC) - timedelta(minutes=5)).replace(tzinfo=None)
    change(desk, "UPDATE bulk_run SET state = 'running'")
    change(desk, "UPDATE refund SET created_at = :past", past=past)
    return f"refundcli mark-refunded --resume {run}"


def late_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    paid(desk, provider="adyen")
    desk.json("refund INV-1 --full --reason other --yes")
    ingest(desk, of_refund(desk, "REFUND_FAILED"))
    return f"refundcli acknowledge {desk.invoice('INV-1').refunds[0].id}"


def unapplied_event(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    payment = paid(desk, provider="adyen")
    ingest(desk, item("CAPTURE", originalReference=payment, pspReference="CAP1"))
    past = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None)
    change(desk, "UPDATE provider_event SET state = 'waiting', received_at = :past", past=past)
    return "refundcli events apply"


def failed_refund(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    paid(desk)
    desk.sandbox.faults("failed")
    assert desk("refund INV-1 --amount 30 --reason overcharged --yes").exit_code == 6
    return "refundcli refund INV-1 --amount 30.00 --reason overcharged"


def full_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refundcli.system.disk, "free_bytes", lambda folder: 1_000_000)


def wrong_clock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> str:
    desk.paid_outside("INV-2")
    desk("mark-refunded INV-2 --full --reason other --yes")
    later(monkeypatch, hours=-1)
    return "refundcli store clock --accept"


BROKEN: dict[str, Callable[[Desk, pytest.MonkeyPatch], str | None]] = {
    "pending": pending_too_long,
    "events": no_listener,
    "reconcile": never_reconciled,
    "disputed": dispute,
    "external": external_refund,
    "rejected-webhooks": rejected_webhooks,
    "run": abandoned_run,
    "needs-acknowledgement": late_failure,
    "not-applied": unapplied_event,
    "failed": failed_refund,
    "disk": full_disk,
    "clock": wrong_clock,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_broken_situation_is_named_with_its_next_command(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    desk.paid_outside("INV-9")
    all_is_well(desk)
    assert found(desk) == {}
    command = BROKEN[kind](desk, monkeypatch)
    assert found(desk) == {kind: command}


def test_a_quiet_month_with_a_listener_and_a_nightly_comparison_is_all_clear(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_secrets(desk)
    for number in range(4):
        paid(desk, f"INV-{number}", paid_on=TODAY + timedelta(days=7 * number))
    with listening(desk) as listener:
        desk.sandbox.webhooks("stripe", url=f"{listener.url}/stripe", secret=STRIPE_SECRET)
        assert desk("refund INV-0 --full --reason duplicate --yes").exit_code == 0
        assert desk("refund INV-1 --amount 30 --reason other --yes").exit_code == 0
        assert set(desk.sandbox.deliver()) == {200}
        until(lambda: desk.json("status")["events"]["applied"])
        assert listener.stop() == 0
    assert desk.json("status")["providers"]["stripe"]["listener_seen"]
    # A month without a refund, dispute or delivery: only the listener and the comparison run.
    for day in (1, 8, 15, 22, 30):
        later(monkeypatch, days=day)
        desk.books.clock = SystemClock(UTC)
        record_heartbeat(desk.books, [Provider.STRIPE], host="desk-1")
        assert desk("reconcile").exit_code == 0
        later(monkeypatch, days=day, hours=1)
        assert found(desk) == {}


def test_a_clock_that_differs_from_the_databases_is_named(
    new_postgres: Callable[[], str], sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(new_postgres(), sandbox, tmp_path)
    later(monkeypatch, minutes=5)
    (finding,) = desk.json(WATCH, exit_code=8)["findings"]
    assert finding["kind"] == "clock"
    assert re.fullmatch("this machine's clock is (299|300) s ahead of the database's", finding["summary"])
    assert desk.json("status")["findings"] == []
    desk.books.engine.dispose()


# --- what is allowed ----------------------------------------------------------------------------------------------


def test_only_what_is_named_is_limited(desk: Desk) -> None:
    paid(desk)
    assert found(desk, "status") == {}
    assert set(found(desk, "status --max-age events=2h")) == {"events"}
    assert set(found(desk, "status --max-age reconcile=1d,events=90m")) == {"events", "reconcile"}


def test_a_limit_is_exceeded_by_age_and_says_since_when(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    paid(desk)
    all_is_well(desk)
    later(monkeypatch, hours=3)
    assert found(desk) == {"events": "refundcli events listen"}
    (finding,) = desk.json(WATCH, exit_code=8)["findings"]
    assert re.fullmatch(r"no listener and no webhook of Stripe since .* UTC; 2h allowed", finding["summary"])
    later(monkeypatch, hours=27)
    assert set(found(desk)) == {"events", "reconcile"}


def test_a_delivery_is_as_good_as_a_running_listener(desk: Desk) -> None:
    payment = paid(desk, provider="adyen")
    ingest(desk, item("CAPTURE", originalReference=payment, pspReference="CAP1"))
    assert found(desk, "status --max-age events=2h") == {}


def test_a_provider_without_payments_in_the_last_half_year_is_not_watched(desk: Desk) -> None:
    desk.paid_outside("INV-2")
    paid(desk, paid_on=TODAY - timedelta(days=200))
    assert found(desk) == {}


def test_a_comparison_that_left_something_out_does_not_count(desk: Desk) -> None:
    paid(desk)
    desk.sandbox.faults("drop_before")
    desk("refund INV-1 --full --reason other --yes")
    assert desk("reconcile").exit_code == 8
    assert desk.json("status", exit_code=8)["providers"]["stripe"]["last_complete_reconcile"] is None
    assert "reconcile" in found(desk)


def test_a_failed_refund_is_settled_by_the_next_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    all_is_well(desk)
    command = failed_refund(desk, monkeypatch)
    assert desk.json("status")["failed"][0]["invoice"] == "INV-1"
    desk.sandbox.clear_faults()
    assert desk(f"{command.removeprefix('refundcli ')} --yes").exit_code == 0
    assert (desk.json("status")["failed"], found(desk)) == ([], {})


def test_pending_refunds_are_counted_by_age(desk: Desk) -> None:
    for number, days in enumerate((0, 2, 3, 9)):
        paid(desk, f"INV-{number}", provider="adyen")
        desk.json(f"refund INV-{number} --full --reason other --yes")
        past = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
        refund_id = desk.invoice(f"INV-{number}").refunds[0].id
        change(desk, "UPDATE refund SET created_at = :past WHERE id = :id", past=past, id=refund_id)
    ages = desk.json("status", exit_code=8)["pending_ages"]
    assert ages == {"limit_seconds": 5 * 86400, "recent": 1, "older": 2, "overdue": 1}
    ages = desk.json("status --max-age pending=60h", exit_code=8)["pending_ages"]
    assert ages == {"limit_seconds": 60 * 3600, "recent": 1, "older": 1, "overdue": 2}


@pytest.mark.parametrize(
    ("limits", "hint"),
    [
        ("reconcil=26h", "Did you mean reconcile?"),
        ("stock=1d", "--max-age reconcile=26h,events=2h,pending=5d"),
        ("events=2", "--max-age reconcile=26h,events=2h,pending=5d"),
        ("events=0h", "--max-age reconcile=26h,events=2h,pending=5d"),
        ("events=2h,,", "--max-age reconcile=26h,events=2h,pending=5d"),
    ],
)
def test_an_unknown_limit_or_age_is_refused(desk: Desk, limits: str, hint: str) -> None:
    error = desk.refused(f"status --max-age {limits}", "invalid-option", exit_code=2)
    assert hint in error["hint"]


# --- metrics ----------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="([a-z_-]+)"\})? (-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)')


def parsed(content: str) -> dict[tuple[str, str], float]:
    """The samples by name and label value; checks what the OpenMetrics text format requires of such a file."""
    assert content.endswith("# EOF\n")
    samples: dict[tuple[str, str], float] = {}
    types: dict[str, str] = {}
    name = ""
    for line in content.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("gauge", "counter")
            assert name not in types
            types[name] = kind
        elif line.startswith("# UNIT "):
            assert line.split(" ")[2] == name
            assert name.endswith(f"_{line.split(' ')[3]}")
        elif line.startswith("# HELP "):
            assert line.split(" ")[2] == name
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == name + ("_total" if types[name] == "counter" else "")
            assert (match[1], match[3] or "") not in samples
            samples[match[1], match[3] or ""] = float(match[4])
    return samples


def test_metrics_are_openmetrics_text_readable_by_all(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    all_is_well(desk)
    late_failure(desk, monkeypatch)
    rejected_webhooks(desk, monkeypatch)
    file = desk.folder / "refundcli.prom"
    file.write_text("before")
    assert desk(f"{WATCH} --metrics {file}").exit_code == 8
    samples = parsed(file.read_text())
    assert samples["refundcli_findings", "needs-acknowledgement"] == 1
    assert samples["refundcli_findings", "rejected-webhooks"] == 1
    assert samples["refundcli_entries", "needs_acknowledgement"] == 1
    assert samples["refundcli_entries", "pending"] == 0
    assert samples["refundcli_webhooks_rejected_total", "forged"] == 1
    assert samples["refundcli_last_webhook_timestamp_seconds", "adyen"] > 1.7e9
    assert ("refundcli_last_webhook_timestamp_seconds", "stripe") not in samples
    assert samples["refundcli_status_timestamp_seconds", ""] > 1.7e9
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in desk.folder.glob(".refundcli-*")] == []


def test_metrics_of_an_empty_store_are_valid(desk: Desk) -> None:
    file = desk.folder / "refundcli.prom"
    assert desk(f"status --metrics {file}").exit_code == 0
    assert parsed(file.read_text())["refundcli_entries", "disputed"] == 0


def test_metrics_that_cannot_be_written_are_an_error(desk: Desk) -> None:
    answer = desk(f"status --metrics {desk.folder / 'no' / 'x.prom'}")
    assert answer.exit_code == 4
    assert "x.prom: no such file or directory.   [metrics-not-written]" in answer.err


# --- alerts -----------------------------------------------------------------------------------------------------


def hook(desk: Desk, *, ending: int = 0) -> Path:
    """A program that notes what it was given; the file it writes to."""
    noted = desk.folder / "noted.jsonl"
    program = desk.folder / "hook.py"
    program.write_text(
        f"import sys, os\nopen({str(noted)!r}, 'a').write(sys.stdin.read())\n"
        f"assert 'STRIPE_API_KEY' not in os.environ\nif {ending}: sys.exit('no route \\x1b[31m')\n"
    )
    desk.environ["REFUNDCLI_ALERT_COMMAND"] = f"{sys.executable} {program}"
    return noted


def sent(noted: Path) -> list[str]:
    lines = noted.read_text().splitlines() if noted.exists() else []
    noted.unlink(missing_ok=True)
    return [json.loads(line)["finding"]["kind"] for line in lines]


def test_each_new_finding_is_sent_once_and_again_when_it_comes_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = hook(desk)
    all_is_well(desk)
    assert desk(f"{WATCH} --alert").exit_code == 0
    assert sent(noted) == []
    no_listener(desk, monkeypatch)
    assert desk(f"{WATCH} --alert").exit_code == 8
    assert json.loads(noted.read_text())["finding"]["command"] == "refundcli events listen"
    assert sent(noted) == ["events"]
    change(desk, "DELETE FROM sync_state WHERE name LIKE 'reconcile:%'")
    desk(f"{WATCH} --alert")
    assert sent(noted) == ["reconcile"]
    all_is_well(desk)
    desk(f"{WATCH} --alert")
    change(desk, "DELETE FROM sync_state WHERE name LIKE 'listener:%'")
    desk(f"{WATCH} --alert")
    desk(f"{WATCH} --alert")
    assert sent(noted) == ["events"]


def test_status_without_alert_runs_nothing(desk: Desk) -> None:
    noted = hook(desk)
    paid(desk)
    assert desk(WATCH).exit_code == 8
    assert sent(noted) == []


def test_an_alert_that_failed_is_reported_and_sent_again(desk: Desk) -> None:
    noted = hook(desk, ending=3)
    paid(desk)
    answer = desk("status --max-age events=2h --alert")
    assert answer.exit_code == 8
    assert "was not sent: it ended with 1: no route \\x1b[31m." in answer.err
    hook(desk)
    sent(noted)
    assert desk("status --max-age events=2h --alert").err.count("was not sent") == 0
    assert sent(noted) == ["events"]


def test_a_hook_that_hangs_is_stopped(desk: Desk) -> None:
    desk.environ |= {"REFUNDCLI_ALERT_COMMAND": "sleep 600", "REFUNDCLI_ALERT_TIMEOUT": "0.2"}
    paid(desk)
    answer = desk("status --max-age events=2h,reconcile=1d --alert")
    assert answer.exit_code == 8
    assert answer.err.count("it did not end within 0.2 s") == 1


def test_what_was_sent_of_a_list_that_is_cut_off_is_not_new_again() -> None:
    shown = Finding("run", "run_1", "", None)
    rest = Finding("run", REST, "", None, count=3)
    assert still_there({"run:run_1", "run:run_60", "loss:INV-1"}, [shown]) == {"run:run_1"}
    assert still_there({"run:run_1", "run:run_60", "loss:INV-1"}, [shown, rest]) == {"run:run_1", "run:run_60"}


def test_no_shell_reads_the_command(desk: Desk) -> None:
    desk.environ["REFUNDCLI_ALERT_COMMAND"] = f"'touch {desk.folder}/made; true'"
    paid(desk)
    answer = desk("status --max-age events=2h --alert")
    assert "it cannot be started" in answer.err
    assert not (desk.folder / "made").exists()


def test_alerts_without_a_command_are_refused(desk: Desk) -> None:
    desk.refused("status --alert", "no-alert-command", exit_code=4)


def test_a_command_in_the_working_folder_must_be_trusted(desk: Desk) -> None:
    Path("refundcli.toml").write_text('[alert]\ncommand = ["touch", "made"]\n')
    desk.refused("status --alert", "settings-not-trusted", exit_code=4)
    assert desk("config trust").exit_code == 0
    paid(desk)
    desk("status --max-age events=2h --alert")
    assert Path("made").exists()


@pytest.mark.parametrize("value", ['"notify"', "[1]", '[""]'])
def test_a_command_is_a_list_of_texts(desk: Desk, value: str) -> None:
    file = desk.folder / "own.toml"
    file.write_text(f"[alert]\ncommand = {value}\n")
    desk.refused(f"--config {file} status --alert", "invalid-setting", exit_code=4)
