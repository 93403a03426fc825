"""The listener over real sockets: it stores what it acknowledges, ignores what it cannot verify, and stays up."""

import gzip
import json
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from desk import Desk
from refundcli.domain.statuses import Provider
from refundcli.sandbox.testing import RunningSandbox
from refundcli.services.ports.rejection_reasons import count_by_reason
from webhooks import (
    ADYEN_KEY,
    STRIPE_SECRET,
    Post,
    RunningListener,
    adyen,
    item,
    listening,
    other_shape,
    settle_secrets,
    signed,
    stripe,
    stripe_body,
    stripe_event,
    until,
)

YEAR = 365 * 24 * 3600


@pytest.fixture(autouse=True)
def _secrets(desk: Desk) -> None:
    settle_secrets(desk)


def books_now(desk: Desk) -> tuple[int, ...]:
    """Row counts and sums of everything that a delivery could change."""
    return tuple(desk.count(table) for table in ("provider_event", "refund", "credit_note", "audit_entry"))


def rejected_so_far(desk: Desk) -> dict[str, int]:
    return count_by_reason(desk.books.read(lambda tx: tx.deliveries.counts()), stored=False)


REJECTED: dict[str, tuple[Callable[[], Post], int, str]] = {
    "no signature": (lambda: adyen(item()), 401, "unsigned"),
    "another's signature": (lambda: adyen(signed(item(), "ab" * 16)), 401, "forged"),
    "an amount changed after": (
        lambda: adyen(signed(item()) | {"amount": {"currency": "EUR", "value": 1}}),
        401,
        "forged",
    ),
    # The signed text joins fields by colons, so both have the same signature.
    "a field shifted into the next": (lambda: shifted("EVENT00000000001:PAYMENT000000001", None), 401, "forged"),
    "a field shifted out of the next": (lambda: shifted("EVENT00000000001", ":PAYMENT000000001"), 401, "forged"),
    "a list for a field": (lambda: adyen(signed(item()) | {"success": ["true"]}), 401, "forged"),
    "no item": (lambda: adyen(), 400, "unreadable"),
    "no list of items": (lambda: Post("/adyen", b'{"live":"false","notificationItems":{}}'), 400, "unreadable"),
    "other shape, unsigned": (lambda: Post("/adyen", b'{"type":"ach.notificationOfChange"}'), 401, "unsigned"),
    "other shape, forged": (lambda: other_shape({"type": "x"}, key="ab" * 16), 401, "forged"),
    "nothing": (lambda: Post("/adyen", b""), 400, "unreadable"),
    "too deep": (lambda: Post("/adyen", b"[" * 100_000), 400, "unreadable"),
    "no number": (lambda: Post("/adyen", b'{"notificationItems": NaN}'), 400, "unreadable"),
    "a huge number": (lambda: Post("/adyen", b'{"notificationItems": ' + b"9" * 100_000 + b"}"), 400, "unreadable"),
    "compressed": (lambda: Post("/adyen", gzip.compress(adyen(signed(item())).body)), 400, "unreadable"),
    "too large": (lambda: Post("/adyen", b"x" * (1024 * 1024 + 1)), 413, "too-large"),
    "Stripe unsigned": (lambda: Post("/stripe", b"{}"), 401, "unsigned"),
    "Stripe forged": (lambda: stripe(stripe_event(), secret="another"), 401, "forged"),
    "Stripe signed at two times": (lambda: signed_twice(stripe(stripe_event())), 401, "forged"),
    "Stripe replayed late": (lambda: stripe(stripe_event(), at=time.time() - 3600), 401, "out-of-time"),
    "Stripe signed two minutes ahead": (lambda: stripe(stripe_event(), at=time.time() + 120), 401, "out-of-time"),
}


def shifted(reference: str, original: str | None) -> Post:
    """Signed, then its fields shifted so that the signed text stays the same."""
    original_item = signed(item())
    moved = original_item | {"pspReference": reference, "originalReference": original}
    return adyen({name: value for name, value in moved.items() if value is not None})


def signed_twice(post: Post) -> Post:
    return Post(post.path, post.body, {"Stripe-Signature": f"t=1,{post.headers['Stripe-Signature']}"})


def test_a_delivery_that_is_not_verified_changes_nothing_and_is_counted(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    with listening(desk) as listener:
        before = books_now(desk)
        expected: dict[str, int] = {}
        for name, (make, status, reason) in REJECTED.items():
            assert listener.post(make()) == (status, reason), name
            expected[reason] = expected.get(reason, 0) + 1
        assert listener.health()["rejected"] == expected
        assert listener.stop() == 0
    assert books_now(desk) == before
    assert rejected_so_far(desk) == expected
    assert desk.json("status")["rejected_webhooks"] == expected
    counts = desk.books.read(lambda tx: tx.deliveries.counts())
    assert {(count.provider, count.is_stored) for count in counts} == {
        (Provider.ADYEN, False),
        (Provider.STRIPE, False),
    }
    assert all(count.first_at and count.last_at and count.first_at <= count.last_at for count in counts)
    assert "Rejected deliveries: " in listener.output
    assert "forged" in listener.output
    assert "Traceback" not in listener.output
    for secret in (ADYEN_KEY, STRIPE_SECRET):
        assert secret not in listener.output


# Verified, but not for these books or of an unknown shape. Each is stored under its own id.
NOT_APPLIED: dict[str, tuple[Callable[[str], Post], str]] = {
    "live": (lambda id_: adyen(signed(item(pspReference=id_)), live="true"), "other-mode"),
    "of no mode": (lambda id_: adyen(signed(item(pspReference=id_)), live="perhaps"), "unreadable"),
    "another shop's": (
        lambda id_: adyen(signed(item(pspReference=id_, merchantAccountCode="Other"))),
        "other-account",
    ),
    "a year ahead": (
        lambda id_: adyen(signed(item(pspReference=id_, eventDate="2099-01-01T00:00:00Z"))),
        "unreadable",
    ),
    "no date that is one": (
        lambda id_: adyen(signed(item(pspReference=id_, eventDate="0001-01-01T00:00:00+14:00"))),
        "unreadable",
    ),
    "an odd word": (lambda id_: adyen(signed(item("refund issued", pspReference=id_))), "unreadable"),
    "neither true nor false": (lambda id_: adyen(signed(item(pspReference=id_, success="maybe"))), "unreadable"),
    "a NUL": (lambda id_: adyen(signed(item(pspReference=f"{id_}\0"))), "unreadable"),
    "half a letter in a list of payments": (
        lambda id_: adyen(
            signed(item(pspReference=id_, additionalData={"order-1-pspReference": "\ud800", "hmacSignature": ""}))
        ),
        "unreadable",
    ),
    "other shape": (lambda id_: other_shape({"type": "balance.updated", "data": {"id": id_}}), "unreadable"),
    "Stripe live": (lambda id_: stripe(stripe_event(id=f"evt_{id_}", livemode=True)), "other-mode"),
    "Stripe, another account": (
        lambda id_: stripe(stripe_event(id=f"evt_{id_}", account="acct_other")),
        "other-account",
    ),
    "Stripe made a year ahead": (
        lambda id_: stripe(stripe_event(id=f"evt_{id_}", created=int(time.time()) + YEAR)),
        "unreadable",
    ),
    "Stripe thin": (
        lambda id_: stripe(
            {
                "id": f"evt_{id_}",
                "object": "v2.core.event",
                "type": "v2.core.account.updated",
                "livemode": False,
                "created": "2026-10-02T12:00:00.000Z",
                "related_object": {"id": "acct_1", "type": "v2.core.account", "url": "/v2/core/accounts/acct_1"},
            }
        ),
        "unreadable",
    ),
    "Stripe, half a letter": (lambda id_: stripe(stripe_event(kind=f"refund.\ud800{id_}")), "unreadable"),
    "Stripe, a NUL": (lambda id_: stripe(stripe_event(kind=f"refund.\0{id_}")), "unreadable"),
    "Stripe, no JSON": (lambda id_: stripe_body(f"refund {id_}".encode()), "unreadable"),
    "Stripe, no object": (lambda id_: stripe_body(f'["{id_}"]'.encode()), "unreadable"),
    "Stripe, no UTF-8": (lambda id_: stripe_body(b"\xff\xfe" + id_.encode()), "unreadable"),
    "Stripe, compressed": (lambda id_: stripe_body(gzip.compress(id_.encode(), mtime=0)), "unreadable"),
    "Stripe, too deep": (lambda id_: stripe_body(b"[" * 100_000 + id_.encode()), "unreadable"),
    "Stripe, deep": (
        lambda id_: stripe_body(f'{{"id": "{id_}", "a": {"[" * 900}{"]" * 900}}}'.encode()),
        "unreadable",
    ),
    "Stripe, no number": (lambda id_: stripe_body(f'{{"id": "{id_}", "created": NaN}}'.encode()), "unreadable"),
    "Stripe, a huge number": (
        lambda id_: stripe_body(f'{{"id": "{id_}", "created": {"9" * 100_000}}}'.encode()),
        "unreadable",
    ),
    "Stripe, empty": (lambda id_: stripe_body(b""), "unreadable"),
}


def test_a_verified_delivery_is_stored_whatever_it_is_and_changes_nothing(desk: Desk) -> None:
    desk.paid_by_card(provider="adyen")
    desk.paid_by_card("INV-2")
    with listening(desk) as listener:
        before = books_now(desk)[1:]
        expected: dict[str, int] = {}
        for place, (name, (make, reason)) in enumerate(NOT_APPLIED.items()):
            post = make(f"ODD{place:013}")
            for _ in range(2):
                assert listener.post(post) == (200, "[accepted]"), name
            expected[reason] = expected.get(reason, 0) + 1
        until(lambda: {event["state"] for event in desk.json("events list")} == {"noted"})
        assert listener.stop() == 0
    counts = desk.books.read(lambda tx: tx.deliveries.counts())
    assert count_by_reason(counts, stored=True) == expected
    assert count_by_reason(counts, stored=False) == {}
    assert books_now(desk)[1:] == before, desk.books.inspect(
        lambda connection: connection.exec_driver_sql("SELECT action, subject, after FROM audit_entry").all()
    )
    assert "Stored, not applied: " in desk("events list").err
    for event in desk.json("events list"):
        assert event["not_applied"]
        assert desk(f"events show {event['id']}").exit_code == 0
        assert desk(f"events show {event['id']} -o json").exit_code == 0
    for number in ("INV-1", "INV-2"):
        desk.json(f"refund {number} --full --reason other --yes")
    assert "Traceback" not in listener.output


def test_an_unapplied_event_blocks_its_payment_until_it_is_acknowledged(desk: Desk) -> None:
    ours = {"originalReference": desk.paid_by_card("INV-1", provider="adyen")}
    intent = desk.paid_by_card("INV-2")
    thin = {"id": "evt_1", "object": "v2.core.event", "type": "v2.refund", "related_object": {"id": intent}}
    with listening(desk) as listener:
        assert listener.post(adyen(signed(item(merchantAccountCode="Other", **ours)), live="true"))[0] == 200
        assert listener.post(stripe(thin))[0] == 200
        until(lambda: len(desk.json("events list --state unreviewed")) == 2)
        assert listener.stop() == 0
    for number in ("INV-1", "INV-2"):
        desk.refused(f"refund {number} --full --reason other --yes", "unreviewed-event")
    for event in desk.json("events list --state unreviewed"):
        desk.json(f"events acknowledge {event['id']} --memo seen")
    for number in ("INV-1", "INV-2"):
        desk.json(f"refund {number} --full --reason other --yes")


def test_each_item_of_a_batch_is_judged_by_itself(desk: Desk) -> None:
    names = [f"BATCH{number:011}" for number in range(1_000)]
    good = [signed(item("CAPTURE", pspReference=name)) for name in names]
    bad = [signed(item(pspReference="FORGED"), "ab" * 16), item(pspReference="UNSIGNED")]
    foreign = signed(item(pspReference="FOREIGN", merchantAccountCode="Other"))
    with listening(desk) as listener:
        batch = adyen(*good[:2], *bad, foreign, good[0], good[2])
        assert listener.post(batch) == (200, "[accepted]")
        assert desk.count("provider_event") == 4
        assert listener.post(adyen(*bad)) == (401, "forged")
        assert listener.post(adyen(*good)) == (200, "[accepted]")
        assert desk.count("provider_event") == 1_001
        assert listener.stop() == 0
    assert rejected_so_far(desk) == {"forged": 2, "unsigned": 2}
    assert [event["about"] for event in desk.json("events list --limit 2000") if event["not_applied"]] == ["FOREIGN"]


def test_what_is_acknowledged_is_in_the_store_and_twice_is_once(desk: Desk) -> None:
    post = adyen(signed(item()), signed(item("CAPTURE", pspReference="EVENT00000000002")))
    with listening(desk) as listener:
        for _ in range(3):
            assert listener.post(post) == (200, "[accepted]")
            assert desk.count("provider_event") == 2
        assert listener.post(stripe(stripe_event("customer.created")))[0] == 200
        assert desk.count("provider_event") == 3
        health = listener.health()
        assert (health["ok"], health["stored"], health["already_stored"]) == (True, 3, 4)
        until(lambda: {event["state"] for event in desk.json("events list")} == {"unmatched", "noted"})
        assert listener.stop(signal.SIGINT) == 0
    assert "Stopped. Events stored: 3; already known: 4." in listener.output


def test_a_thousand_fuzzed_deliveries_leave_it_up_and_the_books_as_they_were(desk: Desk) -> None:
    chance = random.Random(20261002)
    good = [adyen(signed(item())), stripe(stripe_event())]
    with listening(desk) as listener:
        before = books_now(desk)
        refused = 0
        for _ in range(1_000):
            refused += send_raw(listener, fuzzed(chance, chance.choice(good)))
        until(lambda: sum(listener.health()["rejected"].values()) == refused)
        assert refused > 500
        assert listener.post(good[0])[0] == 200
        assert listener.stop() == 0
    assert books_now(desk)[1:] == before[1:]
    assert desk.count("provider_event") == 1
    assert sum(rejected_so_far(desk).values()) == refused
    assert "Traceback" not in listener.output
    assert all(character.isprintable() or character == "\n" for character in listener.output)


def fuzzed(chance: random.Random, good: Post) -> bytes:
    """An invalid delivery as raw bytes."""
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
    """Whether it got a response, which must be a refusal."""
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
    post = adyen(signed(item()))
    with listening(desk) as listener:
        with desk.books.engine.begin() as line:
            line.exec_driver_sql("ALTER TABLE provider_event RENAME TO away")
        assert listener.post(post)[0] == 503
        assert listener.health()["ok"] is False
        with desk.books.engine.begin() as line:
            line.exec_driver_sql("ALTER TABLE away RENAME TO provider_event")
        assert listener.post(post) == (200, "[accepted]")
        assert listener.health()["ok"] is True
        assert listener.stop() == 0
    assert desk.count("provider_event") == 1


def test_sigterm_in_the_middle_of_deliveries_loses_none_that_was_answered(desk: Desk) -> None:
    with listening(desk) as listener:
        lines = [listener.connection() for _ in range(8)]
        acknowledged = []
        for number, line in enumerate(lines):
            post = adyen(signed(item(pspReference=f"EVENT{number:011}")))
            line.request("POST", post.path, post.body, post.headers)
        listener.process.send_signal(signal.SIGTERM)
        for number, line in enumerate(lines):
            with suppress(OSError):
                if line.getresponse().status == 200:
                    acknowledged.append(f"EVENT{number:011}")
            line.close()
        assert listener.process.wait(timeout=30) == 0
    stored = {event["about"] for event in desk.json("events list")}
    assert set(acknowledged) <= stored


def test_a_path_needs_a_secret_and_the_listener_needs_one_path(desk: Desk) -> None:
    del desk.environ["REFUNDCLI_STRIPE_WEBHOOK_SECRET"]
    with listening(desk) as listener:
        assert listener.post(stripe(stripe_event()))[0] == 404
        assert listener.post(adyen(signed(item())))[0] == 200
        assert listener.stop() == 0
    assert "Stripe has no webhook secret in the settings, so /stripe is not served." in listener.output
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


def test_each_delivery_is_one_line(desk: Desk) -> None:
    payment = desk.paid_by_card("INV-1", provider="adyen")
    posts = (
        adyen(signed(item("CAPTURE", originalReference=payment))),
        adyen(signed(item("CAPTURE", originalReference="NOTINTHEBOOKS001", pspReference="CAP2"))),
        adyen(signed(item("CAPTURE", originalReference="NOT\x1b[31mTHERE", pspReference="CAP3"))),
        adyen(signed(item(), "ab" * 16)),
    )
    with listening(desk) as listener:
        for post in posts:
            listener.post(post)
        assert listener.stop() == 0
    lines = [line.strip() for line in listener.output.splitlines() if re.match(r" \d{4}-\d\d-\d\d ", line)]
    assert [re.sub(r"^.{19} \w+  ", "", line) for line in lines] == [
        f"Adyen  CAPTURE  INV-1 ({payment})  verified",
        "Adyen  CAPTURE  NOTINTHEBOOKS001  verified",
        "Adyen  CAPTURE  order-1 CAP3  verified, not applied: unreadable",
        "Adyen  rejected: wrong signature",
    ]
    assert "\x1b" not in listener.output


def test_a_running_listener_notes_that_it_runs(desk: Desk) -> None:
    with listening(desk) as listener:
        until(lambda: desk.json("status")["providers"]["adyen"]["listener_seen"])
        assert listener.stop() == 0


def test_basic_auth_is_required_where_it_is_set(desk: Desk, sandbox: RunningSandbox) -> None:
    desk.environ |= {
        "REFUNDCLI_ADYEN_WEBHOOK_USERNAME": "adyen",
        "REFUNDCLI_ADYEN_WEBHOOK_PASSWORD": "env:ADYEN_WEBHOOK_WORD",
        "ADYEN_WEBHOOK_WORD": "open-sesame",
    }
    with listening(desk) as listener:
        post = adyen(signed(item()))
        assert listener.post(post) == (401, "unauthorized")
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
    assert "Listening on 0.0.0.0" in listener.output


def test_webhooks_of_the_other_mode_are_not_listened_to(desk: Desk) -> None:
    desk.paid_by_card()
    desk.json("refund INV-1 --amount 1 --reason other --yes")
    desk.environ["REFUNDCLI_ADYEN_ENVIRONMENT"] = "live"
    del desk.environ["REFUNDCLI_ADYEN_API_BASE"]
    desk.refused("events listen --port 0", "wrong-mode", exit_code=4)
