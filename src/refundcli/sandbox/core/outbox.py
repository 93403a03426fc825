"""Queued webhook deliveries, and the endpoints."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from refundcli.sandbox.core.exponents import Provider

LOOPBACK = frozenset(["127.0.0.1", "localhost", "::1"])


@dataclass(frozen=True, slots=True)
class Notice:
    """A serialized Stripe event, or one of Adyen's notification items without its signature.

    `live` is what Adyen's envelope says; `whole` is an Adyen webhook without envelope, its HMAC in a header.
    """

    provider: Provider
    kind: str
    body: bytes
    live: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint and its secret; without `url` its deliveries are only listed."""

    provider: Provider
    url: str | None = None
    secret: str | None = None
    hmac_key: str | None = None
    username: str | None = None
    password: str | None = None
    auto: bool = False

    def __post_init__(self) -> None:
        if self.provider not in ("stripe", "adyen"):
            raise ValueError(f"unknown provider {self.provider!r}: stripe or adyen")
        if self.url is not None and (urlsplit(self.url).scheme, urlsplit(self.url).hostname in LOOPBACK) != (
            "http",
            True,
        ):
            raise ValueError(f"{self.url} is not http on this machine")
        if self.auto and self.url is None:
            raise ValueError("auto needs a url")
        bytes.fromhex(self.hmac_key or "")


class Outbox:
    """Guarded by the lock of the state that owns it; `rang` is set when there is something to send by itself."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.queued: list[Notice] = []
        self.rang = threading.Event()
        self.postman: threading.Thread | None = None
        self.closed = False

    def put(self, notice: Notice) -> None:
        self.queued.append(notice)
        self.rang.set()

    def close(self) -> None:
        """Stops automatic sending."""
        self.closed = True
        self.rang.set()

    def endpoints_of(self, provider: Provider) -> list[Endpoint]:
        return [endpoint for endpoint in self.endpoints if endpoint.provider == provider]

    def forget(self, notices: list[Notice]) -> None:
        forgotten_ids = {id(notice) for notice in notices}
        self.queued = [notice for notice in self.queued if id(notice) not in forgotten_ids]
