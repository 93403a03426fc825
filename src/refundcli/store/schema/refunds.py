"""Refunds, their credit notes, and closings at a provider."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, text
from sqlmodel import Field

from refundcli.store.conditions import EXTERNAL, NEEDS_ACKNOWLEDGEMENT
from refundcli.store.schema.columns import Row, key, minor, parent, text_column, timestamp


class RefundRow(Row, table=True):
    __tablename__ = "refund"
    __table_args__ = (
        CheckConstraint("amount > 0", name="refund_amount_positive"),
        CheckConstraint(
            "state IN ('ready','submitted','awaiting-approval','pending','succeeded','recorded','failed','reversed')",
            name="refund_state_known",
        ),
        CheckConstraint("kind <> 'provider' OR idempotency_key IS NOT NULL", name="refund_sent_with_a_key"),
        CheckConstraint("kind <> 'record' OR request IS NULL", name="refund_recorded_sends_nothing"),
        # One refund of a payment per request key, unless the earlier one failed or was reversed (I4).
        Index(
            "ux_refund_request_key",
            "request_key",
            "payment_id",
            unique=True,
            sqlite_where=text("state != 'failed' AND state != 'reversed'"),
        ),
        Index("ux_refund_provider_reference", "provider", "account", "provider_reference", unique=True),
        Index("ix_refund_state", "state"),
        Index("ix_refund_created", "created_at", "id"),
        Index("ix_refund_trace", "trace_number", sqlite_where=text("trace_number <> ''")),
        Index("ix_refund_external", "reason", "id", sqlite_where=text(EXTERNAL)),
        Index("ix_refund_attention", "id", sqlite_where=text(NEEDS_ACKNOWLEDGEMENT)),
        Index(
            "ix_refund_run",
            "run_id",
            "id",
            sqlite_where=text("run_id IS NOT NULL"),
        ),
    )

    id: str = text_column(primary_key=True)
    invoice_id: int = parent("invoice.id")
    payment_id: int = parent("payment.id")
    kind: str = text_column()
    amount: int = minor()
    currency: str = text_column()
    reason: str = text_column()
    memo: str = text_column()
    state: str = text_column()
    request_key: str = text_column()
    content: str = text_column()
    try_number: int = 1
    operator: str = text_column()
    # The request to the provider, stored before it is sent (I2).
    provider: str | None = text_column(nullable=True)
    account: str | None = text_column(nullable=True)
    livemode: bool | None = None
    idempotency_key: str | None = text_column(nullable=True, unique=True)
    endpoint: str | None = text_column(nullable=True)
    api_version: str | None = text_column(nullable=True)
    request: str | None = text_column(nullable=True)
    fence: int = 0
    lease_owner: str = text_column()
    lease_until: datetime | None = timestamp(nullable=True)
    first_sent_at: datetime | None = timestamp(nullable=True)
    # The outcome.
    provider_reference: str | None = text_column(nullable=True, index=True)
    provider_status: str = text_column()
    failure: str = text_column()
    # The failure as a code: `not-sent` is safe to repeat.
    failure_code: str = text_column()
    # Why the provider has not finished it, and until when the customer may act.
    pending_reason: str = text_column()
    expires_at: datetime | None = timestamp(nullable=True)
    # The number by which the customer's bank finds it, as the provider reports it: where it is paid to (`card`), what
    # kind of number it is, the number, and whether it is available yet.
    trace_destination: str = text_column()
    trace_type: str = text_column()
    trace_number: str = text_column()
    trace_status: str = text_column()
    # When it succeeded and when it failed, by the provider's date. A success after the failure means that the provider
    # sent it again by itself, which a person must review (R14).
    succeeded_at: datetime | None = timestamp(nullable=True)
    failed_at: datetime | None = timestamp(nullable=True)
    # The part of the refund that was reversed; the credit note stays.
    reversed_amount: int = minor()
    # It failed, and its amount stays reserved until it is acknowledged or until `hold_until`.
    holding: bool = False
    hold_until: datetime | None = timestamp(nullable=True)
    # An external refund that may be recorded by hand too: reserved until it is matched or adopted.
    undecided: bool = False
    dispute_decision: str = text_column()
    # How money was returned that this program did not move.
    method: str = text_column()
    reference: str = text_column()
    refunded_on: date | None = None
    after_failed: str | None = Field(default=None, sa_column=Column(ForeignKey("refund.id"), nullable=True))
    evidence: str = text_column()
    # When the refund failed or was reversed after it succeeded: shown until a person acknowledges it.
    came_back_at: datetime | None = timestamp(nullable=True)
    acknowledged_at: datetime | None = timestamp(nullable=True)
    acknowledged_by: str = text_column()
    # The bulk run that contains it.
    run_id: str | None = Field(default=None, sa_column=Column(ForeignKey("bulk_run.id"), nullable=True))
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


class CreditNoteRow(Row, table=True):
    __tablename__ = "credit_note"
    __table_args__ = (
        CheckConstraint("status IN ('draft','issued','void')", name="credit_note_status_known"),
        CheckConstraint("status <> 'issued' OR number IS NOT NULL", name="credit_note_issued_has_number"),
        Index("ix_credit_note_issued", "issued_on", "issued_at", "number", sqlite_where=text("number IS NOT NULL")),
    )

    id: str = text_column(primary_key=True)
    refund_id: str = Field(sa_column=Column(ForeignKey("refund.id"), nullable=False, unique=True))
    invoice_id: int = parent("invoice.id")
    number: str | None = text_column(nullable=True, unique=True)
    status: str = text_column()
    amount: int = minor()
    currency: str = text_column()
    reason: str = text_column()
    memo: str = text_column()
    issued_on: date | None = None
    issued_at: datetime | None = timestamp(nullable=True)
    voided_at: datetime | None = timestamp(nullable=True)
    # The invoice as its document shows it, and the seller, as both were when the number was given; empty if neither the
    # settings nor the import have anything for a document. Later changes of either do not change an issued note.
    content: str = text_column()
    seller_id: int | None = parent("seller.id", nullable=True, index=False)


class SellerRow(Row, table=True):
    """The seller of the settings, once for each time that it was changed."""

    __tablename__ = "seller"

    id: int | None = key()
    digest: str = text_column(unique=True)
    content: str = text_column()


class ClosingRow(Row, table=True):
    """Voiding or writing off an invoice that the provider has too: requested once, like a refund."""

    __tablename__ = "closing"
    __table_args__ = (
        CheckConstraint("action IN ('void','uncollectible')", name="closing_action_known"),
        CheckConstraint("state IN ('ready','submitted','done','failed')", name="closing_state_known"),
        # An invoice has one unfinished closing at most.
        Index(
            "ux_closing_unfinished",
            "invoice_id",
            unique=True,
            sqlite_where=text("state IN ('ready', 'submitted')"),
        ),
    )

    id: str = text_column(primary_key=True)
    invoice_id: int = parent("invoice.id")
    action: str = text_column()
    state: str = text_column()
    memo: str = text_column()
    operator: str = text_column()
    provider: str = text_column()
    account: str = text_column()
    livemode: bool
    idempotency_key: str = text_column(unique=True)
    endpoint: str = text_column()
    api_version: str = text_column()
    fence: int = 0
    lease_owner: str = text_column()
    lease_until: datetime | None = timestamp(nullable=True)
    first_sent_at: datetime | None = timestamp(nullable=True)
    failure: str = text_column()
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()
