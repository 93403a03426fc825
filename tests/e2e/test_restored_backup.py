"""After a backup is restored the same command runs again: one refund at the provider, and in the books."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import NewStore
from desk import Desk
from left_behind import leave_it_ready
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.sandbox.testing import RunningSandbox
from refundcli.store.checks.integrity import findings
from webhooks import ADYEN_KEY, settle_secrets

REFUND = "refund INV-1 --amount 40 --reason duplicate --request-key order-7 --yes"
PAST_KEYS = {"stripe": 25 * 3600, "adyen": 8 * 86400}


class Backups:
    """Copies of the store's file, as an administrator makes them."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.file = Path(desk.url.removeprefix("sqlite:///"))
        self.copy = desk.folder / "backup.db"

    def make(self) -> None:
        self.desk.books.engine.dispose()
        shutil.copy(self.file, self.copy)

    def restore(self) -> None:
        self.desk.books.engine.dispose()
        shutil.copy(self.copy, self.file)


@pytest.fixture
def desk(new_sqlite: NewStore, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Desk]:
    restored = Desk(new_sqlite(), sandbox, tmp_path)
    yield restored
    restored.books.engine.dispose()


@pytest.fixture
def backups(desk: Desk) -> Backups:
    return Backups(desk)


def made_once(desk: Desk, reference: str, amount: int = 4000) -> None:
    assert desk.refunded_at_provider(reference) == [amount]
    (refund,) = [r for r in desk.invoice("INV-1").refunds if r.state is not RefundState.FAILED]
    assert (refund.kind, refund.amount.minor) == (RefundKind.PROVIDER, amount)
    assert refund.provider_reference == desk.sandbox.refunds_of(reference)[0].id
    assert findings(desk.books) == []


@pytest.mark.parametrize("later", [0, PAST_KEYS["stripe"]])
def test_the_same_request_records_the_refund_that_stripe_has(desk: Desk, backups: Backups, later: int) -> None:
    reference = desk.paid_by_card()
    backups.make()
    first = desk.json(REFUND)["refunds"][0]
    backups.restore()
    assert desk.invoice("INV-1").refunds == ()
    desk.sandbox.advance(later)
    again = desk.json(REFUND)["refunds"][0]
    assert (again["id"], again["status"]) == (first["id"], "succeeded")
    assert again["credit_note"]["status"] == "issued"
    assert len(desk.sandbox.refund_requests) == 1
    made_once(desk, reference)
    # Once more, now as a known command.
    assert desk.json(REFUND)["refunds"][0]["id"] == first["id"]


def test_a_full_refund_is_recorded_although_nothing_is_left_at_stripe(desk: Desk, backups: Backups) -> None:
    reference = desk.paid_by_card()
    backups.make()
    full = "refund INV-1 --full --reason other --request-key order-7 --yes"
    desk.json(full)
    backups.restore()
    assert desk.json("refund INV-1 --full --reason other --request-key order-7 --dry-run")["dry_run"]
    assert desk.json(full)["invoice"]["status"] == "refunded"
    made_once(desk, reference, 10_000)


def test_adyen_gets_the_same_body_with_the_same_key_and_makes_one_refund(desk: Desk, backups: Backups) -> None:
    reference = desk.paid_by_card(provider="adyen")
    backups.make()
    desk.json(REFUND)
    backups.restore()
    desk.json(REFUND)
    first, second = desk.sandbox.refund_requests
    assert first.params == second.params
    assert first.idempotency_key == second.idempotency_key
    made_once(desk, reference)


@pytest.mark.parametrize("later", [0, PAST_KEYS["stripe"]])
def test_rows_of_a_file_are_recorded_and_not_sent_again(desk: Desk, backups: Backups, later: int) -> None:
    references = [desk.paid_by_card(f"INV-{n}") for n in (1, 2, 3)]
    file = desk.folder / "refunds.csv"
    file.write_text("invoice,amount,reason\nINV-1,40,other\nINV-2,,other\nINV-3,10,other\n")
    backups.make()
    desk.json(f"refund --from {file} --yes")
    backups.restore()
    desk.sandbox.advance(later)
    assert desk.json(f"refund --from {file} --yes")["refunded"] == 3
    assert [desk.refunded_at_provider(reference) for reference in references] == [[4000], [10_000], [1000]]
    assert len(desk.sandbox.refund_requests) == 3
    made_once(desk, references[0])


@pytest.mark.parametrize("later", [0, PAST_KEYS["stripe"]])
def test_what_the_backup_holds_as_never_sent_is_found_by_resume(desk: Desk, backups: Backups, later: int) -> None:
    reference = desk.paid_by_card()
    refund = leave_it_ready(desk, "--amount 40")
    backups.make()
    desk.json("resume --yes")
    backups.restore()
    desk.sandbox.advance(later)
    (outcome,) = desk.json(f"resume {refund} --yes")
    assert (outcome["status"], outcome["step"]) == ("succeeded", "settled")
    assert len(desk.sandbox.refund_requests) == 1
    made_once(desk, reference)


def test_a_key_is_as_old_as_the_refund_that_the_provider_made(desk: Desk, backups: Backups) -> None:
    """Otherwise a failed look-up could be followed by a replay with a forgotten key."""
    desk.paid_by_card()
    backups.make()
    desk.json(REFUND)
    backups.restore()
    sandbox_refund = desk.sandbox.refunds[0]
    sandbox_refund.created -= 30 * 3600
    desk.json(REFUND)
    (refund,) = desk.invoice("INV-1").refunds
    assert refund.sending
    assert refund.sending.first_sent_at
    assert abs(refund.sending.first_sent_at.timestamp() - sandbox_refund.created) < 1


def test_a_refund_found_with_another_amount_is_not_guessed_about(desk: Desk, backups: Backups) -> None:
    reference = desk.paid_by_card()
    backups.make()
    desk.json(REFUND)
    backups.restore()
    larger = REFUND.replace("--amount 40", "--amount 60")
    error = desk.refused(larger, "already-at-provider")
    assert "40.00 EUR" in error["message"]
    assert "60.00 EUR was requested" in error["message"]
    assert desk.refunded_at_provider(reference) == [4000]
    assert desk.invoice("INV-1").refunds == ()


def test_a_ready_refund_found_with_another_amount_stays_and_is_reported(desk: Desk, backups: Backups) -> None:
    reference = desk.paid_by_card()
    refund = leave_it_ready(desk, "--amount 40")
    desk.sandbox.dashboard_refund(reference, 3000, metadata={"refundcli_refund": refund})
    (outcome,) = desk.json("resume --yes", exit_code=8)
    assert (outcome["status"], outcome["step"]) == ("ready", "needs-attention")
    assert "30.00 EUR" in outcome["note"]
    assert desk.sandbox.refund_requests == []


def test_stripe_s_refund_recorded_as_external_is_not_sent_again(desk: Desk, backups: Backups) -> None:
    reference = desk.paid_by_card()
    backups.make()
    desk.json(REFUND)
    backups.restore()
    desk("reconcile --invoice INV-1")
    external = desk.invoice("INV-1").refunds[0]
    assert external.kind is RefundKind.EXTERNAL
    error = desk.refused(REFUND, "already-at-provider")
    assert f"reconcile --adopt {external.id}" in str(error["hint"])
    assert desk.refunded_at_provider(reference) == [4000]


def test_adyen_s_refund_reported_by_an_event_is_not_sent_again(desk: Desk, backups: Backups) -> None:
    """Past the key window Adyen would make a second refund."""
    settle_secrets(desk)
    desk.sandbox.webhooks("adyen", hmac_key=ADYEN_KEY)
    reference = desk.paid_by_card(provider="adyen")
    backups.make()
    desk.json(REFUND)
    backups.restore()
    file = desk.folder / "deliveries.jsonl"
    desk.sandbox.settle(desk.sandbox.refunds[0].id, success=True)
    file.write_text("".join(f"{line}\n" for line in queued_lines(desk, "adyen")))
    desk(f"events ingest {file}")
    assert [refund.kind for refund in desk.invoice("INV-1").refunds] == [RefundKind.EXTERNAL]
    desk.sandbox.advance(PAST_KEYS["adyen"])
    desk.refused(REFUND, "already-at-provider")
    assert desk.refunded_at_provider(reference) == [4000]


def queued_lines(desk: Desk, provider: Any) -> list[str]:
    from dataclasses import asdict

    return [json.dumps(asdict(delivery)) for delivery in desk.sandbox.deliveries(provider, drain=True)]
