"""Apply what a provider reports of captures: what was not taken cannot be refunded, and must not be listed as paid."""

from refundcli.services.applied import Heard, payment_referenced
from refundcli.services.ports import Writing
from refundcli.services.provider_news import CaptureNews, EventState
from refundcli.services.vocabulary import CaptureChange


def apply_capture(tx: Writing, news: CaptureNews, *, evidence: str) -> Heard:
    """In the caller's transaction. What could be read in two ways is for a person (R13)."""
    found = payment_referenced(tx, news.provider, news.payment_references)
    if found is None:
        return Heard(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    share = payment.allocated
    if news.amount.currency != share.currency:
        return Heard(
            EventState.UNREVIEWED, f"is in {news.amount.currency}, the payment of {invoice.number} in {share.currency}"
        )
    if news.change is CaptureChange.CANCELLED and (news.amount < payment.captured or news.amount > share):
        # Either a part was never captured, and the books count it, or it was never part of what the books count.
        note = f"{news.amount} was cancelled of a payment of which the books count {payment.captured}"
        if not tx.is_captured_in_full(payment):
            return Heard(EventState.UNREVIEWED, note)
        return Heard(EventState.APPLIED, f"{note}; its captures are known")
    if not news.amount and news.change is not CaptureChange.ADDED:
        return Heard(EventState.UNREVIEWED, f"{news.status} over nothing")
    contradicts = tx.contradicts_captures(payment, news)
    changed = tx.record_capture(invoice, payment, news, evidence=evidence)
    if contradicts:
        # Under a reference of its own it may be the capture that the books count, or another one.
        note = f"{news.status} of {news.amount} does not say which capture of {invoice.number} it is about"
        return Heard(EventState.UNREVIEWED, note, changed)
    return Heard(EventState.APPLIED, f"{news.status} of {news.amount} of {invoice.number}", changed)
