"""Before a first send the provider and the rules are checked, on every path."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from desk import Desk
from left_behind import leave_it_ready
from preloaded import run_script, script_of
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk import refund_run
from refundcli.services.bulk.worker.refund_sending import RefundSending
from refundcli.services.dispatch import protocol
from refundcli.store.checks.integrity import findings
from webhooks import ADYEN_KEY, settle_secrets

ONE_AT_A_TIME = {"REFUNDCLI_REFUNDS_IN_FLIGHT": "1", "REFUNDCLI_REFUNDS_STRIPE_RATE": "0"}


def in_a_process(desk: Desk, *command: str) -> int:
    """Another process's command while one of this process is at work."""
    return run_script(script_of(*command), os.environ | desk.environ).returncode


# --- resume --------------------------------------------------------------------------------------------------


def test_resume_does_not_send_what_the_dashboard_refunded_meanwhile(desk: Desk) -> None:
    reference = desk.paid_by_card()
    refund = leave_it_ready(desk, "--amount 40")
    desk.sandbox.dashboard_refund(reference, 4000)
    (outcome,) = desk.json(f"resume {refund} --yes", exit_code=3)
    assert (outcome["status"], outcome["step"]) == ("failed", "settled")
    assert outcome["note"].startswith("never sent: ")
    assert "40.00 EUR there" in outcome["note"]
    assert desk.sandbox.refund_requests == []
    assert desk.refunded_at_provider(reference) == [4000]
    assert desk.invoice("INV-1").reserved.minor == 0
    assert findings(desk.books) == []


def test_resume_prints_why_it_did_not_send(desk: Desk) -> None:
    reference = desk.paid_by_card()
    leave_it_ready(desk, "--amount 40")
    desk.sandbox.dashboard_refund(reference, 4000)
    answer = desk("resume --yes")
    assert answer.exit_code == 3
    assert "never sent: " in answer.out + answer.err


def test_resume_sends_what_nothing_speaks_against(desk: Desk) -> None:
    reference = desk.paid_by_card()
    leave_it_ready(desk, "--amount 40")
    (outcome,) = desk.json("resume --yes")
    assert outcome["status"] == "succeeded"
    assert desk.refunded_at_provider(reference) == [4000]


def test_resume_leaves_a_ready_refund_whose_provider_is_unreachable(desk: Desk) -> None:
    desk.paid_by_card()
    leave_it_ready(desk, "--amount 40")
    desk.sandbox.faults("500_before", call="lookup", times=9)
    (outcome,) = desk.json("resume --yes", exit_code=8)
    assert (outcome["status"], outcome["step"]) == ("ready", "not-asked")
    assert desk.sandbox.refund_requests == []


def test_a_refund_that_the_store_cannot_take_stops_no_other(desk: Desk) -> None:
    references = [desk.paid_by_card(f"INV-{n}") for n in (1, 2, 3)]
    for number in ("INV-1", "INV-2"):
        desk.sandbox.faults("drop_after")
        desk.json(f"refund {number} --amount 60 --reason other --yes", exit_code=8)
    desk.json("refund INV-3 --amount 60 --reason other --yes")
    # The first's provider id is already used by another refund.
    duplicate = desk.sandbox.refunds_of(references[0])[0].id
    with desk.books.engine.begin() as line:
        change = "UPDATE refund SET provider_reference = :taken WHERE provider_reference IS NOT NULL"
        line.execute(text(change), {"taken": duplicate})
    first, second = desk.json("resume", exit_code=8)
    assert (first["status"], first["step"]) == ("submitted", "not-written")
    assert duplicate in first["note"]
    assert (second["status"], second["step"]) == ("succeeded", "settled")


def test_what_awaits_approval_is_looked_up_and_never_sent(desk: Desk) -> None:
    reference = desk.paid_by_card()
    desk.sandbox.faults("drop_before")
    refund = desk.json("refund INV-1 --amount 60 --reason other --yes", exit_code=8)["refunds"][0]["id"]
    try:
        with desk.books.engine.begin() as line:
            line.execute(text("UPDATE refund SET state = 'awaiting-approval'"))
    except IntegrityError:
        pytest.skip("the schema does not know the state yet")
    (outcome,) = desk.json("resume", exit_code=8)
    assert (outcome["status"], outcome["step"]) == ("awaiting-approval", "awaiting-approval")
    assert len(desk.sandbox.refund_requests) == 1
    desk.sandbox.dashboard_refund(reference, 6000, metadata={"refundcli_refund": refund})
    (outcome,) = desk.json(f"resume {refund}")
    assert (outcome["status"], outcome["step"]) == ("succeeded", "settled")
    assert len(desk.sandbox.refund_requests) == 1
    assert findings(desk.books) == []


def test_a_request_that_was_killed_is_checked_when_it_comes_again(desk: Desk) -> None:
    reference = desk.paid_by_card()
    leave_it_ready(desk, "--amount 40 --request-key order-7")
    desk.sandbox.dashboard_refund(reference, 4000)
    desk("refund INV-1 --amount 40 --reason other --request-key order-7 --yes")
    assert desk.sandbox.refund_requests == []


# --- a bulk run that another process takes over --------------------------------------------------------------


class Killed(Exception):
    """Simulates a kill."""


def killed_after_reserving(desk: Desk, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker dies after T1 of a row; its lease names a process that is gone."""
    worker: Any = refund_run.RunWorker

    async def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RefundSending, "settle", die)
        patched.setattr(worker, "_leave", lambda self: self._context.pool.close())
        assert desk(f"refund --from {file} --yes").exit_code == 1
    with desk.books.engine.begin() as line:
        line.execute(text("UPDATE bulk_item SET worker = worker || 'gone' WHERE worker <> ''"))
        line.execute(text("UPDATE refund SET lease_owner = lease_owner || 'gone' WHERE lease_owner <> ''"))


def file_of(desk: Desk, *rows: str) -> Path:
    file = desk.folder / "refunds.csv"
    file.write_text("\n".join(["invoice,amount,reason", *rows]) + "\n")
    return file


def test_a_run_that_is_taken_over_does_not_send_what_the_dashboard_refunded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.environ |= ONE_AT_A_TIME
    references = [desk.paid_by_card(f"C-{n}") for n in (1, 2)]
    file = file_of(desk, "C-1,40,other", "C-2,40,other")
    killed_after_reserving(desk, file, monkeypatch)
    (ready,) = desk.invoice("C-1").refunds
    assert ready.state is RefundState.READY
    desk.sandbox.dashboard_refund(references[0], 4000)
    assert in_a_process(desk, "refund", "--from", str(file), "--yes") == 9
    assert [desk.refunded_at_provider(reference) for reference in references] == [[4000], [4000]]
    (refund,) = desk.invoice("C-1").refunds
    assert refund.state is RefundState.FAILED
    assert refund.failure.startswith("never sent: ")
    assert desk.invoice("C-1").reserved.minor == 0
    assert findings(desk.books) == []


def test_a_run_that_is_taken_over_records_what_the_provider_has(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restored backup: the refund is ready here and made at Stripe."""
    desk.environ |= ONE_AT_A_TIME
    reference = desk.paid_by_card("C-1")
    file = file_of(desk, "C-1,40,other")
    killed_after_reserving(desk, file, monkeypatch)
    (ready,) = desk.invoice("C-1").refunds
    refund_id = desk.sandbox.dashboard_refund(reference, 4000, metadata={"refundcli_refund": ready.id})
    assert desk.json(f"refund --from {file} --yes")["refunded"] == 1
    (refund,) = desk.invoice("C-1").refunds
    assert (refund.state, refund.provider_reference) == (RefundState.SUCCEEDED, refund_id)
    assert desk.sandbox.refund_requests == []
    assert findings(desk.books) == []


# --- a pause of the provider ---------------------------------------------------------------------------------


def dispute_at_the_provider(desk: Desk, reference: str) -> None:
    desk.sandbox.dispute(reference)


def refund_in_the_dashboard(desk: Desk, reference: str) -> None:
    desk.sandbox.dashboard_refund(reference, 4000)


def chargeback_in_an_import(desk: Desk, reference: str) -> None:
    header = "number,customer,currency,total,status,issued_on,paid_amount,payment_method,provider,payment_reference"
    provider = "stripe" if reference.startswith(("pi_", "ch_")) else "adyen"
    row = f"INV-1,cus_204,EUR,100.00,paid,2026-09-01,100.00,card,{provider},{reference},open"
    file = desk.folder / "again.csv"
    file.write_text(f"{header},dispute\n{row}\n")
    assert in_a_process(desk, "invoice", "import", str(file)) == 0
    assert desk.invoice("INV-1").dispute == "open"


def chargeback_by_event(desk: Desk, reference: str) -> None:
    desk.sandbox.dispute(reference)
    lines = [json.dumps(asdict(delivery)) for delivery in desk.sandbox.deliveries("adyen", drain=True)]
    file = desk.folder / "deliveries.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    in_a_process(desk, "events", "ingest", str(file))
    assert desk.invoice("INV-1").dispute == "open"


MEANWHILE = [
    ("stripe", dispute_at_the_provider, []),
    ("stripe", refund_in_the_dashboard, [4000]),
    ("stripe", chargeback_in_an_import, []),
    ("adyen", chargeback_in_an_import, []),
    ("adyen", chargeback_by_event, []),
]


@pytest.mark.parametrize(("provider", "happens", "amounts"), MEANWHILE)
def test_after_a_pause_a_run_does_not_send_what_is_refused_by_now(
    desk: Desk,
    provider: str,
    happens: Callable[[Desk, str], None],
    amounts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    reference = desk.paid_by_card(provider=provider)
    desk.sandbox.faults("429", provider=provider, retry_after=2)  # type: ignore[arg-type]
    is_sent_again, times = RefundSending._is_sent_again, list[None]()

    def then(*args: Any) -> bool:
        if not times:
            happens(desk, reference)
        times.append(None)
        return is_sent_again(*args)

    monkeypatch.setattr(RefundSending, "_is_sent_again", then)
    answer = desk.json(f"refund --from {file_of(desk, 'INV-1,40,other')} --yes", exit_code=9)
    assert (answer["refunded"], answer["refused_by_code"]) == (0, {"never-sent": 1})
    assert desk.refunded_at_provider(reference) == amounts
    (refund,) = [entry for entry in desk.invoice("INV-1").refunds if not entry.is_external]
    assert refund.state is RefundState.FAILED
    assert refund.failure.startswith("never sent: ")
    assert findings(desk.books) == []


@pytest.mark.parametrize(("provider", "happens", "amounts"), MEANWHILE)
def test_after_a_pause_one_refund_is_not_sent_if_it_is_refused_by_now(
    desk: Desk,
    provider: str,
    happens: Callable[[Desk, str], None],
    amounts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    reference = desk.paid_by_card(provider=provider)
    desk.sandbox.faults("429", provider=provider)  # type: ignore[arg-type]
    waiting: Any = protocol._Recheck
    may_still = waiting.may_retry

    def then(self: Any, *args: Any) -> bool:
        happens(desk, reference)
        return bool(may_still(self, *args))

    monkeypatch.setattr(waiting, "may_retry", then)
    answer = desk("refund INV-1 --amount 40 --reason other --yes -o json")
    assert (answer.exit_code, answer.error["code"]) == (3, "never-sent")
    assert desk.refunded_at_provider(reference) == amounts
    assert desk.invoice("INV-1").reserved.minor == 0
    assert findings(desk.books) == []


def test_a_run_whose_provider_is_only_busy_sends_everything(desk: Desk) -> None:
    references = [desk.paid_by_card(f"INV-{n}") for n in range(1, 5)]
    desk.sandbox.faults("429", "429", "429", retry_after=2)
    file = file_of(desk, *(f"INV-{n},40,other" for n in range(1, 5)))
    assert desk.json(f"refund --from {file} --yes")["refunded"] == 4
    assert [desk.refunded_at_provider(reference) for reference in references] == [[4000]] * 4
