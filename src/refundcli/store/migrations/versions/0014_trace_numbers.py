"""The number by which the customer's bank finds a refund."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    for name in ("trace_destination", "trace_type", "trace_number", "trace_status"):
        op.add_column("refund", sa.Column(name, sa.Text(), server_default="", nullable=False))
    has_number = sa.text("trace_number <> ''")
    op.create_index("ix_refund_trace", "refund", ["trace_number"], sqlite_where=has_number, postgresql_where=has_number)
