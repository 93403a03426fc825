"""Before money moves: compare the payment at the provider with the books, and refuse if they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from refundcli.domain.errors import Refused
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.next_steps import adopt_command
from refundcli.domain.refusals import UnsupportedRefund
from refundcli.domain.statuses import Provider
from refundcli.services.invoices.allocation import Share
from refundcli.services.ports.books import RefundReading, Writing
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import PaymentSnapshot, RefundUpdate
from refundcli.services.ports.providers import Providers
from refundcli.services.preflight.comparison import claimed_twice, compare
from refundcli.services.preflight.difference import Difference
from refundcli.services.preflight.unreviewed import store_doubt

_SHOWN = 3


class DiffersFromProvider(Refused):
    """The provider has the payment or the invoice in another state; nothing was reserved or sent."""

    code = "differs-from-provider"

    def __init__(self, invoice: Invoice, differences: Sequence[Difference], *, hint: str = "") -> None:
        provider_label = differences[0].provider.label
        listing = "; ".join(f"{difference} ({difference.reference})" for difference in differences[:_SHOWN])
        rest_text = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        super().__init__(
            f"{invoice.number} differs from {provider_label}: {listing}{rest_text}. Nothing was sent.",
            hint=hint or f"refundcli reconcile --invoice {invoice.number}     (applies what the provider confirms)",
            context={
                "invoice": invoice.number,
                "differences": [
                    {
                        "kind": d.kind,
                        "reference": d.reference,
                        "object": d.what,
                        "in_books": d.here,
                        "at_provider": d.there,
                    }
                    for d in differences
                ],
            },
        )


@dataclass(frozen=True, slots=True)
class PlannedRefund:
    """The refund that a request is about to reserve. The id follows from the request, so the provider may have it."""

    refund_id: str
    amount: Money
    attempt: int = 1
    idempotency_key: str = ""


class AlreadyAtProvider(Refused):
    """The provider has the refund of this request, but its amount differs or the books have it as external.

    `external_id`: the id of that external refund.
    """

    code = "already-at-provider"

    def __init__(
        self,
        invoice_number: str,
        provider: Provider,
        refund_reference: str,
        amount: Money,
        own_refund: PlannedRefund,
        *,
        external_id: str = "",
    ) -> None:
        if external_id:
            why = f"the books have it as the external refund {external_id}"
            hint = f"{adopt_command(external_id, invoice=invoice_number)}     (issues a credit note)"
        else:
            why = f"{own_refund.amount} was requested"
            hint = (
                f"Look at {refund_reference} in {provider.label}'s dashboard. "
                f"Then: refundcli reconcile --invoice {invoice_number}"
            )
        super().__init__(
            (
                f"{provider.label} already has a refund for this request, {refund_reference} for {amount}, but "
                f"{why}. Nothing was sent."
            ),
            hint=hint,
            context={"invoice": invoice_number, "refund": own_refund.refund_id, "provider_reference": refund_reference},
        )


@dataclass(frozen=True, slots=True)
class PaymentLookup:
    """How to look up a payment; `of_invoice` is the provider's id of its invoice, if it has one."""

    provider: Provider
    reference: str
    of_invoice: str = ""


Snapshots: TypeAlias = Mapping[int, PaymentSnapshot | None]
PlannedRefunds: TypeAlias = Mapping[int, PlannedRefund]
_NONE: PlannedRefunds = MappingProxyType({})


def snapshots_of(invoice: Invoice, shares: Sequence[Share], providers: Providers) -> Snapshots:
    """The snapshots by payment; None if the provider has no such payment. Raises ProviderUnreachable."""
    lookup_by_payment_id = {share.payment.id: lookup_of(invoice, share.payment) for share in shares}
    return {payment_id: snapshot_at(lookup, providers) for payment_id, lookup in lookup_by_payment_id.items() if lookup}


def lookup_of(invoice: Invoice, payment: Payment) -> PaymentLookup | None:
    """How to look up the payment; None if its provider has no such look-up."""
    if payment.provider is None or payment.provider not in CAN_LOOK_UP:
        return None
    return PaymentLookup(payment.provider, payment.reference, invoice.invoice_reference)


def snapshot_at(lookup: PaymentLookup, providers: Providers) -> PaymentSnapshot | None:
    """The snapshot; None if the provider has no such payment. Raises ProviderUnreachable, CannotBeHeld."""
    return providers.records(lookup.provider).payment(lookup.reference, of_invoice=lookup.of_invoice)


def store_findings(tx: Writing, invoice: Invoice, snapshots: Snapshots) -> None:
    """Store unlisted statuses as unreviewed (R13), and why a payment must be refunded in another way (R12)."""
    for payment in invoice.payments:
        snapshot = snapshots.get(payment.id)
        if snapshot:
            tx.payments.note_unsupported(payment, snapshot.unsupported)
            for doubt in snapshot.doubts:
                store_doubt(tx, doubt, snapshot.asked_at, doubt.why)


def has_findings(invoice: Invoice, snapshots: Snapshots) -> bool:
    """Is there anything to store by `store_findings`?"""
    return any(
        snapshot.doubts or snapshot.unsupported != payment.unsupported
        for payment in invoice.payments
        if (snapshot := snapshots.get(payment.id))
    )


def claims(reading: RefundReading, invoice: Invoice, snapshots: Snapshots) -> list[Difference]:
    """Payments of other invoices that are the same payment at the provider as one of this invoice."""
    return [
        difference
        for payment in invoice.payments
        for difference in claimed_twice(reading, invoice, payment, snapshots.get(payment.id))
    ]


def refuse_differences(
    invoice: Invoice,
    snapshots: Snapshots,
    planned_refunds: PlannedRefunds = _NONE,
    *,
    claim_differences: Sequence[Difference],
) -> None:
    """Raises DiffersFromProvider, AlreadyAtProvider, UnsupportedRefund. The snapshots are older than the invoice.

    `planned_refunds`: those to be sent, by payment. One that the provider already has is no difference: a restored
    backup lost it. `claim_differences`: from `claims`.
    """
    for payment in invoice.payments:
        snapshot = snapshots.get(payment.id)
        if snapshot and snapshot.unsupported:
            raise UnsupportedRefund(invoice, payment, snapshot.unsupported)
    if claim_differences:
        hint = "refundcli invoice pull stripe     (updates each invoice's share of the payment)"
        raise DiffersFromProvider(invoice, claim_differences, hint=hint)
    differences = [
        difference for difference in _differences(invoice, snapshots, planned_refunds) if difference.blocks_refund
    ]
    if differences:
        raise DiffersFromProvider(invoice, differences)


def refuse_counted(invoice: Invoice, planned_refunds: PlannedRefunds) -> None:
    """Raises AlreadyAtProvider if the books have this refund as an external one.

    After a restored backup, an event or a report may arrive before the request is repeated.
    """
    own_refunds_by_id = {refund.refund_id: refund for refund in planned_refunds.values()}
    for external_refund in invoice.refunds_of_payments:
        if external_refund.id in own_refunds_by_id and external_refund.provider:
            own_refund, refund_reference = own_refunds_by_id[external_refund.id], external_refund.provider_reference
            raise AlreadyAtProvider(
                invoice.number,
                external_refund.provider,
                refund_reference,
                external_refund.amount,
                own_refund,
                external_id=external_refund.id,
            )


def own_refund_in(snapshot: PaymentSnapshot, refund_id: str) -> RefundUpdate | None:
    """The payment's refund with our id, preferably one that was accepted; None without one."""
    matches = [refund for refund in snapshot.refunds if refund.refund_id == refund_id]
    return next((refund for refund in matches if refund.state.is_accepted), matches[0] if matches else None)


def _differences(invoice: Invoice, snapshots: Snapshots, planned_refunds: PlannedRefunds) -> Iterator[Difference]:
    for payment in invoice.payments:
        if payment.id in snapshots:
            snapshot = snapshots[payment.id]
            if snapshot and payment.id in planned_refunds:
                snapshot = _without(snapshot, planned_refunds[payment.id], invoice)
            yield from compare(invoice, payment, snapshot)


def _without(snapshot: PaymentSnapshot, own_refund: PlannedRefund, invoice: Invoice) -> PaymentSnapshot:
    """The snapshot without our own refund, which is to be recorded. Raises AlreadyAtProvider."""
    listed_refund = own_refund_in(snapshot, own_refund.refund_id)
    if listed_refund is None:
        return snapshot
    stored_refund = next(
        (r for r in invoice.refunds_of_payments if r.provider_reference == listed_refund.reference), None
    )
    if stored_refund and stored_refund.id != own_refund.refund_id:
        raise AlreadyAtProvider(
            invoice.number,
            listed_refund.provider,
            listed_refund.reference,
            listed_refund.amount,
            own_refund,
            external_id=stored_refund.id,
        )
    if listed_refund.amount != own_refund.amount:
        raise AlreadyAtProvider(
            invoice.number, listed_refund.provider, listed_refund.reference, listed_refund.amount, own_refund
        )
    refunded_amount = listed_refund.amount if listed_refund.state.is_accepted else zero(listed_refund.amount.currency)
    other_refunds = tuple(refund for refund in snapshot.refunds if refund is not listed_refund)
    return replace(snapshot, refunds=other_refunds, refunded=snapshot.refunded - refunded_amount)
