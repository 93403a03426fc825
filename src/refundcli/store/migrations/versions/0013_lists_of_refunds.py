"""An index for lists of refunds by the time they were created."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_index("ix_refund_created", "refund", ["created_at", "id"], unique=False)
