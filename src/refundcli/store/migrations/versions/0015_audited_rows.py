"""Audit entries carry the rows that their transaction wrote, and who the database says wrote them."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    for name in ("login", "rows"):
        op.add_column("audit_entry", sa.Column(name, sa.Text(), server_default="", nullable=False))
