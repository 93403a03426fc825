"""What the look-alikes remember of each thing."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import Any, Literal

from .exponents import Provider

PaymentKind = Literal["payment_intent", "charge", "payment_record"]


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
    customer: str | None = None
    provider: Provider = "stripe"

    def named(self) -> tuple[str, ...]:
        return (self.payment_intent,) if self.payment_intent else ()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a refund that is pending will end, and when."""

    at: float
    outcome: str
    reason: str | None = None


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
    ending: Ending | None = None
    provider: Provider = "stripe"

    @property
    def payment(self) -> str:
        return self.payment_intent or self.charge

    def named(self) -> tuple[str, ...]:
        return (self.charge, self.payment_intent) if self.payment_intent else (self.charge,)


@dataclass(slots=True)
class Dispute:
    """`withdrawn` while the bank holds the money."""

    id: str
    charge: str
    amount: int
    currency: str
    status: str
    created: int
    payment_intent: str | None = None
    withdrawn: bool = False

    def named(self) -> tuple[str, ...]:
        return (self.charge, self.payment_intent) if self.payment_intent else (self.charge,)


@dataclass(slots=True)
class Invoice:
    """A Stripe invoice; `lines` are its descriptions with their amounts."""

    id: str
    number: str
    currency: str
    total: int
    status: str
    customer: str
    created: int
    customer_name: str | None = None
    subscription: str | None = None
    collection_method: str = "charge_automatically"
    due_date: int | None = None
    finalized_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None
    marked_uncollectible_at: int | None = None
    lines: list[tuple[str, int]] = field(default_factory=list)

    def named(self) -> tuple[str, ...]:
        return (self.customer, self.subscription) if self.subscription else (self.customer,)


@dataclass(slots=True)
class InvoicePayment:
    """One of the payments of an invoice; `reference` is what its kind says: pi_…, ch_… or pr_…."""

    id: str
    invoice: str
    kind: PaymentKind
    reference: str
    amount: int
    currency: str
    created: int
    status: str = "paid"
    is_default: bool = False

    def named(self) -> tuple[str, ...]:
        return (self.invoice, self.reference)


@dataclass(frozen=True, slots=True)
class Event:
    """A Stripe event: its object as it was then, written out."""

    id: str
    type: str
    created: int
    body: bytes

    def named(self) -> tuple[str, ...]:
        return ()


@dataclass(slots=True)
class AdyenPayment:
    """`story` holds what befell it, with the time: the reports are made of that."""

    psp_reference: str
    amount: int
    currency: str
    created: int
    captured: bool = True
    processing: bool = False
    dispute: str | None = None
    dispute_amount: int | None = None
    dispute_reference: str | None = None
    reference: str | None = None
    merchant_account: str | None = None
    story: list[tuple[str, int]] = field(default_factory=list)
    provider: Provider = "adyen"

    def named(self) -> tuple[str, ...]:
        return ()


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
    ending: Ending | None = None
    story: list[tuple[str, int]] = field(default_factory=list)
    provider: Provider = "adyen"

    def named(self) -> tuple[str, ...]:
        return (self.payment,)


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


_BASE62 = string.ascii_letters + string.digits
_PSP_ALPHABET = string.ascii_uppercase + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Random, so that two sandboxes one after the other never give out the same id."""
    return f"{prefix}_" + "".join(secrets.choice(_BASE62) for _ in range(length))


def new_psp_reference() -> str:
    return "".join(secrets.choice(_PSP_ALPHABET) for _ in range(16))
