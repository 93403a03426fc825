"""What an import may change of a stored payment and its dispute: one rule for each column, and why one is unchanged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState, most_severe
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute
from refundcli.services.ports.records import NewPayment
from refundcli.store.imports.payment_matching import ID_COLUMNS, KnownPayment, all_ids_of, id_of, identity_of, ids_of
from refundcli.store.schema import PaymentRow

# The status of a placeholder: a dispute that is known from an import only.
IMPORTED = "imported"
# A decided dispute is not undone by a file that does not know it yet; a won one may open again.
_DISPUTE_MAY_BECOME: dict[str, tuple[Dispute, ...]] = {
    Dispute.NONE: (Dispute.OPEN, Dispute.WON, Dispute.LOST),
    Dispute.OPEN: (Dispute.WON, Dispute.LOST),
    Dispute.WON: (Dispute.OPEN, Dispute.LOST),
    Dispute.LOST: (),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """The store knows better, and why."""

    why: str


# A column with its new value, or why it stays.
News: TypeAlias = Iterator[tuple[str, Any] | Kept]


def payment_values(payment: NewPayment) -> dict[str, Any]:
    """A new payment's columns."""
    return {
        **identity_of(payment),
        "method": payment.method,
        "reference": "" if payment.provider else payment.reference,
        "allocated": payment.captured,
        "lost": lost_at_first(payment.dispute, payment.dispute_amount, payment.captured),
        "returned_elsewhere": payment.returned_elsewhere,
        "opening_returned": payment.returned_elsewhere,
        "auto_refundable": payment.auto_refundable,
        "processing": payment.processing,
        "dispute": payment.dispute.value,
        "paid_on": payment.paid_on,
    }


def lost_at_first(dispute: str, amount: int | None, captured: int) -> int:
    """What a new payment lost to a dispute, in minor units: all of it if the import gives no amount."""
    if dispute != Dispute.LOST:
        return 0
    return captured if amount is None else amount


def payment_news(known: KnownPayment) -> tuple[dict[str, Any], list[str]]:
    """The columns that change, and what is kept although the file says otherwise."""
    changes, kept = {}, []
    for news in _news(known):
        if isinstance(news, Kept):
            kept.append(news.why)
        elif news[1] != getattr(known.row, news[0]):
            changes[news[0]] = news[1]
    return changes, kept


def dispute_news(
    payment: NewPayment, captured: Money, disputes: Sequence[DisputeRecord]
) -> DisputeRecord | Kept | None:
    """The dispute to write for the file's row, new or changed; None if nothing changes, Kept if the store's stays."""
    known = disputes[0] if len(disputes) == 1 else None
    if len(disputes) > 1:
        together = most_severe(disputes)
        same = payment.dispute in (Dispute.NONE, together)
        return None if same else Kept("the store has several disputes of it")
    before = most_severe(disputes)
    if payment.dispute is Dispute.NONE and before is Dispute.NONE:
        return None
    if payment.dispute is not before and payment.dispute not in _DISPUTE_MAY_BECOME.get(before, ()):
        return Kept(f"its dispute was {before}")
    amount = None if payment.dispute_amount is None else Money(payment.dispute_amount, captured.currency)
    if known is None:
        return _placeholder(payment, amount)
    if known.reported_at is not None and _is_less(payment.dispute, amount, known):
        return Kept("the provider reported its dispute as open, and over more" if amount else "its dispute is open")
    if before is Dispute.LOST and amount is None and known.status != IMPORTED:
        # The provider has reported the amount, and the file has none.
        return None
    if before is Dispute.LOST and amount is not None and amount < (known.amount or captured):
        # An import never lowers what was lost (R11); without an amount it is the whole payment.
        return Kept("the file has a smaller amount for the lost dispute than the store")
    if payment.dispute is Dispute.LOST:
        return replace(known, state=DisputeState.LOST, status=IMPORTED, amount=amount)
    return replace(known, state=DisputeState(payment.dispute.value), amount=amount or known.amount)


def _is_less(dispute: Dispute, amount: Money | None, known: DisputeRecord) -> bool:
    """Would the file end what the provider reported as open, or make less of it? Only the provider ends it (R11)."""
    if known.state not in (DisputeState.OPEN, DisputeState.UNKNOWN):
        return False
    return dispute is Dispute.WON or (amount is not None and (known.amount is None or amount < known.amount))


def _placeholder(payment: NewPayment, amount: Money | None) -> DisputeRecord:
    """A dispute known from an import only; the provider's first report of it fills it in."""
    return DisputeRecord(
        id=0,
        payment_id=0,
        provider=payment.provider,
        account="",
        reference="",
        stage=DisputeStage.CHARGEBACK,
        state=DisputeState(payment.dispute.value),
        status=IMPORTED,
        amount=amount,
        reported_at=None,
    )


def _news(known: KnownPayment) -> News:
    told, row = known.told, known.row
    if row.share_of is not None:
        yield from _news_of_share(told, row)
        return
    yield from _captured(told, row)
    yield from _returned_elsewhere(told, row)
    yield from _auto_refundable(told, row)
    yield from _identity(told, row, corrects=known.corrects)
    yield "processing", told.processing
    yield "method", told.method or row.method
    yield "paid_on", told.paid_on or row.paid_on


def _news_of_share(told: NewPayment, row: PaymentRow) -> News:
    """What a file says of a payment that pays several invoices, the provider knows better: only it knows the shares."""
    if told.captured != row.allocated:
        yield Kept("its share of the payment is known from the provider")
    if told.returned_elsewhere not in (0, row.opening_returned, row.returned_elsewhere):
        yield Kept("refunded_amount is read only when a payment is new")
    yield from _auto_refundable(told, row)
    ids = ids_of(row)
    if row.share_of == row.id and not set(all_ids_of(told)).isdisjoint(ids):
        unknown = {name: known for name, known in identity_of(told).items() if name in ID_COLUMNS and known}
        yield from ((name, known) for name, known in unknown.items() if getattr(row, name) is None)
    yield "method", told.method or row.method
    yield "paid_on", told.paid_on or row.paid_on


def _captured(told: NewPayment, row: PaymentRow) -> News:
    if told.captured < row.allocated:
        yield Kept("the file has less captured than the store knows")
    elif told.captured > row.allocated and ids_of(row) and not id_of(told):
        yield Kept("the file has more captured, and does not name the payment")
    else:
        yield "allocated", told.captured


def _returned_elsewhere(told: NewPayment, row: PaymentRow) -> News:
    """It is what was given back before the store knew the money, so it is read once. A later figure may well
    hold the refunds made from here, which would then count twice."""
    if told.returned_elsewhere > row.returned_elsewhere and not (row.allocated or row.reserved or row.refunded):
        yield "returned_elsewhere", told.returned_elsewhere
        yield "opening_returned", told.returned_elsewhere
    elif told.returned_elsewhere not in (0, row.opening_returned, row.returned_elsewhere):
        yield Kept("refunded_amount is read only when a payment is new")


def _auto_refundable(told: NewPayment, row: PaymentRow) -> News:
    """No money moves because a column was left out: once it is no, only the file's own yes changes that (R1)."""
    never_there = not row.allocated and not ids_of(row)
    if told.auto_refundable_is_explicit or (told.auto_refundable and never_there):
        yield "auto_refundable", told.auto_refundable
    elif told.auto_refundable and not row.auto_refundable:
        yield Kept("auto_refundable is no until the file says yes")


def _identity(told: NewPayment, row: PaymentRow, *, corrects: bool) -> News:
    """Whose payment it is, and by which id. A file that knows no id takes none away."""
    ids = ids_of(row)
    if not set(all_ids_of(told)).isdisjoint(ids):
        # Known by one of its ids; the other one is learnt.
        yield from ((column, known) for column, known in identity_of(told).items() if known and column in ID_COLUMNS)
        return
    if id_of(told) and (corrects or not ids):
        yield from identity_of(told).items()
    elif id_of(told):
        yield from ((column, told_id) for column, told_id in identity_of(told).items() if told_id)
    elif told.provider and not ids:
        yield "provider", told.provider.value
    elif (told.provider or "") != row.provider:
        yield Kept(f"the store knows it as a payment at {row.provider.title()}")
    if not ids and not told.provider and told.reference:
        yield "reference", told.reference
