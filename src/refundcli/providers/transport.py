"""Send requests, each on a new connection, with a last check of the lease before the first byte (I8).

On a new connection, a failure to connect proves that nothing was sent. On a pooled one it would be unknown, and a
person would have to resolve the refund (I5).

An answer has one deadline and one size limit, from the DNS lookup to the last byte of the body: the timeouts of
requests and urllib3 apply to one address or one read only, so a slow answer could outlast the lease.
"""

import io
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from refundcli.secrets import redact
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace, Sent, TooSoon
from refundcli.services.ports.providers import MaySend, RefundAnswer

# What an HTTP status means at any provider (DESIGN: outcome table).
STATUS_SIGNALS = {
    401: Signal.NOT_ALLOWED,
    403: Signal.NOT_ALLOWED,
    409: Signal.IN_PROGRESS,
    429: Signal.RATE_LIMITED,
}
_TOO_MANY = 429
_LONGEST_MESSAGE = 500
_LONGEST_WAIT = 3600
# A request that moves money must not wait long, because its lease is limited; a read may.
_PATIENCE_SECONDS = {"POST": 1.0}
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
# A list of 100 charges or invoices, each with its refunds, lines and payments, is a few megabytes.
LARGEST_ANSWER = 16 * 1024 * 1024
_CHUNK = 64 * 1024
# For the status line, the headers and the chunk sizes.
_LARGEST_OVERHEAD = 1024 * 1024
_LATE = "not sent: this process had run out of its allotted time"

# The last check before the first byte of a request that moves money. A context variable, because the SDKs cannot pass
# it on.
_MAY_SEND: ContextVar[MaySend] = ContextVar("may_send", default=lambda: True)


class NeverSent(Exception):
    """Nothing of the request was sent.

    Not an OSError, because urllib3 and requests would wrap it.
    """


class NeverConnected(NeverSent):
    """The connection could not be made."""


class NoLongerAllowed(NeverSent):
    """The connection was made after the lease of this process had expired (I8)."""


class AnswerTooLarge(Exception):
    """The answer is larger than LARGEST_ANSWER, so the rest of it was not read."""


@contextmanager
def last_check(may_send: MaySend) -> Iterator[None]:
    """Requests made inside are sent only if `may_send` returns True once their connection is open."""
    context_token = _MAY_SEND.set(may_send)
    try:
        yield
    finally:
        _MAY_SEND.reset(context_token)


def connected(host: str, port: int, seconds: float) -> socket.socket:
    """A connection to the first of the host's addresses that answers, all within `seconds`. Raises OSError."""
    deadline = time.monotonic() + seconds
    failure: OSError = TimeoutError(f"{host} has no address")
    for family, socket_type, protocol, _, address in _addresses(host, port, seconds):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        connection = socket.socket(family, socket_type, protocol)
        try:
            connection.settimeout(remaining)
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # What is left is for the TLS handshake.
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def _addresses(host: str, port: int, seconds: float) -> list[Any]:
    """Look up a host in a thread, because the system's lookup has no timeout and ignores Ctrl-C."""
    addresses: list[Any] = []
    errors: list[OSError] = []

    def look_up() -> None:
        try:
            addresses.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=look_up, name=f"lookup of {host}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the network address of {host} could not be found within {seconds:g} s")
    if errors:
        raise errors[0]
    if host == "localhost":
        # A practice server runs on this machine, whatever a name server says.
        return [address for address in addresses if address[4][0] in ("127.0.0.1", "::1")]
    return addresses


class _CheckedConnection:
    """Reports when its request is sent, proves when it never connected, and checks the lease before each send.

    `deadline` is a time of `time.monotonic`.
    """

    sock: Any
    host: str
    port: int
    timeout: Any

    def __init__(self, *args: Any, report_sent: Sent, deadline: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._report_sent = report_sent
        self._deadline = deadline
        self._may_send = _MAY_SEND.get()
        self._has_sent_bytes = False

    def connect(self) -> None:
        """With TLS, this includes the handshake. Raises NeverConnected."""
        try:
            super().connect()  # type: ignore[misc]
        except Exception as error:
            raise NeverConnected(str(error)) from error

    def _new_conn(self) -> socket.socket:
        return connected(self.host.strip("[]"), self.port, min(self.timeout, self._deadline - time.monotonic()))

    def send(self, request_bytes: Any) -> None:
        """Send bytes of a request, after a last check each time (I8).

        The process may have been suspended in `connect` until its lease expired and another one settled the refund.
        Raises NoLongerAllowed, or TimeoutError if a part was already sent, which proves nothing.
        """
        if self.sock is None:
            self.connect()
        if not self._may_send():
            raise TimeoutError(_LATE) if self._has_sent_bytes else NoLongerAllowed(_LATE)
        self._has_sent_bytes = True
        self.sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
        super().send(request_bytes)  # type: ignore[misc]

    def request(self, *args: Any, **options: Any) -> None:
        super().request(*args, **options)  # type: ignore[misc]
        self._report_sent()

    def getresponse(self) -> Any:
        self.sock = _TimedSocket(self.sock, self._deadline)
        return super().getresponse()  # type: ignore[misc]


class _TimedSocket:
    """A socket whose reads end at a deadline (a time of `time.monotonic`) and at a size limit."""

    def __init__(self, connected_socket: Any, deadline: float) -> None:
        self._sock = connected_socket
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads an answer from."""
        return io.BufferedReader(_TimedReader(self._sock, self._sock.makefile(mode, buffering=0), self._deadline))


class _TimedReader(io.RawIOBase):
    def __init__(self, connected_socket: Any, raw_stream: io.RawIOBase, deadline: float) -> None:
        self._sock = connected_socket
        self._raw_stream = raw_stream
        # The connection's own timeout for each read, in seconds.
        self._patience: float = connected_socket.gettimeout() or float("inf")
        self._deadline = deadline
        self._bytes_left = LARGEST_ANSWER + _LARGEST_OVERHEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Raises TimeoutError once the deadline has passed, and AnswerTooLarge."""
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(min(remaining, self._patience))
        received: int | None = self._raw_stream.readinto(buffer)
        self._bytes_left -= received or 0
        if self._bytes_left < 0:
            # Also for an endless header line, before the body.
            raise AnswerTooLarge(f"it is larger than {LARGEST_ANSWER // 2**20} MiB")
        return received

    def close(self) -> None:
        self._raw_stream.close()
        super().close()


class _HTTPConnection(_CheckedConnection, HTTPConnection):
    pass


class _HTTPSConnection(_CheckedConnection, HTTPSConnection):
    pass


class _ProvingAdapter(HTTPAdapter):
    """An adapter with checked connections. HTTPAdapter itself does not retry.

    It calls `report_sent` once a request is sent; `deadline` is a time of `time.monotonic`.
    """

    def __init__(self, report_sent: Sent, deadline: float) -> None:
        self._connection_options: dict[str, Any] = {"report_sent": report_sent, "deadline": deadline}
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_pool, HTTPConnectionPool, partial(_HTTPConnection, **self._connection_options)),
            "https": partial(_pool, HTTPSConnectionPool, partial(_HTTPSConnection, **self._connection_options)),
        }


def _pool(
    pool_class: type[HTTPConnectionPool], connection_class: Any, *args: Any, **options: Any
) -> HTTPConnectionPool:
    pool = pool_class(*args, **options)
    pool.ConnectionCls = connection_class
    return pool


class FreshConnections(requests.Session):
    """A session without pooled connections or cookies; threads may share it.

    Every request waits for its turn, and a 429 slows down all later ones.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        super().__init__()
        # No proxy and no .netrc from the environment, so that only the provider gets the key.
        self.trust_env = False
        self._pace = pace or Pace()

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        json: Any = None,
        timeout: tuple[float, float],
        verify: bool | str = True,
    ) -> requests.Response:
        """Send one request. Redirects are not followed: they would send the refund and the key a second time (I8).

        `timeout` is for the connection and for the answer (seconds); their sum is the deadline of the whole request.
        `verify` is as in requests.
        Raises TooSoon if a POST would have to wait for long, NeverSent, AnswerTooLarge, and what requests raises.
        """
        verify = _certificates() or verify
        # Of the session, only its headers apply: it has no cookies, parameters or password.
        prepared_request = requests.PreparedRequest()
        prepared_request.prepare(method.upper(), url, headers={**self.headers, **(headers or {})}, data=data, json=json)
        patience_seconds = _PATIENCE_SECONDS.get(method.upper(), float("inf"))
        with (
            self._pace.turn(patience_seconds) as report_sent,
            closing(_ProvingAdapter(report_sent, time.monotonic() + sum(timeout))) as adapter,
        ):
            answer = adapter.send(prepared_request, stream=True, timeout=timeout, verify=verify, proxies={})
            # Read the body before the connection closes. Closing it also ends an abandoned answer.
            with closing(answer):
                answer._content = _whole(answer)
            if answer.status_code == _TOO_MANY:
                self._pace.slow_down(retry_after(answer.headers))
            return answer


def _whole(answer: requests.Response) -> bytes:
    """The body. Raises AnswerTooLarge."""
    body = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise AnswerTooLarge(f"it is larger than {LARGEST_ANSWER // 2**20} MiB")
    return bytes(body)


def _certificates() -> str | None:
    """The CA bundle from REQUESTS_CA_BUNDLE, as in any program built on requests. Raises NeverConnected."""
    bundle_path = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle_path and not os.path.exists(bundle_path):
        raise NeverConnected(f"REQUESTS_CA_BUNDLE names {bundle_path}, which does not exist")
    return bundle_path


def network_answer(error: BaseException, provider_label: str) -> RefundAnswer:
    """The answer for a failed connection. Only a failure before the first byte proves that nothing was sent (I5)."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, TooSoon):
            message = f"{provider_label} asked for fewer requests: {cause}"
            return RefundAnswer(Signal.TOO_SOON, message=message, retry_after=cause.seconds)
        if isinstance(cause, NoLongerAllowed):
            return RefundAnswer(Signal.NOT_SENT, message=str(cause))
        if isinstance(cause, AnswerTooLarge):
            return RefundAnswer(Signal.NO_ANSWER, message=f"The answer from {provider_label} was not read: {cause}")
    why = safe_text(_innermost(causes[-1]))
    if any(isinstance(cause, NeverSent) for cause in causes):
        return RefundAnswer(Signal.NOT_SENT, message=f"No connection to {provider_label}: {why}")
    return RefundAnswer(Signal.NO_ANSWER, message=f"No answer from {provider_label}: {why}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _innermost(error: BaseException) -> str:
    """The system's own message, which is the most precise."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The requested wait in seconds, at most an hour; None if it is not given in seconds."""
    header = str(headers.get("Retry-After") or "").strip()
    return min(float(header), _LONGEST_WAIT) if _SECONDS.fullmatch(header) else None


def text_in(field: object) -> str:
    """The value if it is a text, else an empty one: fields of an answer may have any type."""
    return field if isinstance(field, str) else ""


def strict_object(json_text: str | bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError, also for NaN and for any other JSON; RecursionError if it is too deep."""
    document = json.loads(json_text, parse_constant=_no_number)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not valid JSON")


def safe_text(text: object) -> str:
    """The text of a provider or the network, shortened and without secrets."""
    return redact(str(text or ""))[:_LONGEST_MESSAGE]
