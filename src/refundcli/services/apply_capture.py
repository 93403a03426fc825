"""Apply what a provider reports of captures: what was not taken cannot be refunded, and must not be listed as paid."""

from collections.abc import Mapping

from refundcli.domain.invoice import Payment
from refundcli.domain.money import zero
from refundcli.services.applied import Heard, payment_referenced
from refundcli.services.ports import Capture, Writing
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
    captures = tx.captures(payment)
    doubt = _doubt(payment, captures, news)
    if doubt:
        return Heard(EventState.UNREVIEWED, doubt)
    if not news.amount and news.change is not CaptureChange.ADDED:
        return Heard(EventState.UNREVIEWED, f"{news.status} over nothing")
    changed = tx.record_capture(invoice, payment, news, evidence=evidence)
    return Heard(EventState.APPLIED, f"{news.status} of {news.amount} of {invoice.number}", changed)


def _doubt(payment: Payment, captures: Mapping[str, Capture], news: CaptureNews) -> str:
    """Why it could be read in two ways; empty where it cannot.

    Either it was part of what the books count, or it was never part of it.
    """
    others = {reference: capture for reference, capture in captures.items() if reference != news.reference}
    none = zero(news.amount.currency)
    taken = sum((each.amount for each in others.values() if each.change is CaptureChange.ADDED), none)
    missing = sum((each.amount for each in others.values() if each.change is not CaptureChange.ADDED), none)
    if news.change is CaptureChange.CANCELLED:
        is_whole = payment.captured <= news.amount <= payment.allocated
        if not is_whole and taken < payment.allocated:
            return f"{news.amount} was cancelled of a payment of which the books count {payment.captured}"
        return ""
    if news.change is CaptureChange.ADDED:
        taken += news.amount
    else:
        missing += news.amount
    if taken and missing and payment.allocated < taken + missing:
        return f"{taken} was captured and {missing} was not, of {payment.allocated}: which one is not clear"
    return ""
