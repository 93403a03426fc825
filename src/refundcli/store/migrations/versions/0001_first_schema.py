"""The first schema: invoices, payments, refunds, credit notes, the audit trail.

Stores of refundcli 0.1.0 have three equivalent forms: `IN` lists for the words of a status, a dispute and a provider,
and UNIQUE constraints for a payment's three ids instead of partial indexes. A later migration that changes any of these
must handle both forms.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_audit_entry_subject", "audit_entry", ["subject", "seq"], unique=False)
    op.create_table(
        "counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "invoice",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("paid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("returned", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("invoice_reference", sa.Text(), nullable=True),
        sa.Column("products", sa.Text(), nullable=False),
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.CheckConstraint(
            "status <> 'refunded' OR (paid > 0 AND returned >= paid)", name="invoice_refunded_is_returned"
        ),
        sa.CheckConstraint(
            "status = 'paid' OR status = 'open' OR status = 'refunded' OR status = 'draft' OR status = 'void'"
            " OR status = 'uncollectible'",
            name="invoice_status_known",
        ),
        sa.CheckConstraint("paid >= 0 AND returned >= 0 AND total >= 0", name="invoice_sums_not_negative"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("ix_invoice_customer_number", "invoice", ["customer", "number"], unique=False)
    op.create_index("ix_invoice_invoice_reference", "invoice", ["invoice_reference"], unique=False)
    op.create_index("ix_invoice_status_number", "invoice", ["status", "number"], unique=False)
    op.create_table(
        "provider_account",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "key_fingerprint"),
    )
    op.create_table(
        "store_info",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=True),
        sa.CheckConstraint("id = 1", name="store_info_is_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "payment",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("payment_intent", sa.Text(), nullable=True),
        sa.Column("charge", sa.Text(), nullable=True),
        sa.Column("psp_reference", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("captured", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("returned_elsewhere", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("auto_refundable", sa.Boolean(), nullable=False),
        sa.Column("processing", sa.Boolean(), nullable=False),
        sa.Column("dispute", sa.Text(), nullable=False),
        sa.Column("dispute_amount", sa.BigInteger(), nullable=True),
        sa.Column("dispute_recorded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "dispute = '' OR dispute = 'open' OR dispute = 'won' OR dispute = 'lost'", name="payment_dispute_known"
        ),
        sa.CheckConstraint("provider = '' OR provider = 'stripe' OR provider = 'adyen'", name="payment_provider_known"),
        sa.CheckConstraint("captured >= 0 AND returned_elsewhere >= 0", name="payment_not_negative"),
        sa.CheckConstraint(
            "reserved >= 0 AND refunded >= 0 AND reserved + refunded <= captured",
            name="payment_never_over_refunded",
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["invoice.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_payment_invoice_position", "payment", ["invoice_id", "position"], unique=True)
    for reference in ("payment_intent", "charge", "psp_reference"):
        there = sa.text(f"{reference} IS NOT NULL")
        op.create_index(
            f"ux_payment_{reference}", "payment", [reference], unique=True, sqlite_where=there, postgresql_where=there
        )
    op.create_table(
        "refund",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=False),
        sa.Column("payment_id", BIG_ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("livemode", sa.Boolean(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=False),
        sa.Column("lease_until", UTC_TIME, nullable=True),
        sa.Column("first_sent_at", UTC_TIME, nullable=True),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("provider_status", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("dispute_decision", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("refunded_on", sa.Date(), nullable=True),
        sa.Column("after_failed", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.CheckConstraint("kind <> 'provider' OR idempotency_key IS NOT NULL", name="refund_sent_with_a_key"),
        sa.CheckConstraint("kind <> 'record' OR request IS NULL", name="refund_recorded_sends_nothing"),
        sa.CheckConstraint(
            "state IN ('ready','submitted','pending','succeeded','recorded','failed','reversed')",
            name="refund_state_known",
        ),
        sa.CheckConstraint("amount > 0", name="refund_amount_positive"),
        sa.ForeignKeyConstraint(
            ["after_failed"],
            ["refund.id"],
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["invoice.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payment.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_refund_invoice_id", "refund", ["invoice_id"], unique=False)
    op.create_index("ix_refund_payment_id", "refund", ["payment_id"], unique=False)
    op.create_index("ix_refund_provider_reference", "refund", ["provider_reference"], unique=False)
    op.create_index("ix_refund_state", "refund", ["state"], unique=False)
    op.create_index(
        "ux_refund_provider_reference", "refund", ["provider", "account", "provider_reference"], unique=True
    )
    op.create_index(
        "ux_refund_request_key",
        "refund",
        ["request_key", "payment_id"],
        unique=True,
        sqlite_where=sa.text("state != 'failed'"),
        postgresql_where=sa.text("state != 'failed'"),
    )
    op.create_table(
        "credit_note",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=True),
        sa.Column("issued_at", UTC_TIME, nullable=True),
        sa.Column("voided_at", UTC_TIME, nullable=True),
        sa.CheckConstraint("status <> 'issued' OR number IS NOT NULL", name="credit_note_issued_has_number"),
        sa.CheckConstraint("status IN ('draft','issued','void')", name="credit_note_status_known"),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["invoice.id"],
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"],
            ["refund.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
        sa.UniqueConstraint("refund_id"),
    )
    op.create_index("ix_credit_note_invoice_id", "credit_note", ["invoice_id"], unique=False)
    op.create_index("ix_credit_note_issued_on", "credit_note", ["issued_on", "id"], unique=False)
