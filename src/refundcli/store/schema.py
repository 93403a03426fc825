"""The schema. Amounts are ISO 4217 minor units of the row's currency; times are UTC.

Invariants are constraints here, so that no bug in the program can break them (I1, I4, I9). The migrations create the
tables. A partial index is declared here for SQLite only, because PostgreSQL's option would load its whole dialect at
every start; a test checks that PostgreSQL has the same index.
"""

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    Text,
    case,
    text,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel, col

# SQLite numbers its rows only by a column that is spelt INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")
# Conditions of partial indexes. A query uses such an index only if it states exactly the same condition.
THROUGH_PROVIDER = text("provider <> ''")
# The most that a payment can refund: its share, or what was captured if that is known to be less (I1).
CAPTURED = "CASE WHEN captured < allocated THEN captured ELSE allocated END"
# Could be refunded now: as `Payment.refundable`, without those that must wait (R10, R11).
MONEY_LEFT = text(
    f"{CAPTURED} - reserved - refunded - returned_elsewhere - lost - credited > 0"
    " AND dispute <> 'open' AND dispute <> 'unknown' AND NOT processing"
)
DISPUTED, PROCESSING = text("dispute = 'open' OR dispute = 'unknown'"), text("processing")
# What lost disputes took of a payment; all of it if no amount was reported (R11).
TAKEN_BY_DISPUTES = (
    "(SELECT coalesce(sum(coalesce(d.amount, payment.allocated)), 0) FROM dispute d"
    " WHERE d.payment_id = payment.id AND d.state = 'lost')"
)
# More was refunded and lost than was captured: a capture that failed, or a dispute, after a refund (I13).
LOSS = text(f"refunded + returned_elsewhere + lost > {CAPTURED}")
# A refund that failed or was reversed after it was accepted, until a person acknowledges it (R14).
NEEDS_ACKNOWLEDGEMENT = text("came_back_at IS NOT NULL AND acknowledged_at IS NULL")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, to the microsecond, in either database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _key() -> Any:
    return Field(default=None, sa_column=Column(BigId, primary_key=True))


def _parent(column: str, *, nullable: bool = False, index: bool = True) -> Any:
    return Field(sa_column=Column(ForeignKey(column), nullable=nullable, index=index))


def _text(*, nullable: bool = False, unique: bool = False, index: bool = False, primary_key: bool = False) -> Any:
    column = Column(Text, nullable=nullable, unique=unique or None, index=index or None, primary_key=primary_key)
    return Field(default=None if nullable else "", sa_column=column)


def _is(column: str, *words: str) -> str:
    """The column is one of these words, the usual ones first. For an IN list, SQLite builds a table for each row."""
    return " OR ".join(f"{column} = '{word}'" for word in words)


def _names_one(column: str) -> Index:
    """A unique index on an id. It leaves out payments without one, which are most."""
    return Index(f"ux_payment_{column}", column, unique=True, sqlite_where=text(f"{column} IS NOT NULL"))


def _minor(default: int = 0) -> Any:
    return Field(default=default, sa_column=Column(BigInteger, nullable=False, server_default=str(default)))


def _time(*, nullable: bool = False) -> Any:
    return Field(default=None, sa_column=Column(UtcDateTime, nullable=nullable))


class Row(SQLModel):
    """Rows never validate anything, so no validator is built: that would slow every start."""

    model_config = {"defer_build": True}


class StoreInfo(Row, table=True):
    """One row with the facts of this store. The first provider key that is used pins `livemode` (I12)."""

    __tablename__ = "store_info"
    __table_args__ = (CheckConstraint("id = 1", name="store_info_is_one_row"),)

    id: int = Field(default=1, primary_key=True)
    secret: str = _text()
    created_at: datetime = _time()
    livemode: bool | None = None
    # How credit notes are numbered, from the first number on.
    number_format: str = _text()
    # The books' time zone (an IANA name): it decides the dates of credit notes and the year of their numbers.
    timezone: str = _text()


class ProviderAccountRow(Row, table=True):
    """The account of each key, looked up once per key; the key itself is never stored."""

    __tablename__ = "provider_account"

    provider: str = _text(primary_key=True)
    key_fingerprint: str = _text(primary_key=True)
    account: str = _text()
    livemode: bool


class InvoiceRow(Row, table=True):
    __tablename__ = "invoice"
    __table_args__ = (
        CheckConstraint("paid >= 0 AND returned >= 0 AND total >= 0", name="invoice_sums_not_negative"),
        # Refunded means that something was paid and all of it was returned (R6).
        CheckConstraint("status <> 'refunded' OR (paid > 0 AND returned >= paid)", name="invoice_refunded_is_returned"),
        CheckConstraint(
            _is("status", "paid", "open", "refunded", "draft", "void", "uncollectible"), name="invoice_status_known"
        ),
        Index("ix_invoice_status_number", "status", "number"),
        Index("ix_invoice_customer_number", "customer", "number"),
        # A provider's invoice belongs to one invoice.
        Index(
            "ux_invoice_reference",
            "invoice_reference",
            unique=True,
            sqlite_where=text("invoice_reference IS NOT NULL"),
        ),
    )

    id: int | None = _key()
    number: str = _text(unique=True)
    customer: str = _text()
    customer_name: str = _text()
    currency: str = _text()
    total: int = _minor()
    paid: int = _minor()
    returned: int = _minor()
    status: str = _text()
    issued_on: date
    due_on: date | None = None
    paid_on: date | None = None
    invoice_reference: str | None = _text(nullable=True)
    products: str = _text()
    subscription: str = _text()
    source: str = _text()
    created_at: datetime = _time()
    updated_at: datetime = _time()


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
        CheckConstraint(_is("dispute", "", "open", "won", "lost", "unknown"), name="payment_dispute_known"),
        CheckConstraint(_is("provider", "", "stripe", "adyen"), name="payment_provider_known"),
        Index("ux_payment_invoice_position", "invoice_id", "position", unique=True),
        # A Stripe payment may have an intent and a charge. Each id belongs to one payment only.
        *map(_names_one, ("payment_intent", "charge", "psp_reference")),
        Index("ix_payment_provider", "provider", "invoice_id", sqlite_where=THROUGH_PROVIDER),
        Index("ix_payment_money_left", "invoice_id", sqlite_where=MONEY_LEFT),
        Index("ix_payment_disputed", "invoice_id", sqlite_where=DISPUTED),
        Index("ix_payment_processing", "invoice_id", sqlite_where=PROCESSING),
        Index("ix_payment_loss", "invoice_id", sqlite_where=LOSS),
        Index("ix_payment_share_of", "share_of", sqlite_where=text("share_of IS NOT NULL")),
    )

    id: int | None = _key()
    invoice_id: int = _parent("invoice.id", index=False)
    position: int = 0
    provider: str = _text()
    method: str = _text()
    payment_intent: str | None = _text(nullable=True)
    charge: str | None = _text(nullable=True)
    psp_reference: str | None = _text(nullable=True)
    reference: str = _text()
    # This invoice's share of the provider's payment, and what the provider captured of that payment as a whole, once it
    # is known. A capture that fails lowers `captured`; nothing raises `allocated` by itself.
    allocated: int = _minor()
    captured: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    reserved: int = _minor()
    refunded: int = _minor()
    returned_elsewhere: int = _minor()
    # Lost to disputes and not recorded by `mark-refunded` yet; what records took of it is in `dispute_recorded`.
    lost: int = _minor()
    dispute_recorded: int = _minor()
    # Credited to the customer's balance at the provider, for other invoices.
    credited: int = _minor()
    # The loss that a person has acknowledged.
    loss_acknowledged: int = _minor()
    # Why the provider's payment cannot be refunded from here, by the last snapshot.
    unsupported: str = _text()
    auto_refundable: bool = False
    processing: bool = False
    # The most severe state of its disputes, updated with each of them (R11).
    dispute: str = _text()
    # The amount that an import reported as returned, and when. It includes external refunds from before then.
    opening_returned: int = _minor()
    opening_at: datetime | None = _time(nullable=True)
    paid_on: date | None = None
    # Where one provider payment pays several invoices: the first of its shares, for each of them and for itself. The
    # provider's ids, the disputes and the captures are the first share's alone. NULL for every other payment.
    share_of: int | None = _parent("payment.id", nullable=True, index=False)


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

    id: int | None = _key()
    payment_id: int = _parent("payment.id")
    provider: str = _text()
    account: str = _text()
    reference: str | None = _text(nullable=True)
    stage: str = _text()
    state: str = _text()
    status: str = _text()
    amount: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    reported_at: datetime | None = _time(nullable=True)


class CaptureRow(Row, table=True):
    """One capture of a payment, or its failure, as the provider reported it last."""

    __tablename__ = "capture"
    __table_args__ = (
        CheckConstraint("state IN ('added','failed','cancelled')", name="capture_state_known"),
        Index("ux_capture_reference", "payment_id", "provider", "account", "reference", unique=True),
    )

    id: int | None = _key()
    payment_id: int = _parent("payment.id", index=False)
    provider: str = _text()
    account: str = _text()
    reference: str = _text()
    state: str = _text()
    amount: int = _minor()
    reported_at: datetime = _time()


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
        Index("ix_refund_attention", "id", sqlite_where=NEEDS_ACKNOWLEDGEMENT),
        Index(
            "ix_refund_run",
            "run_id",
            "id",
            sqlite_where=text("run_id IS NOT NULL"),
        ),
    )

    id: str = _text(primary_key=True)
    invoice_id: int = _parent("invoice.id")
    payment_id: int = _parent("payment.id")
    kind: str = _text()
    amount: int = _minor()
    currency: str = _text()
    reason: str = _text()
    memo: str = _text()
    state: str = _text()
    request_key: str = _text()
    content: str = _text()
    try_number: int = 1
    operator: str = _text()
    # The request to the provider, stored before it is sent (I2).
    provider: str | None = _text(nullable=True)
    account: str | None = _text(nullable=True)
    livemode: bool | None = None
    idempotency_key: str | None = _text(nullable=True, unique=True)
    endpoint: str | None = _text(nullable=True)
    api_version: str | None = _text(nullable=True)
    request: str | None = _text(nullable=True)
    fence: int = 0
    lease_owner: str = _text()
    lease_until: datetime | None = _time(nullable=True)
    first_sent_at: datetime | None = _time(nullable=True)
    # The outcome.
    provider_reference: str | None = _text(nullable=True, index=True)
    provider_status: str = _text()
    failure: str = _text()
    # The failure as a code: `not-sent` is safe to repeat.
    failure_code: str = _text()
    # Why the provider has not finished it, and until when the customer may act.
    pending_reason: str = _text()
    expires_at: datetime | None = _time(nullable=True)
    # When it succeeded and when it failed, by the provider's date. A success after the failure means that the provider
    # sent it again by itself, which a person must review (R14).
    succeeded_at: datetime | None = _time(nullable=True)
    failed_at: datetime | None = _time(nullable=True)
    # The part of the refund that was reversed; the credit note stays.
    reversed_amount: int = _minor()
    # It failed, and its amount stays reserved until it is acknowledged or until `hold_until`.
    holding: bool = False
    hold_until: datetime | None = _time(nullable=True)
    # An external refund that may be recorded by hand too: reserved until it is matched or adopted.
    undecided: bool = False
    dispute_decision: str = _text()
    # How money was returned that this program did not move.
    method: str = _text()
    reference: str = _text()
    refunded_on: date | None = None
    after_failed: str | None = Field(default=None, sa_column=Column(ForeignKey("refund.id"), nullable=True))
    evidence: str = _text()
    # When the refund failed or was reversed after it succeeded: shown until a person acknowledges it.
    came_back_at: datetime | None = _time(nullable=True)
    acknowledged_at: datetime | None = _time(nullable=True)
    acknowledged_by: str = _text()
    # The bulk run that contains it.
    run_id: str | None = Field(default=None, sa_column=Column(ForeignKey("bulk_run.id"), nullable=True))
    created_at: datetime = _time()
    updated_at: datetime = _time()


# CAPTURED as an expression, for sums.
CAPTURED_SHARE: Any = case(
    (col(PaymentRow.captured) < col(PaymentRow.allocated), col(PaymentRow.captured)), else_=col(PaymentRow.allocated)
)


class BulkRunRow(Row, table=True):
    """A file or a plan that is processed row by row; the same file or plan again resumes it."""

    __tablename__ = "bulk_run"
    __table_args__ = (
        CheckConstraint("kind IN ('refund','mark-refunded')", name="bulk_run_kind_known"),
        CheckConstraint("state IN ('running','stopped','finished')", name="bulk_run_state_known"),
        Index(
            "ux_bulk_run_unfinished",
            "fingerprint",
            unique=True,
            sqlite_where=text("state <> 'finished'"),
        ),
    )

    id: str = _text(primary_key=True)
    kind: str = _text()
    state: str = _text()
    source: str = _text()
    options: str = _text()
    fingerprint: str = _text()
    rows: int = 0
    operator: str = _text()
    planned_by: str = _text()
    plan_hash: str = _text()
    created_at: datetime = _time()
    updated_at: datetime = _time()


class BulkItemRow(Row, table=True):
    """One row of a provider run: workers share the rows, and a killed run resumes from them."""

    __tablename__ = "bulk_item"
    __table_args__ = (
        CheckConstraint("state IN ('waiting','taken','done','refused','unknown')", name="bulk_item_state_known"),
        Index("ix_bulk_item_state", "run_id", "state", "n"),
    )

    run_id: str = Field(sa_column=Column(ForeignKey("bulk_run.id"), primary_key=True))
    n: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    line: int = 0
    invoice: str = _text()
    amount_text: str = _text()
    reason: str = _text()
    memo: str = _text()
    payment: str = _text()
    request_key: str = _text()
    expected: int = _minor()
    cells: str = _text()
    state: str = _text()
    code: str = _text()
    message: str = _text()
    hint: str = _text()
    worker: str = _text()
    lease_until: datetime | None = _time(nullable=True)


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

    id: str = _text(primary_key=True)
    invoice_id: int = _parent("invoice.id")
    action: str = _text()
    state: str = _text()
    memo: str = _text()
    operator: str = _text()
    provider: str = _text()
    account: str = _text()
    livemode: bool
    idempotency_key: str = _text(unique=True)
    endpoint: str = _text()
    api_version: str = _text()
    fence: int = 0
    lease_owner: str = _text()
    lease_until: datetime | None = _time(nullable=True)
    first_sent_at: datetime | None = _time(nullable=True)
    failure: str = _text()
    created_at: datetime = _time()
    updated_at: datetime = _time()


class CreditNoteRow(Row, table=True):
    __tablename__ = "credit_note"
    __table_args__ = (
        CheckConstraint("status IN ('draft','issued','void')", name="credit_note_status_known"),
        CheckConstraint("status <> 'issued' OR number IS NOT NULL", name="credit_note_issued_has_number"),
        Index("ix_credit_note_issued", "issued_on", "issued_at", "number", sqlite_where=text("number IS NOT NULL")),
    )

    id: str = _text(primary_key=True)
    refund_id: str = Field(sa_column=Column(ForeignKey("refund.id"), nullable=False, unique=True))
    invoice_id: int = _parent("invoice.id")
    number: str | None = _text(nullable=True, unique=True)
    status: str = _text()
    amount: int = _minor()
    currency: str = _text()
    reason: str = _text()
    memo: str = _text()
    issued_on: date | None = None
    issued_at: datetime | None = _time(nullable=True)
    voided_at: datetime | None = _time(nullable=True)


class AuditEntryRow(Row, table=True):
    """One entry for each change of state, chained by hashes (I10)."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_entry_subject", "subject", "seq"),)

    seq: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    at: datetime = _time()
    operator: str = _text()
    host: str = _text()
    action: str = _text()
    subject: str = _text()
    before: str = _text()
    after: str = _text()
    previous_hash: str = _text()
    hash: str = _text()


class CounterRow(Row, table=True):
    """Gap-free series: a credit note's number is counted and used in one transaction (I9)."""

    __tablename__ = "counter"

    name: str = _text(primary_key=True)
    value: int = _minor()


class ProviderEventRow(Row, table=True):
    """What a provider reported, verified and stored before it is applied; repeated deliveries share one row.

    `source`: webhook, report or api. Until it is applied or acknowledged it blocks the refund of its payments (R13).
    """

    __tablename__ = "provider_event"
    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting','applied','unmatched','unreviewed','noted')", name="provider_event_state_known"
        ),
        Index("ux_provider_event_key", "provider", "account", "event_key", unique=True),
        Index("ix_provider_event_state", "state", "id"),
        Index("ix_provider_event_not_applied", "not_applied", sqlite_where=text("not_applied <> ''")),
    )

    id: int | None = _key()
    provider: str = _text()
    account: str = _text()
    event_key: str = _text()
    kind: str = _text()
    about: str = _text(index=True)
    livemode: bool
    occurred_at: datetime = _time()
    received_at: datetime = _time()
    payload: str = _text()
    state: str = _text()
    note: str = _text()
    source: str = _text()
    # Why it is stored and not applied: for another account or mode, or unreadable. Empty for all other events.
    not_applied: str = _text()


class DeliveryRejectionRow(Row, table=True):
    """How many deliveries were rejected. Counts from before schema 0007 have no provider or time."""

    __tablename__ = "delivery_rejection"

    provider: str = _text(primary_key=True)
    reason: str = _text(primary_key=True)
    count: int = _minor()
    first_at: datetime | None = _time(nullable=True)
    last_at: datetime | None = _time(nullable=True)


class EventPaymentRow(Row, table=True):
    """The payments an event is about, by their references at the provider, even if they are not in the books."""

    __tablename__ = "event_payment"

    event_id: int = Field(sa_column=Column(ForeignKey("provider_event.id"), primary_key=True))
    reference: str = _text(primary_key=True, index=True)


class WordDecisionRow(Row, table=True):
    """What an unlisted word of a provider means in this store, decided once by a person (R13)."""

    __tablename__ = "word_decision"

    provider: str = _text(primary_key=True)
    word: str = _text(primary_key=True)
    effect: str = _text()
    operator: str = _text()
    decided_at: datetime = _time()


class SyncStateRow(Row, table=True):
    """How far a pull has progressed, and when the store was last compared with a provider."""

    __tablename__ = "sync_state"

    name: str = _text(primary_key=True)
    value: str = _text()
    at: datetime = _time()
