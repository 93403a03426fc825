"""The time zone of the books belongs to the store. The upgrade pins it, and changes no date."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("store_info", sa.Column("timezone", sa.Text(), server_default="", nullable=False))
