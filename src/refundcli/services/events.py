"""Events of the providers: kept first, applied after, the same end however often and in whatever order they come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from refundcli.domain.errors import NotFound, SettingsProblem, UsageProblem, did_you_mean
from refundcli.domain.statuses import Provider
from refundcli.services.deliveries import DeliveryRefused
from refundcli.services.hear_news import Heard, hear_all, worst_of
from refundcli.services.ports import Books, Clock, EventReader, Reading, Writing
from refundcli.services.provider_news import EventState, NewEvent, News, StoredEvent

_AT_ONCE = 200

Readers = Callable[[Provider], EventReader]


@dataclass(slots=True)
class Applied:
    """What came of the events that were looked at, by state, and those that need a person."""

    counts: dict[EventState, int] = field(default_factory=dict)
    contradictions: list[tuple[StoredEvent, str]] = field(default_factory=list)
    changed: int = 0
    last_id: int = 0

    def add(self, event: StoredEvent, heard: Heard) -> None:
        self.counts[heard.state] = self.counts.get(heard.state, 0) + 1
        self.changed += heard.changed
        if heard.state is EventState.CONTRADICTS:
            self.contradictions.append((event, heard.note))


def keep(events: Sequence[NewEvent], *, books: Books) -> int:
    """Store them; how many were not known yet. Only then may the provider be told that they arrived."""
    return books.write(lambda tx: tx.store_events(events))


def refuse(refused: Mapping[str, int], *, books: Books) -> None:
    """Count deliveries that were not believed."""
    if refused:
        books.write(lambda tx: tx.count_refused_deliveries(refused))


def apply_stored(
    *,
    books: Books,
    readers: Readers,
    clock: Clock,
    number_format: str,
    after: int = 0,
    go_on: Callable[[], bool] = lambda: True,
) -> Applied:
    """Apply what waits, the oldest first, from the one `after` on; what was about an unknown payment is tried again.

    What the provider cannot be asked about now stays as it is.
    """
    done = Applied(last_id=after)
    while go_on():
        batch = books.read(lambda tx: tx.events_to_apply(after=done.last_id, limit=_AT_ONCE))
        if not batch:
            return done
        told = [(event, _news_in(event, readers)) for event in batch]
        for event, heard in books.write(lambda tx, told=told: _apply(tx, told, clock, number_format)):  # type: ignore[misc]
            done.add(event, heard)
        done.last_id = batch[-1].id
    return done


@dataclass(frozen=True, slots=True)
class _NotNow:
    """The provider could not be asked, and why."""

    why: str


_Told = Sequence[News] | None | _NotNow


def _news_in(event: StoredEvent, readers: Readers) -> _Told:
    try:
        return readers(event.event.provider).news_in(event.event)
    except (SettingsProblem, DeliveryRefused) as problem:
        return _NotNow(problem.message)


def _apply(
    tx: Writing, told: Sequence[tuple[StoredEvent, _Told]], clock: Clock, number_format: str
) -> list[tuple[StoredEvent, Heard]]:
    done = []
    for event, news in told:
        heard = _heard(tx, event, news, clock, number_format)
        if (heard.state, heard.note) != (event.state, event.note):
            tx.mark_event(event, heard.state, heard.note)
        done.append((event, heard))
    return done


def _heard(tx: Writing, event: StoredEvent, news: _Told, clock: Clock, number_format: str) -> Heard:
    if isinstance(news, _NotNow):
        return Heard(EventState.WAITING, news.why)
    if news is None:
        return Heard(EventState.UNKNOWN, "says nothing of refunds or disputes")
    evidence = f"{event.event.provider} event {event.event.key}"
    return worst_of(hear_all(tx, news, evidence=evidence, clock=clock, number_format=number_format))


# --- looking at them ----------------------------------------------------------------------------------------


class NoSuchEvent(NotFound):
    code = "event-not-found"

    def __init__(self, number: int) -> None:
        super().__init__(f"There is no event {number}.", hint="refundcli events list   shows the newest")


class UnknownEventState(UsageProblem):
    code = "unknown-event-state"

    def __init__(self, word: str) -> None:
        near = did_you_mean(word, list(EventState))
        super().__init__(f"{word[:40]!a} is no state of an event.", hint=near or f"One of: {', '.join(EventState)}.")


def event_numbered(reading: Reading, number: int) -> StoredEvent:
    """Raises NoSuchEvent."""
    found = reading.event(number)
    if found is None:
        raise NoSuchEvent(number)
    return found


def event_state(word: str) -> EventState:
    """Raises UnknownEventState."""
    try:
        return EventState(word)
    except ValueError:
        raise UnknownEventState(word) from None
