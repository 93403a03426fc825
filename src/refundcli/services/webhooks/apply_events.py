"""Apply stored events. The result is the same however often and in whatever order they arrive (I7)."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from refundcli.domain.errors import NotUsable, RefundcliError
from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books, Reading, Writing
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
from refundcli.services.provider_updates.apply_update import is_about_ours, worst_of
from refundcli.services.provider_updates.outcome import UpdateOutcome
from refundcli.services.provider_updates.sync_payment import SyncPayments
from refundcli.services.webhooks.event_lookup import event_numbered

_BATCH = 200
# One payment has about four events in a row; more failures mean that the provider is unreachable.
_MAX_UNANSWERED = 5
Readers: TypeAlias = Callable[[Provider], EventReader]
Selects: TypeAlias = Callable[[StoredEvent], bool]


@dataclass(slots=True)
class EventOutcomes:
    """Outcomes of events by state, and the events that need a person."""

    counts: Counter[EventState] = field(default_factory=Counter)
    contradictions: list[tuple[StoredEvent, str]] = field(default_factory=list)
    failed: list[tuple[StoredEvent, str]] = field(default_factory=list)
    changed: int = 0
    last_id: int = 0
    # Providers that answered, and those that were unreachable, with the reason; the events of the latter wait.
    answered: set[Provider] = field(default_factory=set)
    unreachable: dict[Provider, str] = field(default_factory=dict)

    def include(self, batch: "EventOutcomes") -> None:
        self.counts.update(batch.counts)
        self.changed += batch.changed
        self.contradictions += batch.contradictions
        self.failed += batch.failed

    def add(self, event: StoredEvent, outcome: UpdateOutcome) -> None:
        self.counts[outcome.state] += 1
        self.changed += outcome.changed
        if outcome.state is EventState.UNREVIEWED:
            self.contradictions.append((event, outcome.note))


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


@dataclass(frozen=True, slots=True)
class ApplyEvents:
    """Applies stored events, each batch in one transaction.

    Events of an unreachable provider stay as they are. `pause` is shared by all calls, so that an unreachable provider
    does not delay the events of the other.
    """

    books: Books
    readers: Readers
    payments: SyncPayments
    pause: ProviderPause = field(default_factory=ProviderPause)

    def waiting(
        self,
        *,
        after: int = 0,
        at_once: int = _BATCH,
        may_continue: Callable[[], bool] = lambda: True,
        selects: Selects = lambda event: True,
    ) -> EventOutcomes:
        """Apply waiting and unmatched events after the number `after`, oldest first.

        `at_once` events are applied in one transaction. `may_continue` is asked before each batch; only events that
        `selects` accepts are applied.
        """
        application = _Application(self, EventOutcomes(last_id=after))
        outcomes = application.outcomes
        application.apply(
            lambda tx, last_id: tx.events.to_apply(after=last_id, limit=at_once), selects, may_continue=may_continue
        )
        if outcomes.changed:
            # An event that names only its dispute can arrive before that dispute.
            known_outcomes = self.known(Provider.ADYEN)
            # Those of the first pass are counted already, and may fail again.
            failed_ids = {stored_event.id for stored_event, _ in outcomes.failed}
            failed = [failure for failure in known_outcomes.failed if failure[0].id not in failed_ids]
            outcomes.include(replace(known_outcomes, counts=Counter(), failed=failed))
        return outcomes

    def known(self, provider: Provider, *, asks: bool = True) -> EventOutcomes:
        """Apply events that were stored before their payment or dispute was in the books, oldest first.

        Without `asks`, which allows look-ups at the provider, only events that were not applied on arrival.
        """
        application, changed_before = _Application(self, EventOutcomes()), -1
        outcomes = application.outcomes
        while outcomes.changed > changed_before:
            changed_before, outcomes.last_id = outcomes.changed, 0
            application.apply(
                lambda tx, last_id: tx.events.of_known_payments(provider, after=last_id, limit=_BATCH),
                lambda stored_event: asks or stored_event.event.not_applied is not None,
            )
        return outcomes

    def everything(self) -> EventOutcomes:
        """Apply waiting and unmatched events, and those set aside whose payment was imported since (R13)."""
        outcomes = self.waiting()
        for provider in Provider:
            outcomes.include(self.known(provider, asks=False))
        return outcomes

    def about(self, tx: Writing, invoice: Invoice) -> bool:
        """Apply Adyen's stored events about this invoice's payments; true if there were any.

        In the caller's transaction, so that no refund is decided while a stored event is not applied (R13). Stripe's
        events only name the payment to look up, which happens before each refund.
        """
        event_numbers = {
            unreviewed_event.event_id
            for payment in invoice.payments
            for unreviewed_event in payment.unreviewed
            if unreviewed_event.provider is Provider.ADYEN and not unreviewed_event.needs_a_person
        }
        for event_number in sorted(event_numbers):
            stored_event = event_numbered(tx, event_number)
            updates = (
                None if stored_event.event.not_applied else self.readers(Provider.ADYEN).updates_in(stored_event.event)
            )
            self.apply_one(tx, stored_event, updates)
        return bool(event_numbers)

    def apply_one(self, tx: Writing, stored_event: StoredEvent, updates: _Updates) -> UpdateOutcome:
        """Apply the event's updates, and store its state."""
        outcome = self._outcome_of(tx, stored_event, updates)
        if (outcome.state, outcome.note) != (stored_event.state, stored_event.note):
            tx.events.mark(stored_event, outcome.state, outcome.note)
        return outcome

    def _outcome_of(self, tx: Writing, stored_event: StoredEvent, updates: _Updates) -> UpdateOutcome:
        if isinstance(updates, _Unavailable):
            return UpdateOutcome(EventState.WAITING, updates.why)
        event = stored_event.event
        if event.not_applied:
            return outcome_of_not_applied(tx, stored_event)
        if updates is None:
            return UpdateOutcome(EventState.NOTED, "does not concern refunds or disputes")
        has_doubt = any(isinstance(update, Doubt) for update in updates)
        effect_by_word = tx.words.decided(event.provider) if has_doubt else {}
        if updates and all(isinstance(update, Doubt) and update.word in effect_by_word for update in updates):
            note = f'{event.kind} is treated as "{effect_by_word[event.kind]}" in this store'
            return UpdateOutcome(EventState.NOTED, note)
        update_source = f"{event.provider} event {event.key}"
        return worst_of(
            [
                self.payments.apply_snapshot(tx, update)
                if isinstance(update, PaymentSnapshot)
                else self.payments.updates.apply(tx, update, update_source=update_source)
                for update in sorted(updates, key=lambda update: not isinstance(update, PaymentSnapshot))
            ]
        )


def waits_or_is_young(*, since: datetime) -> Callable[[StoredEvent], bool]:
    """Selects events to retry: waiting ones, and unmatched ones received after `since`."""
    return lambda event: event.state is EventState.WAITING or event.received_at >= since


@dataclass(slots=True)
class _Application:
    """Applies pages of events, and stops asking a provider after several failures in a row.

    One failure is not enough: a single answer may be unreadable.
    """

    ports: ApplyEvents
    outcomes: EventOutcomes
    unanswered: dict[Provider, list[_Unavailable]] = field(default_factory=dict)

    def apply(
        self,
        page_after: Callable[[Reading, int], list[StoredEvent]],
        selects: Selects,
        *,
        may_continue: Callable[[], bool] = lambda: True,
    ) -> None:
        while may_continue() and (page := self.ports.books.read(lambda tx: page_after(tx, self.outcomes.last_id))):
            batch = [(stored_event, self._updates_in(stored_event)) for stored_event in page if selects(stored_event)]
            if batch:
                self._apply_batch(batch)
            self.outcomes.last_id = page[-1].id

    def _updates_in(self, stored_event: StoredEvent) -> _Updates:
        if stored_event.event.not_applied:
            return None
        provider = stored_event.event.provider
        failures = self.unanswered.setdefault(provider, [])
        if len(failures) >= _MAX_UNANSWERED:
            return failures[-1]
        if self.ports.pause.is_on(provider):
            return _Unavailable(stored_event.note or f"{provider.label} was unreachable a moment ago")
        try:
            updates = self.ports.readers(provider).updates_in(stored_event.event)
        except CannotBeHeld as problem:
            return _Unavailable(problem.message)
        except NotUsable as problem:
            failures.append(_Unavailable(problem.message))
            if len(failures) >= _MAX_UNANSWERED:
                self.ports.pause.begin(provider)
            self.outcomes.unreachable[provider] = problem.message
            return failures[-1]
        except Exception as error:
            return _Unavailable(f"could not be read ({type(error).__name__})")
        failures.clear()
        self.outcomes.unreachable.pop(provider, None)
        self.outcomes.answered.add(provider)
        return updates

    def _apply_batch(self, batch: Sequence[tuple[StoredEvent, _Updates]]) -> None:
        """Apply a batch in one transaction, else one by one. An event that cannot be applied waits, with a note."""
        books = self.ports.books
        try:
            outcomes = books.write(lambda tx: [self.ports.apply_one(tx, *event_updates) for event_updates in batch])
        except Exception as error:
            if isinstance(error, RefundcliError) and not isinstance(error, WouldContradict):
                raise
            if len(batch) > 1:
                for event_with_updates in batch:
                    self._apply_batch([event_with_updates])
                return
            ((stored_event, _),) = batch
            outcome = UpdateOutcome(EventState.WAITING, f"could not be applied ({type(error).__name__})")
            books.write(lambda tx: tx.events.mark(stored_event, outcome.state, outcome.note))
            outcomes = [outcome]
            self.outcomes.failed.append((stored_event, outcome.note))
        for (stored_event, _), outcome in zip(batch, outcomes, strict=True):
            self.outcomes.add(stored_event, outcome)


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
