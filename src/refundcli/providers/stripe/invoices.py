"""Convert Stripe's invoices to invoices of the books."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo

from refundcli.domain.currencies import Currency
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.stripe import fields
from refundcli.providers.stripe.fields import Fields
from refundcli.providers.transport import safe_text, text_in
from refundcli.services.ports.provider_updates import CannotBeHeld, PaymentTruth
from refundcli.services.ports.records import NewInvoice, NewPayment

_STATUSES = {status.value: status for status in InvoiceStatus if status is not InvoiceStatus.REFUNDED}


def new_invoice(
    invoice: Fields,
    payments: Sequence[Fields],
    snapshots: Mapping[str, PaymentTruth],
    products: tuple[str, ...],
    zone: tzinfo,
) -> NewInvoice:
    """`payments` are its invoice payments, `snapshots` their snapshots by reference.

    Raises CannotBeHeld.
    """
    of, times = fields.currency_of(invoice), _mapping(invoice.get("status_transitions"))
    status = _STATUSES.get(text_in(invoice.get("status") or "draft"))
    if status is None:
        raise CannotBeHeld(Provider.STRIPE, f"invoice {safe_text(invoice.get('id'))} has an unknown status")
    issued = times.get("finalized_at") or invoice.get("created")
    return NewInvoice(
        line=0,
        number=text_in(invoice.get("number")) or fields.id_of(invoice),
        customer=fields.id_in(invoice.get("customer")),
        customer_name=text_in(invoice.get("customer_name")),
        currency=of.code,
        total=fields.amount_of(invoice, "total", of).minor,
        status=status,
        issued_on=_day(issued, zone) or date.min,
        due_on=_day(invoice.get("due_date"), zone),
        paid_on=_day(times.get("paid_at"), zone),
        invoice_reference=fields.id_of(invoice),
        products=products,
        subscription=_subscription(invoice),
        payments=tuple(_payments(invoice, payments, snapshots, of, zone)),
    )


def paid_by(payment: Fields) -> str:
    """What Stripe can refund: the intent, or the charge where there is no intent. Empty for a payment record."""
    by = _mapping(payment.get("payment"))
    return fields.id_in(by.get("payment_intent")) or fields.id_in(by.get("charge"))


def _payments(
    invoice: Fields, payments: Sequence[Fields], snapshots: Mapping[str, PaymentTruth], of: Currency, zone: tzinfo
) -> list[NewPayment]:
    shares = _shares(invoice, payments, of)
    new_payments = [
        _through_stripe(snapshot, shares.get(reference, snapshot.captured))
        for reference, snapshot in snapshots.items()
        if snapshot.captured or snapshot.processing
    ]
    paid_on = _day(_mapping(invoice.get("status_transitions")).get("paid_at"), zone)
    outside = fields.amount_of(invoice, "amount_paid", of)
    for payment in payments:
        if payment.get("status") != "paid":
            continue
        amount = fields.amount_of(payment, "amount_paid", of) if payment.get("amount_paid") is not None else zero(of)
        outside -= min(amount, outside)
        if not paid_by(payment):
            record = fields.id_in(_mapping(payment.get("payment")).get("payment_record"))
            new_payments.append(NewPayment(amount.minor, method="payment record", reference=record, paid_on=paid_on))
    if outside:
        new_payments.append(NewPayment(outside.minor, method="outside Stripe", paid_on=paid_on))
    return new_payments


def credited(invoice: Fields, notes: Sequence[Fields], of: Currency) -> Money:
    """What its credit notes credited to the customer's balance: their sum less refunds and out-of-band amounts."""
    issued = fields.amount_of(invoice, "post_payment_credit_notes_amount", of)
    explained = sum((_not_to_balance(note, of) for note in notes), zero(of))
    return max(issued - explained, zero(of))


def credited_by(note: Fields) -> Money | None:
    """What one credit note credited to the customer's balance; None if it does not say."""
    of = fields.currency_of(note)
    if note.get("status") == "void":
        return zero(of)
    if note.get("post_payment_amount") is None:
        return None
    return max(fields.amount_of(note, "post_payment_amount", of) - _not_to_balance(note, of), zero(of))


def _not_to_balance(note: Fields, of: Currency) -> Money:
    """What a credit note returned by refunds or out of band."""
    returned = zero(of)
    if note.get("status") == "void":
        return returned
    if note.get("out_of_band_amount"):
        returned += fields.amount_of(note, "out_of_band_amount", of)
    refunds = note.get("refunds")
    for refund in refunds if isinstance(refunds, list) else ():
        returned += fields.amount_of(_mapping(refund), "amount_refunded", of)
    return returned


def _shares(invoice: Fields, payments: Sequence[Fields], of: Currency) -> dict[str, Money]:
    """What each payment paid of this invoice. One intent may pay several invoices; an overpayment is a credit."""
    shares: dict[str, Money] = {}
    for payment in payments:
        if payment.get("status") == "paid" and payment.get("amount_paid") is not None and paid_by(payment):
            paid = fields.amount_of(payment, "amount_paid", of)
            shares[paid_by(payment)] = shares.get(paid_by(payment), zero(of)) + paid
    total = fields.amount_of(invoice, "total", of)
    excess = max(sum(shares.values(), zero(of)) - total, zero(of))
    for reference, share in reversed(list(shares.items())):
        less = min(share, excess)
        shares[reference], excess = share - less, excess - less
    return shares


def _through_stripe(snapshot: PaymentTruth, share: Money) -> NewPayment:
    """The payment with its share of this invoice. Its disputes are applied once the payment is in the books."""
    intent_or_charge, *other_ids = snapshot.references
    return NewPayment(
        captured=share.minor,
        provider=Provider.STRIPE,
        method="card",
        reference=intent_or_charge,
        charge=next((other_id for other_id in other_ids if not other_id.startswith("pi_")), ""),
        auto_refundable=True,
        processing=snapshot.processing,
    )


def products_in(lines: Iterable[object]) -> tuple[str, ...]:
    named = [text_in(_mapping(line).get("description")) for line in lines]
    return tuple(dict.fromkeys(filter(None, named)))


def _subscription(invoice: Fields) -> str:
    details = _mapping(_mapping(invoice.get("parent")).get("subscription_details"))
    return fields.id_in(details.get("subscription"))


def _mapping(field: object) -> Fields:
    return field if isinstance(field, Mapping) else {}


def _day(timestamp: object, zone: tzinfo) -> date | None:
    return datetime.fromtimestamp(timestamp, zone).date() if type(timestamp) is int else None
