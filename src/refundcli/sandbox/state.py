"""What the look-alikes remember: payments, refunds, disputes, keys and every request, in memory."""

from __future__ import annotations

import secrets
import string
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .exponents import Provider
from .faults import FaultPlan
from .idempotency import KeyStore

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


@dataclass(slots=True)
class Charge:
    """A Stripe charge; `payment_intent` is None for one made without."""

    id: str
    payment_intent: str | None
    amount: int
    currency: str
    created: int
    captured: bool = True
    processing: bool = False
    description: str | None = None
    provider: Provider = "stripe"


@dataclass(slots=True)
class StripeRefund:
    id: str
    charge: str
    payment_intent: str | None
    amount: int
    currency: str
    created: int
    status: str = "succeeded"
    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    failure_reason: str | None = None
    instructions_email: str | None = None
    provider: Provider = "stripe"

    @property
    def payment(self) -> str:
        return self.payment_intent or self.charge


@dataclass(slots=True)
class Dispute:
    id: str
    charge: str
    amount: int
    currency: str
    status: str
    created: int


@dataclass(slots=True)
class AdyenPayment:
    psp_reference: str
    amount: int
    currency: str
    created: int
    captured: bool = True
    processing: bool = False
    dispute: str | None = None
    reference: str | None = None
    provider: Provider = "adyen"


@dataclass(slots=True)
class AdyenRefund:
    """`success` is how it ends, which Adyen tells only later: None while it is open."""

    id: str
    payment: str
    amount: int
    currency: str
    created: int
    merchant_account: str
    reference: str | None = None
    merchant_refund_reason: str | None = None
    idempotency_key: str | None = None
    success: bool | None = True
    outcome_reason: str | None = None
    status: str = "received"
    provider: Provider = "adyen"


@dataclass(slots=True)
class LoggedRequest:
    """`status` is None while in progress, and for ever where the connection was closed without an answer."""

    provider: Provider | None
    method: str
    path: str
    params: Any
    headers: dict[str, str]
    time: float
    status: int | None = None
    fault: str | None = None
    replayed: bool = False

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("idempotency-key")


Refund = StripeRefund | AdyenRefund


@dataclass(frozen=True, slots=True)
class Made:
    """The ids of a payment that was made; `reference` is the one an invoice would carry."""

    provider: Provider
    reference: str
    payment_intent: str | None = None
    charge: str | None = None
    psp_reference: str | None = None


class SandboxState:
    """Hold `lock` while reading or changing more than one thing."""

    def __init__(self, *, merchant_account: str | None = None) -> None:
        self.lock = threading.RLock()
        self.merchant_account = merchant_account
        self.account_id = new_id("acct", 16)
        self.faults = FaultPlan()
        self.keys = KeyStore()
        self.charges: dict[str, Charge] = {}
        self.disputes: dict[str, Dispute] = {}
        self.payments: dict[str, AdyenPayment] = {}
        self.refunds: dict[str, Refund] = {}
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
                created=int(self.now()),
                captured=captured and not processing,
                processing=processing,
                description=description,
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
    ) -> Made:
        with self.lock:
            psp = psp_reference or new_psp_reference()
            if psp in self.payments:
                raise ValueError(f"{psp} exists already")
            self.payments[psp] = AdyenPayment(
                psp_reference=psp,
                amount=amount,
                currency=currency.upper(),
                created=int(self.now()),
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
                self.payments[reference].dispute = status
                return reference
            charge = self.find_charge(reference)
            dispute = next(iter(self.disputes_of(charge.id)), None)
            if dispute is None:
                taken = charge.amount if amount is None else amount
                dispute = Dispute(new_id("dp"), charge.id, taken, charge.currency, status, created=int(self.now()))
                self.disputes[dispute.id] = dispute
            dispute.status = status
            dispute.amount = dispute.amount if amount is None else amount
            return dispute.id

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
        return next((c for c in self.charges.values() if c.payment_intent == intent), None)

    def find_charge(self, reference: str) -> Charge:
        charge = self.charges.get(reference) or self.charge_of_intent(reference)
        if charge is None:
            raise ValueError(f"no payment {reference}")
        return charge

    def disputes_of(self, charge: str) -> list[Dispute]:
        return [dispute for dispute in self.disputes.values() if dispute.charge == charge]

    def stripe_refunds(self) -> Iterator[StripeRefund]:
        return (r for r in list(self.refunds.values()) if isinstance(r, StripeRefund))

    def adyen_refunds(self) -> Iterator[AdyenRefund]:
        return (r for r in list(self.refunds.values()) if isinstance(r, AdyenRefund))

    # Sums and answers to "may it"

    def refunded(self, charge: Charge) -> int:
        return sum(r.amount for r in self.stripe_refunds() if r.charge == charge.id and r.status not in UNDONE)

    def unrefunded(self, charge: Charge) -> int:
        """What is left once refunds and lost disputes are taken off."""
        lost = sum(d.amount for d in self.disputes_of(charge.id) if d.status == "lost")
        return max(0, charge.amount - self.refunded(charge) - lost)

    def is_charge_refundable(self, dispute: Dispute) -> bool:
        if dispute.status == "lost":
            return dispute.amount < self.charges[dispute.charge].amount
        return dispute.status not in OPEN_DISPUTES

    def adyen_balance(self, payment: AdyenPayment) -> int:
        gone = sum(
            r.amount for r in self.adyen_refunds() if r.payment == payment.psp_reference and r.success is not False
        )
        return payment.amount - gone

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
                "requests": [asdict(r) for r in self.requests],
                "faults": self.faults.remaining(),
            }


def _refund_json(refund: Refund) -> dict[str, Any]:
    return asdict(refund) | {"payment": refund.payment}


_BASE62 = string.ascii_letters + string.digits
_PSP_ALPHABET = string.ascii_uppercase + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Random, so that two sandboxes one after the other never give out the same id."""
    return f"{prefix}_" + "".join(secrets.choice(_BASE62) for _ in range(length))


def new_psp_reference() -> str:
    return "".join(secrets.choice(_PSP_ALPHABET) for _ in range(16))
