"""One request on one connection: the last check before its first byte, and the limits of its answer."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from refundcli.providers import http
from refundcli.services.outcomes import Signal
from refundcli.services.ports import RefundAnswer
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
    """Each connection is answered so; the address. What a client that has left does not take is nobody's concern."""
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
    thread.join(10)
    assert not thread.is_alive()


def drip(begin: bytes, more: bytes) -> Callable[[Line], None]:
    """A byte now and then, each well within the read timeout, for longer than any deadline."""

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
        # The server would go on for twenty seconds.
        assert DEADLINE_SECONDS * 0.9 < time.monotonic() - began < 10 * DEADLINE_SECONDS
    assert (answer.signal, answer.state) == (Signal.NO_ANSWER, None)


@BOTH
@pytest.mark.parametrize("head", [b"Content-Length: 99999999999\r\n\r\n", b"Connection: close\r\n\r\n"])
def test_an_answer_without_end_is_not_read_to_its_end(
    provider: str, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER", 1024 * 1024)
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
    # What lies in the buffers of both ends counts as sent.
    assert sent < 32 * 1024 * 1024


def test_a_list_of_a_hundred_charges_is_not_too_large() -> None:
    assert http.LARGEST_ANSWER >= 100 * 100_000


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
    assert (connections, stub.seen) == ([1], [])


@BOTH
def test_once_a_part_is_on_its_way_the_last_check_proves_nothing(provider: str) -> None:
    answers = iter([True, False, False])
    with Stub(StubReply(500)) as stub:
        answer = refunded(provider, stub.url, may_send=lambda: next(answers))
    assert answer.signal == Signal.NO_ANSWER
    assert stub.seen == [] or stub.seen[0].body == b""


@BOTH
def test_a_look_at_the_records_is_not_kept_by_the_check_of_a_refund_before_it(provider: str) -> None:
    with Stub(StubReply(500)) as stub:
        assert refunded(provider, stub.url, may_send=lambda: False).signal == Signal.NOT_SENT
        assert refunded(provider, stub.url).signal == Signal.SERVER_ERROR
    assert len(stub.seen) == 1


@BOTH
def test_where_nobody_listens_there_is_nothing_to_check(provider: str) -> None:
    answers = iter([True])
    answer = refunded(provider, refused_url(), may_send=lambda: next(answers))
    assert (answer.signal, list(answers)) == (Signal.NOT_SENT, [True])
