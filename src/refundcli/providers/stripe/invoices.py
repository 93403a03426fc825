"""Convert Stripe's invoices to invoices of the books."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo

from refundcli.domain.currencies import Currency
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import InvoiceStatus, Provider
from refundcli.providers.answers import Fields, fields_in, safe_text, text_in
from refundcli.providers.stripe import fields
from refundcli.services.ports.provider_updates import CannotBeHeld, PaymentSnapshot
from refundcli.services.ports.records import NewInvoice, NewPayment

_STATUSES = {status.value: status for status in InvoiceStatus if status is not InvoiceStatus.REFUNDED}


def new_invoice(
    invoice: Fields,
    invoice_payments: Sequence[Fields],
    snapshot_of_reference: Mapping[str, PaymentSnapshot],
    product_names: tuple[str, ...],
    zone: tzinfo,
) -> NewInvoice:
    """`snapshot_of_reference` are the snapshots of the invoice's payments by reference; dates are in `zone`.

    Raises CannotBeHeld.
    """
    currency, transition_times = fields.currency_of(invoice), fields_in(invoice.get("status_transitions"))
    status = _STATUSES.get(text_in(invoice.get("status") or "draft"))
    if status is None:
        raise CannotBeHeld(Provider.STRIPE, f"invoice {safe_text(invoice.get('id'))} has an unknown status")
    issued_timestamp = transition_times.get("finalized_at") or invoice.get("created")
    return NewInvoice(
        line=0,
        number=text_in(invoice.get("number")) or fields.id_of(invoice),
        customer=fields.id_in(invoice.get("customer")),
        customer_name=text_in(invoice.get("customer_name")),
        currency=currency.code,
        total=fields.amount_of(invoice, "total", currency).minor,
        status=status,
        issued_on=_day(issued_timestamp, zone) or date.min,
        due_on=_day(invoice.get("due_date"), zone),
        paid_on=_day(transition_times.get("paid_at"), zone),
        invoice_reference=fields.id_of(invoice),
        products=product_names,
        subscription=_subscription(invoice),
        customer_email=text_in(invoice.get("customer_email")),
        payments=tuple(_payments(invoice, invoice_payments, snapshot_of_reference, currency, zone)),
    )


def paid_by(invoice_payment: Fields) -> str:
    """What Stripe can refund: the intent, or the charge where there is no intent. Empty for a payment record."""
    payment_source = fields_in(invoice_payment.get("payment"))
    return fields.id_in(payment_source.get("payment_intent")) or fields.id_in(payment_source.get("charge"))


def _payments(
    invoice: Fields,
    invoice_payments: Sequence[Fields],
    snapshot_of_reference: Mapping[str, PaymentSnapshot],
    currency: Currency,
    zone: tzinfo,
) -> list[NewPayment]:
    share_of_reference = _shares(invoice, invoice_payments, currency)
    new_payments = [
        _through_stripe(snapshot, share_of_reference.get(reference, snapshot.captured))
        for reference, snapshot in snapshot_of_reference.items()
        if snapshot.captured or snapshot.processing
    ]
    paid_on = _day(fields_in(invoice.get("status_transitions")).get("paid_at"), zone)
    paid_outside = fields.amount_of(invoice, "amount_paid", currency)
    for invoice_payment in invoice_payments:
        if invoice_payment.get("status") != "paid":
            continue
        amount = (
            fields.amount_of(invoice_payment, "amount_paid", currency)
            if invoice_payment.get("amount_paid") is not None
            else zero(currency)
        )
        paid_outside -= min(amount, paid_outside)
        if not paid_by(invoice_payment):
            payment_record = fields.id_in(fields_in(invoice_payment.get("payment")).get("payment_record"))
            new_payments.append(
                NewPayment(amount.minor, method="payment record", reference=payment_record, paid_on=paid_on)
            )
    if paid_outside:
        new_payments.append(NewPayment(paid_outside.minor, method="outside Stripe", paid_on=paid_on))
    return new_payments


def credited(invoice: Fields, credit_notes: Sequence[Fields], currency: Currency) -> Money:
    """What its credit notes credited to the customer's balance: their sum less refunds and out-of-band amounts."""
    credited_amount = fields.amount_of(invoice, "post_payment_credit_notes_amount", currency)
    not_to_balance = sum((_not_to_balance(note, currency) for note in credit_notes), zero(currency))
    return max(credited_amount - not_to_balance, zero(currency))


def credited_by(credit_note: Fields) -> Money | None:
    """What one credit note credited to the customer's balance; None if it does not say."""
    currency = fields.currency_of(credit_note)
    if credit_note.get("status") == "void":
        return zero(currency)
    if credit_note.get("post_payment_amount") is None:
        return None
    return max(
        fields.amount_of(credit_note, "post_payment_amount", currency) - _not_to_balance(credit_note, currency),
        zero(currency),
    )


def _not_to_balance(credit_note: Fields, currency: Currency) -> Money:
    """What a credit note returned by refunds or out of band."""
    returned_amount = zero(currency)
    if credit_note.get("status") == "void":
        return returned_amount
    if credit_note.get("out_of_band_amount"):
        returned_amount += fields.amount_of(credit_note, "out_of_band_amount", currency)
    refunds = credit_note.get("refunds")
    for refund in refunds if isinstance(refunds, list) else ():
        returned_amount += fields.amount_of(fields_in(refund), "amount_refunded", currency)
    return returned_amount


def _shares(invoice: Fields, invoice_payments: Sequence[Fields], currency: Currency) -> dict[str, Money]:
    """What each payment paid of this invoice. One intent may pay several invoices; an overpayment is a credit."""
    share_of_reference: dict[str, Money] = {}
    for invoice_payment in invoice_payments:
        if (
            invoice_payment.get("status") == "paid"
            and invoice_payment.get("amount_paid") is not None
            and paid_by(invoice_payment)
        ):
            paid_amount = fields.amount_of(invoice_payment, "amount_paid", currency)
            share_of_reference[paid_by(invoice_payment)] = (
                share_of_reference.get(paid_by(invoice_payment), zero(currency)) + paid_amount
            )
    total = fields.amount_of(invoice, "total", currency)
    overpayment = max(sum(share_of_reference.values(), zero(currency)) - total, zero(currency))
    for reference, share in reversed(list(share_of_reference.items())):
        reduction = min(share, overpayment)
        share_of_reference[reference], overpayment = share - reduction, overpayment - reduction
    return share_of_reference


def _through_stripe(snapshot: PaymentSnapshot, share: Money) -> NewPayment:
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
        card_last4=snapshot.card_last4,
        card_brand=snapshot.card_brand,
    )


def products_in(invoice_lines: Iterable[object]) -> tuple[str, ...]:
    descriptions = [text_in(fields_in(line).get("description")) for line in invoice_lines]
    return tuple(dict.fromkeys(filter(None, descriptions)))


def _subscription(invoice: Fields) -> str:
    details = fields_in(fields_in(invoice.get("parent")).get("subscription_details"))
    return fields.id_in(details.get("subscription"))


def _day(timestamp: object, zone: tzinfo) -> date | None:
    return datetime.fromtimestamp(timestamp, zone).date() if type(timestamp) is int else None
