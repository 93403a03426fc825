"""Bulk runs and their rows; which refunds a run made. The audit trail is indexed by its sequence alone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "bulk_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("planned_by", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.CheckConstraint("kind IN ('refund','mark-refunded')", name="bulk_run_kind_known"),
        sa.CheckConstraint("state IN ('running','stopped','finished')", name="bulk_run_state_known"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ux_bulk_run_unfinished",
        "bulk_run",
        ["fingerprint"],
        unique=True,
        sqlite_where=sa.text("state <> 'finished'"),
        postgresql_where=sa.text("state <> 'finished'"),
    )
    op.create_table(
        "bulk_item",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("invoice", sa.Text(), nullable=False),
        sa.Column("amount_text", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("payment", sa.Text(), nullable=False),
        sa.Column("request_key", sa.Text(), nullable=False),
        sa.Column("expected", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", UTC_TIME, nullable=True),
        sa.CheckConstraint("state IN ('waiting','taken','done','refused','unknown')", name="bulk_item_state_known"),
        sa.ForeignKeyConstraint(["run_id"], ["bulk_run.id"]),
        sa.PrimaryKeyConstraint("run_id", "n"),
    )
    op.create_index("ix_bulk_item_state", "bulk_item", ["run_id", "state", "n"], unique=False)
    _link_refunds()
    _drop_index_of_hashes()


def _link_refunds() -> None:
    run_id = sa.Column("run_id", sa.Text(), nullable=True)
    if op.get_bind().dialect.name == "sqlite":
        # SQLite accepts a foreign key with a new column, so the table need not be copied.
        op.execute("ALTER TABLE refund ADD COLUMN run_id TEXT REFERENCES bulk_run (id)")
    else:
        op.add_column("refund", run_id)
        op.create_foreign_key(None, "refund", "bulk_run", ["run_id"], ["id"])
    op.create_index(
        "ix_refund_run",
        "refund",
        ["run_id", "id"],
        unique=False,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )


def _drop_index_of_hashes() -> None:
    """A seal is looked up by its sequence. An index on the hashes cost a random write for each entry."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("audit_entry_hash_key", "audit_entry", type_="unique")
        return
    with op.batch_alter_table("audit_entry", recreate="always", naming_convention={"uq": "uq_%(column_0_name)s"}) as t:
        t.drop_constraint("uq_hash", type_="unique")
