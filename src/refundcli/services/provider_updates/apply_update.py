"""Apply provider updates from events, reports and snapshots; the order of updates does not matter (I7).

Applied means that it changed or confirmed a row. Any other update about one of our payments is unreviewed (R13).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import OutOfBand, Refund
from refundcli.domain.statuses import RefundKind, RefundState
from refundcli.services.dispatch.settling import write_settlement
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
from refundcli.services.provider_updates.outcome import (
    NOT_IN_BOOKS,
    UpdateOutcome,
    payment_of,
    payment_referenced,
    unreviewed,
)


@dataclass(frozen=True, slots=True)
class ApplyUpdates:
    """Applies provider updates in the caller's transaction."""

    clock: Clock
    credit_note_format: str

    def apply(
        self, tx: Writing, update: Update, *, update_source: str, all_disputes_listed: bool = False
    ) -> UpdateOutcome:
        """Apply one update; unmatched while neither its payment nor its dispute is in the books.

        `update_source`: for the audit trail. `all_disputes_listed`: with this one, all disputes of the payment.
        """
        if isinstance(update, Doubt):
            return UpdateOutcome(
                EventState.UNREVIEWED if is_about_ours(tx, update) else EventState.UNMATCHED, update.why
            )
        if isinstance(update, RefundUpdate) and (own_refund := _refund_of(tx, update)):
            return self._apply_to_ours(tx, own_refund, update, update_source)
        match = payment_of(tx, update)
        if match is None:
            return NOT_IN_BOOKS
        if isinstance(update, DisputeUpdate):
            return apply_dispute(
                tx, *match, update, update_source=update_source, all_disputes_listed=all_disputes_listed
            )
        if isinstance(update, CaptureUpdate):
            return apply_capture(tx, *match, update, update_source=update_source)
        if isinstance(update, UnsupportedUpdate):
            return _apply_unsupported(tx, *match, update)
        return _apply_external(tx, *match, update, update_source=update_source)

    # --- refunds of ours -------------------------------------------------------------------------------------

    def _apply_to_ours(self, tx: Writing, refund: Refund, update: RefundUpdate, update_source: str) -> UpdateOutcome:
        is_reversal = update.state is RefundState.REVERSED and update.amount.currency == refund.amount.currency
        is_partial_reversal = is_reversal and update.amount < refund.amount
        differing_fields = _what_differs(tx, refund, update, ignores_amount=is_partial_reversal)
        if differing_fields:
            return unreviewed(
                f"the update reports a different {' and '.join(differing_fields)} from that of refund {refund.id}; "
                "nothing was changed",
                refund,
            )
        if refund.kind is RefundKind.RECORD:
            return _apply_to_record(tx, refund, update, update_source=update_source)
        if is_partial_reversal:
            return _apply_partial_reversal(tx, refund, update, update_source=update_source)
        if refund.state is RefundState.FAILED and update.state is RefundState.SUCCEEDED:
            return _apply_success_after_failure(tx, refund, update, update_source=update_source)
        return self._settle(tx, refund, update, update_source)

    def _settle(self, tx: Writing, refund: Refund, update: RefundUpdate, update_source: str) -> UpdateOutcome:
        settlement = Settlement(
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
            trace=update.trace,
        )
        accepted_refund = self._as_accepted(tx, refund, settlement)
        settled_refund = self._write(tx, accepted_refund, settlement)
        changed = settled_refund is not None and settled_refund.state is not refund.state
        if settled_refund is None and tx.refunds.note_report(accepted_refund, settlement):
            # A repeated state may report why the refund is pending, and until when.
            settled_refund, changed = tx.refunds.get(accepted_refund.id), True
        if accepted_refund.state is RefundState.SUCCEEDED and update.may_outweigh_failure and update.reported_at:
            # A failure that arrives later and is dated before the newest success is older (I7).
            tx.refunds.note_success(accepted_refund, at=update.reported_at, update_source=update_source)
        current_refund = settled_refund or accepted_refund
        if current_refund.succeeded_after_failure and not current_refund.needs_acknowledgement_after_all:
            return _hold_again(tx, current_refund, update_source=update_source)
        return UpdateOutcome(
            EventState.APPLIED, f"{current_refund.id} has the status {current_refund.state}", changed, current_refund
        )

    def _as_accepted(self, tx: Writing, refund: Refund, settlement: Settlement) -> Refund:
        """Move the refund through every earlier state: a reported refund was sent and accepted.

        A refund that was only reserved was sent before these books were restored from a backup.
        """
        if refund.state is RefundState.READY:
            refund = tx.refunds.claim(refund, owner="", until=self.clock.now(), at=self.clock.now()) or refund
        unfinished_states = (RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
        if refund.state not in unfinished_states or settlement.state is RefundState.PENDING:
            return refund
        acceptance = replace(settlement, state=RefundState.PENDING, failure="", may_be_retried=False, hold_until=None)
        return self._write(tx, refund, acceptance) or refund

    def _write(self, tx: Writing, refund: Refund, settlement: Settlement) -> Refund | None:
        return write_settlement(tx, refund, settlement, clock=self.clock, credit_note_format=self.credit_note_format)


def _apply_unsupported(tx: Writing, invoice: Invoice, payment: Payment, update: UnsupportedUpdate) -> UpdateOutcome:
    changed = payment.unsupported != update.why
    tx.payments.note_unsupported(payment, update.why)
    return UpdateOutcome(EventState.APPLIED, f"{invoice.number} cannot be refunded from here: {update.why}", changed)


def worst_of(outcomes: Sequence[UpdateOutcome]) -> UpdateOutcome:
    """The outcome of an event with several updates: the one that most needs attention."""
    severity_order = [EventState.UNREVIEWED, EventState.UNMATCHED, EventState.APPLIED]
    return min(
        outcomes,
        key=lambda outcome: severity_order.index(outcome.state),
        default=UpdateOutcome(EventState.APPLIED, "no change"),
    )


def is_about_ours(tx: Writing, doubt: Doubt) -> bool:
    """Is it about a payment in the books, or a dispute of one?"""
    return payment_referenced(tx, doubt.provider, doubt.payment_references) is not None or any(
        tx.disputes.payment_of(doubt.provider, doubt.account, payment_reference)
        for payment_reference in doubt.payment_references
    )


# --- refunds of ours ------------------------------------------------------------------------------------------


def _refund_of(tx: Writing, update: RefundUpdate) -> Refund | None:
    """The refund with the provider's id, else with our id, which was sent along."""
    matches = tx.refunds.by_provider_references(update.provider, [update.reference])
    if matches:
        return matches[0]
    refund_by_id = tx.refunds.get(update.refund_id) if update.refund_id else None
    # If the provider made two refunds from one request of ours, the second one counts as an external refund.
    if refund_by_id is None or refund_by_id.provider is not update.provider or refund_by_id.provider_reference:
        return None
    return refund_by_id


def _apply_to_record(tx: Writing, record: Refund, update: RefundUpdate, *, update_source: str) -> UpdateOutcome:
    """Apply it to a matched record. Once the refund has failed, a person may undo the record."""
    if record.state is RefundState.REVERSED:
        note = f"the refund was recorded as {record.id}, which was undone"
        if update.state.is_accepted:
            return unreviewed(f"{note}; it has the status {update.state} at the provider", record)
        return UpdateOutcome(EventState.APPLIED, note, refund=record)
    changed = tx.records.note_trace(record, update, update_source=update_source)
    if not update.state.is_accepted:
        changed |= tx.records.note_failed(record, update, update_source=update_source)
    elif update.may_outweigh_failure or (record.failed_at and update.state is RefundState.SUCCEEDED):
        changed |= tx.refunds.note_success(record, at=update.reported_at, update_source=update_source)
    current_record = tx.refunds.get(record.id) or record
    if current_record.is_made_at_provider:
        return UpdateOutcome(EventState.APPLIED, f"is recorded as {record.id}", changed, current_record)
    undo_command = f"refundcli mark-refunded --undo {record.id} --memo TEXT"
    return unreviewed(
        f"the refund is recorded as {record.id}, but has failed at the provider; to undo the record: {undo_command}",
        current_record,
    )


def _what_differs(tx: Writing, refund: Refund, update: RefundUpdate, *, ignores_amount: bool) -> list[str]:
    request = refund.sending.request if refund.sending else None
    invoice = tx.invoices.get(refund.invoice_number)
    assert invoice
    payment = next(p for p in invoice.payments if p.id == refund.payment_id)
    same_by_field = {
        "amount": ignores_amount or update.amount == refund.amount,
        "payment": not update.payment_references or not set(payment.references).isdisjoint(update.payment_references),
        "account": not (request and update.account) or request.account == update.account,
        "mode": request is None or update.livemode in (None, request.livemode),
    }
    return [field_name for field_name, is_same in same_by_field.items() if not is_same]


def _apply_success_after_failure(
    tx: Writing, refund: Refund, update: RefundUpdate, *, update_source: str
) -> UpdateOutcome:
    """A success before the failure is old. After a later one the customer may have the money: reserve it (R14)."""
    is_later = not (update.reported_at and refund.failed_at) or update.reported_at > refund.failed_at
    if not tx.refunds.note_success(refund, at=update.reported_at, update_source=update_source):
        return UpdateOutcome(EventState.APPLIED, f"{refund.id} has the status {refund.state}", refund=refund)
    current_refund = tx.refunds.get(refund.id) or refund
    if is_later:
        return _hold_again(tx, current_refund, update_source=update_source)
    # It failed after it succeeded, so its amount stays reserved until acknowledged, whatever the order of the reports.
    tx.refunds.hold_failed(current_refund, update_source=update_source)
    return UpdateOutcome(EventState.APPLIED, f"{refund.id} succeeded before it failed", True, tx.refunds.get(refund.id))


def _hold_again(tx: Writing, refund: Refund, *, update_source: str) -> UpdateOutcome:
    if tx.refunds.hold_failed(refund, update_source=update_source):
        note = f"{refund.id} failed, but was later reported as successful"
        return UpdateOutcome(EventState.APPLIED, note, True, tx.refunds.get(refund.id))
    return unreviewed(
        f"{refund.id} failed and its amount has since been refunded again; now it is reported as successful, so "
        "the customer may be paid twice",
        refund,
    )


def _apply_partial_reversal(tx: Writing, refund: Refund, update: RefundUpdate, *, update_source: str) -> UpdateOutcome:
    """Record that a part of the refund was returned; the refund and its credit note stay valid."""
    note = f"{update.amount} of {refund.id} came back to you"
    if refund.reversed_amount == update.amount:
        return UpdateOutcome(EventState.APPLIED, note, refund=refund)
    if refund.reversed_amount or refund.state is not RefundState.SUCCEEDED:
        return unreviewed(f"{note}, but that refund has the status {refund.state}", refund)
    tx.refunds.reverse_part(refund, update.amount, update_source=update_source)
    return UpdateOutcome(EventState.APPLIED, note, True, tx.refunds.get(refund.id))


# --- external refunds -----------------------------------------------------------------------------------------


def _apply_external(
    tx: Writing, invoice: Invoice, payment: Payment, update: RefundUpdate, *, update_source: str
) -> UpdateOutcome:
    """Count a refund that was not sent from here; a person adopts it."""
    if update.amount.currency != payment.captured.currency:
        return unreviewed(f"{update.amount} is not in the currency of {invoice.number}, {payment.captured.currency}")
    if not update.amount:
        return unreviewed(f"the refund of {invoice.number} has no amount")
    named_refund = tx.refunds.get(update.refund_id) if update.refund_id and not update.state.is_accepted else None
    if named_refund and named_refund.provider_reference:
        return unreviewed(
            f"the update reports {named_refund.id} as {update.state}, but not under its reference "
            f"{named_refund.provider_reference}",
            named_refund,
        )
    unmatched_records = _unmatched_records(invoice, payment) if update.state.is_accepted else []
    record = _record_of_it(unmatched_records, update)
    if record:
        tx.records.match(record, update, update_source=update_source)
        return UpdateOutcome(EventState.APPLIED, f"is recorded as {record.id}", True, record)
    # It may be the same as a refund recorded by hand: its amount is reserved until a person decides.
    external_refund = tx.external_refunds.record(
        invoice, payment, update, undecided=bool(unmatched_records), update_source=update_source
    )
    return UpdateOutcome(
        EventState.APPLIED,
        f"external refund, stored as {external_refund.id} of {invoice.number}",
        True,
        external_refund,
    )


def _unmatched_records(invoice: Invoice, payment: Payment) -> list[Refund]:
    """Records on this payment that are not matched with a refund at the provider."""
    share_refunds = [refund for refund in invoice.refunds if refund.payment_id == payment.id]
    other_share_refunds = [refund for share in payment.other_shares for refund in share.refunds]
    return [
        refund
        for refund in (*share_refunds, *other_share_refunds)
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
    same_amount = [record for record in records if record.amount == update.amount and record.out_of_band]
    same_reference = [
        record for record in same_amount if record.out_of_band and record.out_of_band.reference == update.reference
    ]
    without_reference = [record for record in same_amount if record.out_of_band and _is_unnamed(record.out_of_band)]
    return next(iter([*same_reference, *without_reference]), None)


def _is_unnamed(details: OutOfBand) -> bool:
    return not (details.reference or details.method or details.after_failed)
