"""Apply what a provider reports of captures: what was not taken cannot be refunded, and must not be listed as paid."""

from collections.abc import Mapping

from refundcli.domain.invoice import Payment
from refundcli.domain.money import Money, zero
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
    if not news.amount and news.change is not CaptureChange.ADDED:
        return Heard(EventState.UNREVIEWED, f"{news.status} over nothing")
    doubt = _doubt(payment, tx.captures(payment), news)
    if doubt and news.change is not CaptureChange.ADDED:
        return Heard(EventState.UNREVIEWED, doubt)
    changed = tx.record_capture(invoice, payment, news, evidence=evidence)
    if doubt:
        return Heard(EventState.UNREVIEWED, doubt, changed)
    return Heard(EventState.APPLIED, f"{news.status} of {news.amount} of {invoice.number}", changed)


def _doubt(payment: Payment, captures: Mapping[str, Capture], news: CaptureNews) -> str:
    """Why it could be read in two ways; empty where it cannot. In whichever order they are heard, it is the same.

    What is missing after as much was captured was part of what the books count, or it was never part of it. What is
    captured after something was missing was captured again.
    """
    told = Capture(news.change, news.amount, news.at)
    all_told = [capture for reference, capture in captures.items() if reference != news.reference] + [told]
    if news.change is CaptureChange.CANCELLED:
        is_whole = payment.captured <= news.amount <= payment.allocated
        if not is_whole and _taken(all_told, payment) < payment.allocated:
            return f"{news.amount} was cancelled of a payment of which the books count {payment.captured}"
        return ""
    for missing in (each for each in all_told if each.change is not CaptureChange.ADDED):
        before = [each for each in all_told if each.change is CaptureChange.ADDED and each.at <= missing.at]
        taken = _taken(before, payment)
        is_about_it = missing is told or told in before
        if is_about_it and taken and payment.allocated < taken + missing.amount:
            return f"{taken} was captured and {missing.amount} was not, of {payment.allocated}: which one is not clear"
    return ""


def _taken(captures: list[Capture], payment: Payment) -> Money:
    none = zero(payment.allocated.currency)
    return sum((each.amount for each in captures if each.change is CaptureChange.ADDED), none)
