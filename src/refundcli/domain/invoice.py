"""An invoice and its payments, as the books know them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeRecord, DisputeState
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider

# How the ids of a provider's invoices begin. Adyen has no invoices.
STRIPE_INVOICE = "in_"


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """A provider update about a payment that is not applied, and why; it blocks the refund (R13).

    `is_waiting`: stored, and not applied yet. `needs_a_person`: it cannot be applied, so a person must review it.
    `is_from_webhook`: it arrived by webhook; otherwise it comes from a report or a snapshot.
    """

    event_id: int
    provider: Provider
    word: str
    why: str
    is_waiting: bool = False
    needs_a_person: bool = False
    is_from_webhook: bool = True

    @property
    def blocks(self) -> bool:
        """Does it block a refund? Of Stripe's waiting events only disputes do: Stripe is asked before each refund."""
        return self.needs_a_person or self.provider is not Provider.STRIPE or "dispute" in self.word


@dataclass(frozen=True, slots=True)
class OtherShare:
    """Another invoice's share of the same provider payment. `used`: reserved, refunded or refunded externally."""

    payment_id: int
    invoice_number: str
    allocated: Money
    used: Money
    refunds: tuple[Refund, ...] = ()
    opening_returned: Money | None = None
    opening_at: datetime | None = None
    dispute_recorded: Money | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment of an invoice, in the invoice's currency.

    `allocated` is this invoice's share of the provider's payment, `provider_captured` what the provider captured of
    the whole payment (None until it is reported). `reserved` is held for refunds under way, `refunded` was refunded or
    recorded in this store, `refunded_externally` was refunded before the import or externally; `opening_returned` is
    what the import said, at `opening_at`. `lost` was lost to disputes and is not recorded yet, `credited` went to the
    customer's balance at the provider.
    """

    id: int
    allocated: Money
    reserved: Money
    refunded: Money
    refunded_externally: Money
    auto_refundable: bool
    lost: Money
    credited: Money
    provider_captured: Money | None = None
    provider: Provider | None = None
    method: str = ""
    card_last4: str = ""
    card_brand: str = ""
    references: tuple[str, ...] = ()
    processing: bool = False
    dispute: Dispute = Dispute.NONE
    dispute_recorded: Money | None = None
    disputes: tuple[DisputeRecord, ...] = ()
    unreviewed: tuple[Unreviewed, ...] = ()
    unsupported: str = ""
    loss_acknowledged: Money | None = None
    paid_on: date | None = None
    opening_returned: Money | None = None
    opening_at: datetime | None = None
    share_of: int | None = None
    other_shares: tuple[OtherShare, ...] = ()

    @property
    def home_id(self) -> int:
        """The payment that has the provider's ids, the disputes and the captures: this one or the first share."""
        return self.id if self.share_of is None else self.share_of

    @property
    def allocated_in_all(self) -> Money:
        """What is allocated to all invoices in the books."""
        return sum((share.allocated for share in self.other_shares), self.allocated)

    @property
    def recorded_of_disputes(self) -> Money:
        """What is recorded as lost to its disputes, over all shares."""
        recorded_amounts = (self.dispute_recorded, *(share.dispute_recorded for share in self.other_shares))
        return sum((amount for amount in recorded_amounts if amount), zero(self.allocated.currency))

    @property
    def ids_of_shares(self) -> tuple[int, ...]:
        """Of this payment, and of the other invoices' shares of it."""
        return (self.id, *(share.payment_id for share in self.other_shares))

    @property
    def lost_in_all(self) -> Money:
        """What lost disputes took of all shares, less what is recorded of it."""
        lost_disputes = (dispute for dispute in self.disputes if dispute.state is DisputeState.LOST)
        disputed_amount = sum(
            (lost_dispute.amount or self.allocated_in_all for lost_dispute in lost_disputes),
            zero(self.allocated.currency),
        )
        return max(disputed_amount - self.recorded_of_disputes, zero(self.allocated.currency))

    @property
    def reference(self) -> str:
        """The provider's id of this payment; "" when it has none."""
        return self.references[0] if self.references else ""

    @property
    def captured_in_all(self) -> Money:
        """What was captured for all invoices that share the payment."""
        reported_capture = self.provider_captured
        return self.allocated_in_all if reported_capture is None else min(self.allocated_in_all, reported_capture)

    @property
    def captured(self) -> Money:
        """What was captured for this invoice: its share, or less if the provider captured less."""
        reported_capture = self.provider_captured
        return self.allocated if reported_capture is None else min(self.allocated, reported_capture)

    @property
    def remaining(self) -> Money:
        """Captured, and not refunded, reserved or credited; at least zero."""
        captured = self.captured
        used_minor = self.reserved.minor + self.refunded.minor + self.refunded_externally.minor
        remaining_minor = captured.minor - used_minor - self.credited.minor
        if self.other_shares and self.provider_captured is not None:
            # All shares together refund no more than the provider captured.
            minor_used_by_others = sum(share.used.minor for share in self.other_shares)
            remaining_minor = min(remaining_minor, self.provider_captured.minor - used_minor - minor_used_by_others)
        return Money(max(remaining_minor, 0), captured.currency)

    @property
    def taken_by_dispute(self) -> Money:
        """What was lost to disputes and is not recorded yet, as far as money remains (R11)."""
        return min(self.lost, self.remaining) if self.lost else self.lost

    @property
    def has_lost_dispute(self) -> bool:
        """Did a dispute take money of it, even if all of that is recorded, or it was won after all?"""
        is_any_lost = any(dispute.state is DisputeState.LOST for dispute in self.disputes)
        return is_any_lost or bool(self.lost or self.recorded_of_disputes)

    @property
    def refundable(self) -> Money:
        """What may still be refunded: what remains, less what lost disputes took."""
        return self.remaining - self.taken_by_dispute

    @property
    def loss(self) -> Money:
        """How much more was refunded and lost to disputes than was captured (I13); normally zero."""
        outgoing_minor = self.refunded.minor + self.refunded_externally.minor + self.lost.minor
        return Money(max(outgoing_minor - self.captured.minor, 0), self.captured.currency)

    @property
    def why_not_auto_refundable(self) -> str:
        """The reason in words (R2, R12); empty where the provider can return the money."""
        if self.auto_refundable:
            return ""
        if self.provider is None:
            return f"paid outside Stripe and Adyen{(f' by {self.method}' if self.method else '')}"
        if not self.references:
            return f"the books do not have the ID of its {self.provider.label} payment"
        return f"its {self.provider.label} payment was marked as paid by hand, outside the provider"


@dataclass(frozen=True, slots=True)
class Invoice:
    """`managed_by`: the provider that also has this invoice, as `invoice_reference`, and must close it.

    `billing`: what documents need, as in `Billing.text`.
    """

    id: int
    number: str
    customer: str
    customer_name: str
    total: Money
    status: InvoiceStatus
    issued_on: date
    due_on: date | None = None
    paid_on: date | None = None
    invoice_reference: str = ""
    managed_by: Provider | None = None
    products: tuple[str, ...] = ()
    subscription: str = ""
    customer_email: str = ""
    billing: str = ""
    payments: tuple[Payment, ...] = ()
    refunds: tuple[Refund, ...] = ()
    closings: tuple[Closing, ...] = ()

    @property
    def currency(self) -> Currency:
        return self.total.currency

    @property
    def refunds_of_payments(self) -> tuple[Refund, ...]:
        """Its refunds, and those of other invoices that share one of its payments."""
        refunds_of_shares = (share.refunds for payment in self.payments for share in payment.other_shares)
        return sum(refunds_of_shares, self.refunds)

    def chargeback_left(self, payment: Payment) -> Money:
        """What may be recorded as taken by the payment's lost disputes (R11).

        A chargeback recorded before its dispute was known counts too, or the same loss would be recorded twice.
        """
        share_ids = payment.ids_of_shares
        chargebacks = (
            refund
            for refund in self.refunds_of_payments
            if refund.payment_id in share_ids and refund.stands_for_dispute
        )
        minor_recorded_before = (
            sum(chargeback.amount.minor for chargeback in chargebacks) - payment.recorded_of_disputes.minor
        )
        minor_left = payment.taken_by_dispute.minor - max(minor_recorded_before, 0)
        return Money(max(minor_left, 0), self.currency)

    def _sum(self, amounts: Iterable[Money]) -> Money:
        return sum(amounts, zero(self.currency))

    @property
    def paid(self) -> Money:
        return self._sum(payment.captured for payment in self.payments)

    @property
    def refunded(self) -> Money:
        """All that was refunded, from here or externally."""
        return self._sum(payment.refunded + payment.refunded_externally for payment in self.payments)

    @property
    def reserved(self) -> Money:
        return self._sum(payment.reserved for payment in self.payments)

    @property
    def refundable(self) -> Money:
        return self._sum(payment.refundable for payment in self.payments)

    @property
    def partially_refunded(self) -> bool:
        """Was a part refunded, but not all (R6)?"""
        return zero(self.currency) < self.refunded < self.paid

    @property
    def credited(self) -> Money:
        return self._sum(payment.credited for payment in self.payments)

    @property
    def loss(self) -> Money:
        """How much more was refunded and lost to disputes than was captured (I13)."""
        return self._sum(payment.loss for payment in self.payments)

    @property
    def auto_refundable(self) -> bool:
        return any(payment.auto_refundable for payment in self.payments)

    @property
    def owed(self) -> Money:
        """What is unpaid of its total; at least zero."""
        return max(self.total - self.paid, zero(self.currency))

    @property
    def processing(self) -> bool:
        return any(payment.processing for payment in self.payments)

    @property
    def in_process(self) -> Money:
        """What its processing payments are to bring; what is owed, if the books do not know that; or zero."""
        return self._sum(payment.allocated for payment in self.payments if payment.processing) or self.owed

    @property
    def unfinished_closing(self) -> Closing | None:
        """The closing whose outcome is open; there is at most one."""
        return next((closing for closing in self.closings if closing.state.unfinished), None)

    @property
    def dispute(self) -> Dispute:
        """The most severe of its payments' disputes."""
        by_severity = (Dispute.UNKNOWN, Dispute.OPEN, Dispute.LOST, Dispute.WON)
        states = {payment.dispute for payment in self.payments}
        return next((dispute for dispute in by_severity if dispute in states), Dispute.NONE)


def provider_of_invoice(invoice_reference: str) -> Provider | None:
    """The provider whose invoice has this id; None for any other text."""
    return Provider.STRIPE if invoice_reference.startswith(STRIPE_INVOICE) else None


def without_lapsed_holds(invoice: Invoice, now: datetime) -> Invoice:
    """The invoice as of `now`: a hold that has ended reserves nothing, even before its release is stored (R14)."""
    lapsed_by_id = {refund.id: refund for refund in invoice.refunds if refund.holding and not refund.is_held_at(now)}
    if not lapsed_by_id:
        return invoice
    payments = []
    for payment in invoice.payments:
        freed_amounts = (refund.amount for refund in lapsed_by_id.values() if refund.payment_id == payment.id)
        payments.append(replace(payment, reserved=payment.reserved - sum(freed_amounts, zero(invoice.currency))))
    refunds = (
        replace(refund, holding=False, hold_until=None) if refund.id in lapsed_by_id else refund
        for refund in invoice.refunds
    )
    return replace(invoice, payments=tuple(payments), refunds=tuple(refunds))


def status_once_closed(invoice: Invoice, target: InvoiceStatus) -> InvoiceStatus:
    """The invoice's status after the provider closed it; unchanged if it has payments or a later status (R9)."""
    is_still_closable = invoice.status in (InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE)
    return target if is_still_closable and not (target is InvoiceStatus.VOID and invoice.paid) else invoice.status


def status_after(current_status: InvoiceStatus, *, paid: Money, returned: Money) -> InvoiceStatus:
    """Paid and fully refunded is Refunded; a refund that fails or is reversed makes it Paid again (R6).

    An open or written-off invoice keeps its status, whatever is refunded (R9).
    """
    if current_status is InvoiceStatus.PAID and paid and paid <= returned:
        return InvoiceStatus.REFUNDED
    if current_status is InvoiceStatus.REFUNDED and (returned < paid or not paid):
        return InvoiceStatus.PAID
    return current_status
