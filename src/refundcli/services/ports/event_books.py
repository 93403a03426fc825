"""Reads and writes of stored events and rejected deliveries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from refundcli.domain.statuses import Provider
from refundcli.services.ports.provider_updates import EventState, NewEvent, StoredEvent
from refundcli.services.ports.records import EventFilter
from refundcli.services.ports.rejection_reasons import DeliveryCount, RejectionReason


class EventReading(Protocol):
    def unreviewed_events(self, *, limit: int) -> list[StoredEvent]:
        """Events that block a refund until a person acknowledges them, oldest first."""
        ...

    def payments_of_event(self, number: int) -> list[str]:
        """The references of the payments that an event is about."""
        ...

    def unreviewed_count(self, provider: Provider) -> int:
        """The number of the provider's unreviewed updates."""
        ...

    def decided_words(self, provider: Provider) -> dict[str, str]:
        """The decided effect of each unlisted code."""
        ...

    def events(self, criteria: EventFilter) -> list[StoredEvent]:
        """Newest first."""
        ...

    def event(self, number: int) -> StoredEvent | None: ...
    def events_to_apply(self, *, after: int, limit: int) -> list[StoredEvent]:
        """Waiting and unmatched events, oldest first."""
        ...

    def events_of_known_payments(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Waiting, unmatched or not applied events whose payment is now in the books, oldest first."""
        ...

    def events_to_reread(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Delivered events without an effect, by the vocabulary or by a person's decision about their code.

        Also those that are still to be applied, unreviewed because of their code, or for another account or mode.
        """
        ...

    def event_counts_of_known_payments(self) -> dict[str, int]:
        """By state, the number of events as in `events_of_known_payments`, of all providers."""
        ...

    def oldest_event(self, state: EventState) -> datetime | None:
        """When the oldest event in this state was received; None without one."""
        ...

    def last_delivery(self, provider: Provider) -> datetime | None:
        """When the newest webhook event was received, live or from a file; None without one."""
        ...

    def event_counts(self) -> dict[str, int]:
        """The number of events by state."""
        ...

    def delivery_counts(self) -> list[DeliveryCount]:
        """Rejected deliveries and events stored without being applied, by provider and reason."""
        ...

    def sync_state(self, name: str) -> tuple[str, datetime] | None: ...


class EventWriting(EventReading, Protocol):
    def store_events(self, events: Sequence[NewEvent]) -> int:
        """Store new events; an event with a stored key stays unchanged. Returns how many were new."""
        ...

    def link_payments(self, events: Mapping[int, NewEvent]) -> None:
        """Add the references of the payments that each stored event, by its id, is about."""
        ...

    def store_unreviewed(self, event: NewEvent, why: str) -> EventState:
        """Store an update of a report or snapshot that cannot be applied (R13).

        Returns its state: unreviewed, unless it was acknowledged before.
        """
        ...

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None: ...
    def mark_event_unchanged(self, event: StoredEvent, state: EventState, note: str) -> bool:
        """Compare and set: only while its state and its note are still those of `event`; false if they are not."""
        ...

    def acknowledge_event(self, event: StoredEvent, *, memo: str) -> None:
        """Record that a person resolved an event that contradicts the books; its note is kept."""
        ...

    def decide_word(self, provider: Provider, word: str, effect: str) -> int:
        """Decide the effect of an unlisted code; returns how many unreviewed events that acknowledged."""
        ...

    def end_decision(self, provider: Provider, word: str) -> None:
        """End a person's decision about a code that is listed now."""
        ...

    def count_rejected_deliveries(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None: ...
    def set_sync_state(self, name: str, value: str) -> None: ...
