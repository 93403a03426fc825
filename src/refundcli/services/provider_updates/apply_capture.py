"""Apply a provider update about a capture: what was not captured cannot be refunded and does not count as paid."""

from collections.abc import Mapping

from refundcli.domain.invoice import Payment
from refundcli.domain.money import Money, zero
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import CaptureUpdate, EventState
from refundcli.services.ports.records import Capture
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.services.provider_updates.outcome import UpdateOutcome, payment_referenced


def apply_capture(tx: Writing, news: CaptureUpdate, *, evidence: str) -> UpdateOutcome:
    """Apply it in the caller's transaction. An ambiguous cancellation is unreviewed (R13)."""
    match = payment_referenced(tx, news.provider, news.payment_references)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    share = payment.allocated_in_all
    if news.amount.currency != share.currency:
        return UpdateOutcome(
            EventState.UNREVIEWED,
            f"{news.amount} is not in the currency of {invoice.number}, {share.currency}",
        )
    if not news.amount and news.change is not CaptureChange.ADDED:
        return UpdateOutcome(EventState.UNREVIEWED, f"{news.status} has no amount")
    doubt = _doubt(payment, tx.captures(payment), news)
    if doubt and news.change is not CaptureChange.ADDED:
        return UpdateOutcome(EventState.UNREVIEWED, doubt)
    changed = tx.record_capture(invoice, payment, news, evidence=evidence)
    if doubt:
        return UpdateOutcome(EventState.UNREVIEWED, doubt, changed)
    return UpdateOutcome(EventState.APPLIED, f"{news.status} of {news.amount} on {invoice.number}", changed)


def _doubt(payment: Payment, captures: Mapping[str, Capture], news: CaptureUpdate) -> str:
    """Why it could be read in two ways; empty where it cannot. In whichever order they are heard, it is the same.

    What is missing after as much was captured was part of what the books count, or it was never part of it. What is
    captured after something was missing was captured again.
    """
    told = Capture(news.change, news.amount, news.at)
    all_told = [capture for reference, capture in captures.items() if reference != news.reference] + [told]
    if news.change is CaptureChange.CANCELLED:
        counted = payment.captured_in_all
        is_whole = counted <= news.amount <= payment.allocated_in_all
        if not is_whole and _taken(all_told, payment) < payment.allocated_in_all:
            return f"{news.amount} was cancelled, and the books count {counted} as captured"
        return ""
    for missing in (each for each in all_told if each.change is not CaptureChange.ADDED):
        before = [each for each in all_told if each.change is CaptureChange.ADDED and each.at <= missing.at]
        taken = _taken(before, payment)
        is_about_it = missing is told or told in before
        if is_about_it and taken and payment.allocated_in_all < taken + missing.amount:
            return f"{taken} was captured and {missing.amount} was not, of an allocated {payment.allocated_in_all}"
    return ""


def _taken(captures: list[Capture], payment: Payment) -> Money:
    none = zero(payment.allocated_in_all.currency)
    return sum((capture.amount for capture in captures if capture.change is CaptureChange.ADDED), none)
