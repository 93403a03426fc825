"""Read provider events, deliveries and decided words."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sql
from sqlalchemy import ColumnElement, and_, func, or_
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.statuses import Provider
from refundcli.store.repositories.event_rows import event_of
from refundcli.store.schema import EventPaymentRow, ProviderEventRow, WordDecisionRow

if TYPE_CHECKING:
    from refundcli.services.ports.provider_updates import EventState, StoredEvent
    from refundcli.services.ports.records import EventFilter
    from refundcli.services.ports.rejection_reasons import DeliveryCount

_PAYMENT = SQLModel.metadata.tables["payment"]


class SqlEventReads:
    """Reads the events that providers reported."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def unreviewed(self, *, limit: int) -> "list[StoredEvent]":
        from refundcli.services.ports.provider_updates import EventState

        query = select(ProviderEventRow).where(ProviderEventRow.state == EventState.UNREVIEWED)
        rows = self._session.exec(query.order_by(col(ProviderEventRow.id)).limit(limit))
        return [event_of(row) for row in rows]

    def payments_of(self, event_id: int) -> list[str]:
        query = select(EventPaymentRow.reference).where(EventPaymentRow.event_id == event_id)
        return sorted(self._session.exec(query).all())

    def unreviewed_count(self, provider: Provider) -> int:
        from refundcli.services.ports.provider_updates import EventState

        query = select(func.count()).where(
            ProviderEventRow.provider == provider, ProviderEventRow.state == EventState.UNREVIEWED
        )
        return self._session.exec(query).one()

    def matching(self, filters: "EventFilter") -> "list[StoredEvent]":
        query = select(ProviderEventRow).order_by(col(ProviderEventRow.id).desc()).limit(filters.limit)
        if filters.state:
            query = query.where(ProviderEventRow.state == filters.state)
        if filters.provider:
            query = query.where(ProviderEventRow.provider == filters.provider)
        if filters.about:
            query = query.where(ProviderEventRow.about == filters.about)
        return [event_of(row) for row in self._session.exec(query)]

    def get(self, event_id: int) -> "StoredEvent | None":
        row = self._session.get(ProviderEventRow, event_id)
        return event_of(row) if row else None

    def to_apply(self, *, after: int, limit: int) -> "list[StoredEvent]":
        """`after`: the number of the last event that was read."""
        from refundcli.services.ports.provider_updates import EventState

        is_open = col(ProviderEventRow.state).in_((EventState.WAITING, EventState.UNMATCHED))
        query = select(ProviderEventRow).where(is_open, col(ProviderEventRow.id) > after)
        return [event_of(row) for row in self._session.exec(query.order_by(col(ProviderEventRow.id)).limit(limit))]

    def of_known_payments(self, provider: Provider, *, after: int, limit: int) -> "list[StoredEvent]":
        """`after`: the number of the last event that was read."""
        query = (
            select(ProviderEventRow)
            .join(EventPaymentRow, col(EventPaymentRow.event_id) == col(ProviderEventRow.id))
            .where(*_not_applied_to_known_payment(provider), col(ProviderEventRow.id) > after)
            .order_by(col(ProviderEventRow.id))
            .limit(limit)
        )
        return list({row.id: event_of(row) for row in self._session.exec(query)}.values())

    def to_reread(self, provider: Provider, *, after: int, limit: int) -> "list[StoredEvent]":
        """`after`: the number of the last event that was read."""
        from refundcli.services.ports.provider_updates import (
            ACKNOWLEDGED,
            NOT_LISTED,
            WORD_DECIDED,
            EventSource,
            EventState,
        )
        from refundcli.services.ports.rejection_reasons import RejectionReason

        state, note = col(ProviderEventRow.state), col(ProviderEventRow.note)
        open_states = (EventState.NOTED, EventState.WAITING, EventState.UNMATCHED)
        readable_reasons = ("", RejectionReason.OTHER_ACCOUNT, RejectionReason.OTHER_MODE)
        is_decided_by_word = and_(
            state == EventState.APPLIED, note.startswith(ACKNOWLEDGED), note.contains(WORD_DECIDED, autoescape=True)
        )
        is_unlisted_word = and_(state == EventState.UNREVIEWED, note.contains(NOT_LISTED, autoescape=True))
        query = (
            select(ProviderEventRow)
            .where(
                or_(state.in_(open_states), is_decided_by_word, is_unlisted_word),
                col(ProviderEventRow.not_applied).in_(readable_reasons),
            )
            .where(ProviderEventRow.provider == provider, ProviderEventRow.source == EventSource.WEBHOOK)
            .where(col(ProviderEventRow.id) > after)
            .order_by(col(ProviderEventRow.id))
            .limit(limit)
        )
        return [event_of(row) for row in self._session.exec(query)]

    def counts_of_known_payments(self) -> dict[str, int]:
        counts = Counter[str]()
        for provider in Provider:
            query = (
                select(ProviderEventRow.state, func.count(col(ProviderEventRow.id).distinct()))
                .join(EventPaymentRow, col(EventPaymentRow.event_id) == col(ProviderEventRow.id))
                .where(*_not_applied_to_known_payment(provider))
                .group_by(col(ProviderEventRow.state))
            )
            counts.update(dict(self._session.exec(query).all()))
        return counts

    def oldest(self, state: "EventState") -> datetime | None:
        query = select(ProviderEventRow.received_at).where(ProviderEventRow.state == state)
        return self._session.exec(query.order_by(col(ProviderEventRow.id)).limit(1)).first()

    def counts(self) -> dict[str, int]:
        query = select(ProviderEventRow.state, func.count()).group_by(col(ProviderEventRow.state))
        return dict(self._session.exec(query).all())


class SqlDeliveryReads:
    """Reads the newest delivery, and the counts of those that were not applied."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def newest(self, provider: Provider) -> datetime | None:
        from refundcli.store.queries import totals

        return totals.last_delivery(self._session, provider)

    def counts(self) -> "list[DeliveryCount]":
        from refundcli.store.repositories.delivery_counts import delivery_counts

        return delivery_counts(self._session)


class SqlWordReads:
    """Reads what people decided about unlisted words."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def decided(self, provider: Provider) -> dict[str, str]:
        rows = self._session.exec(select(WordDecisionRow).where(WordDecisionRow.provider == provider))
        return {row.word: row.effect for row in rows}


def _not_applied_to_known_payment(provider: Provider) -> tuple[ColumnElement[bool], ...]:
    """Stored events that are not applied and name a payment that is in the books."""
    from refundcli.services.ports.provider_updates import EventState

    id_columns = (
        (_PAYMENT.c.psp_reference,) if provider is Provider.ADYEN else (_PAYMENT.c.payment_intent, _PAYMENT.c.charge)
    )
    is_known = or_(*(sql.exists().where(column == EventPaymentRow.reference) for column in id_columns))
    # An event set aside needs a person as soon as a payment that it names is in the books.
    is_set_aside = and_(col(ProviderEventRow.state) == EventState.NOTED, col(ProviderEventRow.not_applied) != "")
    is_open = col(ProviderEventRow.state).in_((EventState.WAITING, EventState.UNMATCHED))
    return (or_(is_open, is_set_aside), is_known, col(ProviderEventRow.provider) == provider)
