"""What providers report: events, external refunds, refunds that failed or were reversed late, closings."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("payment", sa.Column("dispute_at", UTC_TIME, nullable=True))
    op.add_column("payment", sa.Column("opening_returned", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("payment", sa.Column("opening_at", UTC_TIME, nullable=True))
    # Until now, external refunds were known from imports only.
    op.execute(
        "UPDATE payment SET opening_returned = returned_elsewhere, opening_at ="
        " (SELECT created_at FROM invoice WHERE invoice.id = payment.invoice_id)"
    )
    op.add_column("refund", sa.Column("came_back_at", UTC_TIME, nullable=True))
    op.add_column("refund", sa.Column("acknowledged_at", UTC_TIME, nullable=True))
    op.add_column("refund", sa.Column("acknowledged_by", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "closing",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("api_version", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=False),
        sa.Column("lease_until", UTC_TIME, nullable=True),
        sa.Column("first_sent_at", UTC_TIME, nullable=True),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.CheckConstraint("action IN ('void','uncollectible')", name="closing_action_known"),
        sa.CheckConstraint("state IN ('ready','submitted','done','failed')", name="closing_state_known"),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_closing_invoice_id", "closing", ["invoice_id"], unique=False)
    op.create_index(
        "ux_closing_unfinished",
        "closing",
        ["invoice_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('ready', 'submitted')"),
        postgresql_where=sa.text("state IN ('ready', 'submitted')"),
    )
    op.create_table(
        "provider_event",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("event_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("occurred_at", UTC_TIME, nullable=False),
        sa.Column("received_at", UTC_TIME, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting','applied','unmatched','contradicts','unknown')", name="provider_event_state_known"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_provider_event_about", "provider_event", ["about"], unique=False)
    op.create_index("ix_provider_event_state", "provider_event", ["state", "id"], unique=False)
    op.create_index("ux_provider_event_key", "provider_event", ["provider", "account", "event_key"], unique=True)
    op.create_table(
        "sync_state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
