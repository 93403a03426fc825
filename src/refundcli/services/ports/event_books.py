"""Stored events and rejected deliveries: what the use cases read and write of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from refundcli.domain.statuses import Provider
from refundcli.services.ports.provider_updates import EventState, NewEvent, StoredEvent
from refundcli.services.ports.records import EventFilter
from refundcli.services.ports.rejections import DeliveryCount, RejectionReason


class EventReading(Protocol):
    def unreviewed_events(self, *, limit: int) -> list[StoredEvent]:
        """Those that block a refund until a person acknowledges them, the oldest first."""
        ...

    def payments_of_event(self, number: int) -> list[str]:
        """The references of the payments that an event is about."""
        ...

    def unreviewed_count(self, provider: Provider) -> int:
        """How many of the provider's updates are unreviewed."""
        ...

    def decided_words(self, provider: Provider) -> dict[str, str]:
        """The decided effect of each unlisted code."""
        ...

    def events(self, criteria: EventFilter) -> list[StoredEvent]:
        """The newest first."""
        ...

    def event(self, number: int) -> StoredEvent | None: ...
    def events_to_apply(self, *, after: int, limit: int) -> list[StoredEvent]:
        """What waits, or was about a payment that was not here yet; the oldest first."""
        ...

    def events_of_known_payments(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Events that are waiting, unmatched or not applied and whose payment is in the books by now, oldest first."""
        ...

    def ignored_events(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Delivered events that did nothing, by the vocabulary or by what a person decided of their word."""
        ...

    def event_counts_of_known_payments(self) -> dict[str, int]:
        """How many of those events there are in each state, of all providers."""
        ...

    def oldest_event(self, state: EventState) -> datetime | None:
        """When the oldest of those in this state was received; None if there is none."""
        ...

    def last_delivery(self, provider: Provider) -> datetime | None:
        """When the newest event came by webhook, or from a file of deliveries; None if none ever did."""
        ...

    def event_counts(self) -> dict[str, int]:
        """How many events there are in each state."""
        ...

    def delivery_counts(self) -> list[DeliveryCount]:
        """Deliveries that were rejected, and events that are stored and not applied, by provider and reason."""
        ...

    def sync_state(self, name: str) -> tuple[str, datetime] | None: ...


class EventWriting(EventReading, Protocol):
    def store_events(self, events: Sequence[NewEvent]) -> int:
        """Keep what is new; how many were. An event that is known by its key is left as it is."""
        ...

    def store_unreviewed(self, event: NewEvent, why: str) -> EventState:
        """Store what a report or a snapshot says and cannot be applied (R13).

        Returns its state: unreviewed, unless someone acknowledged it before.
        """
        ...

    def mark_event(self, event: StoredEvent, state: EventState, note: str) -> None: ...
    def acknowledge_event(self, event: StoredEvent, *, memo: str) -> None:
        """A person dealt with an event that contradicts the books; what it said stays in its note."""
        ...

    def decide_word(self, provider: Provider, word: str, effect: str) -> int:
        """Decide the effect of an unlisted code; returns how many unreviewed events that acknowledged."""
        ...

    def end_decision(self, provider: Provider, word: str) -> None:
        """The code is listed by now: what a person decided of it holds no more."""
        ...

    def count_rejected_deliveries(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None: ...
    def set_sync_state(self, name: str, value: str) -> None: ...
