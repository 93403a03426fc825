"""One request on one connection: the last check before its first byte, and the limits of its response."""

import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from refundcli.providers import transport
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import RefundAnswer
from refundcli.settings import RefundSettings
from wire import KEY, Stub, adyen_at, order, refused_url, stripe_at
from wire import Reply as StubReply

SHORT = RefundSettings(connect_timeout=0.5, read_timeout=0.5)
DEADLINE_SECONDS = 1.0
Line = socket.socket
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

BOTH = pytest.mark.parametrize("provider", ["stripe", "adyen"])


def refunded(provider: str, url: str, *, may_send: Callable[[], bool] = lambda: True) -> RefundAnswer:
    if provider == "stripe":
        stripe = stripe_at(url, refunds=SHORT)
        return stripe.refund(stripe.prepare(order("pi_1")), KEY, may_send)
    adyen = adyen_at(url, refunds=SHORT)
    return adyen.refund(adyen.prepare(order("PSP1")), KEY, may_send)


@contextmanager
def served(answer: Callable[[Line], None]) -> Iterator[str]:
    """Answers each connection with `answer` and ignores clients that have left; the address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening:
            line, _ = listening.accept()
            with line:
                line.recv(65536)
                with suppress(OSError):
                    answer(line)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread.join(30)
    assert not thread.is_alive()


def drip(begin: bytes, more: bytes) -> Callable[[Line], None]:
    """Single bytes, each within the read timeout, beyond any deadline."""

    def answer(line: Line) -> None:
        line.sendall(begin)
        for _ in range(200):
            line.sendall(more)
            time.sleep(0.1)

    return answer


@BOTH
@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD, b"X: y\r\n"),
        (b"HTTP/1.1 200 ", b"O"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "chunks", "headers", "status", "continue"],
)
def test_an_answer_that_drips_is_given_up_at_the_deadline(provider: str, begin: bytes, more: bytes) -> None:
    with served(drip(begin, more)) as url:
        began = time.monotonic()
        answer = refunded(provider, url)
        # The server would continue for twenty seconds.
        assert DEADLINE_SECONDS * 0.9 < time.monotonic() - began < 10 * DEADLINE_SECONDS
    assert (answer.signal, answer.state) == (Signal.NO_ANSWER, None)


@BOTH
@pytest.mark.parametrize("head", [b"Content-Length: 99999999999\r\n\r\n", b"Connection: close\r\n\r\n"])
def test_an_answer_without_end_is_not_read_to_its_end(
    provider: str, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 1024 * 1024)
    sent = 0

    def flood(line: Line) -> None:
        nonlocal sent
        line.sendall(HEAD + head)
        while True:
            sent += line.send(b" " * 65536)

    with served(flood) as url:
        answer = refunded(provider, url)
    assert (answer.signal, answer.state) == (Signal.NO_ANSWER, None)
    assert "larger than 1 MiB" in answer.message
    # Bytes in the socket buffers count as sent.
    assert sent < 32 * 1024 * 1024


@BOTH
@pytest.mark.parametrize(
    ("head", "more"),
    [
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", b"X: " + b"y" * 65530 + b"\r\n"),
        (HEAD, b"X: " + b"y" * 65000 + b"\r\n"),
        (b"HTTP/1.1 200 ", b"O" * 65536),
        (b"", b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 65000 + b"\r\n\r\n"),
    ],
    ids=["mark of a chunk", "trailers", "headers", "status", "continue"],
)
def test_what_is_no_body_has_no_more_room(
    provider: str, head: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 1024 * 1024)
    sent = 0

    def flood(line: Line) -> None:
        nonlocal sent
        line.sendall(head)
        while True:
            sent += line.send(more)

    with served(flood) as url:
        answer = refunded(provider, url)
    assert (answer.signal, answer.state) == (Signal.NO_ANSWER, None)
    assert sent < 64 * 1024 * 1024


@BOTH
def test_an_answer_that_unpacks_without_end_is_not_unpacked(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 1024 * 1024)
    bomb = gzip.compress(b" " * 64 * 1024 * 1024)

    def answer_packed(line: Line) -> None:
        line.sendall(HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb)

    with served(answer_packed) as url:
        answer = refunded(provider, url)
    assert answer.signal == Signal.NO_ANSWER
    assert "larger than 1 MiB" in answer.message


@BOTH
@pytest.mark.parametrize("encoding", ["identity", "gzip", "GZIP"])
def test_an_answer_may_be_packed(provider: str, encoding: str) -> None:
    body = b'{"error": {"type": "idempotency_error"}, "errorCode": "704"}'
    packed = gzip.compress(body) if encoding != "identity" else body
    with Stub(StubReply(400, packed, {"Content-Encoding": encoding})) as stub:
        assert refunded(provider, stub.url).signal in (Signal.KEY_REUSED, Signal.IN_PROGRESS)
    assert stub.requests[0].headers["accept-encoding"] == "gzip"


@BOTH
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 100\r\n\r\n", b'{"errorCode": "167"}'),
        (b"Content-Length: 9\r\nContent-Encoding: gzip\r\n\r\n", gzip.compress(b"{}")[:9]),
        (b"Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n", b"{}"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n"),
    ],
    ids=["length", "packed", "not packed", "chunks"],
)
def test_an_answer_that_breaks_off_is_none(provider: str, head: bytes, body: bytes) -> None:
    refused = b"HTTP/1.1 422 No\r\nContent-Type: application/json\r\n"
    with served(lambda line: line.sendall(refused + head + body)) as url:
        assert refunded(provider, url).signal == Signal.NO_ANSWER


def test_the_sdks_load_no_http_library_of_their_own() -> None:
    loaded = (
        "import sys, refundcli.providers.stripe.lookup, refundcli.providers.adyen.refunds;"
        "print([name for name in ('requests', 'urllib3', 'httpx', 'aiohttp') if name in sys.modules]);"
        "import requests"
    )
    ended = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@BOTH
def test_a_name_that_is_looked_up_for_ever_is_given_up_and_nothing_was_sent(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [over.wait(60)])
    began = time.monotonic()
    answer = refunded(provider, "http://slow.example:1")
    took = time.monotonic() - began
    over.set()
    assert (answer.signal, answer.state) == (Signal.NOT_SENT, None)
    assert "slow.example" in answer.message
    assert took < 30


@BOTH
def test_a_handshake_that_never_ends_proves_that_nothing_was_sent(provider: str) -> None:
    def drip_handshake(line: Line) -> None:
        # The header of a 16 KiB record, then its bytes slowly.
        line.sendall(b"\x16\x03\x03\x40\x00")
        for _ in range(200):
            line.sendall(b"\x02")
            time.sleep(0.1)

    with served(drip_handshake) as url:
        began = time.monotonic()
        answer = refunded(provider, url.replace("http:", "https:"))
        # The server would continue for twenty seconds.
        assert time.monotonic() - began < 15
    assert (answer.signal, answer.state) == (Signal.NOT_SENT, None)


def test_all_addresses_of_a_name_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    full = [socket.socket() for _ in range(4)]
    for line in full:
        # Its queue is full, so connecting waits.
        line.setblocking(False)
        line.connect_ex(silent.getsockname())
    of_name = (socket.AF_INET, socket.SOCK_STREAM, 6, "", silent.getsockname())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [of_name] * 50)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        transport.connected("many.example", 1, 0.5)
    assert time.monotonic() - began < 10
    for line in (silent, *full):
        line.close()


def test_a_practice_address_is_of_this_machine_whatever_a_name_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [elsewhere])
    with pytest.raises(TimeoutError, match="no address"):
        transport.connected("localhost", 80, 5)


@BOTH
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_the_key_goes_nowhere_else(provider: str, status: int) -> None:
    with Stub(StubReply(500)) as elsewhere:
        reply = StubReply(status, headers={"Location": f"{elsewhere.url}/v1/refunds"})
        with Stub(reply) as stub:
            answer = refunded(provider, stub.url)
        assert elsewhere.connections == 0
    assert answer.state is None
    assert len(stub.requests) == 1


def test_a_list_of_a_hundred_charges_is_not_too_large() -> None:
    assert transport.LARGEST_ANSWER >= 100 * 100_000


@BOTH
def test_the_last_check_comes_after_the_connection_and_before_the_first_byte(provider: str) -> None:
    connections: list[int] = []
    with Stub(StubReply(500)) as stub:

        def may_send() -> bool:
            deadline = time.monotonic() + 5
            while not stub.connections and time.monotonic() < deadline:
                time.sleep(0.005)
            connections.append(stub.connections)
            return False

        answer = refunded(provider, stub.url, may_send=may_send)
    assert (answer.signal, answer.state) == (Signal.NOT_SENT, None)
    assert "not sent" in answer.message
    assert (connections, stub.requests) == ([1], [])


@BOTH
def test_once_a_part_is_on_its_way_the_last_check_proves_nothing(provider: str) -> None:
    answers = iter([True, False, False])
    with Stub(StubReply(500)) as stub:
        answer = refunded(provider, stub.url, may_send=lambda: next(answers))
    assert answer.signal == Signal.NO_ANSWER
    assert stub.requests == [] or stub.requests[0].body == b""


@BOTH
def test_a_lookup_is_not_bound_to_the_check_of_an_earlier_refund(provider: str) -> None:
    with Stub(StubReply(500)) as stub:
        assert refunded(provider, stub.url, may_send=lambda: False).signal == Signal.NOT_SENT
        assert refunded(provider, stub.url).signal == Signal.SERVER_ERROR
    assert len(stub.requests) == 1


@BOTH
def test_an_unreachable_port_skips_the_last_check(provider: str) -> None:
    answers = iter([True])
    answer = refunded(provider, refused_url(), may_send=lambda: next(answers))
    assert (answer.signal, list(answers)) == (Signal.NOT_SENT, [True])
