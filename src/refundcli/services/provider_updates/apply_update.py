"""Apply provider updates from events, reports and snapshots; the order of updates does not matter (I7).

Applied means that it changed or confirmed a row. Any other update about one of our payments is unreviewed (R13).
"""

from collections.abc import Sequence
from dataclasses import replace

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import OutOfBand, Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.dispatch.send_refund import write_settlement
from refundcli.services.ports.books import Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    CaptureUpdate,
    DisputeUpdate,
    Doubt,
    EventState,
    RefundUpdate,
    UnsupportedUpdate,
    Update,
)
from refundcli.services.ports.records import Settlement
from refundcli.services.provider_updates.apply_capture import apply_capture
from refundcli.services.provider_updates.apply_dispute import apply_dispute
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_referenced


def apply_update(
    tx: Writing, update: Update, *, update_source: str, clock: Clock, credit_note_format: str
) -> UpdateOutcome:
    """Apply one provider update in the caller's transaction; `update_source` is its source."""
    if isinstance(update, DisputeUpdate):
        return apply_dispute(tx, update, update_source=update_source)
    if isinstance(update, CaptureUpdate):
        return apply_capture(tx, update, update_source=update_source)
    if isinstance(update, UnsupportedUpdate):
        return _apply_unsupported(tx, update)
    if isinstance(update, Doubt):
        return UpdateOutcome(EventState.UNREVIEWED if is_about_ours(tx, update) else EventState.UNMATCHED, update.why)
    ours = _refund_of(tx, update)
    if ours is None:
        return _apply_external(tx, update, update_source=update_source)
    return _apply_to_ours(
        tx, ours, update, update_source=update_source, clock=clock, credit_note_format=credit_note_format
    )


def _apply_unsupported(tx: Writing, update: UnsupportedUpdate) -> UpdateOutcome:
    match = payment_referenced(tx, update.provider, update.payment_references)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    changed = payment.unsupported != update.why
    tx.note_unsupported(payment, update.why)
    return UpdateOutcome(EventState.APPLIED, f"{invoice.number} cannot be refunded from here: {update.why}", changed)


def apply_updates(
    tx: Writing, updates: Sequence[Update], *, update_source: str, clock: Clock, credit_note_format: str
) -> list[UpdateOutcome]:
    return [
        apply_update(tx, update, update_source=update_source, clock=clock, credit_note_format=credit_note_format)
        for update in updates
    ]


def worst_of(outcomes: Sequence[UpdateOutcome]) -> UpdateOutcome:
    """The outcome of an event with several updates: the one that most needs attention."""
    order = [EventState.UNREVIEWED, EventState.UNMATCHED, EventState.APPLIED]
    return min(
        outcomes, key=lambda outcome: order.index(outcome.state), default=UpdateOutcome(EventState.APPLIED, "no change")
    )


def is_about_ours(tx: Writing, doubt: Doubt) -> bool:
    """Is it about a payment in the books, or a dispute of one?"""
    if payment_referenced(tx, doubt.provider, doubt.payment_references):
        return True
    return any(
        tx.payment_of_dispute(doubt.provider, doubt.account, payment_reference)
        for payment_reference in doubt.payment_references
    )


# --- refunds of ours ------------------------------------------------------------------------------------------


def _refund_of(tx: Writing, update: RefundUpdate) -> Refund | None:
    """The refund with the provider's id, else with our id, which was sent along."""
    matches = tx.refunds_by_provider_references(update.provider, [update.reference])
    if matches:
        return matches[0]
    named = tx.refund(update.refund_id) if update.refund_id else None
    # If the provider made two refunds from one request of ours, the second one counts as an external refund.
    if named is None or named.provider is not update.provider or named.provider_reference:
        return None
    return named


def _apply_to_ours(
    tx: Writing, refund: Refund, update: RefundUpdate, *, update_source: str, clock: Clock, credit_note_format: str
) -> UpdateOutcome:
    part = update.state is RefundState.REVERSED and update.amount.currency == refund.amount.currency
    differs = _what_differs(tx, refund, update, any_amount=part and update.amount < refund.amount)
    if differs:
        note = f"reports a different {' and '.join(differs)} than refund {refund.id}; nothing was changed"
        return UpdateOutcome(EventState.UNREVIEWED, note, refund=refund)
    if refund.kind is RefundKind.RECORD:
        return _apply_to_record(tx, refund, update, update_source=update_source)
    if part and update.amount < refund.amount:
        return _apply_partial_reversal(tx, refund, update, update_source=update_source)
    if refund.state is RefundState.FAILED and update.state is RefundState.SUCCEEDED:
        return _apply_success_after_failure(tx, refund, update, update_source=update_source)
    return _settle(tx, refund, update, update_source=update_source, clock=clock, credit_note_format=credit_note_format)


def _apply_to_record(tx: Writing, record: Refund, update: RefundUpdate, *, update_source: str) -> UpdateOutcome:
    """Apply it to a matched record. Once the refund has failed, a person may undo the record."""
    if record.state is RefundState.REVERSED:
        note = f"was recorded as {record.id}, which was undone"
        if update.state.is_accepted:
            return UpdateOutcome(EventState.UNREVIEWED, f"{note}; it is {update.state} at the provider", refund=record)
        return UpdateOutcome(EventState.APPLIED, note, refund=record)
    changed = False
    if not update.state.is_accepted:
        changed = tx.note_record_failed(record, update, update_source=update_source)
    elif update.may_outweigh_failure or (record.failed_at and update.state is RefundState.SUCCEEDED):
        changed = tx.note_success(record, at=update.reported_at, update_source=update_source)
    now = tx.refund(record.id) or record
    if now.is_made_at_provider:
        return UpdateOutcome(EventState.APPLIED, f"is recorded as {record.id}", changed, now)
    undo = f"refundcli mark-refunded --undo {record.id} --memo TEXT"
    note = f"is recorded as {record.id}, but has failed at the provider; to undo the record: {undo}"
    return UpdateOutcome(EventState.UNREVIEWED, note, refund=now)


def _what_differs(tx: Writing, refund: Refund, update: RefundUpdate, *, any_amount: bool) -> list[str]:
    request = refund.sending.request if refund.sending else None
    invoice = tx.invoice(refund.invoice_number)
    assert invoice
    payment = next(p for p in invoice.payments if p.id == refund.payment_id)
    holds = {
        "amount": any_amount or update.amount == refund.amount,
        "payment": not update.payment_references or not set(payment.references).isdisjoint(update.payment_references),
        "account": not (request and update.account) or request.account == update.account,
        "mode": request is None or update.livemode in (None, request.livemode),
    }
    return [name for name, same in holds.items() if not same]


def _settle(
    tx: Writing, refund: Refund, update: RefundUpdate, *, update_source: str, clock: Clock, credit_note_format: str
) -> UpdateOutcome:
    end = Settlement(
        update.state,
        update.reference,
        update.status,
        update.failure,
        update_source,
        may_be_retried=update.may_be_retried,
        reported_at=update.reported_at,
        hold_until=update.hold_until,
        pending_reason=update.pending_reason,
        expires_at=update.expires_at,
    )
    now = _as_accepted(tx, refund, end, clock=clock, credit_note_format=credit_note_format)
    settled = write_settlement(tx, now, end, clock=clock, credit_note_format=credit_note_format)
    changed = settled is not None and settled.state is not refund.state
    if settled is None and tx.note_report(now, end):
        # A repeated state may report why the refund is pending, and until when.
        settled, changed = tx.refund(now.id), True
    if now.state is RefundState.SUCCEEDED and update.may_outweigh_failure and update.reported_at:
        # A failure that arrives later and is dated before the newest success is older (I7).
        tx.note_success(now, at=update.reported_at, update_source=update_source)
    current = settled or now
    if current.succeeded_after_failure and not current.needs_acknowledgement_after_all:
        return _hold_again(tx, current, update_source=update_source)
    return UpdateOutcome(EventState.APPLIED, f"{current.id} is {current.state}", changed, current)


def _as_accepted(tx: Writing, refund: Refund, end: Settlement, *, clock: Clock, credit_note_format: str) -> Refund:
    """Move the refund through every earlier state: a reported refund was sent and accepted.

    A refund that was only reserved was sent before these books were restored from a backup.
    """
    now = refund
    if now.state is RefundState.READY:
        now = tx.claim(now, owner="", until=clock.now(), at=clock.now()) or now
    unfinished = (RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
    if now.state in unfinished and end.state is not RefundState.PENDING:
        accepted = replace(end, state=RefundState.PENDING, failure="", may_be_retried=False, hold_until=None)
        now = write_settlement(tx, now, accepted, clock=clock, credit_note_format=credit_note_format) or now
    return now


def _apply_success_after_failure(
    tx: Writing, refund: Refund, update: RefundUpdate, *, update_source: str
) -> UpdateOutcome:
    """A success before the failure is old. After a later one the customer may have the money: reserve it (R14)."""
    is_later = not (update.reported_at and refund.failed_at) or update.reported_at > refund.failed_at
    if not tx.note_success(refund, at=update.reported_at, update_source=update_source):
        return UpdateOutcome(EventState.APPLIED, f"{refund.id} is {refund.state}", refund=refund)
    now = tx.refund(refund.id) or refund
    if is_later:
        return _hold_again(tx, now, update_source=update_source)
    # It failed after it succeeded, so its amount stays reserved until acknowledged, whatever the order of the reports.
    tx.hold_failed(now, update_source=update_source)
    return UpdateOutcome(EventState.APPLIED, f"{refund.id} succeeded before it failed", True, tx.refund(refund.id))


def _hold_again(tx: Writing, refund: Refund, *, update_source: str) -> UpdateOutcome:
    if tx.hold_failed(refund, update_source=update_source):
        note = f"{refund.id} failed, and was reported as successful later"
        return UpdateOutcome(EventState.APPLIED, note, True, tx.refund(refund.id))
    note = f"{refund.id} failed and its amount was used since; now it is reported as successful: it may be paid twice"
    return UpdateOutcome(EventState.UNREVIEWED, note, refund=refund)


def _apply_partial_reversal(tx: Writing, refund: Refund, update: RefundUpdate, *, update_source: str) -> UpdateOutcome:
    """Record that a part of the refund was returned; the refund and its credit note stay valid."""
    note = f"{update.amount} of {refund.id} was returned"
    if refund.reversed_amount == update.amount:
        return UpdateOutcome(EventState.APPLIED, note, refund=refund)
    if refund.reversed_amount or refund.state is not RefundState.SUCCEEDED:
        return UpdateOutcome(EventState.UNREVIEWED, f"{note}, but that refund is {refund.state}", refund=refund)
    tx.reverse_part(refund, update.amount, update_source=update_source)
    return UpdateOutcome(EventState.APPLIED, note, True, tx.refund(refund.id))


# --- external refunds -----------------------------------------------------------------------------------------


def _apply_external(tx: Writing, update: RefundUpdate, *, update_source: str) -> UpdateOutcome:
    """Count a refund that was not sent from here; a person adopts it."""
    match = payment_referenced(tx, update.provider, update.payment_references)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    if update.amount.currency != payment.captured.currency:
        note = f"{update.amount} is not in the currency of {invoice.number}, {payment.captured.currency}"
        return UpdateOutcome(EventState.UNREVIEWED, note)
    if not update.amount:
        return UpdateOutcome(EventState.UNREVIEWED, f"the refund of {invoice.number} has no amount")
    named = tx.refund(update.refund_id) if update.refund_id and not update.state.is_accepted else None
    if named and named.provider_reference:
        note = f"reports {named.id} as {update.state}, but not under its reference {named.provider_reference}"
        return UpdateOutcome(EventState.UNREVIEWED, note, refund=named)
    records = _unmatched_records(invoice, payment) if update.state.is_accepted else []
    record = _record_of_it(records, update)
    if record:
        tx.match_record(record, update, update_source=update_source)
        return UpdateOutcome(EventState.APPLIED, f"is recorded as {record.id}", True, record)
    # It may be the same as a refund recorded by hand: its amount is reserved until a person decides.
    external = tx.record_external(invoice, payment, update, undecided=bool(records), update_source=update_source)
    return UpdateOutcome(
        EventState.APPLIED, f"external refund, stored as {external.id} of {invoice.number}", True, external
    )


def _unmatched_records(invoice: Invoice, payment: Payment) -> list[Refund]:
    """Records on this payment that are not matched with a refund at the provider."""
    of_share = [refund for refund in invoice.refunds if refund.payment_id == payment.id]
    of_others = [refund for share in payment.other_shares for refund in share.refunds]
    return [
        refund
        for refund in (*of_share, *of_others)
        if refund.kind is RefundKind.RECORD
        and refund.state is RefundState.RECORDED
        and not refund.provider_reference
        and not refund.is_chargeback
    ]


def _record_of_it(records: Sequence[Refund], update: RefundUpdate) -> Refund | None:
    """The record of this refund, if any: R12 sends people to the dashboard first and then to `mark-refunded`.

    A record with this reference, else the first without a reference. A record with another reference or method, or in
    place of a failed refund, is another refund.
    """
    alike = [record for record in records if record.amount == update.amount and record.out_of_band]
    named = [record for record in alike if record.out_of_band and record.out_of_band.reference == update.reference]
    unnamed = [record for record in alike if record.out_of_band and _is_unnamed(record.out_of_band)]
    return next(iter([*named, *unnamed]), None)


def _is_unnamed(details: OutOfBand) -> bool:
    return not (details.reference or details.method or details.after_failed)
