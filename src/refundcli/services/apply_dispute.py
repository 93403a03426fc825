"""Apply what a provider reports of one dispute, a record of its own; the end is the same in any order (I7)."""

from collections.abc import Sequence
from dataclasses import replace

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, Payment
from refundcli.services.applied import Heard, payment_of_dispute
from refundcli.services.ports import Writing
from refundcli.services.provider_news import DisputeNews, EventState

# Of two reports of the same moment the more severe one holds, whichever came first.
_SEVERITY = (DisputeState.CLOSED, DisputeState.WON, DisputeState.OPEN, DisputeState.UNKNOWN, DisputeState.LOST)
# What an inquiry can still become. A chargeback is never an inquiry again.
_STAGES = (DisputeStage.INQUIRY, DisputeStage.ANSWERED_INQUIRY, DisputeStage.CHARGEBACK)
# A placeholder made of what the events of an older version added up to: the first of them fills it in, whatever its
# amount, because they are all applied again.
MIGRATED = "migrated"


def apply_dispute(tx: Writing, news: DisputeNews, *, evidence: str, is_complete: bool = False) -> Heard:
    """In the caller's transaction. Unmatched while its payment, or the dispute it is about, is not in the books.

    `is_complete`: the provider listed all disputes of the payment, so a placeholder can only be one of them.
    """
    found = payment_of_dispute(tx, news)
    if found is None:
        return Heard(EventState.UNMATCHED, "its payment is not in the books")
    invoice, payment = found
    if news.reference in payment.references:
        # Where the account is not set up for it, a dispute comes under the payment's own reference.
        news = replace(news, reference="")
    owner = tx.payment_of_dispute(news.provider, news.account, news.reference) if news.reference else None
    if owner and owner[1].id != payment.id:
        note = f"{news.reference} is known as a dispute of {owner[0].number}, and named with {invoice.number}"
        return Heard(EventState.UNREVIEWED, note)
    if news.amount and news.amount.currency != payment.captured.currency:
        # A bank disputes in its own currency; what it takes is reported in ours later, or not at all: then it is all.
        news = replace(news, amount=None)
    known = _record_of(payment.disputes, news)
    if known is None and not news.reference:
        return _apply_unidentified(tx, invoice, payment, news, evidence)
    if known is None:
        return _apply_to_placeholder(tx, invoice, payment, news, evidence, is_complete=is_complete)
    return _write(tx, invoice, payment, known, _next(known, news), news, evidence)


def new_record(payment: Payment, news: DisputeNews) -> DisputeRecord:
    """As it is first reported. A word that leaves the state as it is says that there is one: it counts as open."""
    return DisputeRecord(
        id=0,
        payment_id=payment.id,
        provider=news.provider,
        account=news.account,
        reference=news.reference,
        stage=news.stage,
        state=news.state or DisputeState.OPEN,
        status=news.status,
        amount=news.amount,
        reported_at=news.at if news.state else None,
    )


def _record_of(disputes: Sequence[DisputeRecord], news: DisputeNews) -> DisputeRecord | None:
    if news.reference:
        named = (each for each in disputes if each.reference == news.reference)
        return next((each for each in named if each.account in (news.account, "")), None)
    alike = [each for each in disputes if _is_compatible(each, news)]
    return alike[0] if len(disputes) == len(alike) == 1 else None


def close_placeholders(tx: Writing, invoice: Invoice, payment: Payment, *, evidence: str) -> int:
    """The provider listed all disputes of the payment: what only an import told of is none. How many there were."""
    left = [each for each in payment.disputes if each.is_placeholder and each.state is not DisputeState.CLOSED]
    for placeholder in left:
        closed = replace(placeholder, state=DisputeState.CLOSED, status="not at the provider")
        tx.record_dispute(invoice, payment, closed, evidence=evidence)
    return len(left)


def _apply_to_placeholder(
    tx: Writing, invoice: Invoice, payment: Payment, news: DisputeNews, evidence: str, *, is_complete: bool
) -> Heard:
    """The first report of a dispute fills in what an import said of it; without a placeholder it is a new record."""
    placeholders = [each for each in payment.disputes if each.is_placeholder]
    fitting = next((each for each in placeholders if is_complete or _is_compatible(each, news)), None)
    if fitting:
        filled = _filled(fitting, payment, news)
        return _write(tx, invoice, payment, fitting, filled, news, evidence)
    if placeholders:
        known = placeholders[0]
        note = f"the books know of a dispute over {known.amount} of {invoice.number}, this one is over {news.amount}"
        return Heard(EventState.UNREVIEWED, note)
    return _write(tx, invoice, payment, None, new_record(payment, news), news, evidence)


def _apply_unidentified(tx: Writing, invoice: Invoice, payment: Payment, news: DisputeNews, evidence: str) -> Heard:
    """Without a reference of its own, and not the only one it can be: a new open one, and a person must look."""
    if not payment.disputes:
        return _write(tx, invoice, payment, None, new_record(payment, news), news, evidence)
    note = f"{news.status} does not say which of the disputes of {invoice.number} it is about"
    return Heard(EventState.UNREVIEWED, note)


def _is_compatible(known: DisputeRecord, news: DisputeNews) -> bool:
    return known.status == MIGRATED or None in (known.amount, news.amount) or known.amount == news.amount


def _filled(placeholder: DisputeRecord, payment: Payment, news: DisputeNews) -> DisputeRecord:
    """As the provider reports it. Of one that an older version made of several nothing is kept but its row."""
    if placeholder.status == MIGRATED:
        return replace(new_record(payment, news), id=placeholder.id)
    known = replace(_next(placeholder, news), reference=news.reference, account=news.account)
    return replace(known, provider=news.provider, amount=news.amount or placeholder.amount)


def _next(known: DisputeRecord, news: DisputeNews) -> DisputeRecord:
    """The record after this report. An older report changes no state, but once a chargeback it stays one."""
    stage = max(known.stage, news.stage, key=_STAGES.index)
    changed = replace(known, stage=stage)
    if news.state is None:
        return changed
    if news.state is DisputeState.UNKNOWN and news.status == known.status:
        # A person has decided what this word means for this dispute, or is still to.
        return changed
    if known.reported_at is None:
        # An import said how it ended, and not when: that it was opened is no news then.
        if known.state is DisputeState.LOST and news.state is DisputeState.OPEN:
            return replace(changed, amount=known.amount or news.amount)
    elif (news.at, _SEVERITY.index(news.state)) < (known.reported_at, _SEVERITY.index(known.state)):
        return changed
    amount = news.amount or known.amount
    return replace(changed, state=news.state, status=news.status, amount=amount, reported_at=news.at)


def _write(
    tx: Writing,
    invoice: Invoice,
    payment: Payment,
    known: DisputeRecord | None,
    record: DisputeRecord,
    news: DisputeNews,
    evidence: str,
) -> Heard:
    note = f"dispute of {invoice.number}: {news.status}"
    if record == known:
        return Heard(EventState.APPLIED, note)
    tx.record_dispute(invoice, payment, record, evidence=evidence)
    return Heard(EventState.APPLIED, note, changed=True)
