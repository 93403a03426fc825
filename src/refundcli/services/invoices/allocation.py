"""Allocate a refund to the invoice's payments: the same for preview, refund and record.

The limit of each payment (I1) is enforced in store/repositories/payment_writing.py (`reserve`) and
store/repositories/record_writing.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.duplicates import Candidate
from refundcli.domain.eligibility import (
    Action,
    Blockers,
    Intent,
    first_blocker,
    is_of_disputes,
    markable,
    refund_blockers,
    why_not_by_method,
)
from refundcli.domain.errors import NotFound, Refused, UsageProblem
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refusals import OverRefund, PossibleDuplicate, UnsupportedRefund, most_important
from refundcli.domain.statuses import RefundKind

_ACTIONS = {RefundKind.PROVIDER: Action.REFUND, RefundKind.RECORD: Action.MARK_REFUNDED}


@dataclass(frozen=True, slots=True)
class Share:
    """One payment's part of a refund."""

    payment: Payment
    amount: Money

    @property
    def takes_all(self) -> bool:
        return self.amount == self.payment.captured


class UnknownPayment(NotFound):
    code = "payment-not-found"

    def __init__(self, invoice: Invoice, reference: str) -> None:
        super().__init__(
            f"{invoice.number} has no payment {ascii(reference[:80])[1:-1]}.",
            hint=f"Its payments: {_named(invoice.payments)}",
            context={"invoice": invoice.number, "payment": reference[:200]},
        )


class PaymentNeeded(UsageProblem):
    code = "payment-needed"

    def __init__(self, invoice: Invoice, payments: Sequence[Payment]) -> None:
        super().__init__(
            f"{invoice.number} has several payments with this amount left.",
            hint=f"Add --payment with one of: {_named(payments)}",
            context={"invoice": invoice.number, "payments": [payment_name(invoice, p) for p in payments]},
        )
        self.payments = payments


class ChangedMeanwhile(Refused):
    """The invoice changed after the confirmation; nothing is sent."""

    code = "changed-meanwhile"

    def __init__(self, invoice: Invoice, confirmed_amount: Money, amount_left: Money) -> None:
        super().__init__(
            f"{invoice.number} changed before you confirmed: {confirmed_amount} was confirmed, {amount_left} is left.",
            hint=f"refundcli invoice show {invoice.number}",
            context={"invoice": invoice.number},
        )


def shares_of(
    invoice: Invoice,
    amount: Money | None,
    *,
    kind: RefundKind,
    blockers: Blockers,
    intent: Intent,
    reference: str = "",
) -> list[Share]:
    """The parts, in the order of the payments; without an amount, all that remains (R3).

    `blockers` yields the refusals of a refund of one payment; `reference` is the name given with --payment.
    Raises the first blocker, UnknownPayment, PaymentNeeded or OverRefund.
    """
    candidate_payments = [
        p for p in invoice.payments if not reference or reference in (payment_name(invoice, p), *p.references)
    ]
    if reference and not candidate_payments:
        raise UnknownPayment(invoice, reference)
    if kind is RefundKind.RECORD and not reference:
        # A chargeback is of the payments that lost a dispute; it may be of another one that is named.
        candidate_payments = [p for p in candidate_payments if is_of_disputes(p, intent)] or candidate_payments
    left_by_payment_id = {
        p.id: _left(invoice, p, kind, intent)
        for p in candidate_payments
        if not most_important(blockers(invoice, p, intent))
    }
    if not any(left_by_payment_id.values()):
        refusal = first_blocker(invoice, blockers, intent, chosen_payments=candidate_payments)
        assert refusal, "a payment with nothing left has a blocker"
        raise refusal
    full_shares = [Share(p, left_by_payment_id[p.id]) for p in candidate_payments if left_by_payment_id.get(p.id)]
    if amount is None:
        return full_shares
    sufficient_shares = [share for share in full_shares if amount <= share.amount]
    if not sufficient_shares:
        largest_amount = max((share.amount for share in full_shares), key=lambda amount_left: amount_left.minor)
        raise OverRefund(
            invoice, amount, largest_amount, reason=intent.reason, command=_ACTIONS[kind], payment=reference
        )
    if len(sufficient_shares) > 1:
        raise PaymentNeeded(invoice, [share.payment for share in sufficient_shares])
    return [Share(sufficient_shares[0].payment, amount)]


def refund_shares(invoice: Invoice, intent: Intent, payment_reference: str) -> list[Share]:
    """The payments that are refunded, with their amounts. Raises the first refusal."""
    shares = shares_of(
        invoice,
        intent.amount,
        kind=RefundKind.PROVIDER,
        blockers=refund_blockers,
        intent=intent,
        reference=payment_reference,
    )
    for share in shares:
        # Its method may not allow such a refund from here (R12).
        method_obstacle = why_not_by_method(share.payment, share.amount)
        if method_obstacle:
            raise UnsupportedRefund(invoice, share.payment, method_obstacle, intent)
    return shares


def candidate_of(
    shares: Sequence[Share], reason: RefundReason, reference: str = "", *, is_row: bool = False, run_id: str = ""
) -> Candidate:
    """The part of a refund or record that the duplicate rule compares.

    `reference` is that of the payment out of band; `is_row` and `run_id`: it is a row of that bulk run.
    """
    payment_amounts = frozenset((share.payment.id, share.amount) for share in shares)
    return Candidate(payment_amounts, reason, reference, is_row, run_id)


def refuse_duplicate(
    invoice: Invoice, shares: Sequence[Share], reason: RefundReason, *, now: datetime, repeat_verb: str = "refund"
) -> None:
    """The duplicate rule for a single request (R5). Raises PossibleDuplicate."""
    for earlier_refund in candidate_of(shares, reason).earlier(invoice.refunds, now):
        raise PossibleDuplicate(invoice, earlier_refund, repeat_verb=repeat_verb)


def total_of(shares: Sequence[Share]) -> Money:
    return sum((share.amount for share in shares[1:]), shares[0].amount)


def payment_name(invoice: Invoice, payment: Payment) -> str:
    """The name for --payment: the provider's id, or the payment's position on the invoice."""
    return payment.reference or str(1 + [p.id for p in invoice.payments].index(payment.id))


def _left(invoice: Invoice, payment: Payment, kind: RefundKind, intent: Intent) -> Money:
    return markable(invoice, payment, intent) if kind is RefundKind.RECORD else payment.refundable


def _named(payments: Sequence[Payment]) -> str:
    return ", ".join(f"{p.reference or position} ({p.refundable} left)" for position, p in enumerate(payments, 1))
