"""Connections of the listener: half-open, slow, malformed or endless ones do not keep a delivery out."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from desk import Desk
from refundcli.services.ports.rejection_reasons import count_by_reason
from webhooks import Post, RunningListener, adyen, item, listening, settle_secrets, signed, until

HALF_OPEN = {
    "silent": b"",
    "half a head": b"POST /adyen HTTP/1.1\r\nHost: x\r\nX-",
    "half a body": b"POST /adyen HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "half a chunk": b"POST /adyen HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
}


@pytest.fixture(autouse=True)
def _secrets(sqlite_desk: Desk) -> None:
    settle_secrets(sqlite_desk)


def numbered(number: int) -> Post:
    return adyen(signed(item(pspReference=f"EVENT{number:011}")))


@contextmanager
def half_open(listener: RunningListener, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as open_ones:
        lines = []
        for _ in range(count):
            line = open_ones.enter_context(socket.create_connection(("127.0.0.1", listener.port), timeout=60))
            with suppress(OSError):  # it was dropped for a newer one
                line.sendall(start)
            lines.append(line)
        yield lines


@pytest.mark.parametrize("kind", HALF_OPEN)
def test_six_hundred_half_open_connections_do_not_keep_out_a_delivery(sqlite_desk: Desk, kind: str) -> None:
    with listening(sqlite_desk) as listener, half_open(listener, 600, HALF_OPEN[kind]):
        for number in range(3):
            began = time.monotonic()
            assert listener.post(numbered(number)) == (200, "[accepted]")
            print(f"600 connections, {kind}: {(time.monotonic() - began) * 1000:.0f} ms")
        assert listener.health()["ok"]
        assert listener.stop() == 0
    assert sqlite_desk.count("provider_event") == 3
    assert "Traceback" not in listener.output


def test_few_open_files_are_enough(sqlite_desk: Desk) -> None:
    with (
        listening(sqlite_desk, limit="ulimit -n 100") as listener,
        half_open(listener, 300, HALF_OPEN["half a head"]),
    ):
        for number in range(20):
            assert listener.post(numbered(number)) == (200, "[accepted]")
        assert listener.stop() == 0
    assert sqlite_desk.count("provider_event") == 20
    assert "Traceback" not in listener.output


def test_a_connection_that_is_being_answered_is_not_dropped_for_new_ones(sqlite_desk: Desk) -> None:
    with listening(sqlite_desk) as listener:
        line = listener.connection()
        with closing(sqlite3.connect(sqlite_desk.url.removeprefix("sqlite:///"), isolation_level=None)) as blocker:
            blocker.execute("BEGIN EXCLUSIVE")
            post = numbered(1)
            line.request("POST", post.path, post.body, post.headers)
            with half_open(listener, 600, HALF_OPEN["half a head"]):
                pass
            blocker.execute("ROLLBACK")
        assert line.getresponse().status == 200
        line.close()
        assert listener.stop() == 0


def exchange(listener: RunningListener, data: bytes) -> bytes:
    """Everything the listener sends until it ends the connection."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=60) as line:
        line.sendall(data)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := line.recv(65536):
                answer += piece
    return answer


def head(*lines: str) -> bytes:
    return "\r\n".join(("POST /adyen HTTP/1.1", "Host: x", *lines, "", "")).encode()


MALFORMED = {
    "two lengths": head("Content-Length: 5", "Content-Length: 6") + b"hello!",
    "a length and chunks": head("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks twice": head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + b"0\r\n\r\n",
    "an unknown coding": head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "a negative length": head("Content-Length: -1"),
    "a length that is none": head("Content-Length: 0x10"),
    "a length without end": head("Content-Length: " + "9" * 30),
    "a bad chunk": head("Transfer-Encoding: chunked") + b"zz\r\n",
    "a chunk as long as memory": head("Transfer-Encoding: chunked") + b"ffffffffffffffff\r\n" + b"x" * 2_000_000,
    "no host": b"POST /adyen HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": head("Content-Length : 5") + b"hello",
    "a NUL in a header": head("X: a\0b"),
    "a bare line feed": b"POST /adyen HTTP/1.1\nHost x\n\n",
    "a head without end": b"POST /adyen HTTP/1.1\r\nX: " + b"a" * 200_000,
    "headers without end": b"POST /adyen HTTP/1.1\r\n" + b"X: a\r\n" * 20_000,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100 + b"\r\n",
    "chunks in HTTP/1.0": b"POST /adyen HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another version": b"POST /adyen HTTP/3.0\r\nHost: x\r\n\r\n",
    "chunks of too much": head("Transfer-Encoding: chunked") + b"10000\r\n" + b"x" * 0x10000 + b"\r\n" * 1
    + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 40,
}  # fmt: skip


def test_malformed_requests_are_rejected_and_end_their_connection(sqlite_desk: Desk) -> None:
    with listening(sqlite_desk) as listener:
        for name, data in MALFORMED.items():
            # Request smuggling: programs may disagree where the body ends.
            post = numbered(1)
            smuggled = head(f"Content-Length: {len(post.body)}") + post.body
            answer = exchange(listener, data + smuggled)
            assert answer.count(b"HTTP/1.1 ") == 1, (name, answer)
            assert answer.split(b" ", 2)[1][:1] in (b"4", b"5"), (name, answer)
            assert b"Connection: close" in answer or b"connection: close" in answer.lower(), name
        assert listener.post(numbered(2))[0] == 200
        assert listener.stop() == 0
    assert [event["about"] for event in sqlite_desk.json("events list")] == ["EVENT00000000002"]
    counts = count_by_reason(sqlite_desk.books.read(lambda tx: tx.deliveries.counts()), stored=False)
    assert sum(counts.values()) == len(MALFORMED)
    assert set(counts) == {"unreadable", "too-large"}
    assert "Traceback" not in listener.output


def test_slow_clients_are_given_up_and_chunks_without_end_too(sqlite_desk: Desk) -> None:
    with listening(sqlite_desk) as listener:
        started = time.monotonic()
        lines = {kind: socket.create_connection(("127.0.0.1", listener.port), timeout=60) for kind in HALF_OPEN}
        for kind, start in HALF_OPEN.items():
            lines[kind].sendall(start)
        # A few single bytes are no progress.
        more = {"half a head": b"a", "half a body": b" ", "half a chunk": b" "}
        ended: dict[str, bytes] = {}
        while len(ended) < len(lines):
            assert time.monotonic() - started < 100
            for kind, line in lines.items():
                line.settimeout(0.2)
                if kind in ended:
                    continue
                try:
                    ended[kind] = line.recv(100)
                except TimeoutError:
                    with suppress(OSError):
                        line.sendall(more.get(kind, b""))
                except ConnectionResetError:
                    ended[kind] = b""
        assert {kind: answer[:12] for kind, answer in ended.items()} == {
            "silent": b"",
            "half a head": b"",
            "half a body": b"HTTP/1.1 408",
            "half a chunk": b"HTTP/1.1 408",
        }
        for line in lines.values():
            line.close()
        assert listener.post(numbered(1))[0] == 200
        assert listener.stop() == 0


def test_requests_in_a_row_chunked_and_expecting_are_answered_in_their_order(sqlite_desk: Desk) -> None:
    first, second, third = numbered(1), numbered(2), numbered(3)
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, bytes([byte])) for byte in second.body) + b"0\r\n\r\n"
    data = head(f"Content-Length: {len(first.body)}", "Content-Type: text/html") + first.body
    data += head("Transfer-Encoding: chunked") + chunks
    data += b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"
    data += b"GET /adyen HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /nowhere?x HTTP/1.1\r\nHost: x\r\n\r\n"
    data += head(f"Content-Length: {len(third.body)}", "Connection: close")
    with listening(sqlite_desk) as listener:
        answer = exchange(listener, data + third.body)
        statuses = [part.split(b" ", 1)[0] for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"200", b"200", b"200", b"405", b"404", b"200"]
        with socket.create_connection(("127.0.0.1", listener.port), timeout=60) as line:
            line.sendall(head(f"Content-Length: {len(first.body)}", "Expect: 100-continue", "Connection: close"))
            assert line.recv(1000).startswith(b"HTTP/1.1 100")
            line.sendall(first.body)
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
        assert listener.stop() == 0
    assert sqlite_desk.count("provider_event") == 3


def test_a_client_that_goes_away_at_any_byte_leaves_nothing_behind(sqlite_desk: Desk) -> None:
    post = numbered(1)
    data = head(f"Content-Length: {len(post.body)}") + post.body
    with listening(sqlite_desk) as listener:
        for cut in range(0, len(data), 7):
            with socket.create_connection(("127.0.0.1", listener.port), timeout=60) as line:
                line.sendall(data[:cut])
        assert listener.post(post)[0] == 200
        until(lambda: listener.health()["ok"])
        assert listener.stop() == 0
    assert sqlite_desk.count("provider_event") == 1
    assert count_by_reason(sqlite_desk.books.read(lambda tx: tx.deliveries.counts()), stored=False) == {}
    assert "Traceback" not in listener.output
