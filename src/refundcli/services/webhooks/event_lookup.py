"""Find stored events and their refunds."""

from collections.abc import Sequence
from dataclasses import replace

from refundcli.domain.errors import NotFound, UsageProblem, did_you_mean
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.invoices.lookup import RefundNotFound
from refundcli.services.ports.books import Reading
from refundcli.services.ports.provider_updates import (
    EventState,
    StoredEvent,
)
from refundcli.services.ports.reads import EventFilter

# The largest integer that a database stores.
LARGEST_NUMBER = 2**63 - 1


class NoSuchEvent(NotFound):
    code = "event-not-found"

    def __init__(self, number: int) -> None:
        super().__init__(f"There is no event {number}.", hint="refundcli events list   shows the newest")


class UnknownEventState(UsageProblem):
    code = "unknown-event-state"

    def __init__(self, state_name: str) -> None:
        suggestion = did_you_mean(state_name, list(EventState))
        super().__init__(
            f"{state_name[:40]!a} is not a state of an event.", hint=suggestion or f"One of: {', '.join(EventState)}."
        )


def event_numbered(reading: Reading, number: int) -> StoredEvent:
    """The event with this number. Raises NoSuchEvent."""
    event = reading.events.get(number) if number <= LARGEST_NUMBER else None
    if event is None:
        raise NoSuchEvent(number)
    return event


def events_with_refunds(reading: Reading, criteria: EventFilter) -> list[tuple[StoredEvent, Refund | None]]:
    """Matching events, as `with_refunds`. `about` may be our refund id. Raises RefundNotFound."""
    if criteria.about.startswith("rf_"):
        refund = reading.refunds.get(criteria.about)
        if refund is None:
            raise RefundNotFound(criteria.about)
        criteria = replace(criteria, about=refund.provider_reference or refund.id)
    return with_refunds(reading, reading.events.matching(criteria))


def with_refunds(reading: Reading, events: Sequence[StoredEvent]) -> list[tuple[StoredEvent, Refund | None]]:
    """Each event with its refund in these books; None if it is about something else."""
    refund_by_reference: dict[tuple[Provider, str], Refund] = {}
    for provider in {stored_event.event.provider for stored_event in events}:
        object_ids = [e.event.about for e in events if e.event.provider is provider and e.event.about]
        for refund in reading.refunds.by_provider_references(provider, object_ids):
            refund_by_reference[provider, refund.provider_reference] = refund
    return [
        (stored_event, refund_by_reference.get((stored_event.event.provider, stored_event.event.about)))
        for stored_event in events
    ]


def event_state(state_name: str) -> EventState:
    """The state with this name. Raises UnknownEventState."""
    try:
        return EventState(state_name)
    except ValueError:
        raise UnknownEventState(state_name) from None
