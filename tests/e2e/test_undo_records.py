"""`mark-refunded --undo`: its preview, its effect, and what it does not touch."""

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from desk import Desk
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.ports.provider_updates import Doubt
from refundcli.services.preflight.unreviewed import store_doubt
from refundcli.store.checks.integrity import findings
from webhooks import ADYEN_KEY, STRIPE_SECRET, settle_secrets


@pytest.fixture
def run(desk: Desk) -> str:
    """Two records of one file."""
    for number in ("T-1", "T-2"):
        desk.paid_outside(number)
    file = desk.folder / "t.csv"
    file.write_text("invoice,amount,reason\nT-1,40,other\nT-2,30,other\n")
    return str(desk.json(f"mark-refunded --from {file} --yes")["run"])


def digest(desk: Desk) -> str:
    """Of every row of every table."""
    from sqlalchemy import MetaData

    tables = MetaData()
    tables.reflect(desk.books.engine)
    checksum = hashlib.sha256()
    with desk.books.engine.connect() as line:
        for table in tables.sorted_tables:
            for row in line.execute(table.select().order_by(*table.columns)):
                checksum.update(repr(tuple(row)).encode())
    return checksum.hexdigest()


def test_a_run_of_refunds_cannot_be_undone(desk: Desk, run: str) -> None:
    desk.paid_by_card()
    file = desk.folder / "r.csv"
    file.write_text("invoice,amount,reason\nINV-1,40,other\n")
    refund_run = str(desk.json(f"refund --from {file} --yes")["run"])
    for options in ("--dry-run", "--yes"):
        error = desk.refused(f"mark-refunded --undo {refund_run} --memo why {options}", "not-a-run-of-records")
        assert refund_run in error["message"]
        assert "run_" not in error["hint"]


def test_an_unknown_run_to_undo_names_those_that_are(desk: Desk, run: str) -> None:
    error = desk.refused("mark-refunded --undo run_nothing --memo why --yes", "run-not-found", exit_code=5)
    assert error["hint"] == f"The newest: {run}."


@pytest.mark.parametrize("what", ["run", "record"])
def test_a_dry_run_of_an_undo_changes_nothing(desk: Desk, run: str, what: str) -> None:
    named = run if what == "run" else desk.invoice("T-1").refunds[0].id
    before = digest(desk)
    answer = desk.json(f"mark-refunded --undo {named} --memo why --dry-run")
    assert (answer["dry_run"], answer["records"]) == (True, 2 if what == "run" else 1)
    assert answer["totals"][0]["amount"]["amount"] == ("70.00" if what == "run" else "40.00")
    assert digest(desk) == before
    report = desk.json(f"mark-refunded --undo {named} --memo why --yes")
    assert report == answer | {"dry_run": False}


def test_a_dry_run_refuses_what_an_undo_refuses(desk: Desk, run: str) -> None:
    desk.json(f"mark-refunded --undo {run} --memo why --yes")
    desk.refused(f"mark-refunded --undo {run} --memo why --dry-run", "nothing-to-undo")
    record = desk.invoice("T-1").refunds[0].id
    error = desk.refused(f"mark-refunded --undo {record} --memo why --dry-run", "not-a-record")
    assert error["message"] == f"{record} cannot be undone: it is already undone (memo: why)."
    assert "was undone" in desk.refused(f"mark-refunded --resume {run} --yes", "run-finished")["message"]


@pytest.mark.parametrize(
    "option", ["--full", "--from t.csv", "--plan p.json", "--amount 5", "--atomic", "--refunded-on 2026-10-02"]
)
def test_an_undo_takes_no_option_of_a_record(desk: Desk, run: str, option: str) -> None:
    error = desk.refused(f"mark-refunded --undo {run} --memo why --yes {option}", "undo-alone", exit_code=2)
    assert option.split()[0] in error["message"]
    assert desk.invoice("T-1").refunded.number == "40.00"


def test_a_record_may_be_named_by_its_credit_note(desk: Desk, run: str) -> None:
    (note,) = desk.json("credit-notes list --invoice T-1")
    desk.json(f"mark-refunded --undo {note['number']} --memo why --yes")
    assert [desk.invoice(number).refunded.number for number in ("T-1", "T-2")] == ["0.00", "30.00"]


@pytest.mark.parametrize(("named", "code"), [("T-1", "refund-not-found"), ("run_none", "run-not-found")])
def test_a_wrong_id_is_refused_before_a_memo_is_asked_for(desk: Desk, run: str, named: str, code: str) -> None:
    desk.refused(f"mark-refunded --undo {named}", code, exit_code=5)
    desk.refused(f"mark-refunded --undo {run}", "memo-needed", exit_code=2)
    desk.refused(f"mark-refunded --undo {run} --memo why", "confirmation-required", exit_code=2)


def test_naming_the_invoice_lists_its_records(desk: Desk, run: str) -> None:
    error = desk.refused("mark-refunded --undo T-1 --memo why --yes", "refund-not-found", exit_code=5)
    assert desk.invoice("T-1").refunds[0].id in error["hint"]


# --- a record that was matched with a provider's refund ------------------------------------------------------


def ingest(desk: Desk, provider: Any) -> Any:
    deliveries = desk.sandbox.deliveries(provider, drain=True)
    path = Path(desk.folder / "deliveries.jsonl")
    path.write_text("".join(json.dumps(asdict(delivery)) + "\n" for delivery in deliveries))
    return desk.ingest(path)


@pytest.fixture(params=["stripe", "adyen"])
def matched(desk: Desk, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A dashboard refund matched with its record: the provider and the refund's id."""
    provider = request.param
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    desk.sandbox.webhooks("stripe", secret=STRIPE_SECRET)
    reference = desk.paid_by_card(provider=provider, auto_refundable=False)
    desk.sandbox.deliveries(provider, drain=True)
    refund_id = desk.sandbox.dashboard_refund(reference, 4000)
    desk.json(f"mark-refunded INV-1 --amount 40 --reason other --reference {refund_id} --yes")
    ingest(desk, provider)
    assert desk.invoice("INV-1").refunds[0].provider_reference == refund_id
    assert desk.invoice("INV-1").refundable.number == "60.00"
    return provider, refund_id


def test_a_matched_record_is_valid_as_long_as_the_provider_s_refund(desk: Desk, matched: tuple[str, str]) -> None:
    _, refund_id = matched
    record = desk.invoice("INV-1").refunds[0].id
    error = desk.refused(f"mark-refunded --undo {record} --memo why --yes", "made-at-provider")
    assert refund_id in error["message"]
    assert "events list --about" in error["hint"]


def test_a_matched_record_may_be_undone_once_the_provider_s_refund_failed(desk: Desk, matched: tuple[str, str]) -> None:
    provider, refund_id = matched
    record = desk.invoice("INV-1").refunds[0].id
    if provider == "stripe":
        desk.sandbox.settle(refund_id, status="failed")
    else:
        desk.sandbox.settle(refund_id, event="REFUND_FAILED", reason="closed account")
    summary = ingest(desk, provider)
    assert desk("status").exit_code == 8, summary
    answer = desk.json("invoice show INV-1")
    (unreviewed,) = answer["payments"][0]["unreviewed"]
    command = f"refundcli mark-refunded --undo {record} --memo TEXT"
    assert command in unreviewed["message"]
    desk.json(f"{command.removeprefix('refundcli ').replace('TEXT', 'failed')} --yes")
    invoice = desk.invoice("INV-1")
    assert (invoice.refunds[0].state, invoice.refundable.number) == (RefundState.REVERSED, "100.00")
    assert desk.json("invoice show INV-1")["payments"][0]["unreviewed"] == []
    # The provider's next report agrees.
    if provider == "stripe":
        desk.json("reconcile --invoice INV-1")
    assert desk("status").exit_code == 0
    assert findings(desk.books) == []


def test_an_undo_leaves_other_events_of_the_refund_for_review(desk: Desk, matched: tuple[str, str]) -> None:
    provider, refund_id = matched
    record, payment = desk.invoice("INV-1").refunds[0].id, desk.invoice("INV-1").payments[0]
    desk.sandbox.settle(refund_id, **({"status": "failed"} if provider == "stripe" else {"event": "REFUND_FAILED"}))
    ingest(desk, provider)
    odd = Doubt(Provider(provider), payment.references, "REFUND_ODD", refund_id, "an unlisted word")
    desk.books.write(lambda tx: store_doubt(tx, odd, datetime.now(UTC), odd.why))
    desk.json(f"mark-refunded --undo {record} --memo failed --yes")
    (event,) = desk.json("invoice show INV-1")["payments"][0]["unreviewed"]
    assert event["message"] == "an unlisted word"


def test_an_old_releases_failure_note_ends_once_the_refund_is_retried(desk: Desk, matched: tuple[str, str]) -> None:
    record = desk.invoice("INV-1").refunds[0].id
    undo = f"mark-refunded --undo {record} --memo why --dry-run"
    for days in (-1, 1):
        at = datetime.now(UTC) + timedelta(days=days)
        with desk.books.engine.begin() as line:
            line.exec_driver_sql(f"UPDATE provider_event SET note = 'is recorded as {record}, but is failed'")
            line.exec_driver_sql(f"UPDATE refund SET succeeded_at = '{at:%Y-%m-%d %H:%M:%S.%f}'")
        if days < 0:
            desk.json(undo)
    desk.refused(undo, "made-at-provider")


def test_an_undo_of_a_run_that_skips_a_record_ends_with_9(desk: Desk, matched: tuple[str, str], run: str) -> None:
    with desk.books.engine.connect() as line:
        line.execution_options(writes=True).exec_driver_sql(f"UPDATE refund SET run_id = '{run}'")
        line.commit()
    for options in ("--dry-run", "--yes"):
        answer = desk.json(f"mark-refunded --undo {run} --memo why {options}", exit_code=9)
        assert (answer["records"], answer["not_undone"]) == (2, 1)
