"""The listener, by real sockets: what is acknowledged is stored, what is not believed changes nothing, it stays up."""

import json
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from desk import Desk
from refundcli.sandbox.testing import RunningSandbox
from webhooks import (
    ADYEN_KEY,
    STRIPE_SECRET,
    Post,
    RunningListener,
    adyen,
    item,
    listening,
    settle_secrets,
    signed,
    stripe,
    stripe_event,
    until,
)

YEAR = 365 * 24 * 3600


@pytest.fixture(autouse=True)
def _secrets(desk: Desk) -> None:
    settle_secrets(desk)


def books_now(desk: Desk) -> tuple[int, ...]:
    """How much there is of everything that money and events could change."""
    return tuple(desk.count(table) for table in ("provider_event", "refund", "credit_note", "audit_entry"))


def refused_so_far(desk: Desk) -> dict[str, int]:
    return desk.books.read(lambda tx: tx.refused_deliveries())


BAD: dict[str, tuple[Callable[[], Post], int, str]] = {
    "no signature": (lambda: adyen(item()), 401, "unsigned"),
    "another's signature": (lambda: adyen(signed(item(), "ab" * 16)), 401, "forged"),
    "an amount changed after": (
        lambda: adyen(signed(item()) | {"amount": {"currency": "EUR", "value": 1}}),
        401,
        "forged",
    ),
    "its second item is forged": (
        lambda: adyen(signed(item()), signed(item(pspReference="EVENT00000000002"), "ab" * 16)),
        401,
        "forged",
    ),
    "its second item is unsigned": (lambda: adyen(signed(item()), item(pspReference="X2")), 401, "unsigned"),
    # The signed text joins the fields by colons: it is the same for both of these.
    "a field shifted into the next": (lambda: shifted("EVENT00000000001:PAYMENT000000001", None), 400, "unreadable"),
    "a field shifted out of the next": (lambda: shifted("EVENT00000000001", ":PAYMENT000000001"), 400, "unreadable"),
    "live": (lambda: adyen(signed(item()), live="true"), 400, "other-mode"),
    "another shop's": (lambda: adyen(signed(item(merchantAccountCode="Other"))), 400, "other-account"),
    "a year ahead, Adyen": (lambda: adyen(signed(item(eventDate="2099-01-01T00:00:00Z"))), 401, "out-of-time"),
    "no date that is one": (lambda: adyen(signed(item(eventDate="0001-01-01T00:00:00+14:00"))), 400, "unreadable"),
    "nothing": (lambda: Post("/adyen", b""), 400, "unreadable"),
    "too deep": (lambda: Post("/adyen", b"[" * 100_000), 400, "unreadable"),
    "too large": (lambda: Post("/adyen", b"x" * (1024 * 1024 + 1)), 413, "too-large"),
    "Stripe unsigned": (lambda: Post("/stripe", b"{}"), 401, "unsigned"),
    "Stripe forged": (lambda: stripe(stripe_event(), secret="another"), 401, "forged"),
    "Stripe replayed late": (lambda: stripe(stripe_event(), at=time.time() - 3600), 401, "out-of-time"),
    "Stripe signed a year ahead": (lambda: stripe(stripe_event(), at=time.time() + YEAR), 401, "out-of-time"),
    "Stripe made a year ahead": (
        lambda: stripe(stripe_event(created=int(time.time()) + YEAR)),
        401,
        "out-of-time",
    ),
    "Stripe live": (lambda: stripe(stripe_event(livemode=True)), 400, "other-mode"),
    "Stripe, another account": (lambda: stripe(stripe_event(account="acct_other")), 400, "other-account"),
    "half a letter": (lambda: stripe(stripe_event(kind="refund.\ud800")), 400, "unreadable"),
    "a NUL": (lambda: stripe(stripe_event(kind="refund.\0")), 400, "unreadable"),
}


def shifted(reference: str, original: str | None) -> Post:
    """Signed as it should be, then its fields moved so that the signed text stays the same."""
    told = signed(item())
    moved = told | {"pspReference": reference, "originalReference": original}
    return adyen({name: value for name, value in moved.items() if value is not None})


def test_what_is_not_believed_changes_nothing_and_is_counted_and_shown(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    with listening(desk) as listener:
        before = books_now(desk)
        expected: dict[str, int] = {}
        for name, (made, status, flaw) in BAD.items():
            assert listener.post(made()) == (status, flaw), name
            expected[flaw] = expected.get(flaw, 0) + 1
        assert listener.health()["refused"] == expected
        assert listener.stop() == 0
    assert books_now(desk) == before
    assert refused_so_far(desk) == expected
    assert desk.json("status")["refused_deliveries"] == expected
    assert "deliveries were not believed" in listener.told
    assert "forged" in listener.told
    for secret in (ADYEN_KEY, STRIPE_SECRET):
        assert secret not in listener.told


def test_what_is_acknowledged_is_in_the_store_and_twice_is_once(desk: Desk) -> None:
    told = adyen(signed(item()), signed(item("CAPTURE", pspReference="EVENT00000000002")))
    with listening(desk) as listener:
        for _ in range(3):
            assert listener.post(told) == (200, "[accepted]")
            assert desk.count("provider_event") == 2
        assert listener.post(stripe(stripe_event("customer.created")))[0] == 200
        assert desk.count("provider_event") == 3
        health = listener.health()
        assert (health["ok"], health["kept"], health["known"]) == (True, 3, 4)
        until(lambda: {each["state"] for each in desk.json("events list")} == {"unmatched", "noted"})
        assert listener.stop(signal.SIGINT) == 0
    assert "Stopped: 3 events stored, 4 known already." in listener.told


def test_a_thousand_fuzzed_deliveries_leave_it_up_and_the_books_as_they_were(desk: Desk) -> None:
    chance = random.Random(20261002)
    good = [adyen(signed(item())), stripe(stripe_event())]
    with listening(desk) as listener:
        before = books_now(desk)
        refused = 0
        for _ in range(1_000):
            refused += send_raw(listener, fuzzed(chance, chance.choice(good)))
        until(lambda: sum(listener.health()["refused"].values()) == refused)
        assert refused > 500
        assert listener.post(good[0])[0] == 200
        assert listener.stop() == 0
    assert books_now(desk)[1:] == before[1:]
    assert desk.count("provider_event") == 1
    assert sum(refused_so_far(desk).values()) == refused
    assert "Traceback" not in listener.told
    assert all(character.isprintable() or character == "\n" for character in listener.told)


def fuzzed(chance: random.Random, good: Post) -> bytes:
    """A delivery with something wrong, as bytes on the wire."""
    body, headers = bytearray(good.body), dict(good.headers)
    kind = chance.choice(["bytes", "cut", "noise", "headers", "json", "signature"])
    if kind == "bytes":
        for _ in range(chance.randint(1, 20)):
            body[chance.randrange(len(body))] ^= chance.randint(1, 255)
    elif kind == "cut":
        del body[chance.randrange(len(body)) :]
    elif kind == "noise":
        body = bytearray(chance.randbytes(chance.randrange(2_000)))
    elif kind == "json":
        body = bytearray(
            json.dumps(chance.choice([None, [], {}, 1, "x", {"live": {}, "notificationItems": [1]}])).encode()
        )
    if kind in ("headers", "signature"):
        name = "Stripe-Signature" if good.path == "/stripe" else "Authorization"
        headers = {name: chance.randbytes(chance.randrange(1, 200)).decode("latin-1")}
        body = bytearray(body[:-1])
    lines = [f"POST {good.path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def send_raw(listener: RunningListener, data: bytes) -> bool:
    """Whether it was answered, which it must be: with a refusal."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as line:
        line.sendall(data)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := line.recv(65536):
                answer += piece
    assert answer.split(b" ", 2)[1] in (b"400", b"401"), (data, answer)
    return True


def test_a_client_that_dribbles_does_not_hold_the_others(desk: Desk) -> None:
    with listening(desk) as listener:
        slow_head = socket.create_connection(("127.0.0.1", listener.port))
        slow_head.sendall(b"POST /adyen HT")
        slow_body = socket.create_connection(("127.0.0.1", listener.port))
        slow_body.sendall(b"POST /adyen HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        started = time.monotonic()
        for number in range(5):
            assert listener.post(adyen(signed(item(pspReference=f"EVENT{number:011}"))))[0] == 200
        assert time.monotonic() - started < 8
        for line, answer in ((slow_head, b""), (slow_body, b"HTTP/1.1 408")):
            line.settimeout(20)
            assert line.recv(100)[:12] == answer
            line.close()
        assert listener.stop() == 0


def test_a_store_that_cannot_be_written_is_answered_with_503_and_then_taken(desk: Desk) -> None:
    told = adyen(signed(item()))
    with listening(desk) as listener:
        with desk.books.engine.begin() as line:
            line.exec_driver_sql("ALTER TABLE provider_event RENAME TO away")
        assert listener.post(told)[0] == 503
        assert listener.health()["ok"] is False
        with desk.books.engine.begin() as line:
            line.exec_driver_sql("ALTER TABLE away RENAME TO provider_event")
        assert listener.post(told) == (200, "[accepted]")
        assert listener.health()["ok"] is True
        assert listener.stop() == 0
    assert desk.count("provider_event") == 1


def test_sigterm_in_the_middle_of_deliveries_loses_none_that_was_answered(desk: Desk) -> None:
    with listening(desk) as listener:
        lines = [listener.connection() for _ in range(8)]
        acknowledged = []
        for number, line in enumerate(lines):
            told = adyen(signed(item(pspReference=f"EVENT{number:011}")))
            line.request("POST", told.path, told.body, told.headers)
        listener.process.send_signal(signal.SIGTERM)
        for number, line in enumerate(lines):
            with suppress(OSError):
                if line.getresponse().status == 200:
                    acknowledged.append(f"EVENT{number:011}")
            line.close()
        assert listener.process.wait(timeout=30) == 0
    kept = {each["about"] for each in desk.json("events list")}
    assert set(acknowledged) <= kept


def test_a_path_without_a_secret_is_not_there_and_without_any_there_is_no_listener(desk: Desk) -> None:
    del desk.environ["REFUNDCLI_STRIPE_WEBHOOK_SECRET"]
    with listening(desk) as listener:
        assert listener.post(stripe(stripe_event()))[0] == 404
        assert listener.post(adyen(signed(item())))[0] == 200
        assert listener.stop() == 0
    assert "Stripe has no webhook secret in the settings: /stripe is not there." in listener.told
    del desk.environ["REFUNDCLI_ADYEN_HMAC_KEY"]
    desk.refused("events listen --port 0", "no-webhooks-configured", exit_code=4)


def test_the_sandbox_delivers_and_the_books_follow(desk: Desk, sandbox: RunningSandbox) -> None:
    with listening(desk) as listener:
        sandbox.webhooks("adyen", url=f"{listener.url}/adyen", hmac_key=ADYEN_KEY)
        sandbox.webhooks("stripe", url=f"{listener.url}/stripe", secret=STRIPE_SECRET)
        desk.paid_by_card(provider="adyen")
        desk.paid_by_card("INV-2")
        desk.json("refund INV-1 --full --reason other --yes")
        sandbox.dashboard_refund(desk.invoice("INV-2").payments[0].reference, 2500)
        answers = sandbox.deliver(order="shuffled", times=2)
        assert answers
        assert set(answers) == {200}
        until(lambda: desk.invoice("INV-1").refunded.number == "100.00")
        until(lambda: desk.invoice("INV-2").refunded.number == "25.00")
        assert listener.stop() == 0


def test_basic_auth_is_asked_for_where_it_is_set(desk: Desk, sandbox: RunningSandbox) -> None:
    desk.environ |= {
        "REFUNDCLI_ADYEN_WEBHOOK_USERNAME": "adyen",
        "REFUNDCLI_ADYEN_WEBHOOK_PASSWORD": "env:ADYEN_WEBHOOK_WORD",
        "ADYEN_WEBHOOK_WORD": "open-sesame",
    }
    with listening(desk) as listener:
        told = adyen(signed(item()))
        assert listener.post(told) == (401, "unauthorized")
        assert desk.count("provider_event") == 0
        sandbox.webhooks(
            "adyen", url=f"{listener.url}/adyen", hmac_key=ADYEN_KEY, username="adyen", password="open-sesame"
        )
        desk.paid_by_card(provider="adyen")
        assert set(sandbox.deliver()) == {200}
        assert listener.stop() == 0


def test_a_listener_beyond_this_machine_is_warned_about(desk: Desk) -> None:
    with listening(desk, "--host", "0.0.0.0") as listener:
        assert listener.post(adyen(signed(item())))[0] == 200
        assert listener.stop() == 0
    assert "Listening on 0.0.0.0" in listener.told


def test_webhooks_of_the_other_mode_are_not_listened_to(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.environ["REFUNDCLI_ADYEN_ENVIRONMENT"] = "live"
    del desk.environ["REFUNDCLI_ADYEN_API_BASE"]
    desk.refused("events listen --port 0", "wrong-mode", exit_code=4)
