"""Records of the simulated providers."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import Any, Literal

from refundcli.sandbox.core.exponents import Provider

PaymentKind = Literal["payment_intent", "charge", "payment_record"]
Json = dict[str, Any]


@dataclass(slots=True)
class Charge:
    """A Stripe charge; `payment_intent` is None for one made without.

    `amount_captured` is None where all of the amount was captured (or nothing). `canceled` is Stripe's
    cancellation reason. `fields` and `intent_fields` overlay the two objects on the wire.
    """

    id: str
    payment_intent: str | None
    amount: int
    currency: str
    created: int
    captured: bool = True
    processing: bool = False
    description: str | None = None
    customer: str | None = None
    amount_captured: int | None = None
    failed: bool = False
    canceled: str | None = None
    method: str = "card"
    fields: Json = field(default_factory=dict)
    intent_fields: Json = field(default_factory=dict)
    provider: Provider = "stripe"

    @property
    def taken(self) -> int:
        """What was captured, in minor units."""
        if not self.captured:
            return 0
        return self.amount if self.amount_captured is None else self.amount_captured

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
    status: str | None = "succeeded"
    reason: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    failure_reason: str | None = None
    pending_reason: str = "processing"
    instructions_email: str | None = None
    method: str = "card"
    ending: Ending | None = None
    fields: Json = field(default_factory=dict)
    provider: Provider = "stripe"

    @property
    def payment(self) -> str:
        return self.payment_intent or self.charge

    def named(self) -> tuple[str, ...]:
        return (self.charge, self.payment_intent) if self.payment_intent else (self.charge,)


@dataclass(slots=True)
class Dispute:
    """`movements` are its balance transactions: (amount, when), negative where the bank took money."""

    id: str
    charge: str
    amount: int
    currency: str
    status: str
    created: int
    payment_intent: str | None = None
    reason: str = "general"
    movements: list[tuple[int, int]] = field(default_factory=list)
    fields: Json = field(default_factory=dict)

    @property
    def withdrawn(self) -> int:
        """What the bank withholds now, in minor units."""
        return -sum(amount for amount, _ in self.movements)

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
    # Negative for credit that the customer had, positive for debt.
    starting_balance: int = 0
    fields: Json = field(default_factory=dict)

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
    fields: Json = field(default_factory=dict)

    def named(self) -> tuple[str, ...]:
        return (self.invoice, self.reference)


@dataclass(slots=True)
class CreditNote:
    """A Stripe credit note; `refunds` are the linked refunds with their amounts. Amounts are in minor units."""

    id: str
    number: str
    invoice: str
    customer: str
    amount: int
    currency: str
    created: int
    pre_payment_amount: int = 0
    credit_amount: int = 0
    out_of_band_amount: int = 0
    refunds: list[tuple[str, int]] = field(default_factory=list)
    status: str = "issued"
    reason: str | None = None
    memo: str | None = None
    voided_at: int | None = None
    fields: Json = field(default_factory=dict)

    def named(self) -> tuple[str, ...]:
        return (self.invoice, self.customer)


@dataclass(slots=True)
class ApprovalRequest:
    """A refund that awaits a second person's approval at Stripe; `params` is the original request."""

    id: str
    params: Json
    created: int
    idempotency_key: str | None = None
    status: str = "requires_review"
    refund: str | None = None
    reviewed_at: int | None = None

    def named(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Event:
    """A Stripe event with its object serialized at that time."""

    id: str
    type: str
    created: int
    body: bytes

    def named(self) -> tuple[str, ...]:
        return ()


@dataclass(slots=True)
class AdyenPayment:
    """`story` holds what happened to it: (event code, time, amount).

    `dispute`, `dispute_amount` and `dispute_reference` are those of its first dispute. `captured_amount` is
    None where all of the amount was captured (or nothing).
    """

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
    captured_amount: int | None = None
    method: str = "visa"
    store: str | None = None
    splits: list[Json] = field(default_factory=list)
    story: list[tuple[str, int, int]] = field(default_factory=list)
    provider: Provider = "adyen"

    @property
    def taken(self) -> int:
        """What was captured, in minor units."""
        if not self.captured:
            return 0
        return self.amount if self.captured_amount is None else self.captured_amount

    def named(self) -> tuple[str, ...]:
        return ()


@dataclass(slots=True)
class AdyenDispute:
    """One of the disputes of a payment, by its own pspReference; `story` is (event code, time, amount).

    `status` is the word it was opened or moved with (needs_response, won…), None where only events were sent.
    """

    id: str
    payment: str
    amount: int
    currency: str
    created: int
    status: str | None = None
    story: list[tuple[str, int, int]] = field(default_factory=list)

    def named(self) -> tuple[str, ...]:
        return (self.payment,)


@dataclass(slots=True)
class AdyenRefund:
    """`success` is the outcome, which Adyen reports later: None while it is open.

    `story` is what happened to the money: (event code, time, amount).
    """

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
    story: list[tuple[str, int, int]] = field(default_factory=list)
    # Amount reversed after it had succeeded, in minor units.
    reversed_amount: int = 0
    provider: Provider = "adyen"

    def reached(self, code: str, at: int, amount: int | None = None) -> None:
        """Adds a step to its story, each only once."""
        if code != "REFUND" or not self.story or self.story[-1][0] != code:
            self.story.append((code, at, self.amount if amount is None else amount))

    def named(self) -> tuple[str, ...]:
        return (self.payment,)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A line for Adyen's reports, besides those that follow from what happened; amounts in minor units.

    `side` is debit or credit where the type alone does not say it; `cells` replaces cells by column name.
    """

    type: str
    psp_reference: str
    amount: int
    currency: str
    at: int
    reference: str = ""
    merchant: str | None = None
    modification: str = ""
    modification_reference: str = ""
    side: str | None = None
    cells: dict[str, str] = field(default_factory=dict)


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
