"""A refund that failed, was repeated under its key and then was reversed is not a second refund of that key."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NOT_UNDONE = "state != 'failed' AND state != 'reversed'"


def upgrade() -> None:
    op.drop_index("ux_refund_request_key", "refund")
    op.create_index(
        "ux_refund_request_key",
        "refund",
        ["request_key", "payment_id"],
        unique=True,
        sqlite_where=sa.text(NOT_UNDONE),
        postgresql_where=sa.text(NOT_UNDONE),
    )
