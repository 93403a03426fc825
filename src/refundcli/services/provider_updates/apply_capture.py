"""Apply a provider update about a capture: an uncaptured amount cannot be refunded and does not count as paid."""

from collections.abc import Mapping

from refundcli.domain.invoice import Payment
from refundcli.domain.money import Money, zero
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import CaptureUpdate, EventState
from refundcli.services.ports.records import Capture
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_referenced


def apply_capture(tx: Writing, update: CaptureUpdate, *, update_source: str) -> UpdateOutcome:
    """Apply it in the caller's transaction. An ambiguous cancellation is unreviewed (R13)."""
    match = payment_referenced(tx, update.provider, update.payment_references)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    share = payment.allocated_in_all
    if update.amount.currency != share.currency:
        return UpdateOutcome(
            EventState.UNREVIEWED,
            f"{update.amount} is not in the currency of {invoice.number}, {share.currency}",
        )
    if not update.amount and update.change is not CaptureChange.ADDED:
        return UpdateOutcome(EventState.UNREVIEWED, f"{update.status} has no amount")
    doubt = _doubt(payment, tx.captures(payment), update)
    if doubt and update.change is not CaptureChange.ADDED:
        return UpdateOutcome(EventState.UNREVIEWED, doubt)
    changed = tx.record_capture(invoice, payment, update, update_source=update_source)
    if doubt:
        return UpdateOutcome(EventState.UNREVIEWED, doubt, changed)
    return UpdateOutcome(EventState.APPLIED, f"{update.status} of {update.amount} on {invoice.number}", changed)


def _doubt(payment: Payment, captures: Mapping[str, Capture], update: CaptureUpdate) -> str:
    """Why the update is ambiguous; empty if it is not. The order of updates does not matter.

    An amount that failed after a capture may or may not be part of the captured amount in the books. An amount that is
    captured after a failure was captured again.
    """
    reported = Capture(update.change, update.amount, update.at)
    all_captures = [capture for reference, capture in captures.items() if reference != update.reference] + [reported]
    if update.change is CaptureChange.CANCELLED:
        counted = payment.captured_in_all
        is_whole = counted <= update.amount <= payment.allocated_in_all
        if not is_whole and _captured_sum(all_captures, payment) < payment.allocated_in_all:
            return f"{update.amount} was cancelled, and the books count {counted} as captured"
        return ""
    for missing in (capture for capture in all_captures if capture.change is not CaptureChange.ADDED):
        before = [c for c in all_captures if c.change is CaptureChange.ADDED and c.at <= missing.at]
        captured = _captured_sum(before, payment)
        is_about_it = missing is reported or reported in before
        if is_about_it and captured and payment.allocated_in_all < captured + missing.amount:
            return f"{captured} was captured and {missing.amount} was not, of an allocated {payment.allocated_in_all}"
    return ""


def _captured_sum(captures: list[Capture], payment: Payment) -> Money:
    none = zero(payment.allocated_in_all.currency)
    return sum((capture.amount for capture in captures if capture.change is CaptureChange.ADDED), none)
