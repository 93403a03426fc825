"""The sandbox inside a test: served from a thread, looked at directly."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

from .control import make_payment, settle
from .exponents import Provider, to_minor
from .faults import Fault
from .server import bind, make_server, url_of
from .state import LoggedRequest, Made, Refund, SandboxState


class RunningSandbox:
    """`with RunningSandbox() as sandbox:` serves on a free port of 127.0.0.1."""

    def __init__(
        self, *, state: SandboxState | None = None, port: int = 0, merchant_account: str | None = None
    ) -> None:
        self.state = state or SandboxState(merchant_account=merchant_account)
        self._listener = bind(port)
        self.url = url_of(self._listener)
        self._server = make_server(self.state)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the sandbox did not start")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Afterwards connections are refused; the state stays to be looked at, or to be served again."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._listener.close()

    def charge(self, amount: str | int, currency: str = "EUR", *, provider: Provider = "stripe", **wanted: Any) -> Made:
        """A payment of "100.00 EUR", or of so many of the provider's minor units."""
        if isinstance(amount, str):
            number, _, code = amount.partition(" ")
            currency = code or currency
            amount = to_minor(provider, number, currency)
        return make_payment(self.state, {"provider": provider, "amount": amount, "currency": currency, **wanted})

    def dispute(self, reference: str, status: str = "needs_response", amount: int | None = None) -> str:
        return self.state.set_dispute(reference, status, amount)

    def faults(self, *behaviours: str, provider: Provider = "stripe", **options: Any) -> None:
        """Plans one fault per behaviour, for the next refund calls (or `call="lookup"`)."""
        with self.state.lock:
            self.state.faults.add([Fault(provider, behaviour, **options) for behaviour in behaviours])

    def clear_faults(self) -> None:
        with self.state.lock:
            self.state.faults.clear()

    def advance(self, seconds: float) -> None:
        self.state.advance(seconds)

    def settle(self, refund_id: str, **outcome: Any) -> None:
        """Stripe: status=, failure_reason=. Adyen: success=, reason=."""
        settle(self.state, refund_id, outcome)

    @property
    def refunds(self) -> list[Refund]:
        """Every refund made, oldest first."""
        with self.state.lock:
            return list(self.state.refunds.values())

    def refunds_of(self, reference: str) -> list[Refund]:
        """Those of one payment, by whichever of its ids."""
        return [r for r in self.refunds if reference in (r.payment, getattr(r, "charge", None))]

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request but those to /_sandbox, oldest first."""
        with self.state.lock:
            return list(self.state.requests)

    @property
    def refund_requests(self) -> list[LoggedRequest]:
        """The calls that asked for a refund."""
        return [r for r in self.requests if r.method == "POST" and r.path.endswith("/refunds")]
