"""Write the events of providers, and what was decided about them."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import delete, insert, select, update

from refundcli.domain.statuses import Provider
from refundcli.services.ports.provider_updates import (
    ACKNOWLEDGED,
    WORD_DECIDED,
    EventState,
    NewEvent,
    StoredEvent,
)
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.store.queries.events import SqlDeliveryReads, SqlEventReads, SqlWordReads
from refundcli.store.repositories.delivery_counts import count_rejected
from refundcli.store.repositories.writes import Writes
from refundcli.store.tables import EVENT_PAYMENT, PROVIDER_EVENT, WORD_DECISION

_EVENT_KEY = ("id", "provider", "account", "event_key")
# One of the payment's ids at its provider.
_PAYMENT_ID = "coalesce(payment.payment_intent, payment.charge, payment.psp_reference)"
_PAYMENTS_OF_DISPUTES = f"""
    SELECT dispute.reference, {_PAYMENT_ID} FROM dispute JOIN payment ON payment.id = dispute.payment_id
    WHERE dispute.reference IN (SELECT key FROM json_each(:references))
"""  # noqa: S608
_PAYMENTS_OF_REFUNDS = f"""
    SELECT refund.provider_reference, {_PAYMENT_ID} FROM refund JOIN payment share ON share.id = refund.payment_id
    JOIN payment ON payment.id = coalesce(share.share_of, share.id)
    WHERE refund.provider_reference IN (SELECT key FROM json_each(:references))
"""  # noqa: S608


class SqlEvents(Writes, SqlEventReads):
    """Events in a transaction that changes the books."""

    def store(self, events: Sequence[NewEvent]) -> int:
        if not events:
            return 0
        event_rows = [
            {
                "provider": event.provider,
                "account": event.account,
                "event_key": event.key,
                "kind": event.kind,
                "about": event.about,
                "livemode": event.livemode,
                "occurred_at": event.occurred_at,
                "received_at": self._audit.at,
                "payload": event.payload,
                "state": EventState.WAITING,
                "note": "",
                "source": event.source,
                "not_applied": event.not_applied or "",
            }
            for event in events
        ]
        dialect_module = import_module(f"sqlalchemy.dialects.{self._connection.dialect.name}")
        insert_new = dialect_module.insert(PROVIDER_EVENT).on_conflict_do_nothing()
        insert_returning_keys = insert_new.returning(*(PROVIDER_EVENT.c[column] for column in _EVENT_KEY))
        new_id_by_key = {tuple(row[1:]): row[0] for row in self._connection.execute(insert_returning_keys, event_rows)}
        event_by_key = {(event.provider, event.account, event.key): event for event in events}
        self.link_payments({event_id: event_by_key[event_key] for event_key, event_id in new_id_by_key.items()})
        return len(new_id_by_key)

    def link_payments(self, events: Mapping[int, NewEvent]) -> None:
        """Store which payments the events, by their ids, are about."""
        new_events = list(events.values())
        payment_of_reference = {**self._payments_of_disputes(new_events), **self._payments_of_refunds(new_events)}
        links = [
            {"event_id": event_id, "reference": reference}
            for event_id, event in events.items()
            for reference in dict.fromkeys(
                (
                    *event.payments,
                    *(payment_of_reference[named] for named in event.payments if named in payment_of_reference),
                )
            )
        ]
        if links:
            dialect_module = import_module(f"sqlalchemy.dialects.{self._connection.dialect.name}")
            self._connection.execute(dialect_module.insert(EVENT_PAYMENT).on_conflict_do_nothing(), links)

    def _payments_of_disputes(self, events: Sequence[NewEvent]) -> dict[str, str]:
        """The payment's reference by its dispute's, because an Adyen event may name only the dispute."""
        return self._payments_behind(
            _PAYMENTS_OF_DISPUTES, [event for event in events if event.provider is Provider.ADYEN or event.not_applied]
        )

    def _payments_of_refunds(self, events: Sequence[NewEvent]) -> dict[str, str]:
        """The payment's reference by its refund's, because an event of an unknown shape may name only the refund."""
        return self._payments_behind(_PAYMENTS_OF_REFUNDS, [event for event in events if event.not_applied])

    def _payments_behind(self, text: str, events: Sequence[NewEvent]) -> dict[str, str]:
        references = {reference for event in events for reference in event.payments}
        payments = self._rows.pairs(text, references=references) if references else {}
        return {reference: payment for reference, payment in payments.items() if payment}

    def store_unreviewed(self, event: NewEvent, reason: str) -> EventState:
        conditions = (
            PROVIDER_EVENT.c.provider == event.provider,
            PROVIDER_EVENT.c.account == event.account,
            PROVIDER_EVENT.c.event_key == event.key,
        )
        if not self.store([event]):
            return EventState(self._connection.execute(select(PROVIDER_EVENT.c.state).where(*conditions)).scalar_one())
        self._hits(update(PROVIDER_EVENT).where(*conditions).values(state=EventState.UNREVIEWED, note=reason))
        self._audit.write("unreviewed", event.about, {}, {"word": event.kind, "why": reason})
        return EventState.UNREVIEWED

    def mark(self, event: StoredEvent, state: EventState, note: str) -> None:
        statement = update(PROVIDER_EVENT).where(PROVIDER_EVENT.c.id == event.id)
        self._hits(statement.values(state=state, note=note))

    def mark_unchanged(self, event: StoredEvent, state: EventState, note: str) -> bool:
        conditions = (
            PROVIDER_EVENT.c.id == event.id,
            PROVIDER_EVENT.c.state == event.state,
            PROVIDER_EVENT.c.note == event.note,
        )
        return self._hits(update(PROVIDER_EVENT).where(*conditions).values(state=state, note=note))

    def acknowledge(self, event: StoredEvent, *, memo: str) -> None:
        memo_in_parentheses = f" ({memo})" if memo else ""
        note = f"{ACKNOWLEDGED} {self._audit.operator}{memo_in_parentheses}; {event.note}"
        self.mark(event, EventState.APPLIED, note)
        facts_after = {"state": EventState.APPLIED, "note": note}
        self._audit.write("event acknowledged", f"event {event.id}", {"state": event.state}, facts_after)


class SqlWords(Writes, SqlWordReads):
    """Decided words in a transaction that changes the books."""

    def decide(self, provider: Provider, word: str, effect: str) -> int:
        """Store what an unlisted word of the provider means, and acknowledge its events. Returns how many."""
        stored_events = SqlEvents(self._connection, self._audit)
        events = stored_events.unreviewed_with_word(provider, word)
        for event in events:
            stored_events.acknowledge(event, memo=f"{word} {WORD_DECIDED} {effect}")
        columns = {"effect": effect, "operator": self._audit.operator, "decided_at": self._audit.at}
        if not self._hits(update(WORD_DECISION).where(*_of_word(provider, word)).values(**columns)):
            self._connection.execute(insert(WORD_DECISION).values(provider=provider, word=word, **columns))
        self._audit.write("word decided", f"{provider}:{word}", {}, {"effect": effect, "events": len(events)})
        return len(events)

    def end_decision(self, provider: Provider, word: str) -> None:
        """Delete what was decided about a word of the provider, because the word is listed now."""
        deletion = delete(WORD_DECISION).where(*_of_word(provider, word)).returning(WORD_DECISION.c.effect)
        effect = self._connection.execute(deletion).scalar()
        if effect is not None:
            facts_before = {"effect": effect}
            self._audit.write("word decision ended", f"{provider}:{word}", facts_before, {"why": "the word is listed"})


def _of_word(provider: Provider, word: str) -> tuple[Any, ...]:
    return WORD_DECISION.c.provider == provider, WORD_DECISION.c.word == word


class SqlDeliveries(Writes, SqlDeliveryReads):
    """Deliveries in a transaction that changes the books."""

    def count_rejected(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None:
        """Changes no state, so it writes no audit entry."""
        count_rejected(self._connection, counts, at=self._audit.at)
