"""Apply a provider update about a capture: what was not captured cannot be refunded and does not count as paid."""

from collections.abc import Mapping

from refundcli.domain.invoice import Payment
from refundcli.domain.money import zero
from refundcli.services.applied import UpdateOutcome, payment_referenced
from refundcli.services.ports import Capture, Writing
from refundcli.services.provider_news import CaptureNews, EventState
from refundcli.services.vocabulary import CaptureChange


def apply_capture(tx: Writing, news: CaptureNews, *, evidence: str) -> UpdateOutcome:
    """Apply it in the caller's transaction. An ambiguous cancellation is unreviewed (R13)."""
    match = payment_referenced(tx, news.provider, news.payment_references)
    if match is None:
        return UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = match
    share = payment.allocated
    if news.amount.currency != share.currency:
        return UpdateOutcome(
            EventState.UNREVIEWED,
            f"{news.amount} is not in the currency of {invoice.number}, {share.currency}",
        )
    captures = tx.captures(payment)
    doubt = _doubt(payment, captures, news)
    if doubt:
        return UpdateOutcome(EventState.UNREVIEWED, doubt)
    if not news.amount and news.change is not CaptureChange.ADDED:
        return UpdateOutcome(EventState.UNREVIEWED, f"{news.status} has no amount")
    changed = tx.record_capture(invoice, payment, news, evidence=evidence)
    return UpdateOutcome(EventState.APPLIED, f"{news.status} of {news.amount} on {invoice.number}", changed)


def _doubt(payment: Payment, captures: Mapping[str, Capture], news: CaptureNews) -> str:
    """Why the update is ambiguous, or "": its amount may or may not be part of what the books count as captured."""
    others = {reference: capture for reference, capture in captures.items() if reference != news.reference}
    none = zero(news.amount.currency)
    taken = sum((other.amount for other in others.values() if other.change is CaptureChange.ADDED), none)
    missing = sum((other.amount for other in others.values() if other.change is not CaptureChange.ADDED), none)
    if news.change is CaptureChange.CANCELLED:
        is_whole = payment.captured <= news.amount <= payment.allocated
        if not is_whole and taken < payment.allocated:
            return f"{news.amount} was cancelled, and the books count {payment.captured} as captured"
        return ""
    if news.change is CaptureChange.ADDED:
        taken += news.amount
    else:
        missing += news.amount
    if taken and missing and payment.allocated < taken + missing:
        return f"{taken} was captured and {missing} was not, which is more than the allocated {payment.allocated}"
    return ""
