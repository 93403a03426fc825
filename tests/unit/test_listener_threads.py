"""The listener's threads, with fake books that fail on demand."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from refundcli.domain.errors import SettingsProblem
from refundcli.domain.statuses import Provider
from refundcli.listener import event_writer as keeping
from refundcli.listener.event_worker import EventWorker
from refundcli.listener.event_writer import EventWriter, TooManyWaiting
from refundcli.listener.rejection_counter import Rejections
from refundcli.services.clock import SystemClock
from refundcli.services.ports.provider_updates import EventState, NewEvent, StoredEvent
from refundcli.services.ports.reads import EventFilter
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.services.webhooks.apply_events import EventOutcomes


def event(key: str = "a", payload: str = "{}") -> NewEvent:
    now = datetime.now(UTC)
    return NewEvent(Provider.ADYEN, key, "REFUND", key, "Shop", False, now, payload)


class StoreDown(SettingsProblem):
    code = "down"


@dataclass
class Memory:
    """Books whose events and deliveries are in memory.

    `gate` delays every transaction, `fails` returns the error of a batch.
    """

    stored: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    rejected: list[dict[str, int]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    fails: Callable[[Sequence[NewEvent]], Exception | None] = lambda events: None

    def __post_init__(self) -> None:
        self.gate.set()

    def read(self, work: Callable[[Any], Any]) -> Any:
        return work(SimpleNamespace(events=self, deliveries=self))

    def write(self, work: Callable[[Any], Any]) -> Any:
        self.entered.set()
        assert self.gate.wait(20)
        return work(SimpleNamespace(events=self, deliveries=self))

    def store(self, events: Sequence[NewEvent]) -> int:
        if failure := self.fails(events):
            raise failure
        self.stored += [event.key for event in events]
        self.batches.append(len(events))
        return len(events)

    def count_rejected(self, counts: Mapping[tuple[Provider | None, RejectionReason], int]) -> None:
        if failure := self.fails([]):
            raise failure
        self.rejected.append({reason.value: count for (_, reason), count in counts.items()})

    def matching(self, criteria: EventFilter) -> list[StoredEvent]:
        assert criteria.limit == 1
        return [StoredEvent(7, event(), EventState.WAITING, "", datetime.now(UTC))]


@contextmanager
def running(books: Memory) -> Iterator[tuple[EventWriter, list[str]]]:
    troubles: list[str] = []
    rejections = Rejections(books, troubles.append)
    keeper = EventWriter(books, rejections, stored=lambda new: None, trouble=lambda error: troubles.append(str(error)))
    keeper.start()
    try:
        yield keeper, troubles
    finally:
        books.gate.set()
        keeper.stop()


def test_what_comes_during_a_commit_goes_into_the_next_one() -> None:
    books = Memory()
    with running(books) as (keeper, _):
        books.gate.clear()
        first = keeper.store([event("first")])
        assert books.entered.wait(10)
        waiting = [keeper.store([event(str(number))]) for number in range(30)]
        assert not first.done()
        books.gate.set()
        for number in (first, *waiting):
            number.result(timeout=10)
    assert books.batches == [1, 30]


def test_one_delivery_that_no_database_takes_does_not_keep_out_the_others() -> None:
    books = Memory(
        fails=lambda events: ValueError("odd") if any(stored_event.key == "odd" for stored_event in events) else None
    )
    with running(books) as (keeper, troubles):
        books.gate.clear()
        first = keeper.store([event("held")])
        assert books.entered.wait(10)
        futures = {key: keeper.store([event(key)]) for key in ("a", "odd", "b")}
        books.gate.set()
        first.result(timeout=10)
        assert futures["a"].result(timeout=10) is None
        assert isinstance(futures["odd"].exception(timeout=10), ValueError)
        assert futures["b"].result(timeout=10) is None
        assert keeper.is_well
    assert books.stored == ["held", "a", "b"]
    assert troubles == ["odd"]


def test_an_unreachable_store_rejects_the_batch_and_takes_it_later() -> None:
    books = Memory(fails=lambda events: StoreDown("away"))
    with running(books) as (keeper, _):
        assert isinstance(keeper.store([event()]).exception(timeout=10), StoreDown)
        well = [keeper.is_well]
        books.fails = lambda events: None
        assert keeper.store([event()]).result(timeout=10) is None
        well.append(keeper.is_well)
    assert well == [False, True]
    assert books.stored == ["a"]


def test_who_gave_up_waiting_is_stored_all_the_same() -> None:
    books = Memory()
    with running(books) as (keeper, _):
        books.gate.clear()
        given_up = keeper.store([event("given up")])
        assert not given_up.cancel()
        books.gate.set()
        keeper.store([event("next")]).result(timeout=10)
    assert books.stored == ["given up", "next"]


def test_no_more_deliveries_and_no_more_bytes_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_MOST_WAITING", 3)
    books = Memory()
    with running(books) as (keeper, _):
        books.gate.clear()
        keeper.store([event("under way")])
        assert books.entered.wait(10)
        for _ in range(3):
            keeper.store([event()])
        with pytest.raises(TooManyWaiting):
            keeper.store([event()])
    monkeypatch.setattr(keeping, "_MOST_WAITING_CHARACTERS", 100)
    with running(Memory()) as (keeper, _), pytest.raises(TooManyWaiting):
        keeper.store([event(payload="x" * 101)])


def test_rejections_are_written_at_most_once_a_second_and_none_is_forgotten() -> None:
    books, notices = Memory(fails=lambda events: StoreDown("away")), list[str]()
    rejections = Rejections(books, notices.append)
    for _ in range(5):
        rejections.add(Provider.ADYEN, RejectionReason.FORGED)
    with pytest.raises(StoreDown):
        rejections.write()
    books.fails = lambda events: None
    rejections.write()
    assert books.rejected == []
    rejections.add(Provider.STRIPE, RejectionReason.UNSIGNED)
    rejections.write(at_once=True)
    assert books.rejected == [{"forged": 5, "unsigned": 1}]
    assert notices == ["Rejected deliveries: 5 forged, 1 unsigned."]
    rejections.write(at_once=True)
    assert len(books.rejected) == 1
    assert rejections.by_reason() == {"forged": 5, "unsigned": 1}


def test_the_applier_continues_after_a_failure_with_new_events_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refundcli.listener.event_worker._AFTER_TROUBLE_SECONDS", 0.01)
    calls: list[int] = []
    troubles: list[str] = []

    def apply(*, after: int, may_continue: Callable[[], bool], **_: Any) -> EventOutcomes:
        calls.append(after)
        if len(calls) == 1:
            raise KeyError("a bug")
        may_continue()
        return EventOutcomes(last_id=after)

    idle = threading.Event()
    idle.set()
    applier = EventWorker(
        apply,
        Memory(),
        SystemClock(UTC),
        idle,
        applied=lambda summary: None,
        trouble=lambda error: troubles.append(repr(error)),
    )
    applier.start()
    deadline = time.monotonic() + 10
    while len(calls) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    # Events newer than at the start, again after the failure, then all waiting ones.
    assert calls[:3] == [7, 7, 0]
    applier.wake(1)
    while len(calls) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert calls[3] == 7
    applier.stop()
    assert troubles == ["KeyError('a bug')"]
