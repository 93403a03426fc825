"""Events of the providers: kept first, applied after, the same end however often and in whatever order they come."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from refundcli.domain.dispute import DisputeState, is_about_a_dispute
from refundcli.domain.errors import NotFound, RefundcliError, Refused, SettingsProblem, UsageProblem, did_you_mean
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.invoices.lookup import RefundNotFound
from refundcli.services.ports.books import Books, Reading, WouldContradict, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import (
    ACKNOWLEDGED,
    CannotBeHeld,
    Doubt,
    EventState,
    NewEvent,
    News,
    PaymentTruth,
    StoredEvent,
)
from refundcli.services.ports.records import EventFilter
from refundcli.services.ports.rejections import UNREADABLE_KIND, DeliveryRejected, RejectionReason
from refundcli.services.ports.vocabulary import Effect
from refundcli.services.ports.webhooks import DeliveryReader, EventReader, VerifiedDelivery
from refundcli.services.provider_updates.apply_update import hear_all, is_about_ours, worst_of
from refundcli.services.provider_updates.decide_dispute import decide_dispute
from refundcli.services.provider_updates.outcome import UpdateOutcome
from refundcli.services.provider_updates.sync_payment import apply_snapshot

_AT_ONCE = 200
# One payment has some four events in a row; a provider that is away is not waited for many times.
_UNANSWERED = 5
# What a database can count to.
_LARGEST_NUMBER = 2**63 - 1

Readers = Callable[[Provider], EventReader]
DeliveryReaders = Callable[[Provider], DeliveryReader]


@dataclass(slots=True)
class Applied:
    """What came of the events that were looked at, by state, and those that need a person."""

    counts: dict[EventState, int] = field(default_factory=dict)
    contradictions: list[tuple[StoredEvent, str]] = field(default_factory=list)
    failed: list[tuple[StoredEvent, str]] = field(default_factory=list)
    changed: int = 0
    last_id: int = 0
    # Which providers answered, and which could not be asked, with why; the events of those wait.
    answered: set[Provider] = field(default_factory=set)
    unreachable: dict[Provider, str] = field(default_factory=dict)

    def include(self, other: "Applied") -> None:
        for state, count in other.counts.items():
            self.counts[state] = self.counts.get(state, 0) + count
        self.changed += other.changed
        self.contradictions += other.contradictions
        self.failed += other.failed

    def add(self, event: StoredEvent, outcome: UpdateOutcome) -> None:
        self.counts[outcome.state] = self.counts.get(outcome.state, 0) + 1
        self.changed += outcome.changed
        if outcome.state is EventState.UNREVIEWED:
            self.contradictions.append((event, outcome.note))


def verify(provider: Provider, reader: DeliveryReader, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
    """What is verified of one delivery, fit to be stored. Raises DeliveryRejected, whatever the delivery contains."""
    try:
        found = reader.read(body, headers)
    except RefundcliError:
        raise
    except Exception as stumbled:
        raise DeliveryRejected(provider, RejectionReason.UNREADABLE, "it cannot be read") from stumbled
    return replace(found, events=[event if _can_be_stored(event) else _cleaned(event) for event in found.events])


def _can_be_stored(event: NewEvent) -> bool:
    """No database takes half a letter, and PostgreSQL takes no NUL."""
    text = "".join((event.key, event.kind, event.about, event.account, event.payload, *event.payments))
    return _clean(text) == text


def _cleaned(event: NewEvent) -> NewEvent:
    """Verified, so it is stored; what it says cannot be relied on, so a person must look."""
    return replace(
        event,
        key=f"cleaned:{hashlib.sha256(event.key.encode('utf-8', 'replace')).hexdigest()}",
        kind=_clean(event.kind),
        about=_clean(event.about),
        account=_clean(event.account),
        payload=_clean(event.payload),
        payments=tuple(map(_clean, event.payments)),
        not_applied=RejectionReason.UNREADABLE,
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def keep(events: Sequence[NewEvent], *, books: Books) -> int:
    """Store them; how many were not known yet. Only then may the provider be told that they arrived."""
    return books.write(lambda tx: tx.store_events(events))


def count_rejected(counts: Mapping[tuple[Provider | None, RejectionReason], int], *, books: Books) -> None:
    """Count deliveries that were not verified."""
    if counts:
        books.write(lambda tx: tx.count_rejected_deliveries(counts))


class Apply(Protocol):
    """`apply_stored`, with whom to ask and how to number."""

    def __call__(
        self,
        *,
        books: Books,
        after: int = 0,
        at_once: int = _AT_ONCE,
        go_on: Callable[[], bool] = ...,
        wanted: Callable[[StoredEvent], bool] = ...,
    ) -> Applied: ...


def apply_stored(
    *,
    books: Books,
    readers: Readers,
    clock: Clock,
    number_format: str,
    after: int = 0,
    at_once: int = _AT_ONCE,
    go_on: Callable[[], bool] = lambda: True,
    wanted: Callable[[StoredEvent], bool] = lambda event: True,
    pause: "ProviderPause | None" = None,
) -> Applied:
    """Apply what waits, the oldest first, from the one `after` on; what was about an unknown payment is tried again.

    What the provider cannot be asked about now stays as it is. `at_once` events are applied in one transaction. `pause`
    is shared by several calls, so that a provider that is away does not hold up the events of the other.
    """
    done = Applied(last_id=after)
    asking = _Asking(readers, done, pause or ProviderPause())
    while go_on():
        batch = books.read(lambda tx: tx.events_to_apply(after=done.last_id, limit=at_once))
        if not batch:
            break
        told = [(event, asking.news_in(event)) for event in batch if wanted(event)]
        if told:
            _apply_batch(told, done, books=books, clock=clock, number_format=number_format)
        done.last_id = batch[-1].id
    if done.changed:
        # An event that names only its dispute can arrive before that dispute is known.
        again = apply_known(Provider.ADYEN, books=books, readers=readers, clock=clock, number_format=number_format)
        done.changed += again.changed
        done.contradictions += again.contradictions
    return done


def apply_known(
    provider: Provider, *, books: Books, readers: Readers, clock: Clock, number_format: str, asks: bool = True
) -> Applied:
    """Apply events that were stored before their payment or dispute was in the books, oldest first.

    Without `asks`, only those that were set aside, about which nobody is asked.
    """
    done, before = Applied(), -1
    asking = _Asking(readers, done, ProviderPause())
    while done.changed > before:
        before, done.last_id = done.changed, 0
        while batch := books.read(lambda tx: tx.events_of_known_payments(provider, after=done.last_id, limit=_AT_ONCE)):
            told = [(event, asking.news_in(event)) for event in batch if asks or event.event.not_applied]
            if told:
                _apply_batch(told, done, books=books, clock=clock, number_format=number_format)
            done.last_id = batch[-1].id
    return done


def apply_set_aside(done: Applied, *, books: Books, readers: Readers, clock: Clock, number_format: str) -> None:
    """Look again at what was set aside before its payment was in the books: a killed import did not (R13)."""
    for provider in Provider:
        again = apply_known(
            provider, books=books, readers=readers, clock=clock, number_format=number_format, asks=False
        )
        done.include(again)


def apply_waiting_in(tx: Writing, invoice: Invoice, *, readers: Readers, clock: Clock, number_format: str) -> bool:
    """Apply Adyen's stored events about this invoice's payments; true if there were any.

    In the caller's transaction, so that no refund is decided while a stored event is not applied (R13). Stripe's events
    only say what to ask for, and Stripe is asked before each refund.
    """
    numbers = {
        each.event_id
        for payment in invoice.payments
        for each in payment.unreviewed
        if each.provider is Provider.ADYEN and not each.needs_a_person
    }
    for number in sorted(numbers):
        stored = event_numbered(tx, number)
        news = None if stored.event.not_applied else readers(Provider.ADYEN).news_in(stored.event)
        outcome = _outcome_of(tx, stored, news, clock, number_format)
        if (outcome.state, outcome.note) != (stored.state, stored.note):
            tx.mark_event(stored, outcome.state, outcome.note)
    return bool(numbers)


def waits_or_is_young(*, since: datetime) -> Callable[[StoredEvent], bool]:
    """Which ones are worth another try: those about an unknown payment only for a while."""
    return lambda event: event.state is EventState.WAITING or event.received_at >= since


@dataclass(frozen=True, slots=True)
class _NotNow:
    """The provider could not be asked, and why."""

    why: str


_Told = Sequence[News] | None | _NotNow


@dataclass(slots=True)
class ProviderPause:
    """Providers that cannot be asked are not asked again for so many seconds."""

    seconds: float = 0.0
    _until: dict[Provider, float] = field(default_factory=dict)

    def begin(self, provider: Provider) -> None:
        self._until[provider] = time.monotonic() + self.seconds

    def is_on(self, provider: Provider) -> bool:
        return time.monotonic() < self._until.get(provider, 0.0)


@dataclass(slots=True)
class _Asking:
    """Asks each provider for news, and no more once it gave no answer several times running.

    Once is not enough: what it answers to one event alone may be such that nobody can read it.
    """

    readers: Readers
    done: Applied
    pause: ProviderPause
    unanswered: dict[Provider, list[_NotNow]] = field(default_factory=dict)

    def news_in(self, event: StoredEvent) -> _Told:
        if event.event.not_applied:
            return None
        provider = event.event.provider
        unanswered = self.unanswered.setdefault(provider, [])
        if len(unanswered) >= _UNANSWERED:
            return unanswered[-1]
        if self.pause.is_on(provider):
            return _NotNow(event.note or f"{provider.label} could not be asked a moment ago")
        try:
            told = self.readers(provider).news_in(event.event)
        except CannotBeHeld as problem:
            return _NotNow(problem.message)
        except SettingsProblem as problem:
            unanswered.append(_NotNow(problem.message))
            if len(unanswered) >= _UNANSWERED:
                self.pause.begin(provider)
            self.done.unreachable[provider] = problem.message
            return unanswered[-1]
        except Exception as stumbled:
            return _NotNow(f"could not be understood ({type(stumbled).__name__})")
        unanswered.clear()
        self.done.unreachable.pop(provider, None)
        self.done.answered.add(provider)
        return told


def _apply_batch(
    told: Sequence[tuple[StoredEvent, _Told]], done: Applied, *, books: Books, clock: Clock, number_format: str
) -> None:
    """One that cannot be applied does not hold up the others: it waits, and says so."""
    try:
        applied = books.write(lambda tx: _apply(tx, told, clock, number_format))
    except Exception as stumbled:
        if isinstance(stumbled, RefundcliError) and not isinstance(stumbled, WouldContradict):
            raise
        if len(told) > 1:
            for each in told:
                _apply_batch([each], done, books=books, clock=clock, number_format=number_format)
            return
        ((event, _),) = told
        outcome = UpdateOutcome(EventState.WAITING, f"could not be applied ({type(stumbled).__name__})")
        books.write(lambda tx: tx.mark_event(event, outcome.state, outcome.note))
        applied = [(event, outcome)]
        done.failed.append((event, outcome.note))
    for event, outcome in applied:
        done.add(event, outcome)


def _apply(
    tx: Writing, told: Sequence[tuple[StoredEvent, _Told]], clock: Clock, number_format: str
) -> list[tuple[StoredEvent, UpdateOutcome]]:
    done = []
    for event, news in told:
        outcome = _outcome_of(tx, event, news, clock, number_format)
        if (outcome.state, outcome.note) != (event.state, event.note):
            tx.mark_event(event, outcome.state, outcome.note)
        done.append((event, outcome))
    return done


def _outcome_of(tx: Writing, event: StoredEvent, news: _Told, clock: Clock, number_format: str) -> UpdateOutcome:
    if isinstance(news, _NotNow):
        return UpdateOutcome(EventState.WAITING, news.why)
    if event.event.not_applied:
        return _outcome_of_not_applied(tx, event)
    if news is None:
        return UpdateOutcome(EventState.NOTED, "does not concern refunds or disputes")
    decided = tx.decided_words(event.event.provider) if any(isinstance(each, Doubt) for each in news) else {}
    if news and all(isinstance(each, Doubt) and each.word in decided for each in news):
        return UpdateOutcome(
            EventState.NOTED, f"{event.event.kind} has the effect {decided[event.event.kind]} in this store"
        )
    evidence = f"{event.event.provider} event {event.event.key}"
    snapshots = [each for each in news if isinstance(each, PaymentTruth)]
    outcomes = [apply_snapshot(tx, each, clock=clock, number_format=number_format) for each in snapshots]
    updates = [each for each in news if not isinstance(each, PaymentTruth)]
    return worst_of([*outcomes, *hear_all(tx, updates, evidence=evidence, clock=clock, number_format=number_format)])


def _outcome_of_not_applied(tx: Writing, event: StoredEvent) -> UpdateOutcome:
    """It blocks a payment of ours only if it names one (R13), whatever was decided about a word: it was not read."""
    told = event.event
    why = {
        RejectionReason.OTHER_ACCOUNT: f"is for another account, {told.account}",
        RejectionReason.OTHER_MODE: f"is for {'live' if told.livemode else 'test'} mode",
    }.get(told.not_applied or RejectionReason.UNREADABLE, "has a shape that refundcli does not know")
    payments = tuple(tx.payments_of_event(event.id))
    doubt = Doubt(told.provider, payments, told.kind, told.about, f"{why}; it was not applied", told.account)
    return UpdateOutcome(EventState.UNREVIEWED if is_about_ours(tx, doubt) else EventState.NOTED, doubt.why)


# --- looking at them, and dealing with them ---------------------------------------------------------------------


class NoSuchEvent(NotFound):
    code = "event-not-found"

    def __init__(self, number: int) -> None:
        super().__init__(f"There is no event {number}.", hint="refundcli events list   shows the newest")


class UnknownEventState(UsageProblem):
    code = "unknown-event-state"

    def __init__(self, word: str) -> None:
        near = did_you_mean(word, list(EventState))
        super().__init__(f"{word[:40]!a} is not a state of an event.", hint=near or f"One of: {', '.join(EventState)}.")


class NothingToReview(Refused):
    code = "nothing-to-review"

    def __init__(self, stored: StoredEvent) -> None:
        super().__init__(
            f"Event {stored.id} is {stored.state}: only unreviewed events can be acknowledged.",
            hint=(
                "refundcli events apply"
                if stored.state is EventState.WAITING
                else "refundcli events list --state unreviewed   lists them"
            ),
            context={"event": stored.id, "state": stored.state},
        )


class DecisionNeeded(UsageProblem):
    """An unreviewed update about a dispute needs a decision about that one dispute (R13)."""

    code = "dispute-decision-needed"

    def __init__(self, what: str, number: int | None = None) -> None:
        name = str(number) if number else "ID"
        super().__init__(
            f"{what} is about a dispute: add whether that dispute is open, won or lost.",
            hint=f"refundcli events acknowledge {name} --as open|won|lost",
        )


class NotOfADispute(UsageProblem):
    code = "not-a-dispute"

    def __init__(self, stored: StoredEvent, word: str) -> None:
        super().__init__(
            f"Event {stored.id}, {stored.event.kind}, is not about a dispute: it cannot be acknowledged as {word}.",
            hint=f"refundcli events acknowledge {stored.id} --memo TEXT",
        )


class UnknownWord(NotFound):
    code = "word-not-found"

    def __init__(self, word: str) -> None:
        super().__init__(
            f"There is no unreviewed event with the code {ascii(word[:80])[1:-1]}.",
            hint="refundcli events list --state unreviewed   lists them",
        )


class WordNotToDecide(Refused):
    """Only a word that no table lists gets its effect from a person: one decision would silence all later events."""

    code = "word-not-to-decide"

    def __init__(self, stored: StoredEvent) -> None:
        word = stored.event.kind
        why = "says that it could not be read" if word == UNREADABLE_KIND else "has an effect already"
        super().__init__(
            f"{ascii(word[:80])[1:-1]} {why}: each event with it must be reviewed by itself.",
            hint=f"refundcli events acknowledge {stored.id} --memo TEXT",
            context={"event": stored.id, "code": word},
        )


# The states that a person can give to a dispute whose status is not listed.
DISPUTE_DECISIONS = {"open": DisputeState.OPEN, "won": DisputeState.WON, "lost": DisputeState.LOST}
# The effects that a person can give to an unlisted code, once for the store.
WORD_EFFECTS = (Effect.NONE, Effect.NOTE)


def acknowledge_event(number: int, *, memo: str, books: Books, readers: Readers, decision: str = "") -> StoredEvent:
    """Acknowledge an unreviewed event: it no longer blocks refunds. `decision`: the state of its dispute.

    Raises NoSuchEvent, NothingToReview, DecisionNeeded, NotOfADispute.
    """

    def write(tx: Writing) -> StoredEvent:
        stored = event_numbered(tx, number)
        if stored.state is EventState.NOTED and stored.event.not_applied:
            # Its payment may have come into the books since.
            stored = replace(stored, state=_outcome_of_not_applied(tx, stored).state)
        word = stored.event.kind
        # How a dispute stands may be decided again: nothing else may ever be reported of it.
        again = bool(decision) and is_about_a_dispute(word) and stored.note.startswith(ACKNOWLEDGED)
        if stored.state is not EventState.UNREVIEWED and not again:
            raise NothingToReview(stored)
        if decision and not is_about_a_dispute(word):
            raise NotOfADispute(stored, decision)
        if not decision and is_about_a_dispute(word):
            raise DecisionNeeded(word, number)
        if decision:
            decide_dispute(tx, stored, DISPUTE_DECISIONS[decision], readers(stored.event.provider))
        tx.acknowledge_event(stored, memo=f"as {decision}; {memo}".strip("; ") if decision else memo)
        return event_numbered(tx, number)

    return books.write(write)


def decide_word(word: str, effect: Effect, *, books: Books, is_listed: Callable[[Provider, str], bool]) -> int:
    """Decide the effect of an unlisted code in this store; returns how many events that acknowledged (R13).

    Raises UnknownWord, DecisionNeeded, WordNotToDecide.
    """

    def write(tx: Writing) -> int:
        if is_about_a_dispute(word):
            raise DecisionNeeded(word)
        found = [each for each in tx.unreviewed_events(limit=_LARGEST_NUMBER) if each.event.kind == word]
        if not found:
            raise UnknownWord(word)
        for each in found:
            if word == UNREADABLE_KIND or is_listed(each.event.provider, word):
                raise WordNotToDecide(each)
        return sum(tx.decide_word(provider, word, effect) for provider in {each.event.provider for each in found})

    return books.write(write)


def event_numbered(reading: Reading, number: int) -> StoredEvent:
    """Raises NoSuchEvent."""
    found = reading.event(number) if number <= _LARGEST_NUMBER else None
    if found is None:
        raise NoSuchEvent(number)
    return found


def events_with_refunds(reading: Reading, wanted: EventFilter) -> list[tuple[StoredEvent, Refund | None]]:
    """As `with_refunds`. A refund may be named by our id, too. Raises RefundNotFound."""
    if wanted.about.startswith("rf_"):
        refund = reading.refund(wanted.about)
        if refund is None:
            raise RefundNotFound(wanted.about)
        wanted = replace(wanted, about=refund.provider_reference or refund.id)
    return with_refunds(reading, reading.events(wanted))


def with_refunds(reading: Reading, events: Sequence[StoredEvent]) -> list[tuple[StoredEvent, Refund | None]]:
    """Each event with the refund in these books that it is about; None where it is about something else."""
    known: dict[tuple[Provider, str], Refund] = {}
    for provider in Provider:
        abouts = [event.event.about for event in events if event.event.provider is provider and event.event.about]
        found = reading.refunds_by_provider_references(provider, abouts) if abouts else []
        known |= {(provider, refund.provider_reference): refund for refund in found}
    return [(event, known.get((event.event.provider, event.event.about))) for event in events]


def event_state(word: str) -> EventState:
    """Raises UnknownEventState."""
    try:
        return EventState(word)
    except ValueError:
        raise UnknownEventState(word) from None
