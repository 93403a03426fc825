"""Apply a snapshot of a payment: report the differences and repair those that are proven.

An update that cannot be applied is stored as unreviewed and blocks refunds of the payment (R13).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import WITHOUT_OUTCOME, Provider
from refundcli.services.ports.books import Reading, Writing
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
from refundcli.services.provider_updates.apply_dispute import close_placeholders
from refundcli.services.provider_updates.apply_update import ApplyUpdates
from refundcli.services.provider_updates.outcome import (
    NOT_IN_BOOKS,
    Match,
    UpdateOutcome,
    payment_among,
    payment_referenced,
    reloaded,
)


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


@dataclass(frozen=True, slots=True)
class SyncPayments:
    """Applies snapshots of payments in the caller's transaction."""

    updates: ApplyUpdates

    def sync(self, tx: Writing, invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot | None) -> PaymentSync:
        """Sync a payment that was read in this transaction. Each repair is an audited transition."""
        differences = _differences(tx, invoice, payment, snapshot)
        if snapshot is None or any(d.kind is DifferenceKind.CURRENCY and d.what == "currency" for d in differences):
            return PaymentSync(differences, differences)
        update_source = f"asked {snapshot.provider.label}"
        change_count = int(
            tx.payments.note_captured(
                invoice,
                payment,
                captured=snapshot.captured,
                processing=snapshot.processing,
                update_source=update_source,
            )
        )
        tx.payments.note_unsupported(payment, snapshot.unsupported)
        if snapshot.credited is not None and snapshot.credited.currency == invoice.currency:
            change_count += note_credit(tx, invoice, snapshot.credited, update_source=update_source)
        change_count += self._apply(tx, invoice, payment, snapshot, update_source)
        current_invoice, current_payment = reloaded(tx, invoice, payment)
        remaining_differences = differences
        if change_count:
            remaining_differences = _differences(tx, current_invoice, current_payment, snapshot)
        unreviewed_count = sum(event.needs_a_person for event in current_payment.unreviewed)
        return PaymentSync(
            differences, remaining_differences, change_count, unreviewed_count, _settled(invoice, current_invoice)
        )

    def apply_snapshot(self, tx: Writing, snapshot: PaymentSnapshot) -> UpdateOutcome:
        """Find the snapshot's payment and apply it. Unmatched while the payment is not in the books."""
        match = payment_referenced(tx, snapshot.provider, snapshot.references)
        if match is None:
            return NOT_IN_BOOKS
        sync = self.sync(tx, *match, snapshot)
        if any(difference.kind is DifferenceKind.CURRENCY for difference in sync.remaining):
            return UpdateOutcome(EventState.UNREVIEWED, str(sync.remaining[0]))
        note = f"{match[0].number} agrees with {snapshot.provider.label}"
        return UpdateOutcome(EventState.APPLIED, note, bool(sync.changed))

    def _apply(
        self, tx: Writing, invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot, update_source: str
    ) -> int:
        """Apply its disputes and refunds one by one; returns how many changed the books."""
        updates: list[DisputeUpdate | RefundUpdate] = [*snapshot.disputes, *snapshot.refunds]
        outcomes = [
            (update, self.updates.apply(tx, update, update_source=update_source, all_disputes_listed=True))
            for update in updates
        ]
        doubtful_ids = {doubt.object_id for doubt in snapshot.doubts}
        doubts = [
            _doubt(snapshot, update, outcome)
            for update, outcome in outcomes
            if outcome.state is EventState.UNREVIEWED and update.reference not in doubtful_ids
        ]
        for doubt in (*snapshot.doubts, *doubts):
            store_doubt(tx, doubt, snapshot.asked_at, doubt.why)
        change_count = sum(outcome.changed for _, outcome in outcomes)
        if any(not dispute.reference for dispute in snapshot.disputes):
            # The charge is disputed but no dispute is listed, so the placeholder may be for it.
            return change_count
        return change_count + close_placeholders(tx, *reloaded(tx, invoice, payment), update_source=update_source)


def _differences(tx: Reading, invoice: Invoice, payment: Payment, snapshot: PaymentSnapshot | None) -> list[Difference]:
    return [*compare(invoice, payment, snapshot), *claimed_twice(tx, invoice, payment, snapshot)]


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


def _doubt(snapshot: PaymentSnapshot, update: DisputeUpdate | RefundUpdate, outcome: UpdateOutcome) -> Doubt:
    kind = "dispute" if isinstance(update, DisputeUpdate) else "refund"
    word = f"{kind} {update.status} {update.amount or ''}".strip()
    return Doubt(
        snapshot.provider, snapshot.references, word, update.reference, outcome.note, update.account, update.amount
    )


def match_snapshots(
    reading: Reading, provider: Provider, snapshots: Sequence[PaymentSnapshot]
) -> list[tuple[PaymentSnapshot, Match | None]]:
    """Each snapshot with its invoice and payment in the books, if any."""
    invoices_by_reference = reading.invoices.of_payments(
        provider, [reference for snapshot in snapshots for reference in snapshot.references]
    )
    return [(snapshot, payment_among(invoices_by_reference, snapshot.references)) for snapshot in snapshots]
