"""The customer's e-mail address, and the last four digits and brand of a card: what a clerk finds an invoice by."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("invoice", sa.Column("customer_email", sa.Text(), server_default="", nullable=False))
    op.add_column("payment", sa.Column("card_last4", sa.Text(), server_default="", nullable=False))
    op.add_column("payment", sa.Column("card_brand", sa.Text(), server_default="", nullable=False))
