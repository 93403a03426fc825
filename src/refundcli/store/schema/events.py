"""What providers reported, and what was decided about it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, text
from sqlmodel import Field

from refundcli.store.schema.columns import Row, key, minor, text_column, timestamp


class ProviderEventRow(Row, table=True):
    """What a provider reported, verified and stored before it is applied; repeated deliveries share one row.

    `source`: webhook, report or api. Until it is applied or acknowledged it blocks the refund of its payments (R13).
    """

    __tablename__ = "provider_event"
    __table_args__ = (
        CheckConstraint(
            "state IN ('waiting','applied','unmatched','unreviewed','noted')", name="provider_event_state_known"
        ),
        Index("ux_provider_event_key", "provider", "account", "event_key", unique=True),
        Index("ix_provider_event_state", "state", "id"),
        Index("ix_provider_event_not_applied", "not_applied", sqlite_where=text("not_applied <> ''")),
    )

    id: int | None = key()
    provider: str = text_column()
    account: str = text_column()
    event_key: str = text_column()
    kind: str = text_column()
    about: str = text_column(index=True)
    livemode: bool
    occurred_at: datetime = timestamp()
    received_at: datetime = timestamp()
    payload: str = text_column()
    state: str = text_column()
    note: str = text_column()
    source: str = text_column()
    # Why it is stored and not applied: for another account or mode, or unreadable. Empty for all other events.
    not_applied: str = text_column()


class DeliveryRejectionRow(Row, table=True):
    """How many deliveries were rejected. Counts from before schema 0007 have no provider or time."""

    __tablename__ = "delivery_rejection"

    provider: str = text_column(primary_key=True)
    reason: str = text_column(primary_key=True)
    count: int = minor()
    first_at: datetime | None = timestamp(nullable=True)
    last_at: datetime | None = timestamp(nullable=True)


class EventPaymentRow(Row, table=True):
    """The payments an event is about, by their references at the provider, even if they are not in the books."""

    __tablename__ = "event_payment"

    event_id: int = Field(sa_column=Column(ForeignKey("provider_event.id"), primary_key=True))
    reference: str = text_column(primary_key=True, index=True)


class WordDecisionRow(Row, table=True):
    """What an unlisted word of a provider means in this store, decided once by a person (R13)."""

    __tablename__ = "word_decision"

    provider: str = text_column(primary_key=True)
    word: str = text_column(primary_key=True)
    effect: str = text_column()
    operator: str = text_column()
    decided_at: datetime = timestamp()


class SyncStateRow(Row, table=True):
    """How far a pull has progressed, and when the store was last compared with a provider."""

    __tablename__ = "sync_state"

    name: str = text_column(primary_key=True)
    value: str = text_column()
    at: datetime = timestamp()
