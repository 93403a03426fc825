"""Bulk runs and their rows."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, text
from sqlmodel import Field

from refundcli.store.schema.columns import Row, minor, text_column, timestamp


class BulkRunRow(Row, table=True):
    """A file or a plan that is processed row by row; the same file or plan again resumes it."""

    __tablename__ = "bulk_run"
    __table_args__ = (
        CheckConstraint("kind IN ('refund','mark-refunded')", name="bulk_run_kind_known"),
        CheckConstraint("state IN ('running','stopped','finished')", name="bulk_run_state_known"),
        Index(
            "ux_bulk_run_unfinished",
            "fingerprint",
            unique=True,
            sqlite_where=text("state <> 'finished'"),
        ),
    )

    id: str = text_column(primary_key=True)
    kind: str = text_column()
    state: str = text_column()
    source: str = text_column()
    options: str = text_column()
    fingerprint: str = text_column()
    rows: int = 0
    operator: str = text_column()
    planned_by: str = text_column()
    plan_hash: str = text_column()
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


class BulkItemRow(Row, table=True):
    """One row of a provider run: workers share the rows, and a killed run resumes from them."""

    __tablename__ = "bulk_item"
    __table_args__ = (
        CheckConstraint("state IN ('waiting','taken','done','refused','unknown')", name="bulk_item_state_known"),
        Index("ix_bulk_item_state", "run_id", "state", "n"),
    )

    run_id: str = Field(sa_column=Column(ForeignKey("bulk_run.id"), primary_key=True))
    n: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    line: int = 0
    invoice: str = text_column()
    amount_text: str = text_column()
    reason: str = text_column()
    memo: str = text_column()
    payment: str = text_column()
    request_key: str = text_column()
    expected: int = minor()
    cells: str = text_column()
    state: str = text_column()
    code: str = text_column()
    message: str = text_column()
    hint: str = text_column()
    worker: str = text_column()
    lease_until: datetime | None = timestamp(nullable=True)
