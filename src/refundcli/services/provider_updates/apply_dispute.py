"""Apply a provider update about one dispute to its record; the order of updates does not matter (I7)."""

from collections.abc import Sequence
from dataclasses import replace

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import DisputeUpdate, EventState
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_of_dispute

# Of two updates with the same date the more severe one holds, whichever came first.
_SEVERITY = (DisputeState.CLOSED, DisputeState.WON, DisputeState.OPEN, DisputeState.UNKNOWN, DisputeState.LOST)
_ENDED = (DisputeState.WON, DisputeState.CLOSED)
# What an inquiry can still become. A chargeback is never an inquiry again.
_STAGES = (DisputeStage.INQUIRY, DisputeStage.ANSWERED_INQUIRY, DisputeStage.CHARGEBACK)
# The status of a placeholder that an upgrade made from the events of an older version. The first update fills it in,
# whatever its amount, because those events are all applied again.
MIGRATED = "migrated"


def apply_dispute(tx: Writing, news: DisputeUpdate, *, evidence: str, is_complete: bool = False) -> UpdateOutcome:
    """Apply it in the caller's transaction; unmatched while neither its payment nor its dispute is in the books.

    `is_complete`: the provider listed all disputes of the payment, so a placeholder can only be one of them.
    """
    match = payment_of_dispute(tx, news)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    if news.reference in payment.references:
        # An Adyen account may be set up to send disputes with the payment's own reference.
        news = replace(news, reference="")
    owner = tx.payment_of_dispute(news.provider, news.account, news.reference) if news.reference else None
    if owner and owner[1].id != payment.id:
        note = f"{news.reference} is known as a dispute of {owner[0].number}, and named with {invoice.number}"
        return UpdateOutcome(EventState.UNREVIEWED, note)
    if news.amount and news.amount.currency != payment.captured.currency:
        # A bank may dispute in its own currency. Without an amount in ours, the dispute counts as the whole payment.
        news = replace(news, amount=None)
    known = _record_of(payment.disputes, news)
    if known is None and not news.reference:
        return _apply_unidentified(tx, invoice, payment, news, evidence)
    if known is None:
        return _apply_to_placeholder(tx, invoice, payment, news, evidence, is_complete=is_complete)
    return _write(tx, invoice, payment, known, _next(known, news), news, evidence)


def new_record(payment: Payment, news: DisputeUpdate) -> DisputeRecord:
    """The record of a first update. One that leaves the state as it is still proves a dispute, so it counts as open."""
    return DisputeRecord(
        id=0,
        payment_id=payment.id,
        provider=news.provider,
        account=news.account,
        reference=news.reference,
        stage=news.stage,
        state=news.state or DisputeState.OPEN,
        status=news.status,
        amount=news.amount,
        reported_at=news.at if news.state else None,
    )


def _record_of(disputes: Sequence[DisputeRecord], news: DisputeUpdate) -> DisputeRecord | None:
    if news.reference:
        named = (record for record in disputes if record.reference == news.reference)
        return next((record for record in named if record.account in (news.account, "")), None)
    compatible = [record for record in disputes if _is_compatible(record, news)]
    return compatible[0] if len(disputes) == len(compatible) == 1 else None


def close_placeholders(tx: Writing, invoice: Invoice, payment: Payment, *, evidence: str) -> int:
    """Close each placeholder that is not among all disputes listed by the provider; returns how many."""
    unlisted = [
        record for record in payment.disputes if record.is_placeholder and record.state is not DisputeState.CLOSED
    ]
    for placeholder in unlisted:
        closed = replace(placeholder, state=DisputeState.CLOSED, status="not at the provider")
        tx.record_dispute(invoice, payment, closed, evidence=evidence)
    return len(unlisted)


def _apply_to_placeholder(
    tx: Writing, invoice: Invoice, payment: Payment, news: DisputeUpdate, evidence: str, *, is_complete: bool
) -> UpdateOutcome:
    """The first update about a dispute fills in its placeholder; without a placeholder it makes a new record."""
    placeholders = [record for record in payment.disputes if record.is_placeholder]
    fitting = next((record for record in placeholders if is_complete or _is_compatible(record, news)), None)
    if fitting:
        filled = _filled(fitting, payment, news)
        return _write(tx, invoice, payment, fitting, filled, news, evidence)
    if placeholders:
        known = placeholders[0]
        note = f"{invoice.number} has a dispute of {known.amount} in the books, and this one is of {news.amount}"
        return UpdateOutcome(EventState.UNREVIEWED, note)
    return _write(tx, invoice, payment, None, new_record(payment, news), news, evidence)


def _apply_unidentified(
    tx: Writing, invoice: Invoice, payment: Payment, news: DisputeUpdate, evidence: str
) -> UpdateOutcome:
    """An update without a reference that fits no record: the first dispute of its payment, or else unreviewed."""
    if not payment.disputes:
        return _write(tx, invoice, payment, None, new_record(payment, news), news, evidence)
    note = f"{news.status} does not say which dispute of {invoice.number} it is about"
    return UpdateOutcome(EventState.UNREVIEWED, note)


def _is_compatible(known: DisputeRecord, news: DisputeUpdate) -> bool:
    return known.status == MIGRATED or None in (known.amount, news.amount) or known.amount == news.amount


def _filled(placeholder: DisputeRecord, payment: Payment, news: DisputeUpdate) -> DisputeRecord:
    """The placeholder as the provider reports it. A migrated one stands for several events, so only its row is kept."""
    if placeholder.status == MIGRATED:
        return replace(new_record(payment, news), id=placeholder.id)
    known = replace(_next(placeholder, news), reference=news.reference, account=news.account)
    return replace(known, provider=news.provider, amount=news.amount or placeholder.amount)


def _next(known: DisputeRecord, news: DisputeUpdate) -> DisputeRecord:
    """The record after this update. An older update changes no state; a chargeback never becomes an inquiry again."""
    stage = max(known.stage, news.stage, key=_STAGES.index)
    changed = replace(known, stage=stage)
    if news.state is None:
        return changed
    if news.state is DisputeState.UNKNOWN and news.status == known.status:
        # A person decides the state of this dispute, or already has.
        return changed
    if known.reported_at is None:
        # An import says how it ended but not when, so a report that it was opened does not reopen it.
        if known.state is DisputeState.LOST and news.state is DisputeState.OPEN:
            return replace(changed, amount=known.amount or news.amount)
    elif (news.at, _SEVERITY.index(news.state)) < (known.reported_at, _SEVERITY.index(known.state)):
        return changed
    amount = news.amount or known.amount
    return replace(changed, state=news.state, status=news.status, amount=amount, reported_at=news.at)


def _write(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    known: DisputeRecord | None,
    record: DisputeRecord,
    news: DisputeUpdate,
    evidence: str,
) -> UpdateOutcome:
    note = f"dispute of {invoice.number}: {news.status}"
    if record == known:
        return UpdateOutcome(EventState.APPLIED, note)
    tx.record_dispute(invoice, payment, record, evidence=evidence)
    if payment.recorded_of_disputes and known and known.state is DisputeState.LOST and record.state in _ENDED:
        # Its record and credit note say that the money went back; now it did not (R14). Only a person can undo them.
        note = f"{note}; {payment.recorded_of_disputes} is recorded as lost to it: take that record back if it is wrong"
        return UpdateOutcome(EventState.UNREVIEWED, note, changed=True)
    return UpdateOutcome(EventState.APPLIED, note, changed=True)
