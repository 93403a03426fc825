"""What the look-alikes remember: payments, refunds, disputes, keys and every request, in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from .faults import FaultPlan
from .idempotency import KeyStore
from .outbox import Outbox
from .records import (
    AdyenPayment,
    AdyenRefund,
    Charge,
    Dispute,
    Event,
    Invoice,
    InvoicePayment,
    LoggedRequest,
    Made,
    Refund,
    StripeRefund,
    new_id,
    new_psp_reference,
)
from .shelf import Shelf

__all__ = [
    "AdyenPayment",
    "AdyenRefund",
    "Charge",
    "Dispute",
    "LoggedRequest",
    "Made",
    "Refund",
    "SandboxState",
    "StripeRefund",
    "new_id",
    "new_psp_reference",
]

OPEN_DISPUTES = frozenset(["needs_response", "under_review"])
DISPUTE_STATUSES = OPEN_DISPUTES | {
    "lost",
    "won",
    "prevented",
    "warning_closed",
    "warning_needs_response",
    "warning_under_review",
}
# A refund in one of these took nothing from the charge.
UNDONE = frozenset(["failed", "canceled"])


class SandboxState:
    """Hold `lock` while reading or changing more than one thing. What is changed here makes no event: see changes."""

    def __init__(self, *, merchant_account: str | None = None) -> None:
        self.lock = threading.RLock()
        self.merchant_account = merchant_account
        self.account_id = new_id("acct", 16)
        self.faults = FaultPlan()
        self.keys = KeyStore()
        self.charges: Shelf[Charge] = Shelf()
        self.disputes: Shelf[Dispute] = Shelf()
        self.payments: Shelf[AdyenPayment] = Shelf()
        self.refunds: Shelf[Refund] = Shelf()
        self.invoices: Shelf[Invoice] = Shelf()
        self.invoice_payments: Shelf[InvoicePayment] = Shelf()
        self.events: Shelf[Event] = Shelf()
        self.outbox = Outbox()
        self.requests: list[LoggedRequest] = []
        self._clock_offset = 0.0

    # The clock

    def now(self) -> float:
        return time.time() + self._clock_offset

    def advance(self, seconds: float) -> None:
        with self.lock:
            self._clock_offset += seconds

    # Making things

    def add_stripe_payment(
        self,
        amount: int,
        currency: str,
        *,
        payment_intent: str | None = None,
        charge: str | None = None,
        captured: bool = True,
        processing: bool = False,
        description: str | None = None,
        customer: str | None = None,
        created: int | None = None,
    ) -> Made:
        """A PaymentIntent with its charge, or where only `charge` is given a charge alone."""
        with self.lock:
            intent = payment_intent or (None if charge else new_id("pi"))
            charge_id = charge or new_id("ch")
            if charge_id in self.charges or (intent and self.charge_of_intent(intent)):
                raise ValueError(f"{intent or charge_id} exists already")
            self.charges[charge_id] = Charge(
                id=charge_id,
                payment_intent=intent,
                amount=amount,
                currency=currency.lower(),
                created=int(self.now()) if created is None else created,
                captured=captured and not processing,
                processing=processing,
                description=description,
                customer=customer,
            )
            return Made("stripe", intent or charge_id, payment_intent=intent, charge=charge_id)

    def add_adyen_payment(
        self,
        amount: int,
        currency: str,
        *,
        psp_reference: str | None = None,
        captured: bool = True,
        processing: bool = False,
        reference: str | None = None,
        created: int | None = None,
    ) -> Made:
        with self.lock:
            psp = psp_reference or new_psp_reference()
            if psp in self.payments:
                raise ValueError(f"{psp} exists already")
            self.payments[psp] = AdyenPayment(
                psp_reference=psp,
                amount=amount,
                currency=currency.upper(),
                created=int(self.now()) if created is None else created,
                captured=captured and not processing,
                processing=processing,
                reference=reference,
            )
            return Made("adyen", psp, psp_reference=psp)

    def set_dispute(self, reference: str, status: str, amount: int | None = None) -> str:
        """Opens a dispute about a payment, or moves the one it has; returns its id."""
        if status not in DISPUTE_STATUSES:
            raise ValueError(f"unknown dispute status {status!r}: one of {', '.join(sorted(DISPUTE_STATUSES))}")
        with self.lock:
            if reference in self.payments:
                payment = self.payments[reference]
                payment.dispute = status
                payment.dispute_amount = payment.dispute_amount if amount is None else amount
                return reference
            charge = self.find_charge(reference)
            dispute = next(iter(self.disputes_of(charge.id)), None) or self._new_dispute(charge, status)
            dispute.status = status
            dispute.amount = dispute.amount if amount is None else amount
            return dispute.id

    def _new_dispute(self, charge: Charge, status: str) -> Dispute:
        made = Dispute(new_id("dp"), charge.id, charge.amount, charge.currency, status, int(self.now()))
        made.payment_intent = charge.payment_intent
        self.disputes[made.id] = made
        return made

    def add_dashboard_refund(self, reference: str, amount: int) -> str:
        """A refund that somebody made by hand, before or beside the program."""
        with self.lock:
            if reference in self.payments:
                return self._hand_made_adyen_refund(self.payments[reference], amount).id
            charge = self.find_charge(reference)
            refund = StripeRefund(
                new_id("re"), charge.id, charge.payment_intent, amount, charge.currency, int(self.now())
            )
            self.refunds[refund.id] = refund
            return refund.id

    def _hand_made_adyen_refund(self, payment: AdyenPayment, amount: int) -> AdyenRefund:
        refund = AdyenRefund(
            id=new_psp_reference(),
            payment=payment.psp_reference,
            amount=amount,
            currency=payment.currency,
            created=int(self.now()),
            merchant_account=self.merchant_account or "",
        )
        self.refunds[refund.id] = refund
        return refund

    # Finding things

    def charge_of_intent(self, intent: str) -> Charge | None:
        return next(iter(self.charges.naming(intent)), None)

    def find_charge(self, reference: str) -> Charge:
        charge = self.charges.get(reference) or self.charge_of_intent(reference)
        if charge is None:
            raise ValueError(f"no payment {reference}")
        return charge

    def disputes_of(self, charge: str) -> list[Dispute]:
        return self.disputes.naming(charge)

    def refunds_of(self, charge: str) -> Iterator[StripeRefund]:
        return (r for r in self.refunds.naming(charge) if isinstance(r, StripeRefund))

    # Sums and answers to "may it"

    def refunded(self, charge: Charge) -> int:
        return sum(r.amount for r in self.refunds_of(charge.id) if r.status not in UNDONE)

    def unrefunded(self, charge: Charge) -> int:
        """What is left once refunds and lost disputes are taken off."""
        lost = sum(d.amount for d in self.disputes_of(charge.id) if d.status == "lost")
        return max(0, charge.amount - self.refunded(charge) - lost)

    def is_charge_refundable(self, dispute: Dispute) -> bool:
        if dispute.status == "lost":
            return dispute.amount < self.charges[dispute.charge].amount
        return dispute.status not in OPEN_DISPUTES

    def adyen_balance(self, payment: AdyenPayment) -> int:
        made = (r for r in self.refunds.naming(payment.psp_reference) if isinstance(r, AdyenRefund))
        return payment.amount - sum(r.amount for r in made if r.success is not False)

    def log(self, entry: LoggedRequest) -> LoggedRequest:
        with self.lock:
            self.requests.append(entry)
        return entry

    def snapshot(self) -> Mapping[str, Any]:
        """Everything, as plain JSON."""
        with self.lock:
            return {
                "now": self.now(),
                "charges": [asdict(c) | {"refunded": self.refunded(c)} for c in self.charges.values()],
                "payments": [asdict(p) for p in self.payments.values()],
                "refunds": [_refund_json(r) for r in self.refunds.values()],
                "disputes": [asdict(d) for d in self.disputes.values()],
                "invoices": [asdict(i) for i in self.invoices.values()],
                "invoice_payments": [asdict(p) for p in self.invoice_payments.values()],
                "requests": [asdict(r) for r in self.requests],
                "faults": self.faults.remaining(),
            }


def _refund_json(refund: Refund) -> dict[str, Any]:
    return asdict(refund) | {"payment": refund.payment}
