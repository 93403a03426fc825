"""The sandbox inside a test: served from a thread, looked at directly."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from . import changes, webhooks
from .adyen_reports import Kind, entries, report
from .billing import MadeInvoice, make_invoice
from .control import notify
from .exponents import Provider, to_minor
from .faults import Fault
from .records import LoggedRequest, Made, Refund
from .server import bind, make_server, url_of
from .state import SandboxState
from .webhooks import Delivery


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
        self.state.outbox.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._listener.close()

    def charge(self, amount: str | int, currency: str = "EUR", *, provider: Provider = "stripe", **wanted: Any) -> Made:
        """A payment of "100.00 EUR", or of so many of the provider's minor units."""
        amount, currency = self._minor(amount, currency, provider)
        return changes.make_payment(
            self.state, {"provider": provider, "amount": amount, "currency": currency, **wanted}
        )

    def dispute(self, reference: str, status: str = "needs_response", amount: int | None = None) -> str:
        """Opened, or moved on; the events are queued."""
        return changes.dispute(self.state, reference, status, amount)

    def invoice(
        self,
        total: str | int,
        currency: str = "EUR",
        *,
        number: str | None = None,
        status: str = "paid",
        payments: Sequence[Mapping[str, Any]] | None = None,
        **wanted: Any,
    ) -> MadeInvoice:
        """A Stripe invoice of "100.00 EUR", or of so many minor units; amounts of `payments` as that of the total.

        Further: id, customer, customer_name, products, subscription, collection_method, created, due_date.
        """
        amount, currency = self._minor(total, currency)
        given = {"total": amount, "currency": currency, "number": number, "status": status, **wanted}
        if payments is not None:
            given["payments"] = [{**each, "amount": self._minor(each["amount"], currency)[0]} for each in payments]
        return make_invoice(self.state, given)

    def _minor(self, amount: str | int, currency: str, provider: Provider = "stripe") -> tuple[int, str]:
        if isinstance(amount, int):
            return amount, currency
        number, _, code = amount.partition(" ")
        return to_minor(provider, number, code or currency), code or currency

    def dashboard_refund(self, reference: str, amount: int, **wanted: Any) -> str:
        """Made by hand at the provider. Stripe: status=, reason=, metadata=. Adyen: event="CANCEL_OR_REFUND"."""
        return changes.refund_by_hand(self.state, reference, amount, **wanted)

    def capture(self, reference: str) -> None:
        changes.capture(self.state, reference)

    def notify(self, payment: str, event_code: str, **wanted: Any) -> None:
        """Queues any of Adyen's items: psp_reference=, reference=, amount=, success=, reason=, data=."""
        notify(self.state, {"payment": payment, "event_code": event_code, **wanted})

    def webhooks(self, provider: Provider, **wanted: Any) -> None:
        """An endpoint: url=, secret= (Stripe's) or hmac_key= (Adyen's), username=, password=, auto=."""
        webhooks.register(self.state, {"provider": provider, **wanted})

    def deliveries(self, provider: Provider, *, drain: bool = False, signed_at: int | None = None) -> list[Delivery]:
        """What is queued, as it would be sent."""
        return webhooks.deliveries(self.state, provider, drain=drain, signed_at=signed_at)

    def report(self, kind: Kind) -> str:
        """Adyen's "payment-accounting" or "settlement-details" of what there is."""
        return "".join(report(kind, entries(self.state)))

    def deliver(
        self, *, provider: Provider | None = None, order: str = "in", seed: int = 0, times: int = 1
    ) -> list[int]:
        """Sends what is queued; the status codes, 0 where nobody answered."""
        return webhooks.deliver(self.state, provider=provider, order=order, seed=seed, times=times)

    def faults(self, *behaviours: str, provider: Provider = "stripe", **options: Any) -> None:
        """Plans one fault per behaviour, for the next refund calls (or `call="lookup"`)."""
        with self.state.lock:
            self.state.faults.add([Fault(provider, behaviour, **options) for behaviour in behaviours])

    def clear_faults(self) -> None:
        with self.state.lock:
            self.state.faults.clear()

    def advance(self, seconds: float) -> None:
        changes.advance(self.state, seconds)

    def settle(self, refund_id: str, **outcome: Any) -> None:
        """Stripe: status=, failure_reason=. Adyen: success=, reason=, or event="REFUND_FAILED", "REFUNDED_REVERSED"."""
        changes.settle(self.state, refund_id, outcome)

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
