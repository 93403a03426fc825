"""Match the payments of an invoice in a file with those in the store.

A provider's id decides. Without one, or with an id of the other kind, the amount decides and then the position, unless
something contradicts. Another id is another payment, unless it corrects a payment that was never used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import Row

from refundcli.services.ports.bulk_invoices import PaymentColumns
from refundcli.services.ports.records import NewPayment
from refundcli.store.queries.payments import id_column

ID_COLUMNS = ("payment_intent", "charge", "psp_reference")

# The row of a payment, with the provider's ids of its first share.
PaymentRow: TypeAlias = Row[Any]
Alike = Callable[[NewPayment, PaymentRow], bool]


@dataclass(frozen=True, slots=True)
class PaymentPair:
    """A payment in the file and the same one in the store. `corrects`: its provider and id replace the stored ones."""

    imported: NewPayment
    row: PaymentRow
    corrects: bool


@dataclass(slots=True)
class PaymentMatches:
    pairs: list[PaymentPair] = field(default_factory=list)
    new: list[NewPayment] = field(default_factory=list)
    duplicates: list[NewPayment] = field(default_factory=list)
    missing: list[PaymentRow] = field(default_factory=list)


def match_payments(payments: Sequence[NewPayment], payment_rows: Sequence[PaymentRow]) -> PaymentMatches:
    """Match each payment in the file with at most one in the store. Those without a match are new."""
    matches = PaymentMatches(new=list(payments), missing=list(payment_rows))
    is_count_equal = len(payments) == len(payment_rows)

    def pair_up(is_match: Alike) -> None:
        for payment in list(matches.new):
            payment_row = next((payment_row for payment_row in matches.missing if is_match(payment, payment_row)), None)
            if payment_row:
                matches.pairs.append(
                    PaymentPair(payment, payment_row, is_count_equal and _corrects(payment, payment_row))
                )
                matches.new.remove(payment)
                matches.missing = [candidate for candidate in matches.missing if candidate is not payment_row]

    pair_up(_same_id)
    # A Stripe payment of which the store has both ids may be two payments in the file.
    stored_ids = {stored_id for payment_row in payment_rows for stored_id in ids_of(payment_row)}
    matches.duplicates = [payment for payment in matches.new if id_of(payment) in stored_ids]
    matches.new = [payment for payment in matches.new if id_of(payment) not in stored_ids]
    for is_match in (_both_nameless, _nothing_contradicts):
        pair_up(_in_the_same_words(is_match))
        pair_up(is_match)
    if is_count_equal:
        pair_up(_corrects)
    return matches


def identity_of(payment: NewPayment) -> dict[str, str | None]:
    """The columns that identify a payment. Each id is in the column of its kind, where it is unique."""
    identity_columns: dict[str, str | None] = {"provider": payment.provider or "", **dict.fromkeys(ID_COLUMNS)}
    if id_of(payment):
        identity_columns[id_column(payment.provider, payment.reference)] = payment.reference
    if payment.charge:
        identity_columns["charge"] = payment.charge
    return identity_columns


def id_columns(payments: PaymentColumns) -> dict[str, list[str]]:
    """The same for many payments: the ids in the columns of their kinds, "" where there is none."""
    ids_by_column = {column: [""] * len(payments.providers) for column in ID_COLUMNS}
    for payment_index, (provider, reference, charge) in enumerate(
        zip(payments.providers, payments.references, payments.charges, strict=True)
    ):
        if provider and reference:
            ids_by_column[id_column(provider, reference)][payment_index] = reference
        if charge:
            ids_by_column["charge"][payment_index] = charge
    return ids_by_column


def id_of(payment: NewPayment) -> str:
    """The provider's id of the payment; empty for money taken without a provider, whatever its reference."""
    return payment.reference if payment.provider else ""


def all_ids_of(payment: NewPayment) -> tuple[str, ...]:
    """All ids of the payment in the file: a Stripe payment may have two."""
    return tuple(payment_id for payment_id in (id_of(payment), payment.charge) if payment_id)


def ids_of(payment_row: PaymentRow) -> tuple[str, ...]:
    return tuple(payment_id for column in ID_COLUMNS if (payment_id := getattr(payment_row, column)))


def _same_id(payment: NewPayment, payment_row: PaymentRow) -> bool:
    return not set(all_ids_of(payment)).isdisjoint(ids_of(payment_row))


def _in_the_same_words(is_match: Alike) -> Alike:
    def is_match_in_same_words(payment: NewPayment, payment_row: PaymentRow) -> bool:
        reference = "" if payment.provider else payment.reference
        return is_match(payment, payment_row) and (payment.captured, reference) == (
            payment_row.allocated,
            payment_row.reference,
        )

    return is_match_in_same_words


def _both_nameless(payment: NewPayment, payment_row: PaymentRow) -> bool:
    return not id_of(payment) and not ids_of(payment_row)


def _nothing_contradicts(payment: NewPayment, payment_row: PaymentRow) -> bool:
    """Either has no id, or they may be the intent and the charge of one Stripe payment."""
    if not id_of(payment):
        return True
    is_same_provider = payment.provider == payment_row.provider
    if not ids_of(payment_row):
        return is_same_provider or _amounts_agree(payment, payment_row)
    return (
        is_same_provider
        and getattr(payment_row, id_column(payment.provider, payment.reference)) is None
        and _amounts_agree(payment, payment_row)
    )


def _amounts_agree(payment: NewPayment, payment_row: PaymentRow) -> bool:
    """Equal, or one side does not have the capture yet."""
    return payment.captured == payment_row.allocated or 0 in (payment.captured, payment_row.allocated)


def _corrects(payment: NewPayment, payment_row: PaymentRow) -> bool:
    """Another id for the same amount, of which nothing was refunded, reserved or disputed."""
    if payment_row.share_of is not None:
        return False
    is_same_money = (payment.captured, payment.returned_elsewhere) == (
        payment_row.allocated,
        payment_row.returned_elsewhere,
    )
    return (
        bool(id_of(payment))
        and is_same_money
        and not (payment_row.reserved or payment_row.refunded or payment_row.dispute)
    )
