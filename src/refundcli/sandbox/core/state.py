"""The sandbox's state: payments, refunds, disputes, keys and every request, in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from refundcli.sandbox.core.faults import FaultPlan
from refundcli.sandbox.core.idempotency import KeyRecord, KeyStore
from refundcli.sandbox.core.outbox import Outbox
from refundcli.sandbox.core.record_table import RecordTable
from refundcli.sandbox.core.records import (
    AdyenDispute,
    AdyenPayment,
    AdyenRefund,
    ApprovalRequest,
    Charge,
    CreditNote,
    Dispute,
    Entry,
    Event,
    Invoice,
    InvoicePayment,
    LoggedRequest,
    PaymentIds,
    Refund,
    StripeRefund,
    new_id,
    new_psp_reference,
)

__all__ = [
    "AdyenDispute",
    "AdyenPayment",
    "AdyenRefund",
    "Charge",
    "Dispute",
    "LoggedRequest",
    "PaymentIds",
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
# In these statuses the cardholder has the disputed money: lost, or returned by the bank.
LOST_DISPUTES = frozenset(["lost", "prevented"])
# A refund in one of these statuses does not reduce the charge.
UNDONE = frozenset(["failed", "canceled"])


class SandboxState:
    """Hold `lock` while reading or changing more than one thing. What is changed here makes no event: see changes."""

    def __init__(self, *, merchant_account: str | None = None) -> None:
        self.lock = threading.RLock()
        self.merchant_account = merchant_account
        self.account_id = new_id("acct", 16)
        self.faults = FaultPlan()
        self.keys = KeyStore()
        self.charges: RecordTable[Charge] = RecordTable()
        self.disputes: RecordTable[Dispute] = RecordTable()
        self.payments: RecordTable[AdyenPayment] = RecordTable()
        self.adyen_disputes: RecordTable[AdyenDispute] = RecordTable()
        self.refunds: RecordTable[Refund] = RecordTable()
        self.invoices: RecordTable[Invoice] = RecordTable()
        self.invoice_payments: RecordTable[InvoicePayment] = RecordTable()
        self.credit_notes: RecordTable[CreditNote] = RecordTable()
        self.approvals: RecordTable[ApprovalRequest] = RecordTable()
        self.events: RecordTable[Event] = RecordTable()
        self.report_lines: list[Entry] = []
        self.outbox = Outbox()
        self.requests: list[LoggedRequest] = []
        self._clock_offset = 0.0

    # The clock

    def now(self) -> float:
        return time.time() + self._clock_offset

    def advance(self, seconds: float) -> None:
        with self.lock:
            self._clock_offset += seconds

    # Creating records

    def add_stripe_payment(
        self,
        amount: int,
        currency: str,
        *,
        payment_intent: str | None = None,
        charge: str | None = None,
        captured: bool = True,
        processing: bool = False,
        created: int | None = None,
        **fields: Any,
    ) -> PaymentIds:
        """A PaymentIntent with its charge, or where only `charge` is given a charge alone.

        Further fields of a Charge: amount_captured, description, customer, method, fields, intent_fields.
        """
        with self.lock:
            intent_id = payment_intent or (None if charge else new_id("pi"))
            charge_id = charge or new_id("ch")
            if charge_id in self.charges or (intent_id and self.charge_of_intent(intent_id)):
                raise ValueError(f"{intent_id or charge_id} exists already")
            self.charges[charge_id] = Charge(
                id=charge_id,
                payment_intent=intent_id,
                amount=amount,
                currency=currency.lower(),
                created=int(self.now()) if created is None else created,
                captured=captured and not processing,
                processing=processing,
                **fields,
            )
            return PaymentIds("stripe", intent_id or charge_id, payment_intent=intent_id, charge=charge_id)

    def add_adyen_payment(
        self,
        amount: int,
        currency: str,
        *,
        psp_reference: str | None = None,
        captured: bool = True,
        processing: bool = False,
        created: int | None = None,
        **fields: Any,
    ) -> PaymentIds:
        """Further fields of an AdyenPayment: reference, captured_amount, method, store, splits."""
        with self.lock:
            payment = AdyenPayment(
                psp_reference=psp_reference or new_psp_reference(),
                amount=amount,
                currency=currency.upper(),
                created=int(self.now()) if created is None else created,
                captured=captured and not processing,
                processing=processing,
                **fields,
            )
            self.payments.add(payment.psp_reference, payment)
            return PaymentIds("adyen", payment.psp_reference, psp_reference=payment.psp_reference)

    def set_dispute(
        self, reference: str, status: str, amount: int | None = None, *, dispute: str | None = None, new: bool = False
    ) -> str:
        """Moves a dispute of a payment, the first where none is named, or opens one; returns its id.

        `status` is one of Stripe's, or any other word. `dispute` is the id of the one that is meant; if the payment
        has none of that id, it is opened with it. `new` opens one more.
        """
        with self.lock:
            payment = self.payments.get(reference)
            known_disputes = [] if new else self.disputes_about(reference)
            moved_dispute = next((known for known in known_disputes if dispute in (None, known.id)), None)
            if moved_dispute is None:
                moved_dispute = (
                    self.new_adyen_dispute(payment, dispute)
                    if payment
                    else self._new_dispute(self.find_charge(reference), status, dispute)
                )
            moved_dispute.status = status
            moved_dispute.amount = moved_dispute.amount if amount is None else amount
            if payment:
                self.mirror_first_dispute(payment)
            return moved_dispute.id

    def _new_dispute(self, charge: Charge, status: str, dispute_id: str | None) -> Dispute:
        new_dispute = Dispute(
            id=dispute_id or new_id("dp"),
            charge=charge.id,
            payment_intent=charge.payment_intent,
            amount=charge.amount,
            currency=charge.currency,
            status=status,
            created=int(self.now()),
        )
        return self.disputes.add(new_dispute.id, new_dispute)

    def new_adyen_dispute(
        self, payment: AdyenPayment, dispute_id: str | None = None, amount: int | None = None
    ) -> AdyenDispute:
        new_dispute = AdyenDispute(
            id=dispute_id or new_psp_reference(),
            payment=payment.psp_reference,
            amount=payment.amount if amount is None else amount,
            currency=payment.currency,
            created=int(self.now()),
        )
        return self.adyen_disputes.add(new_dispute.id, new_dispute)

    def mirror_first_dispute(self, payment: AdyenPayment) -> None:
        """The payment shows its first dispute."""
        for first_dispute in self.adyen_disputes.naming(payment.psp_reference)[:1]:
            payment.dispute, payment.dispute_amount, payment.dispute_reference = (
                first_dispute.status,
                first_dispute.amount,
                first_dispute.id,
            )

    def add_refund(self, charge: Charge, amount: int, **fields: Any) -> StripeRefund:
        """`fields` are the others of a StripeRefund."""
        refund = StripeRefund(
            id=new_id("re"),
            charge=charge.id,
            payment_intent=charge.payment_intent,
            amount=amount,
            currency=charge.currency,
            created=int(self.now()),
            method=charge.method,
            **fields,
        )
        self.refunds[refund.id] = refund
        return refund

    def add_adyen_refund(
        self, payment: AdyenPayment, amount: int, *, psp_reference: str | None = None, **fields: Any
    ) -> AdyenRefund:
        """`fields` are the others of an AdyenRefund."""
        refund = AdyenRefund(
            id=psp_reference or new_psp_reference(),
            payment=payment.psp_reference,
            amount=amount,
            currency=payment.currency,
            created=int(self.now()),
            **fields,
        )
        self.refunds[refund.id] = refund
        return refund

    def add_dashboard_refund(self, reference: str, amount: int) -> Refund:
        """A refund made in the dashboard."""
        with self.lock:
            if reference in self.payments:
                return self.add_adyen_refund(
                    self.payments[reference], amount, merchant_account=self.merchant_account or ""
                )
            return self.add_refund(self.find_charge(reference), amount)

    # Look-ups

    def charge_of_intent(self, intent_id: str) -> Charge | None:
        return next(iter(self.charges.naming(intent_id)), None)

    def find_charge(self, reference: str) -> Charge:
        charge = self.charges.get(reference) or self.charge_of_intent(reference)
        if charge is None:
            raise ValueError(f"no payment {reference}")
        return charge

    def disputes_of(self, charge: str) -> list[Dispute]:
        return self.disputes.naming(charge)

    def disputes_about(self, reference: str) -> Sequence[Dispute | AdyenDispute]:
        """Those of a payment of either provider."""
        if reference in self.payments:
            return self.adyen_disputes.naming(reference)
        return self.disputes_of(self.find_charge(reference).id)

    def refunds_of(self, charge: str) -> Iterator[StripeRefund]:
        return (refund for refund in self.refunds.naming(charge) if isinstance(refund, StripeRefund))

    # Sums and checks

    def refunded(self, charge: Charge) -> int:
        return sum(refund.amount for refund in self.refunds_of(charge.id) if refund.status not in UNDONE)

    def unrefunded(self, charge: Charge) -> int:
        """The amount left after refunds and lost disputes; an uncaptured amount counts as refunded."""
        lost_amount = sum(self.lost(dispute) for dispute in self.disputes_of(charge.id))
        return max(0, charge.amount - self.refunded(charge) - lost_amount)

    def lost(self, dispute: Dispute) -> int:
        """What a dispute took finally: the sum of its balance transactions, or all of it."""
        if dispute.status not in LOST_DISPUTES:
            return 0
        return dispute.withdrawn if dispute.movements else dispute.amount

    def is_charge_refundable(self, dispute: Dispute) -> bool:
        if dispute.status in LOST_DISPUTES:
            return dispute.amount < self.charges[dispute.charge].amount
        return dispute.status not in OPEN_DISPUTES

    def adyen_balance(self, payment: AdyenPayment) -> int:
        """What was captured and not refunded; disputes are not subtracted."""
        refunds = (refund for refund in self.refunds.naming(payment.psp_reference) if isinstance(refund, AdyenRefund))
        return payment.taken - sum(
            refund.amount - refund.reversed_amount for refund in refunds if refund.success is not False
        )

    # Idempotency keys

    def key_records(self) -> list[KeyRecord]:
        """Every key that came with a POST, oldest first, including forgotten ones."""
        with self.lock:
            return list(self.keys.records.values())

    def forget_keys(self, provider: str | None = None, older_than: float | None = None) -> int:
        """As a vendor that prunes: all of them, or those first used that many seconds ago; returns how many."""
        with self.lock:
            used_before = None if older_than is None else self.now() - older_than
            return self.keys.forget_all(provider, used_before)

    def log(self, logged_request: LoggedRequest) -> LoggedRequest:
        with self.lock:
            self.requests.append(logged_request)
        return logged_request

    def snapshot(self) -> Mapping[str, Any]:
        """Everything, as plain JSON."""
        with self.lock:
            return {
                "now": self.now(),
                "charges": [asdict(c) | {"refunded": self.refunded(c)} for c in self.charges.values()],
                "payments": [asdict(p) for p in self.payments.values()],
                "refunds": [asdict(r) | {"payment": r.payment} for r in self.refunds.values()],
                "disputes": [asdict(d) for d in self.disputes.values()],
                "adyen_disputes": [asdict(d) for d in self.adyen_disputes.values()],
                "credit_notes": [asdict(c) for c in self.credit_notes.values()],
                "approvals": [asdict(a) for a in self.approvals.values()],
                "invoices": [asdict(i) for i in self.invoices.values()],
                "invoice_payments": [asdict(p) for p in self.invoice_payments.values()],
                "requests": [asdict(r) for r in self.requests],
                "faults": self.faults.remaining(),
            }
