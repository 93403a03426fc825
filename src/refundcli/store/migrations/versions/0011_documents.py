"""What the document of a credit note shows: of the invoice, copied into the note with the seller when it is issued."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "seller",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.add_column("invoice", sa.Column("billing", sa.Text(), server_default="", nullable=False))
    op.add_column("credit_note", sa.Column("content", sa.Text(), server_default="", nullable=False))
    kind = "BIGINT" if op.get_bind().dialect.name == "postgresql" else "INTEGER"
    op.execute(f"ALTER TABLE credit_note ADD COLUMN seller_id {kind} REFERENCES seller (id)")
