"""Webhook deliveries: serialized, signed, and sent on request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from refundcli.sandbox.core.exponents import Provider
from refundcli.sandbox.core.outbox import Endpoint, Notice
from refundcli.sandbox.core.state import SandboxState

ORDERS = ("in", "reverse", "shuffled")
# How long a receiver may take.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST; its body must be sent unchanged because it is signed."""

    provider: Provider
    kind: str
    headers: dict[str, str]
    body: str


def register(state: SandboxState, endpoint_fields: Mapping[str, Any]) -> Endpoint:
    endpoint = Endpoint(**endpoint_fields)
    with state.lock:
        state.outbox.endpoints.append(endpoint)
        if endpoint.auto and (state.outbox.postman is None or state.outbox.closed):
            state.outbox.closed = False
            state.outbox.postman = threading.Thread(target=_post_for_ever, args=(state,), daemon=True)
            state.outbox.postman.start()
    return endpoint


def deliveries(
    state: SandboxState, provider: Provider, *, drain: bool = False, signed_at: int | None = None
) -> list[Delivery]:
    """What is queued, oldest first, for each endpoint of the provider; unsigned where there is none.

    `drain` empties the queue.
    """
    with state.lock:
        queued_notices = [notice for notice in state.outbox.queued if notice.provider == provider]
        endpoints = state.outbox.endpoints_of(provider) or [Endpoint(provider)]
        if drain:
            state.outbox.forget(queued_notices)
    return [written(notice, endpoint, signed_at) for notice in queued_notices for endpoint in endpoints]


def deliver(
    state: SandboxState,
    *,
    provider: Provider | None = None,
    order: str = "in",
    seed: int = 0,
    times: int = 1,
    auto: bool = False,
) -> list[int]:
    """Sends what is queued to the endpoints that have a url; the status codes, 0 for no response.

    All of it `times` times, in `order`: in, reverse, or shuffled by `seed`. With `auto`, only to endpoints with `auto`.
    What was not taken with a 2xx by all of them stays queued.
    """
    if order not in ORDERS or times < 1:
        raise ValueError(f"order is one of {', '.join(ORDERS)}, times at least 1")
    with state.lock:
        pairs = [
            (notice, endpoint)
            for notice in state.outbox.queued
            for endpoint in state.outbox.endpoints_of(notice.provider)
            if endpoint.url and provider in (None, notice.provider) and endpoint.auto >= auto
        ]
    pairs = _ordered(pairs * times, order, seed)
    attempts = [(notice, endpoint, _post(written(notice, endpoint), endpoint)) for notice, endpoint in pairs]
    accepted_pairs = {(id(notice), id(endpoint)) for notice, endpoint, status in attempts if 200 <= status < 300}
    kept_notice_ids = {id(notice) for notice, endpoint in pairs if (id(notice), id(endpoint)) not in accepted_pairs}
    with state.lock:
        state.outbox.forget([notice for notice, _ in pairs if id(notice) not in kept_notice_ids])
    return [status for _, _, status in attempts]


def _ordered(pairs: list[tuple[Notice, Endpoint]], order: str, seed: int) -> list[tuple[Notice, Endpoint]]:
    if order == "shuffled":
        random.Random(seed).shuffle(pairs)  # noqa: S311
    return pairs[::-1] if order == "reverse" else pairs


def _post_for_ever(state: SandboxState) -> None:
    while state.outbox.rang.wait() and not state.outbox.closed:
        state.outbox.rang.clear()
        deliver(state, auto=True)


def written(notice: Notice, endpoint: Endpoint, signed_at: int | None = None) -> Delivery:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if endpoint.username is not None:
        credentials = f"{endpoint.username}:{endpoint.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(credentials).decode()
    if notice.provider == "stripe":
        body = notice.body.decode()
        if endpoint.secret:
            headers["Stripe-Signature"] = stripe_signature(body, endpoint.secret, signed_at)
        return Delivery("stripe", notice.kind, headers, body)
    if notice.whole:
        if endpoint.hmac_key:
            headers |= {"HmacSignature": _hmac(endpoint.hmac_key, notice.body), "Protocol": "HmacSHA256"}
        return Delivery("adyen", notice.kind, headers, notice.body.decode())
    item = json.loads(notice.body)
    if endpoint.hmac_key:
        item.setdefault("additionalData", {})["hmacSignature"] = adyen_signature(item, endpoint.hmac_key)
    return Delivery("adyen", notice.kind, headers, json.dumps(envelope([item], live=notice.live), ensure_ascii=False))


def stripe_signature(body: str, secret: str, signed_at: int | None = None) -> str:
    """The header; `signed_at` defaults to the real time, not the sandbox's clock."""
    signature_time = int(time.time()) if signed_at is None else signed_at
    digest = hmac.new(secret.encode(), f"{signature_time}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={signature_time},v1={digest}"


def adyen_signature(item: Mapping[str, Any], hmac_key: str) -> str:
    signed_fields = [item.get(name) or "" for name in SIGNED_BEFORE]
    amount = item.get("amount") or {}
    signed_fields += [
        amount.get("value", ""),
        amount.get("currency", ""),
        item.get("eventCode", ""),
        item.get("success", ""),
    ]
    return _hmac(hmac_key, ":".join(map(str, signed_fields)).encode())


def _hmac(hmac_key: str, signed_bytes: bytes) -> str:
    return base64.b64encode(hmac.new(bytes.fromhex(hmac_key), signed_bytes, hashlib.sha256).digest()).decode()


SIGNED_BEFORE = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")


def envelope(items: list[dict[str, Any]], *, live: bool = False) -> dict[str, Any]:
    return {
        "live": "true" if live else "false",
        "notificationItems": [{"NotificationRequestItem": item} for item in items],
    }


def _post(delivery: Delivery, endpoint: Endpoint) -> int:
    target_url = urlsplit(endpoint.url or "")
    connection = http.client.HTTPConnection(target_url.hostname or "", target_url.port or 80, timeout=PATIENCE)
    path = (target_url.path or "/") + (f"?{target_url.query}" if target_url.query else "")
    try:
        connection.request("POST", path, delivery.body.encode(), delivery.headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
