"""What may be done with an invoice now, and why not (R1-R3, R9-R12).

Each blocker is the very error that a command raises, so what is shown is what is enforced.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from refundcli.domain.dispute import is_inquiry, was_won
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.payment_methods import why_not_this_way
from refundcli.domain.provider_units import is_too_fine
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refusals import (
    AlreadyClosed,
    AlreadyPaid,
    ChargebackRecorded,
    ClosingUnfinished,
    CurrentlyProcessing,
    DisputeClosed,
    Disputed,
    DisputeLost,
    NotAutoRefundable,
    NothingToRefund,
    NotIssued,
    NotPaid,
    RuleRefusal,
    UnreviewedEvent,
    UnsupportedRefund,
    UseRefund,
    most_important,
)
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider, RefundState


class Action(StrEnum):
    REFUND = "refund"
    MARK_REFUNDED = "mark-refunded"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the operator entered, as far as the rules depend on it."""

    reason: RefundReason | None = None
    dispute_decision: str = ""
    after_failed: bool = False
    amount: Money | None = None
    # Stripe is asked just before each refund, so its answer is newer than what it reported earlier.
    asks_provider: bool = True


@dataclass(frozen=True, slots=True)
class PossibleAction:
    action: Action
    blocker: RuleRefusal | None
    command: str

    @property
    def allowed(self) -> bool:
        return self.blocker is None


Blockers = Callable[[Invoice, Payment, Intent], Iterator[RuleRefusal]]


def refund_blockers(invoice: Invoice, payment: Payment, intent: Intent) -> Iterator[RuleRefusal]:
    """Why the provider cannot be asked to send this payment's money back; empty when it can."""
    yield from _nothing_there(invoice, payment)
    if not payment.auto_refundable:
        yield NotAutoRefundable(invoice, payment, intent)
    yield from _unsettled(invoice, payment, intent)
    if payment.remaining and not payment.refundable:
        yield DisputeLost(invoice, payment)
    blocking_updates = [update for update in payment.unreviewed if update.blocks]
    for update in blocking_updates:
        yield UnreviewedEvent(invoice, update)
    if payment.dispute is Dispute.UNKNOWN and not blocking_updates:
        # Its update blocks it until a person has decided the state; without one, nothing says that it is over (R11).
        yield Disputed(invoice, payment)
    if payment.unsupported and not (intent.asks_provider and payment.provider is Provider.STRIPE):
        yield UnsupportedRefund(invoice, payment, payment.unsupported, intent)


def mark_refunded_blockers(invoice: Invoice, payment: Payment, intent: Intent) -> Iterator[RuleRefusal]:
    """Why an external refund cannot be recorded on this payment; empty when it can."""
    yield from _nothing_there(invoice, payment)
    is_lost_chargeback = intent.reason is RefundReason.CHARGEBACK and payment.taken_by_dispute
    exceeds_dispute_loss = is_of_disputes(payment, intent) and not invoice.chargeback_left(payment)
    is_too_small_to_send = payment.provider is not None and is_too_fine(payment.provider, payment.refundable)
    needs_other_way = (
        is_lost_chargeback or exceeds_dispute_loss or intent.after_failed or is_too_small_to_send or payment.unsupported
    )
    needs_other_way = needs_other_way or why_not_by_method(payment, intent.amount)
    is_all_lost = payment.taken_by_dispute and not payment.refundable and not is_lost_chargeback
    if payment.auto_refundable and not needs_other_way and not is_all_lost:
        yield UseRefund(invoice, payment, intent)
    yield from _unsettled(invoice, payment, intent)
    if is_all_lost:
        yield DisputeLost(invoice, payment)
    if exceeds_dispute_loss:
        yield ChargebackRecorded(invoice, payment)


def why_not_by_method(payment: Payment, amount: Money | None) -> str:
    """Why the payment's method does not allow such a refund from here; empty where it does (R12).

    Without an amount all that is left is refunded, which is partial once something was returned.
    """
    if payment.provider is None:
        return ""
    returned_or_reserved = payment.refunded.minor + payment.refunded_externally.minor + payment.reserved.minor
    is_partial = bool(returned_or_reserved) or (amount is not None and amount != payment.captured)
    return why_not_this_way(payment.provider, payment.method, is_partial=is_partial)


def void_blockers(invoice: Invoice) -> Iterator[RuleRefusal]:
    """Why an invoice cannot be cancelled: only one that was issued and never paid can be (R9)."""
    if invoice.status in (InvoiceStatus.VOID, InvoiceStatus.REFUNDED):
        yield AlreadyClosed(invoice)
    if invoice.unfinished_closing:
        yield ClosingUnfinished(invoice, invoice.unfinished_closing)
    if invoice.status is InvoiceStatus.DRAFT:
        yield NotIssued(invoice, Action.VOID)
    if invoice.status is InvoiceStatus.PAID or invoice.paid:
        yield AlreadyPaid(invoice, "paid invoices are refunded, not voided")
    elif invoice.reserved:
        # Nothing was captured in the end, but a refund was sent before that was known: it must finish first.
        yield AlreadyPaid(invoice, "a refund of it is under way")
    yield from (CurrentlyProcessing(invoice, payment) for payment in invoice.payments if payment.processing)


def is_voidable(invoice: Invoice) -> bool:
    """May it be voided now, or once it is written off?"""
    return next(void_blockers(invoice), None) is None


def uncollectible_blockers(invoice: Invoice) -> Iterator[RuleRefusal]:
    """Why an invoice cannot be written off: something must be owed, and nothing may be processing (R9)."""
    if invoice.status in (InvoiceStatus.VOID, InvoiceStatus.REFUNDED, InvoiceStatus.UNCOLLECTIBLE):
        yield AlreadyClosed(invoice, is_voidable=is_voidable(invoice))
    if invoice.unfinished_closing:
        yield ClosingUnfinished(invoice, invoice.unfinished_closing)
    if invoice.status is InvoiceStatus.DRAFT:
        yield NotIssued(invoice, Action.UNCOLLECTIBLE)
    if invoice.status is InvoiceStatus.PAID or (invoice.paid and invoice.total <= invoice.paid):
        yield AlreadyPaid(invoice, "nothing is owed on a paid invoice")
    yield from (CurrentlyProcessing(invoice, payment) for payment in invoice.payments if payment.processing)


def invoice_blockers(invoice: Invoice) -> Iterator[RuleRefusal]:
    """What stops every refund of the invoice, before its payments are checked."""
    if invoice.status is InvoiceStatus.VOID:
        yield AlreadyClosed(invoice)
    closing = invoice.unfinished_closing
    if closing and closing.target is InvoiceStatus.VOID:
        # A late payment and a completed void contradict each other: first find out which of the two happened.
        yield ClosingUnfinished(invoice, closing)
    if not invoice.paid and not invoice.processing:
        is_draft = invoice.status is InvoiceStatus.DRAFT
        yield NotIssued(invoice, Action.REFUND) if is_draft else NotPaid(invoice)


def markable(invoice: Invoice, payment: Payment, intent: Intent) -> Money:
    """How much may be recorded: with reason chargeback what a lost dispute took, else what is refundable."""
    if is_of_disputes(payment, intent):
        return invoice.chargeback_left(payment)
    if intent.reason is RefundReason.CHARGEBACK and payment.taken_by_dispute:
        return payment.taken_by_dispute
    return payment.refundable


def is_of_disputes(payment: Payment, intent: Intent) -> bool:
    """Is the money of this chargeback what disputes took? Where none was lost, it went back in another way (R11)."""
    return intent.reason is RefundReason.CHARGEBACK and payment.has_lost_dispute and not intent.after_failed


def possible_actions(invoice: Invoice) -> list[PossibleAction]:
    """Every action, allowed or not, with the reason and the next command; refunds to resume come first."""
    number = invoice.number
    refund_blocker = first_blocker(invoice, refund_blockers, Intent(asks_provider=False))
    mark_blocker = mark_refunded_blocker(invoice, Intent())
    is_any_reason = mark_blocker or first_blocker(invoice, mark_refunded_blockers, Intent()) is None
    resumable_refunds = (
        open_refund
        for open_refund in invoice.refunds
        if open_refund.state.unfinished or open_refund.state is RefundState.AWAITING_APPROVAL
    )
    return [
        *(
            PossibleAction(Action.RESUME, None, f"refundcli resume {open_refund.id}")
            for open_refund in resumable_refunds
        ),
        PossibleAction(Action.REFUND, refund_blocker, f"refundcli refund {number} --full --reason REASON"),
        PossibleAction(
            Action.MARK_REFUNDED,
            mark_blocker,
            f"refundcli mark-refunded {number} --full --reason {'REASON' if is_any_reason else 'chargeback'}",
        ),
        PossibleAction(Action.VOID, most_important(void_blockers(invoice)), f"refundcli void {number}"),
        PossibleAction(
            Action.UNCOLLECTIBLE,
            most_important(uncollectible_blockers(invoice)),
            f"refundcli uncollectible {number}",
        ),
    ]


def mark_refunded_blocker(invoice: Invoice, intent: Intent) -> RuleRefusal | None:
    """Why nothing can be recorded, whatever the reason is; None when something can."""
    blocker = first_blocker(invoice, mark_refunded_blockers, intent)
    chargeback = replace(intent, reason=RefundReason.CHARGEBACK)
    return blocker and first_blocker(invoice, mark_refunded_blockers, chargeback) and blocker


def first_blocker(
    invoice: Invoice, blockers: Blockers, intent: Intent, chosen_payments: Sequence[Payment] | None = None
) -> RuleRefusal | None:
    """Why none of the chosen payments, or of all, can be used; None when at least one can."""
    invoice_blocker = most_important(invoice_blockers(invoice))
    if invoice_blocker:
        return invoice_blocker
    payments = invoice.payments if chosen_payments is None else chosen_payments
    payment_blockers = [most_important(blockers(invoice, payment, intent)) for payment in payments]
    if None in payment_blockers:
        return None
    return most_important(_without_used_up(blocker for blocker in payment_blockers if blocker))


def _nothing_there(invoice: Invoice, payment: Payment) -> Iterator[RuleRefusal]:
    yield from invoice_blockers(invoice)
    if not payment.remaining and not payment.processing:
        yield NothingToRefund(invoice)


def _unsettled(invoice: Invoice, payment: Payment, intent: Intent) -> Iterator[RuleRefusal]:
    if payment.processing:
        yield CurrentlyProcessing(invoice, payment)
    has_dispute_decision = bool(intent.dispute_decision.strip())
    if payment.dispute is Dispute.OPEN and not (has_dispute_decision and is_inquiry(payment.disputes)):
        # Refunding now could pay the customer twice: once by us, once by the bank (R11).
        yield Disputed(invoice, payment)
    if not has_dispute_decision and (payment.dispute is Dispute.WON or was_won(payment.disputes)):
        yield DisputeClosed(invoice, payment)


def _without_used_up(payment_blockers: Iterable[RuleRefusal]) -> list[RuleRefusal]:
    """Leave out payments with nothing left, unless all are: the others explain more."""
    refusals = list(payment_blockers)
    return [refusal for refusal in refusals if not isinstance(refusal, NothingToRefund)] or refusals
