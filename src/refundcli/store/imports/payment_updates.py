"""What an import may change of a stored payment and its dispute: one rule per column, and why a column stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState, most_severe
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute
from refundcli.services.ports.records import NewPayment
from refundcli.store.imports.payment_matching import (
    ID_COLUMNS,
    PaymentPair,
    PaymentRow,
    all_ids_of,
    id_of,
    identity_of,
    ids_of,
)

# The status of a placeholder: a dispute that is known from an import only.
IMPORTED = "imported"
# A file that is behind does not undo a decided dispute; a won one may open again.
_DISPUTE_MAY_BECOME: dict[str, tuple[Dispute, ...]] = {
    Dispute.NONE: (Dispute.OPEN, Dispute.WON, Dispute.LOST),
    Dispute.OPEN: (Dispute.WON, Dispute.LOST),
    Dispute.WON: (Dispute.OPEN, Dispute.LOST),
    Dispute.LOST: (),
}


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Why the store's value stays."""

    why: str


# A column with its new value, or why the stored value stays.
Changes: TypeAlias = Iterator[tuple[str, Any] | Unchanged]


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
        "card_last4": payment.card_last4,
        "card_brand": payment.card_brand,
    }


def lost_at_first(dispute: str, amount: int | None, captured: int) -> int:
    """What a new payment lost to a dispute, in minor units: all of it if the import gives no amount."""
    if dispute != Dispute.LOST:
        return 0
    return captured if amount is None else amount


def payment_changes(pair: PaymentPair) -> tuple[dict[str, Any], list[str]]:
    """The columns that change, and why others stay although the file differs."""
    changes, reasons = {}, []
    for change in _changes(pair):
        if isinstance(change, Unchanged):
            reasons.append(change.why)
        elif change[1] != getattr(pair.row, change[0]):
            changes[change[0]] = change[1]
    return changes, reasons


def dispute_change(
    payment: NewPayment, captured: Money, disputes: Sequence[DisputeRecord]
) -> DisputeRecord | Unchanged | None:
    """The dispute to write, new or changed; None if nothing changes, Unchanged if the store's stays."""
    stored_dispute = disputes[0] if len(disputes) == 1 else None
    if len(disputes) > 1:
        stored_state = most_severe(disputes)
        is_same_state = payment.dispute in (Dispute.NONE, stored_state)
        return None if is_same_state else Unchanged("the store has several disputes of this payment")
    state_before = most_severe(disputes)
    if payment.dispute is Dispute.NONE and state_before is Dispute.NONE:
        return None
    if payment.dispute is not state_before and payment.dispute not in _DISPUTE_MAY_BECOME.get(state_before, ()):
        return Unchanged(f"its dispute was {state_before}")
    amount = None if payment.dispute_amount is None else Money(payment.dispute_amount, captured.currency)
    if stored_dispute is None:
        return _placeholder(payment, amount)
    if stored_dispute.reported_at is not None and _is_less(payment.dispute, amount, stored_dispute):
        return Unchanged(
            "the provider reported its dispute as open, and for a larger amount" if amount else "its dispute is open"
        )
    if state_before is Dispute.LOST and amount is None and stored_dispute.status != IMPORTED:
        # The provider has reported the amount, and the file has none.
        return None
    if state_before is Dispute.LOST and amount is not None and amount < (stored_dispute.amount or captured):
        # An import never lowers what was lost (R11); without an amount it is the whole payment.
        return Unchanged("the file has a smaller amount for the lost dispute than the store")
    if payment.dispute is Dispute.LOST:
        return replace(stored_dispute, state=DisputeState.LOST, status=IMPORTED, amount=amount)
    return replace(stored_dispute, state=DisputeState(payment.dispute.value), amount=amount or stored_dispute.amount)


def _is_less(file_state: Dispute, file_amount: Money | None, stored_dispute: DisputeRecord) -> bool:
    """Would the file end or reduce a dispute that the provider reported as open? Only the provider may (R11)."""
    if stored_dispute.state not in (DisputeState.OPEN, DisputeState.UNKNOWN):
        return False
    return file_state is Dispute.WON or (
        file_amount is not None and (stored_dispute.amount is None or file_amount < stored_dispute.amount)
    )


def _placeholder(payment: NewPayment, amount: Money | None) -> DisputeRecord:
    """A dispute known from an import only; the provider's first report completes it."""
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


def _changes(pair: PaymentPair) -> Changes:
    payment, payment_row = pair.imported, pair.row
    if payment_row.share_of is not None:
        yield from _changes_of_share(payment, payment_row)
        return
    yield from _captured(payment, payment_row)
    yield from _returned_elsewhere(payment, payment_row)
    yield from _auto_refundable(payment, payment_row)
    yield from _identity(payment, payment_row, corrects=pair.corrects)
    yield "processing", payment.processing
    yield from _described(payment, payment_row)


def _changes_of_share(payment: NewPayment, payment_row: PaymentRow) -> Changes:
    """Changes of a payment that pays several invoices. Only the provider knows its shares."""
    if payment.captured != payment_row.allocated:
        yield Unchanged("its share of the payment comes from the provider")
    if payment.returned_elsewhere not in (0, payment_row.opening_returned, payment_row.returned_elsewhere):
        yield Unchanged("refunded_amount is read only when a payment is new")
    yield from _auto_refundable(payment, payment_row)
    stored_ids = ids_of(payment_row)
    if payment_row.share_of == payment_row.id and not set(all_ids_of(payment)).isdisjoint(stored_ids):
        file_ids = {
            column: payment_id
            for column, payment_id in identity_of(payment).items()
            if column in ID_COLUMNS and payment_id
        }
        yield from (
            (column, payment_id) for column, payment_id in file_ids.items() if getattr(payment_row, column) is None
        )
    yield from _described(payment, payment_row)


def _described(payment: NewPayment, payment_row: PaymentRow) -> Changes:
    """What only describes the payment. A file without a value removes none."""
    for column in ("method", "paid_on", "card_last4", "card_brand"):
        yield column, getattr(payment, column) or getattr(payment_row, column)


def _captured(payment: NewPayment, payment_row: PaymentRow) -> Changes:
    if payment.captured < payment_row.allocated:
        yield Unchanged("the captured amount is smaller in the file than in the store")
    elif payment.captured > payment_row.allocated and ids_of(payment_row) and not id_of(payment):
        yield Unchanged("the captured amount is larger in the file, but the file does not name the payment")
    else:
        yield "allocated", payment.captured


def _returned_elsewhere(payment: NewPayment, payment_row: PaymentRow) -> Changes:
    """What was returned before the payment was in the store, so it is read once. A later figure may include refunds
    made from here, which would then count twice."""
    if payment.returned_elsewhere > payment_row.returned_elsewhere and not (
        payment_row.allocated or payment_row.reserved or payment_row.refunded
    ):
        yield "returned_elsewhere", payment.returned_elsewhere
        yield "opening_returned", payment.returned_elsewhere
    elif payment.returned_elsewhere not in (0, payment_row.opening_returned, payment_row.returned_elsewhere):
        yield Unchanged("refunded_amount is read only when a payment is new")


def _auto_refundable(payment: NewPayment, payment_row: PaymentRow) -> Changes:
    """A missing column never allows refunds: once it is no, only an explicit yes in the file changes it (R1)."""
    is_without_payment = not payment_row.allocated and not ids_of(payment_row)
    if payment.auto_refundable_is_explicit or (payment.auto_refundable and is_without_payment):
        yield "auto_refundable", payment.auto_refundable
    elif payment.auto_refundable and not payment_row.auto_refundable:
        yield Unchanged("auto_refundable stays no until the file says yes")


def _identity(payment: NewPayment, payment_row: PaymentRow, *, corrects: bool) -> Changes:
    """The payment's provider and ids. A file without an id removes none."""
    stored_ids = ids_of(payment_row)
    if not set(all_ids_of(payment)).isdisjoint(stored_ids):
        # One of its ids matches; store the other one.
        yield from (
            (column, payment_id)
            for column, payment_id in identity_of(payment).items()
            if payment_id and column in ID_COLUMNS
        )
        return
    if id_of(payment) and (corrects or not stored_ids):
        yield from identity_of(payment).items()
    elif id_of(payment):
        yield from (
            (column, provider_or_id) for column, provider_or_id in identity_of(payment).items() if provider_or_id
        )
    elif payment.provider and not stored_ids:
        yield "provider", payment.provider.value
    elif (payment.provider or "") != payment_row.provider:
        yield Unchanged(f"the store has it as a payment at {payment_row.provider.title()}")
    if not stored_ids and not payment.provider and payment.reference:
        yield "reference", payment.reference
