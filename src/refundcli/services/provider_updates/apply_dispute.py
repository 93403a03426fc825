"""Apply a provider update about one dispute to its record; the order of updates does not matter (I7)."""

from collections.abc import Sequence
from dataclasses import replace

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import DisputeUpdate, EventState
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_of_dispute

# Of two updates with the same date the more severe one wins, whichever came first.
_SEVERITY = (DisputeState.CLOSED, DisputeState.WON, DisputeState.OPEN, DisputeState.UNKNOWN, DisputeState.LOST)
_ENDED = (DisputeState.WON, DisputeState.CLOSED)
# The order in which a dispute advances. A chargeback never becomes an inquiry again.
_STAGES = (DisputeStage.INQUIRY, DisputeStage.ANSWERED_INQUIRY, DisputeStage.CHARGEBACK)
# The status of a placeholder that an upgrade created from events of an older version. The first update fills it in,
# whatever its amount, because all those events are applied again.
MIGRATED = "migrated"


def apply_dispute(
    tx: Writing, update: DisputeUpdate, *, update_source: str, is_complete: bool = False
) -> UpdateOutcome:
    """Apply it in the caller's transaction; unmatched while neither its payment nor its dispute is in the books.

    `is_complete`: the provider listed all disputes of the payment, so a placeholder can only be one of them.
    """
    match = payment_of_dispute(tx, update)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    if update.reference in payment.references:
        # An Adyen account may be set up to send disputes with the payment's own reference.
        update = replace(update, reference="")
    owner = tx.payment_of_dispute(update.provider, update.account, update.reference) if update.reference else None
    if owner and owner[1].id != payment.id:
        note = f"{update.reference} is known as a dispute of {owner[0].number}, but was reported for {invoice.number}"
        return UpdateOutcome(EventState.UNREVIEWED, note)
    if update.amount and update.amount.currency != payment.captured.currency:
        # A bank may dispute in its own currency. Without an amount in ours, the whole payment counts as disputed.
        update = replace(update, amount=None)
    existing = _record_of(payment.disputes, update)
    if existing is None and not update.reference:
        return _apply_unidentified(tx, invoice, payment, update, update_source)
    if existing is None:
        return _apply_to_placeholder(tx, invoice, payment, update, update_source, is_complete=is_complete)
    return _write(tx, invoice, payment, existing, _next(existing, update), update, update_source)


def new_record(payment: Payment, update: DisputeUpdate) -> DisputeRecord:
    """The record of a first update. An update without a state still proves a dispute, which counts as open."""
    return DisputeRecord(
        id=0,
        payment_id=payment.id,
        provider=update.provider,
        account=update.account,
        reference=update.reference,
        stage=update.stage,
        state=update.state or DisputeState.OPEN,
        status=update.status,
        amount=update.amount,
        reported_at=update.at if update.state else None,
    )


def _record_of(disputes: Sequence[DisputeRecord], update: DisputeUpdate) -> DisputeRecord | None:
    if update.reference:
        named = (record for record in disputes if record.reference == update.reference)
        return next((record for record in named if record.account in (update.account, "")), None)
    compatible = [record for record in disputes if _is_compatible(record, update)]
    return compatible[0] if len(disputes) == len(compatible) == 1 else None


def close_placeholders(tx: Writing, invoice: Invoice, payment: Payment, *, update_source: str) -> int:
    """Close each placeholder that is not among all disputes listed by the provider; returns how many."""
    unlisted = [
        record for record in payment.disputes if record.is_placeholder and record.state is not DisputeState.CLOSED
    ]
    for placeholder in unlisted:
        closed = replace(placeholder, state=DisputeState.CLOSED, status="not at the provider")
        tx.record_dispute(invoice, payment, closed, update_source=update_source)
    return len(unlisted)


def _apply_to_placeholder(
    tx: Writing, invoice: Invoice, payment: Payment, update: DisputeUpdate, update_source: str, *, is_complete: bool
) -> UpdateOutcome:
    """The first update about a dispute fills in its placeholder; without one it creates a record."""
    placeholders = [record for record in payment.disputes if record.is_placeholder]
    fitting = next((record for record in placeholders if is_complete or _is_compatible(record, update)), None)
    if fitting:
        filled = _filled(fitting, payment, update)
        return _write(tx, invoice, payment, fitting, filled, update, update_source)
    if placeholders:
        existing = placeholders[0]
        note = f"{invoice.number} has a dispute of {existing.amount} in the books, and this one is of {update.amount}"
        return UpdateOutcome(EventState.UNREVIEWED, note)
    return _write(tx, invoice, payment, None, new_record(payment, update), update, update_source)


def _apply_unidentified(
    tx: Writing, invoice: Invoice, payment: Payment, update: DisputeUpdate, update_source: str
) -> UpdateOutcome:
    """An update without a reference that fits no record: the first dispute of its payment, or else unreviewed."""
    if not payment.disputes:
        return _write(tx, invoice, payment, None, new_record(payment, update), update, update_source)
    note = f"{update.status} does not say which dispute of {invoice.number} it is about"
    return UpdateOutcome(EventState.UNREVIEWED, note)


def _is_compatible(existing: DisputeRecord, update: DisputeUpdate) -> bool:
    return existing.status == MIGRATED or None in (existing.amount, update.amount) or existing.amount == update.amount


def _filled(placeholder: DisputeRecord, payment: Payment, update: DisputeUpdate) -> DisputeRecord:
    """The placeholder as the provider reports it. A migrated one merged several events, so only its row is kept."""
    if placeholder.status == MIGRATED:
        return replace(new_record(payment, update), id=placeholder.id)
    filled = replace(_next(placeholder, update), reference=update.reference, account=update.account)
    return replace(filled, provider=update.provider, amount=update.amount or placeholder.amount)


def _next(existing: DisputeRecord, update: DisputeUpdate) -> DisputeRecord:
    """The record after this update. An older update does not change the state."""
    stage = max(existing.stage, update.stage, key=_STAGES.index)
    changed = replace(existing, stage=stage)
    if update.state is None:
        return changed
    if update.state is DisputeState.UNKNOWN and update.status == existing.status:
        # A person decides the state of this dispute.
        return changed
    if existing.reported_at is None:
        # An import says how the dispute ended but not when, so a report of its opening does not reopen it.
        if existing.state is DisputeState.LOST and update.state is DisputeState.OPEN:
            return replace(changed, amount=existing.amount or update.amount)
    elif (update.at, _SEVERITY.index(update.state)) < (existing.reported_at, _SEVERITY.index(existing.state)):
        return changed
    amount = update.amount or existing.amount
    return replace(changed, state=update.state, status=update.status, amount=amount, reported_at=update.at)


def _write(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    existing: DisputeRecord | None,
    record: DisputeRecord,
    update: DisputeUpdate,
    update_source: str,
) -> UpdateOutcome:
    note = f"dispute of {invoice.number}: {update.status}"
    if record == existing:
        return UpdateOutcome(EventState.APPLIED, note)
    tx.record_dispute(invoice, payment, record, update_source=update_source)
    if payment.recorded_of_disputes and existing and existing.state is DisputeState.LOST and record.state in _ENDED:
        # Its record and credit note are no longer true (R14). Only a person can undo them.
        note = f"{note}; {payment.recorded_of_disputes} is recorded as lost to it: undo that record if it is wrong"
        return UpdateOutcome(EventState.UNREVIEWED, note, changed=True)
    return UpdateOutcome(EventState.APPLIED, note, changed=True)
