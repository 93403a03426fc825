"""The store itself: its facts, provider accounts, counters and audit trail."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Index
from sqlmodel import Field

from refundcli.store.schema.columns import BigId, Row, minor, text_column, timestamp


class StoreInfo(Row, table=True):
    """One row with the facts of this store. The first provider key that is used pins `livemode` (I12)."""

    __tablename__ = "store_info"
    __table_args__ = (CheckConstraint("id = 1", name="store_info_is_one_row"),)

    id: int = Field(default=1, primary_key=True)
    secret: str = text_column()
    created_at: datetime = timestamp()
    livemode: bool | None = None
    # How credit notes are numbered, from the first number on.
    number_format: str = text_column()
    # The books' time zone (an IANA name): it decides the dates of credit notes and the year of their numbers.
    timezone: str = text_column()


class ProviderAccountRow(Row, table=True):
    """The account of each key, looked up once per key; the key itself is never stored."""

    __tablename__ = "provider_account"

    provider: str = text_column(primary_key=True)
    key_fingerprint: str = text_column(primary_key=True)
    account: str = text_column()
    livemode: bool


class AuditEntryRow(Row, table=True):
    """One entry for each change of state, chained by hashes (I10)."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_entry_subject", "subject", "seq"),)

    seq: int = Field(sa_column=Column(BigId, primary_key=True, autoincrement=False))
    at: datetime = timestamp()
    operator: str = text_column()
    host: str = text_column()
    # Who the database or the system says it was (`session_user`, or the user of the process).
    login: str = text_column()
    action: str = text_column()
    subject: str = text_column()
    before: str = text_column()
    after: str = text_column()
    previous_hash: str = text_column()
    # What was stored in the guarded rows that its transaction wrote (store/guarded).
    rows: str = text_column()
    hash: str = text_column()


class CounterRow(Row, table=True):
    """Gap-free series: a credit note's number is counted and used in one transaction (I9)."""

    __tablename__ = "counter"

    name: str = text_column(primary_key=True)
    value: int = minor()
