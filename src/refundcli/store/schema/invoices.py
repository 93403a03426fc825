"""Invoices, their payments, and the disputes and captures of payments."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, text
from sqlmodel import Field

from refundcli.store.conditions import DISPUTED, LOSS, MONEY_LEFT, PROCESSING, THROUGH_PROVIDER
from refundcli.store.schema.columns import Row, is_one_of, key, minor, parent, text_column, timestamp, unique_id


class InvoiceRow(Row, table=True):
    __tablename__ = "invoice"
    __table_args__ = (
        CheckConstraint("paid >= 0 AND returned >= 0 AND total >= 0", name="invoice_sums_not_negative"),
        # Refunded means that something was paid and all of it was returned (R6).
        CheckConstraint("status <> 'refunded' OR (paid > 0 AND returned >= paid)", name="invoice_refunded_is_returned"),
        CheckConstraint(
            is_one_of("status", "paid", "open", "refunded", "draft", "void", "uncollectible"),
            name="invoice_status_known",
        ),
        Index("ix_invoice_status_number", "status", "number"),
        Index("ix_invoice_customer_number", "customer", "number"),
        Index("ix_invoice_number_in_any_case", text("lower(number)")),
        # A provider's invoice belongs to one invoice.
        Index(
            "ux_invoice_reference",
            "invoice_reference",
            unique=True,
            sqlite_where=text("invoice_reference IS NOT NULL"),
        ),
    )

    id: int | None = key()
    number: str = text_column(unique=True)
    customer: str = text_column()
    customer_name: str = text_column()
    currency: str = text_column()
    total: int = minor()
    paid: int = minor()
    returned: int = minor()
    status: str = text_column()
    issued_on: date
    due_on: date | None = None
    paid_on: date | None = None
    invoice_reference: str | None = text_column(nullable=True)
    products: str = text_column()
    subscription: str = text_column()
    customer_email: str = text_column()
    # What documents need: the customer's address and VAT id, and the lines with their tax, in JSON; mostly empty.
    billing: str = text_column()
    source: str = text_column()
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


class PaymentRow(Row, table=True):
    __tablename__ = "payment"
    __table_args__ = (
        CheckConstraint("allocated >= 0 AND returned_elsewhere >= 0", name="payment_not_negative"),
        # No payment refunds more than its share (I1), whatever the program above does. `captured` is no part of this
        # bound, because the books must be able to record a capture that fails after the refund.
        CheckConstraint(
            "reserved >= 0 AND refunded >= 0 AND reserved + refunded <= allocated",
            name="payment_never_over_refunded",
        ),
        CheckConstraint(is_one_of("dispute", "", "open", "won", "lost", "unknown"), name="payment_dispute_known"),
        CheckConstraint(is_one_of("provider", "", "stripe", "adyen"), name="payment_provider_known"),
        Index("ux_payment_invoice_position", "invoice_id", "position", unique=True),
        # A Stripe payment may have an intent and a charge. Each id belongs to one payment only.
        *map(unique_id, ("payment_intent", "charge", "psp_reference")),
        Index("ix_payment_provider", "provider", "invoice_id", sqlite_where=text(THROUGH_PROVIDER)),
        Index("ix_payment_money_left", "invoice_id", sqlite_where=text(MONEY_LEFT)),
        Index("ix_payment_disputed", "invoice_id", sqlite_where=text(DISPUTED)),
        Index("ix_payment_processing", "invoice_id", sqlite_where=text(PROCESSING)),
        Index("ix_payment_loss", "invoice_id", sqlite_where=text(LOSS)),
        Index("ix_payment_share_of", "share_of", sqlite_where=text("share_of IS NOT NULL")),
    )

    id: int | None = key()
    invoice_id: int = parent("invoice.id", index=False)
    position: int = 0
    provider: str = text_column()
    method: str = text_column()
    card_last4: str = text_column()
    card_brand: str = text_column()
    payment_intent: str | None = text_column(nullable=True)
    charge: str | None = text_column(nullable=True)
    psp_reference: str | None = text_column(nullable=True)
    reference: str = text_column()
    # This invoice's share of the provider's payment, and what the provider captured of that payment as a whole, once it
    # is known. A capture that fails lowers `captured`; nothing raises `allocated` by itself.
    allocated: int = minor()
    captured: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    reserved: int = minor()
    refunded: int = minor()
    returned_elsewhere: int = minor()
    # Lost to disputes and not recorded by `mark-refunded` yet; what records took of it is in `dispute_recorded`.
    lost: int = minor()
    dispute_recorded: int = minor()
    # Credited to the customer's balance at the provider, for other invoices.
    credited: int = minor()
    # The loss that a person has acknowledged.
    loss_acknowledged: int = minor()
    # Why the provider's payment cannot be refunded from here, by the last snapshot.
    unsupported: str = text_column()
    auto_refundable: bool = False
    processing: bool = False
    # The most severe state of its disputes, updated with each of them (R11).
    dispute: str = text_column()
    # The amount that an import reported as returned, and when. It includes external refunds from before then.
    opening_returned: int = minor()
    opening_at: datetime | None = timestamp(nullable=True)
    paid_on: date | None = None
    # Where one provider payment pays several invoices: the first of its shares, for each of them and for itself. The
    # provider's ids, the disputes and the captures are the first share's alone. NULL for every other payment.
    share_of: int | None = parent("payment.id", nullable=True, index=False)


class DisputeRow(Row, table=True):
    """One dispute of one payment. A placeholder has no reference: it is known from an import only."""

    __tablename__ = "dispute"
    __table_args__ = (
        CheckConstraint("state IN ('unknown','open','lost','won','closed')", name="dispute_state_known"),
        CheckConstraint("stage IN ('inquiry','answered-inquiry','chargeback')", name="dispute_stage_known"),
        Index(
            "ux_dispute_reference",
            "provider",
            "account",
            "reference",
            unique=True,
            sqlite_where=text("reference IS NOT NULL"),
        ),
    )

    id: int | None = key()
    payment_id: int = parent("payment.id")
    provider: str = text_column()
    account: str = text_column()
    reference: str | None = text_column(nullable=True)
    stage: str = text_column()
    state: str = text_column()
    status: str = text_column()
    amount: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    reported_at: datetime | None = timestamp(nullable=True)


class CaptureRow(Row, table=True):
    """One capture of a payment, or its failure, as the provider reported it last."""

    __tablename__ = "capture"
    __table_args__ = (
        CheckConstraint("state IN ('added','failed','cancelled')", name="capture_state_known"),
        Index("ux_capture_reference", "payment_id", "provider", "account", "reference", unique=True),
    )

    id: int | None = key()
    payment_id: int = parent("payment.id", index=False)
    provider: str = text_column()
    account: str = text_column()
    reference: str = text_column()
    state: str = text_column()
    amount: int = minor()
    reported_at: datetime = timestamp()
