"""Stored events, deliveries, and decided words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from refundcli.domain.statuses import Provider
from refundcli.services.ports.provider_updates import (
    EventState,
    NewEvent,
    StoredEvent,
)
from refundcli.services.ports.reads import EventFilter
from refundcli.services.ports.rejection_reasons import DeliveryCount, RejectionReason


class EventReads(Protocol):
    def unreviewed(self, *, limit: int) -> list[StoredEvent]:
        """Events that block a refund until a person acknowledges them, oldest first."""
        ...

    def payments_of(self, event_id: int) -> list[str]:
        """The references of the payments that an event is about."""
        ...

    def unreviewed_count(self, provider: Provider) -> int:
        """The number of the provider's unreviewed updates."""
        ...

    def matching(self, filters: EventFilter) -> list[StoredEvent]:
        """Newest first."""
        ...

    def get(self, event_id: int) -> StoredEvent | None: ...
    def to_apply(self, *, after: int, limit: int) -> list[StoredEvent]:
        """Waiting and unmatched events, oldest first."""
        ...

    def of_known_payments(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Waiting, unmatched or not applied events whose payment is now in the books, oldest first."""
        ...

    def to_reread(self, provider: Provider, *, after: int, limit: int) -> list[StoredEvent]:
        """Delivered events without an effect, by the vocabulary or by a person's decision about their code.

        Also those that are still to be applied, unreviewed because of their code, or for another account or mode.
        """
        ...

    def counts_of_known_payments(self) -> dict[str, int]:
        """By state, the number of events as in `of_known_payments`, of all providers."""
        ...

    def oldest(self, state: EventState) -> datetime | None:
        """When the oldest event in this state was received; None without one."""
        ...

    def counts(self) -> dict[str, int]:
        """The number of events by state."""
        ...


class Events(EventReads, Protocol):
    def store(self, events: Sequence[NewEvent]) -> int:
        """Store new events; an event with a stored key stays unchanged. Returns how many were new."""
        ...

    def link_payments(self, events: Mapping[int, NewEvent]) -> None:
        """Add the references of the payments that each stored event, by its id, is about."""
        ...

    def store_unreviewed(self, event: NewEvent, reason: str) -> EventState:
        """Store an update of a report or snapshot that cannot be applied (R13).

        Returns its state: unreviewed, unless it was acknowledged before.
        """
        ...

    def mark(self, event: StoredEvent, state: EventState, note: str) -> None: ...
    def mark_unchanged(self, event: StoredEvent, state: EventState, note: str) -> bool:
        """Compare and set: only while its state and its note are still those of `event`; false if they are not."""
        ...

    def acknowledge(self, event: StoredEvent, *, memo: str) -> None:
        """Record that a person resolved an event that contradicts the books; its note stays."""
        ...


class DeliveryReads(Protocol):
    def newest(self, provider: Provider) -> datetime | None:
        """When the newest webhook event was received, live or from a file; None without one."""
        ...

    def counts(self) -> list[DeliveryCount]:
        """Rejected deliveries and events stored without being applied, by provider and reason."""
        ...


class Deliveries(DeliveryReads, Protocol):
    def count_rejected(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None: ...


class WordReads(Protocol):
    def decided(self, provider: Provider) -> dict[str, str]:
        """The decided effect of each unlisted code."""
        ...


class Words(WordReads, Protocol):
    def decide(self, provider: Provider, word: str, effect: str) -> int:
        """Store the effect of an unlisted code and acknowledge its unreviewed events; returns their number."""
        ...

    def end_decision(self, provider: Provider, word: str) -> None:
        """End a person's decision about a code that is listed now."""
        ...
