"""Which of an invoice's known payments a file tells of.

A provider's id decides. Without one, or with the id of the other kind, it goes by amount and then by place, as long
as nothing contradicts. Another id is another payment, unless it corrects one that nothing was done with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from refundcli.domain.statuses import Provider
from refundcli.services.ports.invoice_block import PaymentColumns
from refundcli.services.ports.records import NewPayment
from refundcli.store.schema import PaymentRow

ID_COLUMNS = ("payment_intent", "charge", "psp_reference")

Alike = Callable[[NewPayment, PaymentRow], bool]


@dataclass(frozen=True, slots=True)
class PaymentPair:
    """A payment in the file and the one in the store that it is. `corrects`: its provider and id are the right ones."""

    imported: NewPayment
    row: PaymentRow
    corrects: bool


@dataclass(slots=True)
class PaymentMatches:
    pairs: list[PaymentPair] = field(default_factory=list)
    new: list[NewPayment] = field(default_factory=list)
    duplicates: list[NewPayment] = field(default_factory=list)
    missing: list[PaymentRow] = field(default_factory=list)


def match_payments(payments: Sequence[NewPayment], rows: Sequence[PaymentRow]) -> PaymentMatches:
    """Each payment in the file is a known one or new; each known one is told of once at most."""
    matches = PaymentMatches(new=list(payments), missing=list(rows))
    as_many = len(payments) == len(rows)

    def pair(alike: Alike) -> None:
        for payment in list(matches.new):
            row = next((row for row in matches.missing if alike(payment, row)), None)
            if row:
                matches.pairs.append(PaymentPair(payment, row, as_many and _corrects(payment, row)))
                matches.new.remove(payment)
                matches.missing = [candidate for candidate in matches.missing if candidate is not row]

    pair(_same_id)
    # A Stripe payment that is known by both of its ids may stand in the file as two.
    stored_ids = {stored_id for row in rows for stored_id in ids_of(row)}
    matches.duplicates = [payment for payment in matches.new if id_of(payment) in stored_ids]
    matches.new = [payment for payment in matches.new if id_of(payment) not in stored_ids]
    for alike in (_both_nameless, _nothing_contradicts):
        pair(_in_the_same_words(alike))
        pair(alike)
    if as_many:
        pair(_corrects)
    return matches


def identity_of(payment: NewPayment) -> dict[str, str | None]:
    """The columns that say which payment it is. An id stands in the column of its kind, where it is unique."""
    columns: dict[str, str | None] = {"provider": payment.provider or "", **dict.fromkeys(ID_COLUMNS)}
    if id_of(payment):
        columns[id_column(payment.provider, payment.reference)] = payment.reference
    if payment.charge:
        columns["charge"] = payment.charge
    return columns


def id_columns(payments: PaymentColumns) -> dict[str, list[str | None]]:
    """The same for many: the ids in the columns of their kinds."""
    columns: dict[str, list[str | None]] = {name: [None] * len(payments.providers) for name in ID_COLUMNS}
    for place, (provider, reference, charge) in enumerate(
        zip(payments.providers, payments.references, payments.charges, strict=True)
    ):
        if provider and reference:
            columns[id_column(provider, reference)][place] = reference
        if charge:
            columns["charge"][place] = charge
    return columns


def id_of(payment: NewPayment) -> str:
    """The provider's id of it; nothing for money taken elsewhere, whatever its reference."""
    return payment.reference if payment.provider else ""


def all_ids_of(payment: NewPayment) -> tuple[str, ...]:
    """Every id of it that is told: a Stripe payment may have two."""
    return tuple(payment_id for payment_id in (id_of(payment), payment.charge) if payment_id)


def ids_of(row: PaymentRow) -> tuple[str, ...]:
    return tuple(payment_id for column in ID_COLUMNS if (payment_id := getattr(row, column)))


def id_column(provider: str | None, reference: str) -> str:
    """The column of an id of this kind."""
    if provider == Provider.ADYEN:
        return "psp_reference"
    return "payment_intent" if reference.startswith("pi_") else "charge"


def _same_id(payment: NewPayment, row: PaymentRow) -> bool:
    return not set(all_ids_of(payment)).isdisjoint(ids_of(row))


def _in_the_same_words(alike: Alike) -> Alike:
    def same(payment: NewPayment, row: PaymentRow) -> bool:
        reference = "" if payment.provider else payment.reference
        return alike(payment, row) and (payment.captured, reference) == (row.allocated, row.reference)

    return same


def _both_nameless(payment: NewPayment, row: PaymentRow) -> bool:
    return not id_of(payment) and not ids_of(row)


def _nothing_contradicts(payment: NewPayment, row: PaymentRow) -> bool:
    """One of the two has no id, or they can be one Stripe payment by its two ids."""
    if not id_of(payment):
        return True
    same_provider = payment.provider == row.provider
    if not ids_of(row):
        return same_provider or _amounts_agree(payment, row)
    return (
        same_provider
        and getattr(row, id_column(payment.provider, payment.reference)) is None
        and _amounts_agree(payment, row)
    )


def _amounts_agree(payment: NewPayment, row: PaymentRow) -> bool:
    """Equal, or one side has not heard yet that it was captured."""
    return payment.captured == row.allocated or 0 in (payment.captured, row.allocated)


def _corrects(payment: NewPayment, row: PaymentRow) -> bool:
    """Another id for the same money, of which nothing has moved and which nobody disputes."""
    if row.share_of is not None:
        return False
    same_money = (payment.captured, payment.returned_elsewhere) == (row.allocated, row.returned_elsewhere)
    return bool(id_of(payment)) and same_money and not (row.reserved or row.refunded or row.dispute)
