"""The two adapters at a test's own address, and a stub server with scripted replies."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from refundcli.domain.money import parse_money
from refundcli.domain.reasons import RefundReason
from refundcli.providers.adyen.refunds import AdyenProvider
from refundcli.providers.stripe.refunds import StripeProvider
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.providers import RefundAnswer, RefundOrder
from refundcli.settings import AdyenSettings, RefundSettings, StripeSettings

STRIPE_KEY = "sk_test_" + "sandbox"
ADYEN_KEY = "AQE" + "sandboxKey0123456789"
KEY = "0b8f2f0e-2f6b-4c58-9d3e-6f0f4c0a1b2c"
MERCHANT = "Shop"


def allowed() -> bool:
    """The last check before the first byte, which always allows the send."""
    return True


QUICK = RefundSettings(connect_timeout=2, read_timeout=0.5)

# For both adapters: a sandbox fault, its signal, and the number of refunds made.
FAULTS = [
    ("malformed", Signal.MALFORMED, 1),
    ("empty_object", Signal.MALFORMED, 1),
    ("wrong_amount", Signal.MALFORMED, 1),
    ("wrong_currency", Signal.MALFORMED, 1),
    ("wrong_payment", Signal.MALFORMED, 1),
    ("401", Signal.NOT_ALLOWED, 0),
    ("403", Signal.NOT_ALLOWED, 0),
    ("409", Signal.IN_PROGRESS, 0),
    ("429", Signal.RATE_LIMITED, 0),
    ("500_before", Signal.SERVER_ERROR, 0),
    ("500_after", Signal.SERVER_ERROR, 1),
    ("503", Signal.SERVER_ERROR, 0),
    ("drop_before", Signal.NO_ANSWER, 0),
    ("drop_after", Signal.NO_ANSWER, 1),
    ("redirect", Signal.OTHER, 0),
]


def stripe_at(
    url: str | None, *, key: str = STRIPE_KEY, refunds: RefundSettings = QUICK, fraudulent: bool = False
) -> StripeProvider:
    return StripeProvider(key, StripeSettings(api_base=url, send_fraudulent=fraudulent), refunds, "acct_1")


def adyen_at(url: str | None, *, refunds: RefundSettings = QUICK, prefix: str | None = None) -> AdyenProvider:
    settings = AdyenSettings(
        merchant_account=MERCHANT,
        api_base=url,
        environment="live" if prefix else "test",
        live_endpoint_prefix=prefix,
    )
    return AdyenProvider(ADYEN_KEY, settings, refunds, MERCHANT)


def order(payment: str, amount: str = "10.00 EUR", reason: RefundReason = RefundReason.RETURNED_GOODS) -> RefundOrder:
    return RefundOrder("rf_1", "INV-1", payment, parse_money(amount), reason)


def refund(provider: StripeProvider | AdyenProvider, refund_order: RefundOrder, key: str = KEY) -> RefundAnswer:
    return provider.refund(provider.prepare(refund_order), key, allowed)


def refused_url(scheme: str = "http") -> str:
    """An address without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"{scheme}://127.0.0.1:{server.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as received."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """`body` is sent as JSON unless it is bytes; None resets the connection once the request was read."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class Stub:
    """`with Stub(Reply(...)) as stub:` gives each reply once and repeats the last."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def secure(self, context: ssl.SSLContext) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Silent about disconnecting clients, which some tests need."""


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            stub.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            stub.requests.append(ReceivedRequest(self.command, self.path, headers, body))
            reply = stub.next_reply()
            if reply.body is None:
                self._reset()
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def finish(self) -> None:
            if not self.wfile.closed and self.connection.fileno() >= 0:
                super().finish()

        def log_message(self, *args: object) -> None:
            pass

    return Handler
