"""Apply a snapshot of a payment: report the differences and repair those that are proven.

An update that cannot be applied is stored as unreviewed and blocks refunds of the payment (R13).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, Provider
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    DisputeUpdate,
    Doubt,
    EventState,
    PaymentSnapshot,
    RefundUpdate,
)
from refundcli.services.preflight.comparison import claimed_twice, compare
from refundcli.services.preflight.difference import Difference, DifferenceKind
from refundcli.services.preflight.unreviewed import store_doubt
from refundcli.services.provider_updates.apply_dispute import apply_dispute, close_placeholders
from refundcli.services.provider_updates.apply_update import apply_update
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_referenced


@dataclass(frozen=True, slots=True)
class PaymentSync:
    """The `differences` of one payment, and those `remaining` after the proven ones were repaired.

    `changed`: the number of repairs. `unreviewed`: the number of updates that a person must review. `settled`: the
    refunds whose outcome was unknown before, as they are now.
    """

    differences: Sequence[Difference] = ()
    remaining: Sequence[Difference] = ()
    changed: int = 0
    unreviewed: int = 0
    settled: Sequence[Refund] = ()


def sync_payment(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    snapshot: PaymentSnapshot | None,
    *,
    clock: Clock,
    credit_note_format: str,
) -> PaymentSync:
    """Sync in the caller's transaction, which read the invoice and payment. Each repair is an audited transition."""
    differences = list(compare(invoice, payment, snapshot)) + claimed_twice(tx, invoice, payment, snapshot)
    if snapshot is None:
        return PaymentSync(differences, differences)
    if any(difference.kind is DifferenceKind.CURRENCY and difference.what == "currency" for difference in differences):
        return PaymentSync(differences, differences)
    update_source = f"asked {snapshot.provider.label}"
    change_count = int(
        tx.payments.note_captured(
            invoice, payment, captured=snapshot.captured, processing=snapshot.processing, update_source=update_source
        )
    )
    tx.payments.note_unsupported(payment, snapshot.unsupported)
    if snapshot.credited is not None and snapshot.credited.currency == invoice.currency:
        change_count += note_credit(tx, invoice, snapshot.credited, update_source=update_source)
    change_count += _apply(tx, invoice, payment, snapshot, update_source, clock, credit_note_format)
    current_invoice = tx.invoices.get(invoice.number)
    assert current_invoice
    current_payment = next(p for p in current_invoice.payments if p.id == payment.id)
    remaining_differences = differences
    if change_count:
        remaining_differences = list(compare(current_invoice, current_payment, snapshot)) + claimed_twice(
            tx, current_invoice, current_payment, snapshot
        )
    unreviewed_count = sum(event.needs_a_person for event in current_payment.unreviewed)
    return PaymentSync(
        differences, remaining_differences, change_count, unreviewed_count, _settled(invoice, current_invoice)
    )


def _settled(invoice_before: Invoice, invoice_after: Invoice) -> list[Refund]:
    """The refunds whose outcome was unknown before and is known now."""
    unknown_refund_ids = {refund.id for refund in invoice_before.refunds_of_payments if refund.state in WITHOUT_OUTCOME}
    return [
        r for r in invoice_after.refunds_of_payments if r.id in unknown_refund_ids and r.state not in WITHOUT_OUTCOME
    ]


def note_credit(tx: Writing, invoice: Invoice, credited: Money, *, update_source: str) -> int:
    """Distribute the credit to the customer's balance over the invoice's payments, in order.

    Returns how many payments changed.
    """
    remaining_credit, changed_payments = credited, 0
    for payment in invoice.payments:
        if payment.provider is None:
            continue
        payment_credit = min(remaining_credit, payment.captured)
        remaining_credit -= payment_credit
        changed_payments += payment.credited != payment_credit
        tx.payments.note_credited(payment, payment_credit, update_source=update_source)
    return changed_payments


def apply_snapshot(tx: Writing, snapshot: PaymentSnapshot, *, clock: Clock, credit_note_format: str) -> UpdateOutcome:
    """Find the snapshot's payment and apply it. Unmatched while the payment is not in the books."""
    match = payment_referenced(tx, snapshot.provider, snapshot.references)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    sync = sync_payment(tx, invoice, payment, snapshot, clock=clock, credit_note_format=credit_note_format)
    if any(difference.kind is DifferenceKind.CURRENCY for difference in sync.remaining):
        return UpdateOutcome(EventState.UNREVIEWED, str(sync.remaining[0]))
    return UpdateOutcome(
        EventState.APPLIED, f"{invoice.number} agrees with {snapshot.provider.label}", bool(sync.changed)
    )


def _apply(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    snapshot: PaymentSnapshot,
    update_source: str,
    clock: Clock,
    credit_note_format: str,
) -> int:
    """Apply its disputes and refunds one by one; returns how many changed the books."""
    outcomes: list[tuple[DisputeUpdate | RefundUpdate, UpdateOutcome]] = []
    for dispute in snapshot.disputes:
        outcomes.append((dispute, apply_dispute(tx, dispute, update_source=update_source, all_disputes_listed=True)))
    for refund in snapshot.refunds:
        outcomes.append(
            (
                refund,
                apply_update(
                    tx, refund, update_source=update_source, clock=clock, credit_note_format=credit_note_format
                ),
            )
        )
    doubtful_ids = {doubt.object_id for doubt in snapshot.doubts}
    doubts = [
        *snapshot.doubts,
        *(
            _doubt(snapshot, update, outcome)
            for update, outcome in outcomes
            if _needs_a_person(outcome) and update.reference not in doubtful_ids
        ),
    ]
    for doubt in doubts:
        store_doubt(tx, doubt, snapshot.asked_at, doubt.why)
    change_count = sum(outcome.changed for _, outcome in outcomes)
    if any(not dispute.reference for dispute in snapshot.disputes):
        # The charge is disputed but no dispute is listed, so the placeholder may be for it.
        return change_count
    current_invoice = tx.invoices.get(invoice.number)
    assert current_invoice
    current_payment = next(p for p in current_invoice.payments if p.id == payment.id)
    return change_count + close_placeholders(tx, current_invoice, current_payment, update_source=update_source)


def _needs_a_person(outcome: UpdateOutcome) -> bool:
    return outcome.state is EventState.UNREVIEWED


def _doubt(snapshot: PaymentSnapshot, update: DisputeUpdate | RefundUpdate, outcome: UpdateOutcome) -> Doubt:
    kind = "dispute" if isinstance(update, DisputeUpdate) else "refund"
    word = f"{kind} {update.status} {update.amount or ''}".strip()
    return Doubt(
        snapshot.provider, snapshot.references, word, update.reference, outcome.note, update.account, update.amount
    )


def match_snapshots(
    reading: Reading, provider: Provider, snapshots: Sequence[PaymentSnapshot]
) -> Iterator[tuple[PaymentSnapshot, Invoice | None, Payment | None]]:
    """Each snapshot with its invoice and payment in the books, if any."""
    invoices_by_reference = reading.invoices.of_payments(
        provider, [reference for snapshot in snapshots for reference in snapshot.references]
    )
    for snapshot in snapshots:
        invoice = next(
            (
                invoices_by_reference[reference]
                for reference in snapshot.references
                if reference in invoices_by_reference
            ),
            None,
        )
        payments = invoice.payments if invoice else ()
        yield (
            snapshot,
            invoice,
            next((p for p in payments if not set(p.references).isdisjoint(snapshot.references)), None),
        )
