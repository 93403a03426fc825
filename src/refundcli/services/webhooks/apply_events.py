"""Apply stored events. The result is the same however often and in whatever order they arrive (I7)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from refundcli.domain.errors import NotUsable, RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    CannotBeHeld,
    Doubt,
    EventState,
    PaymentSnapshot,
    ProviderUpdate,
    StoredEvent,
)
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.services.ports.store_problems import WouldContradict
from refundcli.services.ports.webhooks import EventReader
from refundcli.services.provider_updates.apply_update import apply_updates, is_about_ours, worst_of
from refundcli.services.provider_updates.outcome import UpdateOutcome
from refundcli.services.provider_updates.sync_payment import apply_snapshot
from refundcli.services.webhooks.event_lookup import event_numbered

_BATCH = 200
# One payment has about four events in a row; more failures mean that the provider is unreachable.
_MAX_UNANSWERED = 5
Readers = Callable[[Provider], EventReader]


@dataclass(slots=True)
class EventOutcomes:
    """Outcomes of events by state, and the events that need a person."""

    counts: dict[EventState, int] = field(default_factory=dict)
    contradictions: list[tuple[StoredEvent, str]] = field(default_factory=list)
    failed: list[tuple[StoredEvent, str]] = field(default_factory=list)
    changed: int = 0
    last_id: int = 0
    # Providers that answered, and those that were unreachable, with the reason; the events of the latter wait.
    answered: set[Provider] = field(default_factory=set)
    unreachable: dict[Provider, str] = field(default_factory=dict)

    def include(self, batch: "EventOutcomes") -> None:
        for state, count in batch.counts.items():
            self.counts[state] = self.counts.get(state, 0) + count
        self.changed += batch.changed
        self.contradictions += batch.contradictions
        self.failed += batch.failed

    def add(self, event: StoredEvent, outcome: UpdateOutcome) -> None:
        self.counts[outcome.state] = self.counts.get(outcome.state, 0) + 1
        self.changed += outcome.changed
        if outcome.state is EventState.UNREVIEWED:
            self.contradictions.append((event, outcome.note))


class Apply(Protocol):
    """`apply_stored` with its readers, clock and number format."""

    def __call__(
        self,
        *,
        books: Books,
        after: int = 0,
        at_once: int = _BATCH,
        may_continue: Callable[[], bool] = ...,
        selects: Callable[[StoredEvent], bool] = ...,
    ) -> EventOutcomes: ...


def apply_stored(
    *,
    books: Books,
    readers: Readers,
    clock: Clock,
    credit_note_format: str,
    after: int = 0,
    at_once: int = _BATCH,
    may_continue: Callable[[], bool] = lambda: True,
    selects: Callable[[StoredEvent], bool] = lambda event: True,
    pause: "ProviderPause | None" = None,
) -> EventOutcomes:
    """Apply waiting and unmatched events after the number `after`, oldest first.

    Events of an unreachable provider stay as they are. `at_once` events are applied in one transaction. `pause` is
    shared by several calls, so that an unreachable provider does not delay the events of the other. `may_continue` is
    asked before each batch; only events that `selects` accepts are applied.
    """
    outcomes = EventOutcomes(last_id=after)
    update_reader = _UpdateReader(readers, outcomes, pause or ProviderPause())
    while may_continue():
        batch = books.read(lambda tx: tx.events.to_apply(after=outcomes.last_id, limit=at_once))
        if not batch:
            break
        events_with_updates = [(event, update_reader.updates_in(event)) for event in batch if selects(event)]
        if events_with_updates:
            _apply_batch(events_with_updates, outcomes, books=books, clock=clock, credit_note_format=credit_note_format)
        outcomes.last_id = batch[-1].id
    if outcomes.changed:
        # An event that names only its dispute can arrive before that dispute.
        known_outcomes = apply_known(
            Provider.ADYEN, books=books, readers=readers, clock=clock, credit_note_format=credit_note_format
        )
        outcomes.changed += known_outcomes.changed
        outcomes.contradictions += known_outcomes.contradictions
        # Those of the first pass may fail again.
        failed_ids = {stored_event.id for stored_event, _ in outcomes.failed}
        outcomes.failed += [failure for failure in known_outcomes.failed if failure[0].id not in failed_ids]
    return outcomes


def apply_known(
    provider: Provider, *, books: Books, readers: Readers, clock: Clock, credit_note_format: str, asks: bool = True
) -> EventOutcomes:
    """Apply events that were stored before their payment or dispute was in the books, oldest first.

    Without `asks`, which allows look-ups at the provider, only events that were not applied on arrival.
    """
    outcomes, changed_before = EventOutcomes(), -1
    update_reader = _UpdateReader(readers, outcomes, ProviderPause())
    while outcomes.changed > changed_before:
        changed_before, outcomes.last_id = outcomes.changed, 0
        while batch := books.read(
            lambda tx: tx.events.of_known_payments(provider, after=outcomes.last_id, limit=_BATCH)
        ):
            events_with_updates = [
                (stored_event, update_reader.updates_in(stored_event))
                for stored_event in batch
                if asks or stored_event.event.not_applied
            ]
            if events_with_updates:
                _apply_batch(
                    events_with_updates, outcomes, books=books, clock=clock, credit_note_format=credit_note_format
                )
            outcomes.last_id = batch[-1].id
    return outcomes


def apply_set_aside(
    outcomes: EventOutcomes, *, books: Books, readers: Readers, clock: Clock, credit_note_format: str
) -> None:
    """Apply events that were stored without being applied and whose payment was imported since (R13)."""
    for provider in Provider:
        known_outcomes = apply_known(
            provider, books=books, readers=readers, clock=clock, credit_note_format=credit_note_format, asks=False
        )
        outcomes.include(known_outcomes)


def apply_waiting_in(tx: Writing, invoice: Invoice, *, readers: Readers, clock: Clock, credit_note_format: str) -> bool:
    """Apply Adyen's stored events about this invoice's payments; true if there were any.

    In the caller's transaction, so that no refund is decided while a stored event is not applied (R13). Stripe's events
    only name the payment to look up, which happens before each refund.
    """
    event_numbers = {
        unreviewed_event.event_id
        for payment in invoice.payments
        for unreviewed_event in payment.unreviewed
        if unreviewed_event.provider is Provider.ADYEN and not unreviewed_event.needs_a_person
    }
    for event_number in sorted(event_numbers):
        stored_event = event_numbered(tx, event_number)
        updates = None if stored_event.event.not_applied else readers(Provider.ADYEN).updates_in(stored_event.event)
        outcome = _outcome_of(tx, stored_event, updates, clock, credit_note_format)
        if (outcome.state, outcome.note) != (stored_event.state, stored_event.note):
            tx.events.mark(stored_event, outcome.state, outcome.note)
    return bool(event_numbers)


def waits_or_is_young(*, since: datetime) -> Callable[[StoredEvent], bool]:
    """Selects events to retry: waiting ones, and unmatched ones received after `since`."""
    return lambda event: event.state is EventState.WAITING or event.received_at >= since


@dataclass(frozen=True, slots=True)
class _Unavailable:
    """The provider was unreachable, and why."""

    why: str


_Updates = Sequence[ProviderUpdate] | None | _Unavailable


@dataclass(slots=True)
class ProviderPause:
    """Skips an unreachable provider for `seconds`."""

    seconds: float = 0.0
    _paused_until: dict[Provider, float] = field(default_factory=dict)

    def begin(self, provider: Provider) -> None:
        self._paused_until[provider] = time.monotonic() + self.seconds

    def is_on(self, provider: Provider) -> bool:
        return time.monotonic() < self._paused_until.get(provider, 0.0)


@dataclass(slots=True)
class _UpdateReader:
    """Reads the updates of events, and stops for a provider after several failures in a row.

    One failure is not enough: a single answer may be unreadable.
    """

    readers: Readers
    outcomes: EventOutcomes
    pause: ProviderPause
    unanswered: dict[Provider, list[_Unavailable]] = field(default_factory=dict)

    def updates_in(self, stored_event: StoredEvent) -> _Updates:
        if stored_event.event.not_applied:
            return None
        provider = stored_event.event.provider
        failures = self.unanswered.setdefault(provider, [])
        if len(failures) >= _MAX_UNANSWERED:
            return failures[-1]
        if self.pause.is_on(provider):
            return _Unavailable(stored_event.note or f"{provider.label} was unreachable a moment ago")
        try:
            updates = self.readers(provider).updates_in(stored_event.event)
        except CannotBeHeld as problem:
            return _Unavailable(problem.message)
        except NotUsable as problem:
            failures.append(_Unavailable(problem.message))
            if len(failures) >= _MAX_UNANSWERED:
                self.pause.begin(provider)
            self.outcomes.unreachable[provider] = problem.message
            return failures[-1]
        except Exception as error:
            return _Unavailable(f"could not be read ({type(error).__name__})")
        failures.clear()
        self.outcomes.unreachable.pop(provider, None)
        self.outcomes.answered.add(provider)
        return updates


def _apply_batch(
    batch: Sequence[tuple[StoredEvent, _Updates]],
    outcomes: EventOutcomes,
    *,
    books: Books,
    clock: Clock,
    credit_note_format: str,
) -> None:
    """Apply a batch in one transaction, else one by one. An event that cannot be applied waits, with a note."""
    try:
        event_outcomes = books.write(lambda tx: _apply(tx, batch, clock, credit_note_format))
    except Exception as error:
        if isinstance(error, RefundcliError) and not isinstance(error, WouldContradict):
            raise
        if len(batch) > 1:
            for event_with_updates in batch:
                _apply_batch(
                    [event_with_updates], outcomes, books=books, clock=clock, credit_note_format=credit_note_format
                )
            return
        ((stored_event, _),) = batch
        outcome = UpdateOutcome(EventState.WAITING, f"could not be applied ({type(error).__name__})")
        books.write(lambda tx: tx.events.mark(stored_event, outcome.state, outcome.note))
        event_outcomes = [(stored_event, outcome)]
        outcomes.failed.append((stored_event, outcome.note))
    for stored_event, outcome in event_outcomes:
        outcomes.add(stored_event, outcome)


def _apply(
    tx: Writing, batch: Sequence[tuple[StoredEvent, _Updates]], clock: Clock, credit_note_format: str
) -> list[tuple[StoredEvent, UpdateOutcome]]:
    event_outcomes = []
    for stored_event, updates in batch:
        outcome = _outcome_of(tx, stored_event, updates, clock, credit_note_format)
        if (outcome.state, outcome.note) != (stored_event.state, stored_event.note):
            tx.events.mark(stored_event, outcome.state, outcome.note)
        event_outcomes.append((stored_event, outcome))
    return event_outcomes


def _outcome_of(
    tx: Writing, stored_event: StoredEvent, updates: _Updates, clock: Clock, credit_note_format: str
) -> UpdateOutcome:
    if isinstance(updates, _Unavailable):
        return UpdateOutcome(EventState.WAITING, updates.why)
    if stored_event.event.not_applied:
        return outcome_of_not_applied(tx, stored_event)
    if updates is None:
        return UpdateOutcome(EventState.NOTED, "does not concern refunds or disputes")
    effect_by_word = (
        tx.words.decided(stored_event.event.provider) if any(isinstance(update, Doubt) for update in updates) else {}
    )
    if updates and all(isinstance(update, Doubt) and update.word in effect_by_word for update in updates):
        return UpdateOutcome(
            EventState.NOTED,
            (f'{stored_event.event.kind} is treated as "{effect_by_word[stored_event.event.kind]}" in this store'),
        )
    update_source = f"{stored_event.event.provider} event {stored_event.event.key}"
    snapshots = [update for update in updates if isinstance(update, PaymentSnapshot)]
    snapshot_outcomes = [
        apply_snapshot(tx, update, clock=clock, credit_note_format=credit_note_format) for update in snapshots
    ]
    other_updates = [update for update in updates if not isinstance(update, PaymentSnapshot)]
    return worst_of(
        [
            *snapshot_outcomes,
            *apply_updates(
                tx, other_updates, update_source=update_source, clock=clock, credit_note_format=credit_note_format
            ),
        ]
    )


def outcome_of_not_applied(tx: Writing, stored_event: StoredEvent) -> UpdateOutcome:
    """Unreviewed if it names a payment of ours (R13), else noted. Decisions about codes do not apply to it."""
    delivered_event = stored_event.event
    why = {
        RejectionReason.OTHER_ACCOUNT: f"the event is for another account, {delivered_event.account}",
        RejectionReason.OTHER_MODE: f"the event is for {'live' if delivered_event.livemode else 'test'} mode",
    }.get(
        delivered_event.not_applied or RejectionReason.UNREADABLE, "the event has a format that refundcli does not know"
    )
    payment_references = tuple(tx.events.payments_of(stored_event.id))
    doubt = Doubt(
        delivered_event.provider,
        payment_references,
        delivered_event.kind,
        delivered_event.about,
        f"{why}; it was not applied",
        delivered_event.account,
    )
    return UpdateOutcome(EventState.UNREVIEWED if is_about_ours(tx, doubt) else EventState.NOTED, doubt.why)
