"""Apply a provider update about a capture: an uncaptured amount cannot be refunded and does not count as paid."""

from collections.abc import Mapping

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import CaptureUpdate, EventState
from refundcli.services.ports.records import Capture
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.services.provider_updates.outcome import UpdateOutcome, unreviewed


def apply_capture(
    tx: Writing, invoice: Invoice, payment: Payment, update: CaptureUpdate, *, update_source: str
) -> UpdateOutcome:
    """Apply it to this payment in the caller's transaction. An ambiguous cancellation is unreviewed (R13)."""
    allocated = payment.allocated_in_all
    if update.amount.currency != allocated.currency:
        return unreviewed(
            f"{update.amount} is not in the currency of {invoice.number}, {allocated.currency}",
        )
    if not update.amount and update.change is not CaptureChange.ADDED:
        return unreviewed(f"{update.status} has no amount")
    why_ambiguous = _doubt(payment, tx.payments.captures(payment), update)
    if why_ambiguous and update.change is not CaptureChange.ADDED:
        return unreviewed(why_ambiguous)
    is_changed = tx.payments.record_capture(invoice, payment, update, update_source=update_source)
    if why_ambiguous:
        return unreviewed(why_ambiguous, changed=is_changed)
    return UpdateOutcome(EventState.APPLIED, f"{update.status} of {update.amount} on {invoice.number}", is_changed)


def _doubt(payment: Payment, captures: Mapping[str, Capture], update: CaptureUpdate) -> str:
    """Why the update is ambiguous; empty if it is not. The order of updates does not matter.

    An amount that failed after a capture may or may not be part of the captured amount in the books. An amount that is
    captured after a failure was captured again.
    """
    reported_capture = Capture(update.change, update.amount, update.at)
    all_captures = [capture for reference, capture in captures.items() if reference != update.reference] + [
        reported_capture
    ]
    if update.change is CaptureChange.CANCELLED:
        captured_in_books = payment.captured_in_all
        fits_books = captured_in_books <= update.amount <= payment.allocated_in_all
        if not fits_books and _captured_sum(all_captures, payment) < payment.allocated_in_all:
            return f"{update.amount} was cancelled, but the books have {captured_in_books} as captured"
        return ""
    for missing_capture in (capture for capture in all_captures if capture.change is not CaptureChange.ADDED):
        earlier_captures = [c for c in all_captures if c.change is CaptureChange.ADDED and c.at <= missing_capture.at]
        captured_before = _captured_sum(earlier_captures, payment)
        concerns_update = missing_capture is reported_capture or reported_capture in earlier_captures
        if concerns_update and captured_before and payment.allocated_in_all < captured_before + missing_capture.amount:
            return (
                f"{captured_before} was captured and {missing_capture.amount} was not: together more than the "
                f"{payment.allocated_in_all} allocated"
            )
    return ""


def _captured_sum(captures: list[Capture], payment: Payment) -> Money:
    zero_amount = zero(payment.allocated_in_all.currency)
    return sum((capture.amount for capture in captures if capture.change is CaptureChange.ADDED), zero_amount)
