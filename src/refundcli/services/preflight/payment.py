"""Before money moves: compare the payment at the provider with the books, and refuse if they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from refundcli.domain.errors import Refused
from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money, zero
from refundcli.domain.next_steps import adopt_command
from refundcli.domain.refusals import UnreviewedEvent, UnsupportedRefund
from refundcli.domain.statuses import Provider
from refundcli.services.invoices.allocation import Share
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, RefundReading, Writing
from refundcli.services.ports.key_windows import CAN_LOOK_UP
from refundcli.services.ports.provider_updates import PaymentTruth, RefundNews
from refundcli.services.ports.providers import Providers
from refundcli.services.preflight.comparison import Difference, claimed_twice, compare
from refundcli.services.preflight.unreviewed import store_doubt

_SHOWN = 3


class DiffersFromProvider(Refused):
    """The provider knows the payment, or the invoice, otherwise; nothing was reserved and nothing sent."""

    code = "differs-from-provider"

    def __init__(self, invoice: Invoice, differences: Sequence[Difference], *, hint: str = "") -> None:
        where = differences[0].provider.label
        told = "; ".join(f"{difference} ({difference.reference})" for difference in differences[:_SHOWN])
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        super().__init__(
            f"{invoice.number} is not at {where} as it is here: {told}{more}. Nothing was sent.",
            hint=hint or f"refundcli reconcile --invoice {invoice.number}     (takes in what is proven)",
            context={
                "invoice": invoice.number,
                "differences": [
                    {
                        "kind": d.kind,
                        "reference": d.reference,
                        "object": d.what,
                        "in_books": d.here,
                        "at_provider": d.there,
                    }
                    for d in differences
                ],
            },
        )


@dataclass(frozen=True, slots=True)
class OwnRefund:
    """The refund that a request is about to reserve. The id follows from the request, so the provider may have it."""

    refund_id: str
    amount: Money
    attempt: int = 1
    idempotency_key: str = ""


class AlreadyAtProvider(Refused):
    """The provider has the refund of this request, but its amount differs or the books have it as external."""

    code = "already-at-provider"

    def __init__(
        self, number: str, provider: Provider, reference: str, amount: Money, own: OwnRefund, *, counted_as: str = ""
    ) -> None:
        if counted_as:
            why = f"the books have it as the external refund {counted_as}"
            hint = f"{adopt_command(counted_as, invoice=number)}     (a credit note)"
        else:
            why = f"{own.amount} was requested"
            hint = f"Look at {reference} in {provider.label}'s dashboard. Then: refundcli reconcile --invoice {number}"
        super().__init__(
            f"{provider.label} already has the refund of this request, {reference} of {amount}, but {why}. "
            "Nothing was sent.",
            hint=hint,
            context={"invoice": number, "refund": own.refund_id, "provider_reference": reference},
        )


@dataclass(frozen=True, slots=True)
class PaymentPlace:
    """Where a payment is at its provider; `of_invoice` is the provider's id of its invoice, where it keeps one."""

    provider: Provider
    reference: str
    of_invoice: str = ""


Truths: TypeAlias = Mapping[int, PaymentTruth | None]
OwnRefunds: TypeAlias = Mapping[int, OwnRefund]
_NONE: OwnRefunds = MappingProxyType({})


def preflight(
    invoice: Invoice, shares: Sequence[Share], *, books: Books, providers: Providers, own: OwnRefunds = _NONE
) -> Sequence[PaymentTruth]:
    """Read the truth of each payment that is to give money, where its provider can be asked.

    Raises DiffersFromProvider, AlreadyAtProvider, ProviderUnreachable.
    """
    found = checked_truths(invoice, shares, books=books, providers=providers, own=own, writes=False)
    return [truth for truth in found.values() if truth]


def checked_truths(
    invoice: Invoice,
    shares: Sequence[Share],
    *,
    books: Books,
    providers: Providers,
    own: OwnRefunds = _NONE,
    writes: bool = True,
) -> Truths:
    """The same, by payment. `writes`: findings that a person must review are stored, even if the refund is refused."""
    truths = truths_of(invoice, shares, providers)
    # The books are read again after: what a colleague refunded meanwhile is in both, or in neither.
    now, claimed = books.read(lambda tx: _now(tx, invoice, truths)) if truths else (invoice, [])
    if writes and any(_is_worth_a_note(payment, truths.get(payment.id)) for payment in now.payments):
        books.write(lambda tx: note_findings(tx, now, truths))
        _refuse_unreviewed(books.read(lambda tx: invoice_named(tx, invoice.number)), truths)
    refuse_differences(now, truths, own, claimed=claimed)
    return truths


def _refuse_unreviewed(invoice: Invoice, truths: Truths) -> None:
    """Raises UnreviewedEvent where a word that was found just now, or before, needs a person (R13)."""
    for payment in invoice.payments:
        for update in payment.unreviewed:
            if payment.id in truths and update.needs_a_person:
                raise UnreviewedEvent(invoice, update)


def _now(reading: RefundReading, invoice: Invoice, truths: Truths) -> tuple[Invoice, list[Difference]]:
    now = invoice_named(reading, invoice.number)
    return now, claims(reading, now, truths)


def truths_of(invoice: Invoice, shares: Sequence[Share], providers: Providers) -> Truths:
    """By payment; None where the provider has no such payment. Raises ProviderUnreachable."""
    places = {share.payment.id: place_of(invoice, share.payment) for share in shares}
    return {payment: truth_at(place, providers) for payment, place in places.items() if place}


def place_of(invoice: Invoice, payment: Payment) -> PaymentPlace | None:
    """Where the payment is looked up; None where its provider cannot be asked."""
    if payment.provider is None or payment.provider not in CAN_LOOK_UP:
        return None
    return PaymentPlace(payment.provider, payment.reference, invoice.invoice_reference)


def truth_at(place: PaymentPlace, providers: Providers) -> PaymentTruth | None:
    """Raises ProviderUnreachable, CannotBeHeld."""
    return providers.records(place.provider).payment(place.reference, of_invoice=place.of_invoice)


def note_findings(tx: Writing, invoice: Invoice, truths: Truths) -> None:
    """Store unlisted statuses as unreviewed (R13), and why a payment must be refunded in another way (R12)."""
    for payment in invoice.payments:
        truth = truths.get(payment.id)
        if truth:
            tx.note_unsupported(payment, truth.unsupported)
            for doubt in truth.doubts:
                store_doubt(tx, doubt, truth.asked_at, doubt.why)


def _is_worth_a_note(payment: Payment, truth: PaymentTruth | None) -> bool:
    return truth is not None and bool(truth.doubts or truth.unsupported != payment.unsupported)


def claims(reading: RefundReading, invoice: Invoice, truths: Truths) -> list[Difference]:
    """Payments of other invoices that are one with a payment of this invoice, as the provider has it."""
    return [
        difference
        for payment in invoice.payments
        for difference in claimed_twice(reading, invoice, payment, truths.get(payment.id))
    ]


def refuse_differences(
    invoice: Invoice, truths: Truths, own: OwnRefunds = _NONE, *, claimed: Sequence[Difference]
) -> None:
    """Raises DiffersFromProvider, AlreadyAtProvider, UnsupportedRefund. The truths are read before the invoice.

    `own`, by payment: a refund that would be sent and that the provider has already is no difference. The books were
    restored from a backup and have forgotten it. `claimed`: from `claims`.
    """
    for payment in invoice.payments:
        truth = truths.get(payment.id)
        if truth and truth.unsupported:
            raise UnsupportedRefund(invoice, payment, truth.unsupported)
    if claimed:
        hint = "refundcli invoice pull stripe     (asks what each invoice has of the payment)"
        raise DiffersFromProvider(invoice, claimed, hint=hint)
    differences = [difference for difference in _differences(invoice, truths, own) if difference.bars_a_refund]
    if differences:
        raise DiffersFromProvider(invoice, differences)


def refuse_counted(invoice: Invoice, own: OwnRefunds) -> None:
    """Raises AlreadyAtProvider if the books have this refund as an external one.

    After a restored backup, an event or a report may arrive before the request is repeated.
    """
    ids = {refund.refund_id: refund for refund in own.values()}
    for known in invoice.refunds_of_payments:
        if known.id in ids and known.provider:
            mine, reference = ids[known.id], known.provider_reference
            raise AlreadyAtProvider(invoice.number, known.provider, reference, known.amount, mine, counted_as=known.id)


def own_refund_in(truth: PaymentTruth, refund_id: str) -> RefundNews | None:
    """The payment's refund with our id, preferably one that was accepted; None without one."""
    found = [told for told in truth.refunds if told.refund_id == refund_id]
    return next((told for told in found if told.state.is_given), found[0] if found else None)


def _differences(invoice: Invoice, truths: Truths, own: OwnRefunds) -> Iterator[Difference]:
    for payment in invoice.payments:
        if payment.id in truths:
            truth = truths[payment.id]
            if truth and payment.id in own:
                truth = _without(truth, own[payment.id], invoice)
            yield from compare(invoice, payment, truth)


def _without(truth: PaymentTruth, own: OwnRefund, invoice: Invoice) -> PaymentTruth:
    """The snapshot without the refund that is to be recorded. Raises AlreadyAtProvider."""
    found = own_refund_in(truth, own.refund_id)
    if found is None:
        return truth
    counted = next((r for r in invoice.refunds_of_payments if r.provider_reference == found.reference), None)
    if counted and counted.id != own.refund_id:
        raise AlreadyAtProvider(
            invoice.number, found.provider, found.reference, found.amount, own, counted_as=counted.id
        )
    if found.amount != own.amount:
        raise AlreadyAtProvider(invoice.number, found.provider, found.reference, found.amount, own)
    given = found.amount if found.state.is_given else zero(found.amount.currency)
    others = tuple(told for told in truth.refunds if told is not found)
    return replace(truth, refunds=others, refunded=truth.refunded - given)
