"""Rejected deliveries counted by provider and reason; the reason for events that are stored and not applied."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

UTC_TIME = sa.DateTime(timezone=True)
OLD_NAME = "delivery refused: "
NOT_APPLIED = "not_applied <> ''"


def upgrade() -> None:
    op.create_table(
        "delivery_rejection",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("first_at", UTC_TIME, nullable=True),
        sa.Column("last_at", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("provider", "reason"),
    )
    # Until now, they were counted without provider and time.
    counted = {"name": f"{OLD_NAME}%"}
    op.execute(
        sa.text(
            "INSERT INTO delivery_rejection (provider, reason, count)"
            " SELECT '', substr(name, :start), value FROM counter WHERE name LIKE :name"
        ).bindparams(start=len(OLD_NAME) + 1, **counted)
    )
    op.execute(sa.text("DELETE FROM counter WHERE name LIKE :name").bindparams(**counted))
    op.add_column("provider_event", sa.Column("not_applied", sa.Text(), server_default="", nullable=False))
    op.create_index(
        "ix_provider_event_not_applied",
        "provider_event",
        ["not_applied"],
        sqlite_where=sa.text(NOT_APPLIED),
        postgresql_where=sa.text(NOT_APPLIED),
    )
