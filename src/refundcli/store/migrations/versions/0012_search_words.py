"""The words that invoices are found by, of all invoices that the store has; and their numbers in any case."""

import sqlalchemy as sa
from alembic import op

from refundcli.store.imports.search_index import index_all

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "search_word",
        sa.Column("word", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("word", "bucket"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_invoice_number_in_any_case", "invoice", [sa.text("lower(number)")], unique=False)
    index_all(op.get_bind())
