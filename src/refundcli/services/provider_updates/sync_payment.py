"""Apply a snapshot of a payment: report what differs, and repair what is proven.

What cannot be applied is stored as unreviewed, which blocks refunds of the payment (R13).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider, RefundState
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    DisputeUpdate,
    Doubt,
    EventState,
    PaymentSnapshot,
    RefundUpdate,
)
from refundcli.services.preflight.comparison import Difference, DifferenceKind, claimed_twice, compare
from refundcli.services.preflight.unreviewed import store_doubt
from refundcli.services.provider_updates.apply_dispute import apply_dispute, close_placeholders
from refundcli.services.provider_updates.apply_update import apply_update
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_referenced

WITHOUT_OUTCOME = frozenset({RefundState.READY, RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL})


@dataclass(frozen=True, slots=True)
class PaymentSync:
    """The differences of one payment: those `found`, and those `left` after the proven ones were repaired.

    `changed`: how many changes repaired them. `unreviewed`: how many of its updates a person must review.
    `settled`: its refunds whose outcome was unknown before, as they are now.
    """

    found: Sequence[Difference] = ()
    left: Sequence[Difference] = ()
    changed: int = 0
    unreviewed: int = 0
    settled: Sequence[Refund] = ()


def sync_payment(
    tx: Writing, invoice: Invoice, payment: Payment, truth: PaymentSnapshot | None, *, clock: Clock, number_format: str
) -> PaymentSync:
    """In the caller's transaction, in which invoice and payment were read. Each repair is an audited transition."""
    found = list(compare(invoice, payment, truth)) + claimed_twice(tx, invoice, payment, truth)
    if truth is None:
        return PaymentSync(found, found)
    if any(each.kind is DifferenceKind.CURRENCY and each.what == "currency" for each in found):
        return PaymentSync(found, found)
    evidence = f"asked {truth.provider.label}"
    changed = int(
        tx.note_payment(invoice, payment, captured=truth.captured, processing=truth.processing, evidence=evidence)
    )
    tx.note_unsupported(payment, truth.unsupported)
    if truth.credited is not None and truth.credited.currency == invoice.currency:
        changed += note_credit(tx, invoice, truth.credited, evidence=evidence)
    changed += _apply(tx, invoice, payment, truth, evidence, clock, number_format)
    now = tx.invoice(invoice.number)
    assert now
    standing = next(p for p in now.payments if p.id == payment.id)
    left = found
    if changed:
        left = list(compare(now, standing, truth)) + claimed_twice(tx, now, standing, truth)
    unreviewed = sum(each.needs_a_person for each in standing.unreviewed)
    return PaymentSync(found, left, changed, unreviewed, _settled(invoice, now))


def _settled(before: Invoice, now: Invoice) -> list[Refund]:
    """The refunds whose outcome was unknown before and is known now."""
    unknown = {refund.id for refund in before.refunds_of_payments if refund.state in WITHOUT_OUTCOME}
    return [r for r in now.refunds_of_payments if r.id in unknown and r.state not in WITHOUT_OUTCOME]


def note_credit(tx: Writing, invoice: Invoice, credited: Money, *, evidence: str) -> int:
    """Distribute the credit given to the customer's balance over the invoice's payments, in their order.

    Returns how many payments changed.
    """
    left, changed = credited, 0
    for payment in invoice.payments:
        if payment.provider is None:
            continue
        part = min(left, payment.captured)
        left -= part
        changed += payment.credited != part
        tx.note_credited(payment, part, evidence=evidence)
    return changed


def apply_snapshot(tx: Writing, truth: PaymentSnapshot, *, clock: Clock, number_format: str) -> UpdateOutcome:
    """Find the snapshot's payment and apply it. Unmatched while the payment is not in the books."""
    found = payment_referenced(tx, truth.provider, truth.references)
    if found is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    taken = sync_payment(tx, invoice, payment, truth, clock=clock, number_format=number_format)
    if any(each.kind is DifferenceKind.CURRENCY for each in taken.left):
        return UpdateOutcome(EventState.UNREVIEWED, str(taken.left[0]))
    return UpdateOutcome(
        EventState.APPLIED, f"{invoice.number} agrees with {truth.provider.label}", bool(taken.changed)
    )


def _apply(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    truth: PaymentSnapshot,
    evidence: str,
    clock: Clock,
    number_format: str,
) -> int:
    """Apply its disputes and refunds one by one; returns how many changed the books."""
    outcomes: list[tuple[DisputeUpdate | RefundUpdate, UpdateOutcome]] = []
    for dispute in truth.disputes:
        outcomes.append((dispute, apply_dispute(tx, dispute, evidence=evidence, is_complete=True)))
    for refund in truth.refunds:
        outcomes.append((refund, apply_update(tx, refund, evidence=evidence, clock=clock, number_format=number_format)))
    known = {each.object_id for each in truth.doubts}
    doubts = [
        *truth.doubts,
        *(
            _doubt(truth, news, outcome)
            for news, outcome in outcomes
            if _needs_a_person(outcome) and news.reference not in known
        ),
    ]
    for doubt in doubts:
        store_doubt(tx, doubt, truth.asked_at, doubt.why)
    changed = sum(outcome.changed for _, outcome in outcomes)
    if any(not dispute.reference for dispute in truth.disputes):
        # The charge is disputed but no dispute is listed, so the placeholder may stand for it.
        return changed
    now = tx.invoice(invoice.number)
    assert now
    standing = next(p for p in now.payments if p.id == payment.id)
    return changed + close_placeholders(tx, now, standing, evidence=evidence)


def _needs_a_person(outcome: UpdateOutcome) -> bool:
    return outcome.state is EventState.UNREVIEWED


def _doubt(truth: PaymentSnapshot, news: DisputeUpdate | RefundUpdate, outcome: UpdateOutcome) -> Doubt:
    kind = "dispute" if isinstance(news, DisputeUpdate) else "refund"
    word = f"{kind} {news.status} {news.amount or ''}".strip()
    return Doubt(truth.provider, truth.references, word, news.reference, outcome.note, news.account, news.amount)


def match_snapshots(
    reading: Reading, provider: Provider, truths: Sequence[PaymentSnapshot]
) -> Iterator[tuple[PaymentSnapshot, Invoice | None, Payment | None]]:
    """Each truth with the invoice and the payment here that it is about, if there is one."""
    owners = reading.invoices_of_payments(provider, [reference for truth in truths for reference in truth.references])
    for truth in truths:
        invoice = next((owners[reference] for reference in truth.references if reference in owners), None)
        payments = invoice.payments if invoice else ()
        yield truth, invoice, next((p for p in payments if not set(p.references).isdisjoint(truth.references)), None)
