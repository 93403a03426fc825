"""Records of the simulated providers."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from refundcli.sandbox.core.exponents import Provider

PaymentKind = Literal["payment_intent", "charge", "payment_record"]
Json = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Record:
    """`created` is a time by the sandbox's clock, in seconds."""

    created: int

    def named(self) -> tuple[str, ...]:
        """The other ids under which it is found."""
        return ()


@dataclass(slots=True, kw_only=True)
class MoneyRecord(Record):
    """`amount` is in the provider's minor units."""

    id: str
    amount: int
    currency: str


@dataclass(slots=True, kw_only=True)
class StripeRecord(MoneyRecord):
    """`fields` overlay the object on the wire."""

    fields: Json = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class OfCharge(StripeRecord):
    charge: str
    payment_intent: str | None = None

    def named(self) -> tuple[str, ...]:
        return (self.charge, self.payment_intent) if self.payment_intent else (self.charge,)


@dataclass(slots=True, kw_only=True)
class OfAdyenPayment(MoneyRecord):
    """`story` holds what happened to it: (event code, time, amount)."""

    payment: str
    story: list[tuple[str, int, int]] = field(default_factory=list)

    def named(self) -> tuple[str, ...]:
        return (self.payment,)


@dataclass(slots=True, kw_only=True)
class Charge(StripeRecord):
    """A Stripe charge; `payment_intent` is None for one made without.

    `amount_captured` is None where all of the amount was captured (or nothing). `canceled` is Stripe's
    cancellation reason. `intent_fields` overlay the intent on the wire.
    """

    payment_intent: str | None
    captured: bool = True
    processing: bool = False
    description: str | None = None
    customer: str | None = None
    amount_captured: int | None = None
    failed: bool = False
    canceled: str | None = None
    method: str = "card"
    intent_fields: Json = field(default_factory=dict)
    provider: Provider = "stripe"

    @property
    def taken(self) -> int:
        """What was captured, in minor units."""
        return _taken(self.captured, self.amount, self.amount_captured)

    def named(self) -> tuple[str, ...]:
        return (self.payment_intent,) if self.payment_intent else ()


def _taken(is_captured: bool, amount: int, captured_amount: int | None) -> int:
    if not is_captured:
        return 0
    return amount if captured_amount is None else captured_amount


@dataclass(frozen=True, slots=True)
class Ending:
    """How a refund that is pending will end, and when."""

    at: float
    outcome: str
    reason: str | None = None


@dataclass(slots=True, kw_only=True)
class StripeRefund(OfCharge):
    status: str | None = "succeeded"
    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    failure_reason: str | None = None
    pending_reason: str = "processing"
    instructions_email: str | None = None
    method: str = "card"
    ending: Ending | None = None
    is_traceable: bool = False
    provider: Provider = "stripe"

    @property
    def payment(self) -> str:
        return self.payment_intent or self.charge


@dataclass(slots=True, kw_only=True)
class Dispute(OfCharge):
    """`movements` are its balance transactions: (amount, when), negative where the bank took money."""

    status: str
    reason: str = "general"
    movements: list[tuple[int, int]] = field(default_factory=list)

    @property
    def withdrawn(self) -> int:
        """What the bank withholds now, in minor units."""
        return -sum(amount for amount, _ in self.movements)


@dataclass(slots=True, kw_only=True)
class Invoice(Record):
    """A Stripe invoice; `lines` are its descriptions with their amounts."""

    id: str
    number: str
    currency: str
    total: int
    status: str
    customer: str
    customer_email: str | None = None
    customer_name: str | None = None
    subscription: str | None = None
    collection_method: str = "charge_automatically"
    due_date: int | None = None
    finalized_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None
    marked_uncollectible_at: int | None = None
    lines: list[tuple[str, int]] = field(default_factory=list)
    # Negative for credit that the customer had, positive for debt.
    starting_balance: int = 0
    fields: Json = field(default_factory=dict)

    def named(self) -> tuple[str, ...]:
        return (self.customer, self.subscription) if self.subscription else (self.customer,)


@dataclass(slots=True, kw_only=True)
class InvoicePayment(StripeRecord):
    """One of the payments of an invoice; `reference` is what its kind says: pi_…, ch_… or pr_…."""

    invoice: str
    kind: PaymentKind
    reference: str
    status: str = "paid"
    is_default: bool = False

    def named(self) -> tuple[str, ...]:
        return (self.invoice, self.reference)


@dataclass(slots=True, kw_only=True)
class CreditNote(StripeRecord):
    """A Stripe credit note; `refunds` are the linked refunds with their amounts. Amounts are in minor units."""

    number: str
    invoice: str
    customer: str
    pre_payment_amount: int = 0
    credit_amount: int = 0
    out_of_band_amount: int = 0
    refunds: list[tuple[str, int]] = field(default_factory=list)
    status: str = "issued"
    reason: str | None = None
    memo: str | None = None
    voided_at: int | None = None

    def named(self) -> tuple[str, ...]:
        return (self.invoice, self.customer)


@dataclass(slots=True, kw_only=True)
class ApprovalRequest(Record):
    """A refund that awaits a second person's approval at Stripe; `params` is the original request."""

    id: str
    params: Json
    idempotency_key: str | None = None
    status: str = "requires_review"
    refund: str | None = None
    reviewed_at: int | None = None


@dataclass(slots=True, kw_only=True)
class Event(Record):
    """A Stripe event with its object serialized at that time."""

    id: str
    type: str
    body: bytes


@dataclass(slots=True, kw_only=True)
class AdyenPayment(Record):
    """`story` holds what happened to it: (event code, time, amount).

    `dispute`, `dispute_amount` and `dispute_reference` are those of its first dispute. `captured_amount` is
    None where all of the amount was captured (or nothing).
    """

    psp_reference: str
    amount: int
    currency: str
    captured: bool = True
    processing: bool = False
    dispute: str | None = None
    dispute_amount: int | None = None
    dispute_reference: str | None = None
    reference: str | None = None
    merchant_account: str | None = None
    captured_amount: int | None = None
    method: str = "visa"
    store: str | None = None
    splits: list[Json] = field(default_factory=list)
    story: list[tuple[str, int, int]] = field(default_factory=list)
    provider: Provider = "adyen"

    @property
    def taken(self) -> int:
        """What was captured, in minor units."""
        return _taken(self.captured, self.amount, self.captured_amount)


@dataclass(slots=True, kw_only=True)
class AdyenDispute(OfAdyenPayment):
    """One of the disputes of a payment, by its own pspReference.

    `status` is the word it was opened or moved with (needs_response, won…), None where only events were sent.
    """

    status: str | None = None


@dataclass(slots=True, kw_only=True)
class AdyenRefund(OfAdyenPayment):
    """`success` is the outcome, which Adyen reports later: None while it is open."""

    merchant_account: str
    reference: str | None = None
    merchant_refund_reason: str | None = None
    idempotency_key: str | None = None
    success: bool | None = True
    outcome_reason: str | None = None
    status: str = "received"
    ending: Ending | None = None
    # Amount reversed after it had succeeded, in minor units.
    reversed_amount: int = 0
    provider: Provider = "adyen"

    def reverse(self, amount: int) -> bool:
        """Whether a part of it stands; else the refund failed."""
        if self.reversed_amount + amount < self.amount:
            self.reversed_amount += amount
            return True
        self.success = False
        return False

    def reached(self, code: str, at: int, amount: int | None = None) -> None:
        """Adds a step to its story, each only once."""
        if code != "REFUND" or not self.story or self.story[-1][0] != code:
            self.story.append((code, at, self.amount if amount is None else amount))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of Adyen's reports: `psp_reference` is the payment's, `modification` the refund's or dispute's.

    `side` (debit, credit) is told where the type does not say it, or to contradict it; `cells` replaces cells.
    """

    type: str
    at: int
    merchant: str
    psp_reference: str
    reference: str
    amount: int
    currency: str
    modification: str = ""
    modification_reference: str = ""
    side: str | None = None
    cells: Mapping[str, str] = field(default_factory=dict)
    method: str = "visa"


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
class PaymentIds:
    """The ids of a new payment; `reference` is the one that its invoice carries."""

    provider: Provider
    reference: str
    payment_intent: str | None = None
    charge: str | None = None
    psp_reference: str | None = None


_BASE62 = string.ascii_letters + string.digits
_PSP_ALPHABET = string.ascii_uppercase + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Random, so that two consecutive sandboxes never issue the same id."""
    return f"{prefix}_" + "".join(secrets.choice(_BASE62) for _ in range(length))


def new_psp_reference() -> str:
    return "".join(secrets.choice(_PSP_ALPHABET) for _ in range(16))
