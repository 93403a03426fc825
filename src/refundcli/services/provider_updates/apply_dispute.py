"""Apply a provider update about one dispute to its record; the order of updates does not matter (I7)."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.provider_updates import DisputeUpdate, EventState, StoredEvent
from refundcli.services.ports.webhooks import EventReader
from refundcli.services.provider_updates.outcome import Match, UpdateOutcome, unreviewed

# Of two updates with the same date the more severe one wins, whichever came first.
_SEVERITY = (DisputeState.CLOSED, DisputeState.WON, DisputeState.OPEN, DisputeState.UNKNOWN, DisputeState.LOST)
_ENDED = (DisputeState.WON, DisputeState.CLOSED)
# The order in which a dispute advances. A chargeback never becomes an inquiry again.
_STAGES = (DisputeStage.INQUIRY, DisputeStage.ANSWERED_INQUIRY, DisputeStage.CHARGEBACK)
# The status of a placeholder that an upgrade created from events of an older version. The first update fills it in,
# whatever its amount, because all those events are applied again.
MIGRATED = "migrated"


def apply_dispute(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    update: DisputeUpdate,
    *,
    update_source: str,
    all_disputes_listed: bool = False,
) -> UpdateOutcome:
    """Apply it to this payment in the caller's transaction.

    `all_disputes_listed`: the provider listed all disputes of the payment, so a placeholder can only be one of them.
    """
    update = _in_terms_of(payment, update)
    known_match = (
        tx.disputes.payment_of(update.provider, update.account, update.reference) if update.reference else None
    )
    if known_match and known_match[1].id != payment.id:
        return unreviewed(
            f"{update.reference} is in the books as a dispute on {known_match[0].number}, but was reported "
            f"for {invoice.number}"
        )
    stored_record = _record_of(payment.disputes, update)
    if stored_record:
        return _write(tx, invoice, payment, stored_record, _next(stored_record, update), update, update_source)
    if not update.reference and payment.disputes:
        return unreviewed(f"{update.status} does not say which dispute of {invoice.number} it is about")
    # The first update about a dispute fills in its placeholder; without one it creates a record.
    placeholders = [record for record in payment.disputes if record.is_placeholder]
    placeholder = next((p for p in placeholders if all_disputes_listed or _is_compatible(p, update)), None)
    if placeholders and placeholder is None:
        return unreviewed(
            f"{invoice.number} has a dispute for {placeholders[0].amount} in the books, but this one is for "
            f"{update.amount}"
        )
    record = _filled(placeholder, payment, update) if placeholder else new_record(payment, update)
    return _write(tx, invoice, payment, placeholder, record, update, update_source)


def _in_terms_of(payment: Payment, update: DisputeUpdate) -> DisputeUpdate:
    if update.reference in payment.references:
        # An Adyen account may be set up to send disputes with the payment's own reference.
        update = replace(update, reference="")
    if update.amount and update.amount.currency != payment.captured.currency:
        # A bank may dispute in its own currency. Without an amount in ours, the whole payment counts as disputed.
        update = replace(update, amount=None)
    return update


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
        same_reference = (record for record in disputes if record.reference == update.reference)
        return next((record for record in same_reference if record.account in (update.account, "")), None)
    compatible_records = [record for record in disputes if _is_compatible(record, update)]
    return compatible_records[0] if len(disputes) == len(compatible_records) == 1 else None


def close_placeholders(tx: Writing, invoice: Invoice, payment: Payment, *, update_source: str) -> int:
    """Close each placeholder that is not among all disputes listed by the provider; returns how many."""
    open_placeholders = [
        record for record in payment.disputes if record.is_placeholder and record.state is not DisputeState.CLOSED
    ]
    for placeholder in open_placeholders:
        closed_record = replace(placeholder, state=DisputeState.CLOSED, status="not at the provider")
        tx.disputes.record(invoice, payment, closed_record, update_source=update_source)
    return len(open_placeholders)


def _is_compatible(stored_record: DisputeRecord, update: DisputeUpdate) -> bool:
    return (
        stored_record.status == MIGRATED
        or None in (stored_record.amount, update.amount)
        or stored_record.amount == update.amount
    )


def _filled(placeholder: DisputeRecord, payment: Payment, update: DisputeUpdate) -> DisputeRecord:
    """The placeholder as the provider reports it. A migrated one merged several events, so only its row is kept."""
    if placeholder.status == MIGRATED:
        return replace(new_record(payment, update), id=placeholder.id)
    updated_record = replace(_next(placeholder, update), reference=update.reference, account=update.account)
    return replace(updated_record, provider=update.provider, amount=update.amount or placeholder.amount)


def _next(stored_record: DisputeRecord, update: DisputeUpdate) -> DisputeRecord:
    """The record after this update. An older update does not change the state."""
    stage = max(stored_record.stage, update.stage, key=_STAGES.index)
    staged_record = replace(stored_record, stage=stage)
    if update.state is None:
        return staged_record
    if update.state is DisputeState.UNKNOWN and update.status == stored_record.status:
        # A person decides the state of this dispute.
        return staged_record
    if stored_record.reported_at is None:
        # An import says how the dispute ended but not when, so a report of its opening does not reopen it.
        if stored_record.state is DisputeState.LOST and update.state is DisputeState.OPEN:
            return replace(staged_record, amount=stored_record.amount or update.amount)
    elif (update.at, _SEVERITY.index(update.state)) < (stored_record.reported_at, _SEVERITY.index(stored_record.state)):
        return staged_record
    amount = update.amount or stored_record.amount
    return replace(staged_record, state=update.state, status=update.status, amount=amount, reported_at=update.at)


def _write(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    stored_record: DisputeRecord | None,
    record: DisputeRecord,
    update: DisputeUpdate,
    update_source: str,
) -> UpdateOutcome:
    note = f"dispute of {invoice.number}: {update.status}"
    if record == stored_record:
        return UpdateOutcome(EventState.APPLIED, note)
    tx.disputes.record(invoice, payment, record, update_source=update_source)
    if (
        payment.recorded_of_disputes
        and stored_record
        and stored_record.state is DisputeState.LOST
        and record.state in _ENDED
    ):
        # Its record and credit note are no longer true (R14). Only a person can undo them.
        recorded_amount = payment.recorded_of_disputes
        return unreviewed(
            f"{note}; {recorded_amount} is recorded as lost to it: undo that record if it is wrong", changed=True
        )
    return UpdateOutcome(EventState.APPLIED, note, changed=True)


# --- decided by a person --------------------------------------------------------------------------------------


def decide_dispute(tx: Writing, stored_event: StoredEvent, state: DisputeState, reader: EventReader) -> None:
    """Give the event's dispute this state; a dispute without a record gets one.

    A later snapshot with the same status does not change the decision.
    """
    event = stored_event.event
    amount = reader.amount_in(event)
    for invoice, payment in _payments_named_by(tx, stored_event):
        known_record = next((dispute for dispute in payment.disputes if dispute.reference == event.about), None)
        record = known_record or DisputeRecord(
            id=0,
            payment_id=payment.id,
            provider=event.provider,
            account=event.account,
            reference="" if event.about in payment.references else event.about,
            stage=DisputeStage.CHARGEBACK,
            state=state,
            status=event.kind,
            amount=amount if amount and amount.currency == payment.captured.currency else None,
            reported_at=event.occurred_at,
        )
        decided_record = replace(record, state=state)
        tx.disputes.record(
            invoice, payment, decided_record, update_source=f"event {stored_event.id}, decided by a person"
        )


def _payments_named_by(tx: Reading, stored_event: StoredEvent) -> Collection[Match]:
    references = tx.events.payments_of(stored_event.id)
    invoices = tx.invoices.of_payments(stored_event.event.provider, references).values()
    return {
        payment.id: (invoice, payment)
        for invoice in invoices
        for payment in invoice.payments
        if not set(payment.references).isdisjoint(references)
    }.values()
