"""Send requests, each on a new connection, with a last check of the lease before the first byte (I8).

On a new connection, whatever fails before the first byte proves that nothing was sent. On a pooled one it would be
unknown, and a person would have to resolve the refund (I5).

An answer has one deadline and one size limit, from the DNS lookup to the last byte of the body: a socket's timeout
applies to one address or one read only, so a slow answer could outlast the lease.
"""

import io
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any, cast
from urllib.parse import urlsplit

from refundcli.providers.answers import retry_after, safe_text
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.dispatch.rate_limit import Pace, TooSoon
from refundcli.services.ports.providers import MaySend, RefundAnswer

_TOO_MANY = 429
# A request that moves money must not wait long, because its lease is limited; a read may.
_PATIENCE_SECONDS = {"POST": 1.0}
# A list of 100 charges or invoices, each with its refunds, lines and payments, is a few megabytes.
LARGEST_ANSWER = 16 * 1024 * 1024
# For the status line, the headers and the chunk sizes.
_LARGEST_OVERHEAD = 1024 * 1024
_LATE = "not sent: this process had run out of its allotted time"

# The last check before the first byte of a request that moves money. A context variable, because the SDKs cannot pass
# it on.
_MAY_SEND: ContextVar[MaySend] = ContextVar("may_send", default=lambda: True)


class NeverSent(Exception):
    """Nothing of the request was sent."""


class NoLongerAllowed(NeverSent):
    """The connection was made after the lease of this process had expired (I8)."""


class AnswerTooLarge(Exception):
    """The answer is larger than LARGEST_ANSWER, so the rest of it was not read."""

    def __init__(self) -> None:
        super().__init__(f"it is larger than {LARGEST_ANSWER // 2**20} MiB")


@contextmanager
def last_check(may_send: MaySend) -> Iterator[None]:
    """Requests made inside are sent only if `may_send` returns True once their connection is open."""
    context_token = _MAY_SEND.set(may_send)
    try:
        yield
    finally:
        _MAY_SEND.reset(context_token)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered to one request; the names of `headers` may be in upper or lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class FreshConnections:
    """Sends each request on a connection of its own; threads may share it.

    Every request waits for its turn, and a 429 slows down all later ones.
    """

    def __init__(self, timeout: tuple[float, float], ca_bundle: str, pace: Pace | None = None) -> None:
        """`timeout` is for the connection and for the answer (seconds); their sum is the deadline of a request.

        `ca_bundle` is the file of trusted certificates, unless REQUESTS_CA_BUNDLE names another.
        """
        self._timeout = timeout
        self._ca_bundle = ca_bundle
        self._pace = pace or Pace()

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send one request. Redirects are not followed: they would send the refund and the key a second time (I8).

        Raises TooSoon if a POST would have to wait for long, NeverSent if nothing was sent, and AnswerTooLarge, OSError
        or HTTPException if the answer could not be read.
        """
        patience_seconds = _PATIENCE_SECONDS.get(method.upper(), float("inf"))
        with (
            self._pace.turn(patience_seconds) as report_sent,
            closing(_Connection(url, *self._timeout)) as connection,
        ):
            try:
                connection.certificates = _certificates(self._ca_bundle)
                connection.request(method.upper(), connection.target, body, {"Accept-Encoding": "gzip", **headers})
            except Exception as error:
                if connection.has_sent_bytes or isinstance(error, NeverSent):
                    raise
                raise NeverSent from error
            report_sent()
            answer = connection.answer()
            if answer.status == _TOO_MANY:
                self._pace.slow_down(retry_after(answer.headers))
            return answer


class _Connection(HTTPConnection):
    """One connection for one request, which checks the lease before each send. It uses no proxy, cookie or .netrc."""

    def __init__(self, url: str, connect_seconds: float, read_seconds: float) -> None:
        parts = urlsplit(url)
        self._is_secure = parts.scheme == "https"
        self.default_port = 443 if self._is_secure else 80
        super().__init__(parts.hostname or "", parts.port or self.default_port)
        self.target = parts._replace(scheme="", netloc="").geturl() or "/"
        self.certificates = ""
        self.has_sent_bytes = False
        self._connect_seconds, self._read_seconds = connect_seconds, read_seconds
        # A time of `time.monotonic`.
        self._deadline = time.monotonic() + connect_seconds + read_seconds
        self._may_send = _MAY_SEND.get()

    def connect(self) -> None:
        """With TLS, this includes the handshake."""
        seconds_left = self._deadline - time.monotonic()
        self.sock = connected(self.host, self.port, min(self._connect_seconds, seconds_left))
        if self._is_secure:
            self.sock = _tls_context(self.certificates).wrap_socket(self.sock, server_hostname=self.host)

    def send(self, request_bytes: Any) -> None:
        """Send bytes of a request, after a last check each time (I8).

        The process may have been suspended in `connect` until its lease expired and another one settled the refund.
        Raises NoLongerAllowed, or TimeoutError if a part was already sent, which proves nothing.
        """
        if self.sock is None:
            self.connect()
        if not self._may_send():
            raise TimeoutError(_LATE) if self.has_sent_bytes else NoLongerAllowed(_LATE)
        self.has_sent_bytes = True
        self.sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
        super().send(request_bytes)

    def answer(self) -> Answer:
        """Raises AnswerTooLarge, OSError, HTTPException."""
        reader: Any = _TimedReader(self.sock, self._deadline, self._read_seconds)
        with closing(HTTPResponse(reader)) as response:
            response.begin()
            return Answer(response.status, cast(Mapping[str, str], response.headers), _whole_body(response))


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline (a time of `time.monotonic`), and up to a size limit."""

    def __init__(self, connected_socket: socket.socket, deadline: float, seconds_per_read: float) -> None:
        self._sock, self._deadline, self._seconds_per_read = connected_socket, deadline, seconds_per_read
        self._bytes_left = LARGEST_ANSWER + _LARGEST_OVERHEAD

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads an answer from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises TimeoutError once the deadline has passed, and AnswerTooLarge."""
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(min(seconds_left, self._seconds_per_read))
        received = self._sock.recv_into(buffer)
        self._bytes_left -= received
        if self._bytes_left < 0:
            # Also for an endless header line, before the body.
            raise AnswerTooLarge
        return received


def _whole_body(response: HTTPResponse) -> bytes:
    """The body, unpacked. Raises AnswerTooLarge, and HTTPException if it is not complete."""
    body = response.read(LARGEST_ANSWER + 1)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    unpacker = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    if unpacker:
        try:
            body = unpacker.decompress(body, LARGEST_ANSWER + 1)
        except zlib.error as error:
            raise HTTPException(f"its body could not be unpacked: {error}") from error
    if len(body) > LARGEST_ANSWER:
        raise AnswerTooLarge
    if response.length or (unpacker and not unpacker.eof):
        raise IncompleteRead(body, response.length)
    return body


def _certificates(ca_bundle: str) -> str:
    """The CA bundle from REQUESTS_CA_BUNDLE, a common variable, or else the given one. Raises NeverSent."""
    bundle_path = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle_path and not os.path.exists(bundle_path):
        raise NeverSent(f"REQUESTS_CA_BUNDLE names {bundle_path}, which does not exist")
    return bundle_path or ca_bundle


@cache
def _tls_context(bundle_path: str) -> ssl.SSLContext:
    """For a file of certificates, or a folder."""
    is_folder = os.path.isdir(bundle_path)
    context = ssl.create_default_context(
        cafile=None if is_folder else bundle_path, capath=bundle_path if is_folder else None
    )
    context.set_alpn_protocols(["http/1.1"])
    return context


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


def network_answer(error: BaseException, provider_label: str) -> RefundAnswer:
    """What an error of `request` proves. Only a failure before the first byte proves that nothing was sent (I5)."""
    if isinstance(error, TooSoon):
        message = f"{provider_label} asked for fewer requests: {error}"
        return RefundAnswer(Signal.TOO_SOON, message=message, retry_after=error.seconds)
    if isinstance(error, NoLongerAllowed):
        return RefundAnswer(Signal.NOT_SENT, message=str(error))
    if isinstance(error, AnswerTooLarge):
        return RefundAnswer(Signal.NO_ANSWER, message=f"The answer from {provider_label} was not read: {error}")
    cause = error.__cause__ or error
    # The system's own message is the most precise.
    why = safe_text(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)
    if isinstance(error, NeverSent):
        return RefundAnswer(Signal.NOT_SENT, message=f"No connection to {provider_label}: {why}")
    return RefundAnswer(Signal.NO_ANSWER, message=f"No answer from {provider_label}: {why}")
