"""An index for external refunds, which `status` reads every time."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

EXTERNAL = "kind = 'external'"


def upgrade() -> None:
    where = sa.text(EXTERNAL)
    op.create_index(
        "ix_refund_external", "refund", ["reason", "id"], sqlite_where=where, postgresql_where=where, unique=False
    )
