"""The sandbox inside a test: served from a thread, its state directly accessible."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo

from refundcli.sandbox.adyen import disputes, effects, events
from refundcli.sandbox.adyen.reports import Kind, add_line, entries, report
from refundcli.sandbox.core import approvals, billing, changes, webhooks
from refundcli.sandbox.core.billing import InvoiceIds
from refundcli.sandbox.core.control import notify
from refundcli.sandbox.core.exponents import Provider, to_minor
from refundcli.sandbox.core.faults import Fault
from refundcli.sandbox.core.idempotency import KeyRecord
from refundcli.sandbox.core.records import ApprovalRequest, CreditNote, LoggedRequest, PaymentIds, Refund
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.core.webhooks import Delivery
from refundcli.sandbox.server import bind, make_server, url_of
from refundcli.sandbox.stripe import patch as stripe_patch
from refundcli.sandbox.stripe import payments as stripe_payments


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
        """Refuses connections from now on; the state stays readable and can be served again."""
        self._server.should_exit = True
        self.state.outbox.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._listener.close()

    def charge(
        self, amount: str | int, currency: str = "EUR", *, provider: Provider = "stripe", **options: Any
    ) -> PaymentIds:
        """A payment of "100.00 EUR", or of so many of the provider's minor units."""
        amount, currency = self._minor(amount, currency, provider)
        return changes.make_payment(
            self.state, {"provider": provider, "amount": amount, "currency": currency, **options}
        )

    def dispute(self, reference: str, status: str = "needs_response", amount: int | None = None, **options: Any) -> str:
        """Opens or moves a dispute and queues its events. Any status; dispute= names which, new=True opens one more.

        Stripe: reinstated= is what a lost one gives back; any other field is set on the object.
        """
        return changes.dispute(self.state, reference, status, amount, **options)

    def adyen_dispute(self, payment: str, codes: str | Sequence[str], **options: Any) -> str:
        """A dispute that goes through these codes, or a life by name ("prearbitration lost"); its pspReference.

        dispute= goes on with one, amount= is a part, original_reference=None leaves the payment out; the rest as
        of `adyen_event`.
        """
        return disputes.live(self.state, payment, codes, **options)

    def adyen_event(self, event_code: str, payment: str | None = None, **fields: Any) -> dict[str, Any]:
        """Any of Adyen's items, about the payment with this reference, sent and done; returns the item.

        success=, amount=, currency=, psp_reference=, original_reference= (None leaves it out),
        merchant_reference=, reason=, additional_data=, event_date=, payment_method=, merchant_account=, live=,
        item= (fields as they stand, None takes one away), effect=False (words only).
        """
        return effects.event(self.state, event_code, payment=payment, **fields)

    def adyen_webhook(self, body: Mapping[str, Any]) -> None:
        """One of Adyen's other shape: `type` and `data`, with the HMAC in a header."""
        events.send_other(self.state, body)

    def stripe_object(self, object_id: str) -> dict[str, Any]:
        """As Stripe would answer it now, not expanded."""
        with self.state.lock:
            return stripe_patch.find(self.state, object_id).shape()

    def patch(
        self, object_id: str, fields: Mapping[str, Any], *, remove: Sequence[str] = (), event: str | bool = True
    ) -> dict[str, Any]:
        """Any fields of any Stripe object, merged; its event is queued, or the one named, or with False none."""
        return stripe_patch.patch(self.state, object_id, fields, remove=remove, event=event)

    def stripe_event(self, kind: str, about: str | None = None, **options: Any) -> None:
        """Any type of event about an object, or with shape= any other; fields=, previous_attributes=."""
        stripe_patch.send_event(self.state, kind, about=about, **options)

    def payment_becomes(self, reference: str, status: str) -> None:
        """A Stripe payment: canceled, expired, failed, processing, requires_capture, succeeded."""
        stripe_payments.becomes(self.state, self.state.find_charge(reference), status)

    def credit_note(self, invoice: str, amount: int, **options: Any) -> CreditNote:
        """A Stripe credit note, to the customer's balance if neither refund_amount=, refunds= nor
        out_of_band_amount= says otherwise; further reason=, memo=, id=, number=."""
        return billing.make_credit_note(self.state, {"invoice": invoice, "amount": amount, **options})

    def void_credit_note(self, note_id: str) -> None:
        billing.void_credit_note(self.state, note_id)

    @property
    def approvals(self) -> list[ApprovalRequest]:
        """What faults("approval_required") made Stripe ask for, oldest first."""
        with self.state.lock:
            return list(self.state.approvals.values())

    def approve(self, request: str) -> str | None:
        """Stripe makes the refund that awaits approval under this id; the refund's id, None where it no longer can."""
        return approvals.end(self.state, request, "approved").refund

    def decline(self, request: str, status: str = "rejected") -> None:
        """Nothing is made for the approval request with this id; status= may be canceled or expired."""
        approvals.end(self.state, request, status)

    @property
    def keys(self) -> list[KeyRecord]:
        """Each idempotency key that came: key, first_seen by the sandbox's clock, count, params of each request."""
        return self.state.key_records()

    def forget_keys(self, provider: Provider | None = None, older_than: float | None = None) -> int:
        """The vendor's memory of keys, all or those first used so many seconds ago; `keys` still shows them."""
        return self.state.forget_keys(provider, older_than)

    def invoice(
        self,
        total: str | int,
        currency: str = "EUR",
        *,
        number: str | None = None,
        status: str = "paid",
        payments: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> InvoiceIds:
        """A Stripe invoice of "100.00 EUR", or of so many minor units; amounts of `payments` as that of the total.

        Further: id, customer, customer_name, products, subscription, collection_method, created, due_date,
        starting_balance (negative for credit), fields.
        """
        amount, currency = self._minor(total, currency)
        body = {"total": amount, "currency": currency, "number": number, "status": status, **options}
        if payments is not None:
            body["payments"] = [
                {**payment, "amount": self._minor(payment["amount"], currency)[0]} for payment in payments
            ]
        return billing.make_invoice(self.state, body)

    def _minor(self, amount: str | int, currency: str, provider: Provider = "stripe") -> tuple[int, str]:
        if isinstance(amount, int):
            return amount, currency
        major_units, _, currency_code = amount.partition(" ")
        return to_minor(provider, major_units, currency_code or currency), currency_code or currency

    def dashboard_refund(self, reference: str, amount: int, **options: Any) -> str:
        """A refund made in the dashboard. Stripe: status= (any, or None), reason=, metadata=, any other field.

        Adyen: event="CANCEL_OR_REFUND" or "REFUND_WITH_DATA".
        """
        return changes.dashboard_refund(self.state, reference, amount, **options)

    def capture(self, reference: str, amount: int | None = None) -> None:
        """All of it, or `amount`: Stripe then lists the rest as refunded."""
        changes.capture(self.state, reference, amount)

    def notify(self, payment: str, event_code: str, **options: Any) -> None:
        """Queues any of Adyen's items: psp_reference=, reference=, amount=, success=, reason=, data=."""
        notify(self.state, {"payment": payment, "event_code": event_code, **options})

    def webhooks(self, provider: Provider, **options: Any) -> None:
        """An endpoint: url=, secret= (Stripe's) or hmac_key= (Adyen's), username=, password=, auto=."""
        webhooks.register(self.state, {"provider": provider, **options})

    def deliveries(self, provider: Provider, *, drain: bool = False, signed_at: int | None = None) -> list[Delivery]:
        """What is queued, as it would be sent; drain=True empties the queue."""
        return webhooks.deliveries(self.state, provider, drain=drain, signed_at=signed_at)

    def report(self, kind: Kind, *, zone: str = "Europe/Amsterdam", without: Collection[str] = ()) -> str:
        """Adyen's "payment-accounting" or "settlement-details" of what there is; without= leaves columns out."""
        return "".join(report(kind, entries(self.state), ZoneInfo(zone), without=without))

    def report_line(self, kind: str, payment: str = "", amount: int | None = None, **options: Any) -> None:
        """One line more in both reports, of any type.

        currency=, at=, modification=, modification_reference=, reference=, merchant=, side= ("debit", "credit"),
        cells= (by column name).
        """
        add_line(self.state, kind, payment, amount, **options)

    def deliver(
        self, *, provider: Provider | None = None, order: str = "in", seed: int = 0, times: int = 1
    ) -> list[int]:
        """Sends what is queued, times= times, in order= "in", "reverse" or "shuffled" (by seed=); the status codes.

        0 is for no response.
        """
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
        """Stripe: status=, failure_reason=, any other field. Adyen: success=, reason=, or event="REFUND_FAILED",
        "REFUNDED_REVERSED" with amount= for a partial reversal."""
        changes.settle(self.state, refund_id, outcome)

    @property
    def refunds(self) -> list[Refund]:
        """Every refund made, oldest first."""
        with self.state.lock:
            return list(self.state.refunds.values())

    def refunds_of(self, reference: str) -> list[Refund]:
        """Those of one payment, by whichever of its ids."""
        return [refund for refund in self.refunds if reference in (refund.payment, getattr(refund, "charge", None))]

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request but those to /_sandbox, oldest first."""
        with self.state.lock:
            return list(self.state.requests)

    @property
    def refund_requests(self) -> list[LoggedRequest]:
        """The calls that asked for a refund."""
        return [r for r in self.requests if r.method == "POST" and r.path.endswith("/refunds")]
