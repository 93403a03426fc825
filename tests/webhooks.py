"""Webhook deliveries as a provider or a forger sends them, and the listener as a separate process."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from desk import MERCHANT, Desk

ADYEN_KEY = b"the desk's own key".hex()
STRIPE_SECRET = "what-the-desk-and-stripe-know"
_SIGNED = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")

Json = dict[str, Any]


def settle_secrets(desk: Desk) -> None:
    """The settings that let deliveries be verified."""
    desk.environ |= {
        "REFUNDCLI_ADYEN_HMAC_KEY": "env:ADYEN_HMAC_KEY",
        "ADYEN_HMAC_KEY": ADYEN_KEY,
        "REFUNDCLI_STRIPE_WEBHOOK_SECRET": "env:STRIPE_WEBHOOK_SECRET",
        "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
    }


@dataclass(frozen=True, slots=True)
class Post:
    """One delivery, ready to be sent or saved to a file."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def as_line(self) -> str:
        return json.dumps({"headers": self.headers, "body": self.body.decode()})


def item(code: str = "REFUND", **changes: Any) -> Json:
    """An unsigned item of Adyen's; a change to None removes the field."""
    fields = {
        "additionalData": {},
        "amount": {"currency": "EUR", "value": 10000},
        "eventCode": code,
        "eventDate": "2026-10-02T14:03:00+02:00",
        "merchantAccountCode": MERCHANT,
        "merchantReference": "order-1",
        "originalReference": "PAYMENT000000001",
        "paymentMethod": "visa",
        "pspReference": "EVENT00000000001",
        "reason": "",
        "success": "true",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def signed(notification: Json, key: str = ADYEN_KEY) -> Json:
    """The item with its signature; one of the vendor's examples too, which may have no additionalData."""
    amount = notification.get("amount") or {}
    parts = [notification.get(name, "") for name in _SIGNED]
    parts += [amount.get("value", ""), amount.get("currency", ""), notification["eventCode"], notification["success"]]
    digest = hmac.new(bytes.fromhex(key), ":".join(map(str, parts)).encode(), hashlib.sha256).digest()
    return notification | {
        "additionalData": notification.get("additionalData", {}) | {"hmacSignature": base64.b64encode(digest).decode()}
    }


def adyen(*items: Json, live: str = "false", **headers: str) -> Post:
    body = {"live": live, "notificationItems": [{"NotificationRequestItem": entry} for entry in items]}
    return Post("/adyen", json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


def stripe_event(kind: str = "refund.updated", **changes: Any) -> Json:
    fields = {
        "id": "evt_desk1",
        "object": "event",
        "created": int(time.time()),
        "livemode": False,
        "type": kind,
        "data": {"object": {"id": "re_desk1", "object": "refund", "charge": "ch_desk1"}},
    }
    return fields | changes


def other_shape(fields: Json, *, key: str = ADYEN_KEY) -> Post:
    """A webhook of Adyen's other shape, signed as a whole in a header."""
    body = json.dumps(fields).encode()
    digest = base64.b64encode(hmac.new(bytes.fromhex(key), body, hashlib.sha256).digest()).decode()
    return Post("/adyen", body, {"HmacSignature": digest, "Protocol": "HmacSHA256"})


def stripe(event: Json, *, secret: str = STRIPE_SECRET, at: float | None = None) -> Post:
    return stripe_body(json.dumps(event).encode(), secret=secret, at=at)


def stripe_body(body: bytes, *, secret: str = STRIPE_SECRET, at: float | None = None) -> Post:
    """Any body with Stripe's signature."""
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return Post("/stripe", body, {"Stripe-Signature": f"t={moment},v1={digest}"})


@dataclass
class RunningListener:
    """`refundcli events listen` on a free port."""

    environ: Mapping[str, str]
    folder: Path
    options: Sequence[str] = ()
    port: int = 0
    # Shell commands before its start, such as `ulimit -n 200`.
    limit: str = ":"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def start(self) -> None:
        with open(self.folder / "listener.err", "ab") as stderr:
            self.process = subprocess.Popen(
                [
                    *("sh", "-c", f'{self.limit} && exec "$0" "$@"'),
                    *(sys.executable, "-m", "refundcli", "events", "listen", "--port", str(self.port)),
                    *self.options,
                ],
                env=os.environ | dict(self.environ),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        self.process.stdout.close()
        assert self.url.startswith("http://"), self.output
        self.port = urlsplit(self.url).port or 0

    @property
    def output(self) -> str:
        """Its stderr so far."""
        return (self.folder / "listener.err").read_text()

    def connection(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def post(self, delivery: Post) -> tuple[int, str]:
        line = self.connection()
        try:
            line.request("POST", delivery.path, delivery.body, delivery.headers)
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        finally:
            line.close()

    def health(self) -> Json:
        line = self.connection()
        try:
            line.request("GET", "/health")
            answer: Json = json.loads(line.getresponse().read())
            return answer
        finally:
            line.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextmanager
def listening(desk: Desk, *options: str, limit: str = ":") -> Iterator[RunningListener]:
    with RunningListener(desk.environ, desk.folder, options, limit=limit) as running:
        yield running


def until(holds: Any, seconds: float = 20) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
