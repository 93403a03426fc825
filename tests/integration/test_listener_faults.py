"""The listener while Stripe is unreachable or the store is locked or full: 200 only for stored events."""

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from desk import Desk
from refundcli.services.ports.rejection_reasons import count_by_reason
from webhooks import Post, adyen, item, listening, settle_secrets, signed, stripe, stripe_event, until


@pytest.fixture(autouse=True)
def _secrets(sqlite_desk: Desk) -> None:
    settle_secrets(sqlite_desk)


def numbered(number: int, **changes: str) -> Post:
    return adyen(signed(item(pspReference=f"EVENT{number:011}", **changes)))


@contextmanager
def locked(desk: Desk) -> Iterator[None]:
    with closing(sqlite3.connect(desk.url.removeprefix("sqlite:///"), isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            blocker.execute("ROLLBACK")


def states(desk: Desk) -> dict[str, str]:
    return {event["key"]: event["state"] for event in desk.json("events list")}


def test_it_starts_and_stores_everything_while_stripe_was_never_reached(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    reference = desk.paid_by_card("INV-1")
    payment = desk.paid_by_card("INV-2", provider="adyen")
    desk.sandbox.dashboard_refund(reference, 2500)
    there = desk.environ["REFUNDCLI_STRIPE_API_BASE"]
    desk.environ["REFUNDCLI_STRIPE_API_BASE"] = "http://127.0.0.1:9"
    event = stripe_event(data={"object": {"id": "re_x", "object": "refund", "payment_intent": reference}})
    connected = stripe_event(id="evt_other", account="acct_other")
    with listening(desk) as listener:
        assert listener.post(stripe(event)) == (200, "[accepted]")
        assert listener.post(stripe(connected)) == (200, "[accepted]")
        ten = {"currency": "EUR", "value": 1000}
        assert listener.post(adyen(signed(item(originalReference=payment, amount=ten))))[0] == 200
        until(lambda: desk.invoice("INV-2").refunded.number == "10.00", 60)
        until(lambda: "Stripe cannot be reached" in listener.output, 60)
        assert states(desk)["evt_desk1"] == "waiting"
        assert desk.json("status", exit_code=8)["events"]["waiting"] == 1
        assert listener.stop() == 0
    assert listener.output.count("Stripe cannot be reached") == 1, listener.output
    # The account is known from here on, so its events are ours.
    desk.environ["REFUNDCLI_STRIPE_API_BASE"] = there
    with listening(desk) as listener:
        until(lambda: desk.invoice("INV-1").refundable.number == "75.00", 60)
        assert listener.post(stripe(event)) == (200, "[accepted]")
        assert listener.health()["already_stored"] == 1
        assert listener.stop() == 0
    (account,) = [row["account"] for row in desk.json("status", exit_code=8)["accounts"]]
    assert {row["account"] for row in desk.json("events list --provider stripe")} == {account, "acct_other"}


def test_an_event_is_applied_once_its_account_is_known_as_ours(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    own = desk.sandbox.state.account_id
    there = desk.environ["REFUNDCLI_STRIPE_API_BASE"]
    desk.environ["REFUNDCLI_STRIPE_API_BASE"] = "http://127.0.0.1:9"
    with listening(desk) as listener:
        assert listener.post(stripe(stripe_event(account=own)))[0] == 200
        until(lambda: states(desk) == {"evt_desk1": "noted"})
        assert listener.stop() == 0
    desk.environ["REFUNDCLI_STRIPE_API_BASE"] = there
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    (event,) = desk.json("events list")
    assert (event["state"], event["not_applied"], event["account"]) == ("waiting", None, own)


def test_it_waits_for_a_store_that_is_in_use_and_then_starts(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_by_card(provider="adyen")
    release_lease = threading.Event()

    def hold() -> None:
        with locked(desk):
            is_locked.set()
            release_lease.wait(60)

    is_locked = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    is_locked.wait(20)
    threading.Timer(2, release_lease.set).start()
    with listening(desk) as listener:
        assert release_lease.is_set()
        assert listener.post(numbered(1))[0] == 200
        assert listener.stop() == 0
    holder.join()


def test_a_full_disk_is_answered_with_503_and_nothing_acknowledged_is_lost(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_by_card(provider="adyen")
    chance = random.Random(1)
    acknowledged = []
    # In blocks of 512 bytes for sh: room for a few more deliveries.
    path = desk.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as store:
        ((size,),) = store.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    with listening(desk, limit=f"ulimit -f {(size + 200_000) // 512}") as listener:
        statuses = []
        for number in range(60):
            post = numbered(number, reason=chance.randbytes(10_000).hex())
            status, _ = listener.post(post)
            statuses.append(status)
            if status == 200:
                acknowledged.append(f"EVENT{number:011}")
        assert set(statuses) == {200, 503}
        assert listener.health()["ok"] is False
        assert listener.post(adyen(item()))[0] == 401
        listener.stop()
    stored = {event["about"] for event in desk.json("events list --limit 1000")}
    assert set(acknowledged) <= stored
    assert "Traceback" not in listener.output
    # With room again it continues.
    with listening(desk) as listener:
        assert listener.post(numbered(99))[0] == 200
        assert listener.stop() == 0


def test_a_flood_of_forged_deliveries_costs_few_writes_and_is_counted_in_full(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.paid_by_card(provider="adyen")
    forged = adyen(*(signed(item(pspReference=f"F{number}"), "ab" * 16) for number in range(100)))
    with listening(desk) as listener:
        before = _changes(desk)
        began = time.monotonic()
        line = listener.connection()
        for _ in range(50):
            line.request("POST", forged.path, forged.body, forged.headers)
            assert line.getresponse().read() == b"forged"
        line.close()
        assert listener.stop() == 0
        seconds = time.monotonic() - began
    assert count_by_reason(desk.books.read(lambda tx: tx.deliveries.counts()), stored=False) == {"forged": 5_000}
    # With one heartbeat.
    assert _changes(desk) - before <= seconds + 3


def _changes(desk: Desk) -> int:
    """The store file's change counter."""
    with open(desk.url.removeprefix("sqlite:///"), "rb") as store:
        return int.from_bytes(store.read(28)[24:], "big")
