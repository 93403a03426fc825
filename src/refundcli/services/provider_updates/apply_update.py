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
    CaptureNews,
    DisputeNews,
    Doubt,
    EventState,
    RefundNews,
    UnsupportedNews,
    Update,
)
from refundcli.services.ports.records import Settlement
from refundcli.services.provider_updates.apply_capture import apply_capture
from refundcli.services.provider_updates.apply_dispute import apply_dispute
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_referenced


def hear(tx: Writing, news: Update, *, evidence: str, clock: Clock, number_format: str) -> UpdateOutcome:
    """Apply one provider update in the caller's transaction; `evidence` says where it comes from."""
    if isinstance(news, DisputeNews):
        return apply_dispute(tx, news, evidence=evidence)
    if isinstance(news, CaptureNews):
        return apply_capture(tx, news, evidence=evidence)
    if isinstance(news, UnsupportedNews):
        return _apply_unsupported(tx, news)
    if isinstance(news, Doubt):
        return UpdateOutcome(EventState.UNREVIEWED if is_about_ours(tx, news) else EventState.UNMATCHED, news.why)
    ours = _refund_of(tx, news)
    if ours is None:
        return _apply_external(tx, news, evidence=evidence)
    return _apply_to_ours(tx, ours, news, evidence=evidence, clock=clock, number_format=number_format)


def _apply_unsupported(tx: Writing, news: UnsupportedNews) -> UpdateOutcome:
    found = payment_referenced(tx, news.provider, news.payment_references)
    if found is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    changed = payment.unsupported != news.why
    tx.note_unsupported(payment, news.why)
    return UpdateOutcome(EventState.APPLIED, f"{invoice.number} cannot be refunded from here: {news.why}", changed)


def hear_all(
    tx: Writing, news: Sequence[Update], *, evidence: str, clock: Clock, number_format: str
) -> list[UpdateOutcome]:
    return [hear(tx, update, evidence=evidence, clock=clock, number_format=number_format) for update in news]


def worst_of(outcomes: Sequence[UpdateOutcome]) -> UpdateOutcome:
    """The outcome of an event with several updates: the one that most needs attention."""
    order = [EventState.UNREVIEWED, EventState.UNMATCHED, EventState.APPLIED]
    return min(
        outcomes, key=lambda each: order.index(each.state), default=UpdateOutcome(EventState.APPLIED, "no change")
    )


def is_about_ours(tx: Writing, news: Doubt) -> bool:
    """Is it about a payment in the books, or a dispute of one?"""
    if payment_referenced(tx, news.provider, news.payment_references):
        return True
    return any(
        tx.payment_of_dispute(news.provider, news.account, payment_reference)
        for payment_reference in news.payment_references
    )


# --- refunds of ours ------------------------------------------------------------------------------------------


def _refund_of(tx: Writing, news: RefundNews) -> Refund | None:
    """By the provider's own id, else by ours, which travelled with it."""
    known = tx.refunds_by_provider_references(news.provider, [news.reference])
    if known:
        return known[0]
    named = tx.refund(news.refund_id) if news.refund_id else None
    # One request of ours that the provider made into two refunds: the second one is counted beside the first.
    if named is None or named.provider is not news.provider or named.provider_reference:
        return None
    return named


def _apply_to_ours(
    tx: Writing, refund: Refund, news: RefundNews, *, evidence: str, clock: Clock, number_format: str
) -> UpdateOutcome:
    part = news.state is RefundState.REVERSED and news.amount.currency == refund.amount.currency
    differs = _what_differs(tx, refund, news, any_amount=part and news.amount < refund.amount)
    if differs:
        note = f"reports a different {' and '.join(differs)} than refund {refund.id}; nothing was changed"
        return UpdateOutcome(EventState.UNREVIEWED, note, refund=refund)
    if refund.kind is RefundKind.RECORD:
        return _apply_to_record(tx, refund, news, evidence=evidence)
    if part and news.amount < refund.amount:
        return _apply_partial_reversal(tx, refund, news, evidence=evidence)
    if refund.state is RefundState.FAILED and news.state is RefundState.SUCCEEDED:
        return _apply_success_after_failure(tx, refund, news, evidence=evidence)
    return _settle(tx, refund, news, evidence=evidence, clock=clock, number_format=number_format)


def _apply_to_record(tx: Writing, record: Refund, news: RefundNews, *, evidence: str) -> UpdateOutcome:
    """A record that was matched with this refund. Once the refund has failed, a person may undo the record."""
    if record.state is RefundState.REVERSED:
        note = f"was recorded as {record.id}, which was undone"
        if news.state.is_accepted:
            return UpdateOutcome(EventState.UNREVIEWED, f"{note}; it is {news.state} at the provider", refund=record)
        return UpdateOutcome(EventState.APPLIED, note, refund=record)
    changed = False
    if not news.state.is_accepted:
        changed = tx.note_record_failed(record, news, evidence=evidence)
    elif news.may_outweigh_failure or (record.failed_at and news.state is RefundState.SUCCEEDED):
        changed = tx.note_success(record, at=news.reported_at, evidence=evidence)
    now = tx.refund(record.id) or record
    if now.is_made_at_provider:
        return UpdateOutcome(EventState.APPLIED, f"is recorded as {record.id}", changed, now)
    undo = f"refundcli mark-refunded --undo {record.id} --memo TEXT"
    note = f"is recorded as {record.id}, but has failed at the provider; to undo the record: {undo}"
    return UpdateOutcome(EventState.UNREVIEWED, note, refund=now)


def _what_differs(tx: Writing, refund: Refund, news: RefundNews, *, any_amount: bool) -> list[str]:
    request = refund.sending.request if refund.sending else None
    invoice = tx.invoice(refund.invoice_number)
    assert invoice
    payment = next(p for p in invoice.payments if p.id == refund.payment_id)
    holds = {
        "amount": any_amount or news.amount == refund.amount,
        "payment": not news.payment_references or not set(payment.references).isdisjoint(news.payment_references),
        "account": not (request and news.account) or request.account == news.account,
        "mode": request is None or news.livemode in (None, request.livemode),
    }
    return [name for name, same in holds.items() if not same]


def _settle(
    tx: Writing, refund: Refund, news: RefundNews, *, evidence: str, clock: Clock, number_format: str
) -> UpdateOutcome:
    end = Settlement(
        news.state,
        news.reference,
        news.status,
        news.failure,
        evidence,
        may_be_retried=news.may_be_retried,
        reported_at=news.reported_at,
        hold_until=news.hold_until,
        pending_reason=news.pending_reason,
        expires_at=news.expires_at,
    )
    now = _as_accepted(tx, refund, end, clock=clock, number_format=number_format)
    settled = write_settlement(tx, now, end, clock=clock, number_format=number_format)
    changed = settled is not None and settled.state is not refund.state
    if settled is None and tx.note_report(now, end):
        # A repeat in the same state may say why the refund is pending, and until when.
        settled, changed = tx.refund(now.id), True
    if now.state is RefundState.SUCCEEDED and news.may_outweigh_failure and news.reported_at:
        # A failure that arrives later and is dated before the newest success is the older word (I7).
        tx.note_success(now, at=news.reported_at, evidence=evidence)
    standing = settled or now
    if standing.succeeded_after_failure and not standing.needs_acknowledgement_after_all:
        return _hold_again(tx, standing, evidence=evidence)
    return UpdateOutcome(EventState.APPLIED, f"{standing.id} is {standing.state}", changed, standing)


def _as_accepted(tx: Writing, refund: Refund, end: Settlement, *, clock: Clock, number_format: str) -> Refund:
    """A refund that a provider reports was sent and accepted, so it passes through every state in turn.

    One that was only reserved was sent before these books were restored from a backup.
    """
    now = refund
    if now.state is RefundState.READY:
        now = tx.claim(now, owner="", until=clock.now(), at=clock.now()) or now
    unfinished = (RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
    if now.state in unfinished and end.state is not RefundState.PENDING:
        accepted = replace(end, state=RefundState.PENDING, failure="", may_be_retried=False, hold_until=None)
        now = write_settlement(tx, now, accepted, clock=clock, number_format=number_format) or now
    return now


def _apply_success_after_failure(tx: Writing, refund: Refund, news: RefundNews, *, evidence: str) -> UpdateOutcome:
    """A success dated before the failure is old. Dated after it, the customer may have the money: reserve it (R14)."""
    is_later = not (news.reported_at and refund.failed_at) or news.reported_at > refund.failed_at
    if not tx.note_success(refund, at=news.reported_at, evidence=evidence):
        return UpdateOutcome(EventState.APPLIED, f"{refund.id} is {refund.state}", refund=refund)
    now = tx.refund(refund.id) or refund
    if is_later:
        return _hold_again(tx, now, evidence=evidence)
    # It failed after it succeeded, so its amount is reserved until acknowledged, in whatever order the reports came.
    tx.hold_failed(now, evidence=evidence)
    return UpdateOutcome(EventState.APPLIED, f"{refund.id} succeeded before it failed", True, tx.refund(refund.id))


def _hold_again(tx: Writing, refund: Refund, *, evidence: str) -> UpdateOutcome:
    if tx.hold_failed(refund, evidence=evidence):
        note = f"{refund.id} failed, and was reported as successful later"
        return UpdateOutcome(EventState.APPLIED, note, True, tx.refund(refund.id))
    note = f"{refund.id} failed and its amount was used since; now it is reported as successful: it may be paid twice"
    return UpdateOutcome(EventState.UNREVIEWED, note, refund=refund)


def _apply_partial_reversal(tx: Writing, refund: Refund, news: RefundNews, *, evidence: str) -> UpdateOutcome:
    """A part of it was returned: the refund and its credit note stand, and the part is recorded beside them."""
    note = f"{news.amount} of {refund.id} was returned"
    if refund.reversed_amount == news.amount:
        return UpdateOutcome(EventState.APPLIED, note, refund=refund)
    if refund.reversed_amount or refund.state is not RefundState.SUCCEEDED:
        return UpdateOutcome(EventState.UNREVIEWED, f"{note}, but that refund is {refund.state}", refund=refund)
    tx.reverse_part(refund, news.amount, evidence=evidence)
    return UpdateOutcome(EventState.APPLIED, note, True, tx.refund(refund.id))


# --- external refunds -----------------------------------------------------------------------------------------


def _apply_external(tx: Writing, news: RefundNews, *, evidence: str) -> UpdateOutcome:
    """A refund that was not sent from here: counted from now on, adopted by a person."""
    found = payment_referenced(tx, news.provider, news.payment_references)
    if found is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    if news.amount.currency != payment.captured.currency:
        note = f"{news.amount} is not in the currency of {invoice.number}, {payment.captured.currency}"
        return UpdateOutcome(EventState.UNREVIEWED, note)
    if not news.amount:
        return UpdateOutcome(EventState.UNREVIEWED, f"the refund of {invoice.number} has no amount")
    named = tx.refund(news.refund_id) if news.refund_id and not news.state.is_accepted else None
    if named and named.provider_reference:
        note = f"reports {named.id} as {news.state}, but not under its reference {named.provider_reference}"
        return UpdateOutcome(EventState.UNREVIEWED, note, refund=named)
    records = _unmatched_records(invoice, payment) if news.state.is_accepted else []
    record = _record_of_it(records, news)
    if record:
        tx.match_record(record, news, evidence=evidence)
        return UpdateOutcome(EventState.APPLIED, f"is recorded as {record.id}", True, record)
    # It may be the same as a refund recorded by hand: its amount is reserved until someone decides.
    made = tx.see_elsewhere(invoice, payment, news, undecided=bool(records), evidence=evidence)
    return UpdateOutcome(EventState.APPLIED, f"external refund, stored as {made.id} of {invoice.number}", True, made)


def _unmatched_records(invoice: Invoice, payment: Payment) -> list[Refund]:
    """Recorded by hand on this payment, and not known to be any refund at the provider."""
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


def _record_of_it(records: Sequence[Refund], news: RefundNews) -> Refund | None:
    """The record of this very refund. R12 sends people to the dashboard first and to `mark-refunded` afterwards.

    A record that names another reference may be another refund; one without a name is the first that fits. A
    record with another method, or in place of a failed refund, is another refund.
    """
    alike = [record for record in records if record.amount == news.amount and record.out_of_band]
    named = [record for record in alike if record.out_of_band and record.out_of_band.reference == news.reference]
    unnamed = [record for record in alike if record.out_of_band and _is_unnamed(record.out_of_band)]
    return next(iter([*named, *unnamed]), None)


def _is_unnamed(told: OutOfBand) -> bool:
    return not (told.reference or told.method or told.after_failed)
