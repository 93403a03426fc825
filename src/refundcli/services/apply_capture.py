"""Apply a provider update about a capture: what was not captured cannot be refunded and does not count as paid."""

from refundcli.services.applied import UpdateOutcome, payment_referenced
from refundcli.services.ports import Writing
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
    if news.change is CaptureChange.CANCELLED and news.amount < payment.captured:
        # Either the books count a part that was never captured, or the cancelled part was never counted.
        note = f"{news.amount} was cancelled, and the books count {payment.captured} as captured"
        if not tx.is_captured_in_full(payment):
            return UpdateOutcome(EventState.UNREVIEWED, note)
        return UpdateOutcome(EventState.APPLIED, f"{note}, all of it in known captures")
    if not news.amount and news.change is not CaptureChange.ADDED:
        return UpdateOutcome(EventState.UNREVIEWED, f"{news.status} has no amount")
    changed = tx.record_capture(invoice, payment, news, evidence=evidence)
    return UpdateOutcome(EventState.APPLIED, f"{news.status} of {news.amount} on {invoice.number}", changed)
