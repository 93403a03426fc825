"""Record a person's decision about a dispute with an unlisted status (R13)."""

from collections.abc import Collection
from dataclasses import replace

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.services.ports.books import Reading, Writing
from refundcli.services.ports.provider_updates import StoredEvent
from refundcli.services.ports.webhooks import EventReader
from refundcli.services.provider_updates.outcome import Match


def decide_dispute(tx: Writing, stored_event: StoredEvent, state: DisputeState, reader: EventReader) -> None:
    """Give the event's dispute this state; a dispute without a record gets one.

    A later snapshot with the same status does not change the decision.
    """
    event = stored_event.event
    amount = reader.amount_in(event)
    for invoice, payment in _payments_of(tx, stored_event):
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


def _payments_of(tx: Reading, stored_event: StoredEvent) -> Collection[Match]:
    references = tx.events.payments_of(stored_event.id)
    invoices = tx.invoices.of_payments(stored_event.event.provider, references).values()
    return {
        payment.id: (invoice, payment)
        for invoice in invoices
        for payment in invoice.payments
        if not set(payment.references).isdisjoint(references)
    }.values()
