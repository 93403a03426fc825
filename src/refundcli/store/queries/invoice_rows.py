"""Convert rows of invoices, payments and disputes to domain objects, and nothing else.

Rows are unpacked by position: bulk runs read a million of them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from refundcli.domain.closing import Closing
from refundcli.domain.currencies import Currency, currency
from refundcli.domain.dispute import DisputeRecord, DisputeStage, DisputeState
from refundcli.domain.invoice import Invoice, OtherShare, Payment, Unreviewed, provider_of_invoice
from refundcli.domain.money import Money, zero
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Dispute, InvoiceStatus, Provider
from refundcli.store.databases.rows import Row, columns_of, day, day_or_none, moment_or_none

# Without the columns that only writers and comparisons need.
INVOICE_COLUMNS = columns_of(
    "invoice",
    (
        "id", "number", "customer", "customer_name", "currency", "total", "status", "issued_on", "due_on", "paid_on",
        "invoice_reference", "products", "subscription", "customer_email", "billing",
    ),
)  # fmt: skip
PAYMENT_NAMES = (
    "invoice_id", "id", "provider", "method", "payment_intent", "charge", "psp_reference", "reference", "allocated",
    "captured", "reserved", "refunded", "returned_elsewhere", "auto_refundable", "processing", "dispute", "lost",
    "dispute_recorded", "credited", "unsupported", "loss_acknowledged", "paid_on", "opening_returned", "opening_at",
    "share_of", "card_last4", "card_brand",
)  # fmt: skip
PAYMENT_COLUMNS = columns_of("payment", PAYMENT_NAMES)
DISPUTE_COLUMNS = columns_of(
    "dispute",
    ("id", "payment_id", "provider", "account", "reference", "stage", "state", "status", "amount", "reported_at"),
)
_PROVIDERS: dict[str, Provider | None] = {"": None, **{provider.value: provider for provider in Provider}}
_DISPUTES = {dispute.value: dispute for dispute in Dispute}
_STATUSES = {status.value: status for status in InvoiceStatus}


def payment_of(
    payment_row: Row,
    unit: Currency,
    disputes: Sequence[DisputeRecord] = (),
    unreviewed: Sequence[Unreviewed] = (),
    other_shares: Sequence[OtherShare] = (),
) -> Payment:
    """From PAYMENT_COLUMNS."""
    (
        _, payment_id, provider, method, payment_intent, charge, psp_reference, reference, allocated, captured,
        reserved, refunded, returned_elsewhere, auto_refundable, processing, dispute, lost, dispute_recorded, credited,
        unsupported, loss_acknowledged, paid_on, opening_returned, opening_at, share_of,
        card_last4, card_brand,
    ) = payment_row  # fmt: skip
    references = (payment_intent, charge, psp_reference, reference)
    nothing = zero(unit)

    def amount(minor: int) -> Money:
        return Money(minor, unit) if minor else nothing

    return Payment(
        id=payment_id,
        allocated=amount(allocated),
        provider_captured=None if captured is None else amount(captured),
        reserved=amount(reserved),
        refunded=amount(refunded),
        refunded_externally=amount(returned_elsewhere),
        auto_refundable=bool(auto_refundable),
        provider=_PROVIDERS[provider],
        method=method,
        references=tuple(dict.fromkeys(text for text in references if text)) if any(references) else (),
        processing=bool(processing),
        dispute=_DISPUTES[dispute],
        lost=amount(lost),
        dispute_recorded=amount(dispute_recorded),
        disputes=tuple(disputes),
        unreviewed=tuple(unreviewed),
        credited=amount(credited),
        unsupported=unsupported,
        loss_acknowledged=amount(loss_acknowledged),
        paid_on=day_or_none(paid_on),
        opening_returned=amount(opening_returned),
        opening_at=moment_or_none(opening_at),
        share_of=share_of,
        card_last4=card_last4,
        card_brand=card_brand,
        other_shares=tuple(other_shares),
    )


def invoice_of(
    invoice_row: Row,
    payment_rows: Sequence[Row],
    refunds: Sequence[Refund] = (),
    closings: Sequence[Closing] = (),
    disputes: Mapping[int, Sequence[DisputeRecord]] | None = None,
    unreviewed: Mapping[int, Sequence[Unreviewed]] | None = None,
    other_shares: Mapping[int, Sequence[OtherShare]] | None = None,
) -> Invoice:
    """From INVOICE_COLUMNS, and PAYMENT_COLUMNS of each payment; the rest by the payment's id."""
    (
        invoice_id, number, customer, customer_name, currency_code, total, status, issued_on, due_on, paid_on,
        reference, products, subscription, customer_email, billing,
    ) = invoice_row  # fmt: skip
    unit = currency(currency_code)
    by_payment: Any = (disputes or {}, unreviewed or {}, other_shares or {})
    return Invoice(
        id=invoice_id,
        number=number,
        customer=customer,
        customer_name=customer_name,
        total=Money(total, unit),
        status=_STATUSES[status],
        issued_on=day(issued_on),
        due_on=day_or_none(due_on),
        paid_on=day_or_none(paid_on),
        invoice_reference=reference or "",
        managed_by=provider_of_invoice(reference or ""),
        products=tuple(json.loads(products)) if products else (),
        subscription=subscription,
        customer_email=customer_email,
        billing=billing,
        payments=tuple([payment_of(row, unit, *(of.get(row[1], ()) for of in by_payment)) for row in payment_rows]),
        refunds=tuple(refunds),
        closings=tuple(closings),
    )


def dispute_of(dispute_row: Row, unit: Currency) -> DisputeRecord:
    """From DISPUTE_COLUMNS."""
    dispute_id, payment_id, provider, account, reference, stage, state, status, amount, reported_at = dispute_row
    return DisputeRecord(
        id=dispute_id,
        payment_id=payment_id,
        provider=_PROVIDERS[provider],
        account=account,
        reference=reference or "",
        stage=DisputeStage(stage),
        state=DisputeState(state),
        status=status,
        amount=None if amount is None else Money(amount, unit),
        reported_at=moment_or_none(reported_at),
    )
