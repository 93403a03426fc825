"""The request rate to a provider: a limit in every second, and the provider's own limits respected."""

import random
import threading
import time

import pytest

from refundcli.services.dispatch.rate_limit import Pace, TooSoon


def timed_requests(pace: Pace, times: int, *, threads: int, longest: float = 0.02) -> list[tuple[float, float]]:
    """`times` requests from `threads` threads; the begin and send time of each."""
    remaining, times_sent, lock = list(range(times)), list[tuple[float, float]](), threading.Lock()

    def ask() -> None:
        rng = random.Random(1)
        while True:
            with lock:
                if not remaining:
                    return
                remaining.pop()
            with pace.turn() as sent:
                began = time.monotonic()
                time.sleep(rng.uniform(0, longest))
                sent_at = time.monotonic()
                sent()
            with lock:
                times_sent.append((began, sent_at))

    workers = [threading.Thread(target=ask) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(times_sent)


def test_no_second_has_more_requests_than_the_rate() -> None:
    rate = 20
    spans = timed_requests(Pace(rate), 50, threads=12, longest=0.3)
    # Arrival is between begin and send: compare the first's latest with the last's earliest.
    for (_, sent), (began, _) in zip(spans, spans[rate:], strict=False):
        assert began - sent >= 1
    assert 50 / (spans[-1][0] - spans[0][0]) > 0.7 * rate


def test_a_rate_below_one_spaces_requests() -> None:
    spans = timed_requests(Pace(0.8), 2, threads=2, longest=0)
    assert spans[1][0] - spans[0][1] >= 1.25


def test_without_a_rate_there_is_no_wait() -> None:
    began = time.monotonic()
    timed_requests(Pace(0), 200, threads=4, longest=0)
    assert time.monotonic() - began < 1


def test_a_429_pauses_requests_and_then_slows_them() -> None:
    pace = Pace(1000)
    timed_requests(pace, 40, threads=8, longest=0)
    pace.slow_down(0.3)
    assert 0.2 < pace.pause_left <= 0.3
    before = pace.time_for(10)
    said = time.monotonic()
    spans = timed_requests(pace, 5, threads=2, longest=0)
    assert spans[0][0] - said >= 0.3
    # It grows again with each accepted request.
    assert pace.time_for(10) < before


def test_an_impatient_caller_is_refused_with_the_remaining_wait() -> None:
    pace = Pace(1)
    with pace.turn(patience=1) as sent:
        sent()
    threading.Timer(0.2, pace.slow_down, [60]).start()
    began = time.monotonic()
    with pytest.raises(TooSoon) as error, pace.turn(patience=1):
        pass
    assert 59 < error.value.seconds <= 60
    assert time.monotonic() - began < 1


def test_who_has_patience_does_not_keep_those_behind_from_leaving() -> None:
    pace, patient = Pace(1), threading.Event()
    with pace.turn() as sent:
        sent()

    def wait_in_front() -> None:
        patient.set()
        with pace.turn():
            pass

    threading.Thread(target=wait_in_front, daemon=True).start()
    patient.wait(10)
    threading.Timer(0.2, pace.slow_down, [60]).start()
    began = time.monotonic()
    with pytest.raises(TooSoon), pace.turn(patience=1):
        pass
    assert time.monotonic() - began < 1


def test_concurrent_429s_slow_the_rate_once() -> None:
    pace = Pace(100)
    timed_requests(pace, 40, threads=8, longest=0)
    pace.slow_down(0.2)
    slowed = pace.time_for(10)
    for _ in range(5):
        pace.slow_down(0.4)
    assert pace.time_for(10) == slowed
    assert pace.pause_left > 0.3
