"""Take in what a provider tells of refunds and disputes, whoever brought it; the end is the same in any order (I7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Dispute, RefundKind, RefundState
from refundcli.services.ports import Clock, Settlement, Writing
from refundcli.services.provider_news import DisputeNews, EventState, News, RefundNews
from refundcli.services.sending import write_end


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a piece of news. `changed`: the books are not as they were before it."""

    state: EventState
    note: str = ""
    changed: bool = False
    refund: Refund | None = None


def hear(tx: Writing, news: News, *, evidence: str, clock: Clock, number_format: str) -> Heard:
    """Apply one piece of news in the caller's transaction; `evidence` says where it comes from."""
    if isinstance(news, DisputeNews):
        return _hear_of_dispute(tx, news, evidence=evidence)
    ours = _refund_told(tx, news)
    if ours is None:
        return _hear_of_another(tx, news, evidence=evidence)
    differs = _what_differs(tx, ours, news)
    if differs:
        note = f"says another {' and '.join(differs)} than refund {ours.id}; nothing was changed"
        return Heard(EventState.CONTRADICTS, note, refund=ours)
    return _hear_of_ours(tx, ours, news, evidence=evidence, clock=clock, number_format=number_format)


def _refund_told(tx: Writing, news: RefundNews) -> Refund | None:
    """By the provider's own id, else by ours, which travelled with it."""
    known = tx.refunds_by_provider_references(news.provider, [news.reference])
    if known:
        return known[0]
    named = tx.refund(news.refund_id) if news.refund_id else None
    # One request of ours that the provider made into two refunds: the second one is counted beside the first.
    if named is None or named.provider is not news.provider or named.provider_reference:
        return None
    return named


def _what_differs(tx: Writing, refund: Refund, news: RefundNews) -> list[str]:
    request = refund.sending.request if refund.sending else None
    invoice = tx.invoice(refund.invoice_number)
    assert invoice
    payment = next(p for p in invoice.payments if p.id == refund.payment_id)
    holds = {
        "amount": news.amount == refund.amount,
        "payment": not news.payment_references or not set(payment.references).isdisjoint(news.payment_references),
        "account": not (request and news.account) or request.account == news.account,
        "mode": request is None or news.livemode in (None, request.livemode),
    }
    return [name for name, same in holds.items() if not same]


def _hear_of_ours(
    tx: Writing, refund: Refund, news: RefundNews, *, evidence: str, clock: Clock, number_format: str
) -> Heard:
    if refund.kind is RefundKind.RECORD:
        return Heard(EventState.APPLIED, f"is recorded as {refund.id}", refund=refund)
    told_good = news.state is RefundState.SUCCEEDED and refund.state is RefundState.FAILED
    if told_good and refund.came_back_at is None:
        return _hear_of_success_after_failure(tx, refund, evidence=evidence)
    end = Settlement(news.state, news.reference, news.status, news.failure, evidence, is_late=news.is_late)
    now = _as_accepted(tx, refund, end, clock=clock, number_format=number_format)
    settled = write_end(tx, now, end, clock=clock, number_format=number_format) or now
    changed = settled.state is not refund.state
    return Heard(EventState.APPLIED, f"{refund.id} is {settled.state}", changed, settled)


def _as_accepted(tx: Writing, refund: Refund, end: Settlement, *, clock: Clock, number_format: str) -> Refund:
    """What a provider has news of was sent, and accepted: so it goes through every state, whichever word came first.

    One that was only reserved was sent before these books were restored from a backup.
    """
    now = refund
    if now.state is RefundState.READY:
        now = tx.claim(now, owner="", until=clock.now(), at=clock.now()) or now
    if now.state is RefundState.SUBMITTED and end.state is not RefundState.PENDING:
        accepted = replace(end, state=RefundState.PENDING, failure="", is_late=False)
        now = write_end(tx, now, accepted, clock=clock, number_format=number_format) or now
    return now


def _hear_of_success_after_failure(tx: Writing, refund: Refund, *, evidence: str) -> Heard:
    """Both words were said, so the money may be gone: the amount is held until a person knows."""
    if tx.doubt_failure(refund, evidence=evidence):
        return Heard(EventState.APPLIED, f"{refund.id} failed, and was told as successful", True, tx.refund(refund.id))
    note = f"{refund.id} failed and its amount was used again; now it is told as successful: it may be paid twice"
    return Heard(EventState.CONTRADICTS, note, refund=refund)


def _hear_of_another(tx: Writing, news: RefundNews, *, evidence: str) -> Heard:
    """A refund that was not sent from here: counted from now on, adopted by a person."""
    found = payment_told(tx, news)
    if found is None:
        return Heard(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    if news.amount.currency != payment.captured.currency:
        note = f"is in {news.amount.currency}, the payment of {invoice.number} in {payment.captured.currency}"
        return Heard(EventState.CONTRADICTS, note)
    record = _record_of_it(invoice, payment, news)
    if record:
        tx.match_record(record, news, evidence=evidence)
        return Heard(EventState.APPLIED, f"is recorded as {record.id}", True, record)
    made = tx.see_elsewhere(invoice, payment, news, evidence=evidence)
    return Heard(EventState.APPLIED, f"made elsewhere, seen as {made.id} of {invoice.number}", True, made)


def _record_of_it(invoice: Invoice, payment: Payment, news: RefundNews) -> Refund | None:
    """R12 sends people to the dashboard, and then to `mark-refunded`: that record and this refund are one."""
    if news.state in (RefundState.FAILED, RefundState.REVERSED):
        return None
    open_records = [
        r
        for r in invoice.refunds
        if r.kind is RefundKind.RECORD and r.state is RefundState.RECORDED and not r.provider_reference
    ]
    alike = [r for r in open_records if r.payment_id == payment.id and r.amount == news.amount]
    named = [r for r in alike if r.out_of_band and r.out_of_band.reference == news.reference]
    unnamed = [r for r in alike if r.out_of_band and not r.out_of_band.reference]
    return next(iter([*named, *unnamed]), None)


def _hear_of_dispute(tx: Writing, news: DisputeNews, *, evidence: str) -> Heard:
    found = payment_told(tx, news)
    if found is None:
        return Heard(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    if news.dispute is Dispute.NONE and payment.dispute not in (Dispute.OPEN, Dispute.LOST):
        return Heard(EventState.APPLIED, f"dispute of {invoice.number}: {news.status}")
    if news.amount and news.amount.currency != payment.captured.currency:
        # A bank disputes in its own currency; what it takes is then told by the provider in ours, or not at all.
        news = replace(news, amount=None)
    changed = tx.note_dispute(payment, news, evidence=evidence)
    return Heard(EventState.APPLIED, f"dispute of {invoice.number}: {news.status}", changed)


def payment_told(tx: Writing, news: News) -> tuple[Invoice, Payment] | None:
    owners = tx.invoices_of_payments(news.provider, news.payment_references)
    for invoice in owners.values():
        for payment in invoice.payments:
            if not set(payment.references).isdisjoint(news.payment_references):
                return invoice, payment
    return None


def hear_all(tx: Writing, news: Sequence[News], *, evidence: str, clock: Clock, number_format: str) -> list[Heard]:
    return [hear(tx, each, evidence=evidence, clock=clock, number_format=number_format) for each in news]


def worst_of(heard: Sequence[Heard]) -> Heard:
    """What is told of an event that brought several pieces of news."""
    order = [EventState.CONTRADICTS, EventState.UNMATCHED, EventState.APPLIED]
    return min(heard, key=lambda each: order.index(each.state), default=Heard(EventState.APPLIED, "nothing new"))
