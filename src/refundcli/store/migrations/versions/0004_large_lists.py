"""Lists of large stores: indexes for the filters, and for credit notes in the order of issue."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

THROUGH_PROVIDER = "provider <> ''"
MONEY_LEFT = (
    "captured - reserved - refunded - returned_elsewhere"
    " - CASE WHEN dispute = 'lost' THEN coalesce(dispute_amount, captured) - dispute_recorded ELSE 0 END > 0"
    " AND dispute <> 'open' AND NOT processing"
)


def upgrade() -> None:
    _index("ix_payment_provider", "payment", ["provider", "invoice_id"], of=THROUGH_PROVIDER)
    _index("ix_payment_money_left", "payment", ["invoice_id"], of=MONEY_LEFT)
    # A store has few of these two, and `status` reads them every time.
    _index("ix_payment_disputed", "payment", ["invoice_id"], of="dispute = 'open'")
    _index("ix_payment_processing", "payment", ["invoice_id"], of="processing")
    op.drop_index("ix_credit_note_issued_on", "credit_note")
    _index("ix_credit_note_issued", "credit_note", ["issued_on", "issued_at", "number"], of="number IS NOT NULL")


def _index(name: str, table: str, columns: list[str], *, of: str) -> None:
    op.create_index(name, table, columns, unique=False, sqlite_where=sa.text(of), postgresql_where=sa.text(of))
