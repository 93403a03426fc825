"""How requests travel: each on a connection of its own, straight to the provider, to one address only.

A fresh connection makes a failure to connect a proof that nothing was sent. A pooled one would leave open
whether the request had begun to travel, and a refund would wait for a person for nothing (I5).
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from refundcli.secrets import redact
from refundcli.services.outcomes import Signal
from refundcli.services.ports import RefundAnswer
from refundcli.services.rate_limit import Pace, Sent, TooSoon

# What an HTTP status says by itself, at any provider (DESIGN: outcome table).
STATUS_SIGNALS = {
    401: Signal.NOT_ALLOWED,
    403: Signal.NOT_ALLOWED,
    409: Signal.IN_PROGRESS,
    429: Signal.RATE_LIMITED,
}
_TOO_MANY = 429
_LONGEST_MESSAGE = 500
_LONGEST_WAIT = 3600
# What moves money is ours to send for a time only, and does not wait in the dark; a look at the records may.
_PATIENCE_SECONDS = {"POST": 1.0}
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


class NeverConnected(Exception):
    """The connection could not be made, so not a byte of the request was sent.

    No OSError: urllib3 and requests would wrap one, and the proof would have to be dug out again.
    """


class _Telling:
    """Tells when its request is on its way, and whether it was ever connected."""

    def __init__(self, *given: Any, sent: Sent, **options: Any) -> None:
        super().__init__(*given, **options)
        self._sent = sent

    def connect(self) -> None:
        """With TLS, connected means that the handshake is done too."""
        try:
            super().connect()  # type: ignore[misc]
        except Exception as error:
            raise NeverConnected(str(error)) from error

    def request(self, *given: Any, **options: Any) -> None:
        super().request(*given, **options)  # type: ignore[misc]
        self._sent()


class _HTTPConnection(_Telling, HTTPConnection):
    pass


class _HTTPSConnection(_Telling, HTTPSConnection):
    pass


class _ProvingAdapter(HTTPAdapter):
    """Its connections tell what became of them. HTTPAdapter itself tries nothing again."""

    def __init__(self, sent: Sent) -> None:
        self._told_when_sent = sent
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_pool, HTTPConnectionPool, partial(_HTTPConnection, sent=self._told_when_sent)),
            "https": partial(_pool, HTTPSConnectionPool, partial(_HTTPSConnection, sent=self._told_when_sent)),
        }


def _pool(kind: type[HTTPConnectionPool], connection: Any, *given: Any, **options: Any) -> HTTPConnectionPool:
    made = kind(*given, **options)
    made.ConnectionCls = connection
    return made


class FreshConnections(requests.Session):
    """A session that remembers nothing, neither connections nor cookies; threads may share it.

    Every request waits for its turn, and one that is told "too many" slows down all that come after it.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        super().__init__()
        # No proxy and no .netrc from the environment: the key goes to the provider alone.
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
        timeout: Any = None,
        verify: bool | str = True,
    ) -> requests.Response:
        """Redirects are not followed: a refund sent on would be sent twice, and the key with it (I8).

        Raises TooSoon where a POST would have to wait for long.
        """
        verify = _certificates() or verify
        # There is nothing of a session to add but its headers: no cookies, no parameters, no password.
        prepared = requests.PreparedRequest()
        prepared.prepare(method.upper(), url, headers={**self.headers, **(headers or {})}, data=data, json=json)
        patience = _PATIENCE_SECONDS.get(method.upper(), float("inf"))
        with self._pace.turn(patience) as sent, closing(_ProvingAdapter(sent)) as line:
            answer = line.send(prepared, timeout=timeout, verify=verify, proxies={})
            # Read while the connection is there.
            _ = answer.content
            if answer.status_code == _TOO_MANY:
                self._pace.slow_down(retry_after(answer.headers))
            return answer


def _certificates() -> str | None:
    """A company's own certificate authority, named as for any program built on requests."""
    path = os.environ.get("REQUESTS_CA_BUNDLE")
    if path and not os.path.exists(path):
        raise NeverConnected(f"REQUESTS_CA_BUNDLE names {path}, which is not there")
    return path


def network_answer(error: BaseException, provider: str) -> RefundAnswer:
    """No answer came. Only a connection that was never made proves that nothing was sent (I5)."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, TooSoon):
            message = f"{provider} asked for fewer requests: {cause}"
            return RefundAnswer(Signal.TOO_SOON, message=message, retry_after=cause.seconds)
    why = said(_innermost(causes[-1]))
    if any(isinstance(cause, NeverConnected) for cause in causes):
        return RefundAnswer(Signal.NOT_SENT, message=f"No connection to {provider}: {why}")
    return RefundAnswer(Signal.NO_ANSWER, message=f"No answer from {provider}: {why}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _innermost(error: BaseException) -> str:
    """The system's own words, which say most."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The wait that was asked for, if it was asked for in seconds."""
    text = str(headers.get("Retry-After") or "").strip()
    return min(float(text), _LONGEST_WAIT) if _SECONDS.fullmatch(text) else None


def text_in(value: object) -> str:
    """A text, or nothing: answers are not believed to be what they should be."""
    return value if isinstance(value, str) else ""


def said(text: object) -> str:
    """What a provider or the network said, short and without secrets."""
    return redact(str(text or ""))[:_LONGEST_MESSAGE]
