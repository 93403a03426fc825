"""Limit the requests to a provider: evenly spaced, a maximum per second, slower while it is rate limiting."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

# The provider counts a second by arrival times, and requests take different times to arrive.
_MARGIN = 0.07
# This many requests may follow an idle time without a pause, so a single command is not slowed down.
_AT_ONCE = 5
# The pause after a 429 without Retry-After; it doubles each time.
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
# After a 429 the rate is halved; it grows by this much with each accepted request.
_FASTER_BY = 0.1
_SLOWEST = 1.0


@dataclass(eq=False, slots=True)
class _Turn:
    """One request. Until it is sent, its arrival time is unknown."""

    started_at: float
    sent_at: float | None = None


Sent: TypeAlias = Callable[[], None]


class TooSoon(Exception):
    """The provider is rate limiting for `seconds` more: nothing was sent."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests; try again in {seconds:.0f} s")
        self.seconds = seconds


class Pace:
    """Paces the requests of all threads to one provider.

    `rate`: requests per second; without one, or with 0, only the provider's own limit holds.
    """

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate or None
        # The number of requests per window is whole; below one per second the window grows.
        self._max_per_window = max(1, int(rate)) if rate else 0
        self._window_seconds = (max(1.0, 1 / rate) if rate else 1.0) + _MARGIN
        self._queue_lock = threading.Lock()
        self._pace_changed = threading.Condition()
        self._turns: deque[_Turn] = deque(maxlen=self._max_per_window or 1000)
        self._next_at = 0.0
        self._paused_until = 0.0
        self._pauses_in_a_row = 0
        # Set after a 429: the rate that the provider seems to accept.
        self._accepted_rate: float | None = None

    @contextmanager
    def turn(self, patience: float = float("inf")) -> Iterator[Sent]:
        """Wait until one more request may start. Yields a function to call once the request is sent.

        Raises TooSoon if the provider is rate limiting for longer than `patience` (seconds).
        """
        own_turn = None
        while own_turn is None:
            self._wait_out_pause(patience)
            # The first in the queue waits for its time, the others wait for the first.
            with self._queue_lock, self._pace_changed:
                own_turn = self._in_front()
        try:
            yield lambda: self._sent(own_turn)
        finally:
            self._sent(own_turn)
            self._speed_up()

    def slow_down(self, retry_after_seconds: float | None) -> None:
        """The provider answered 429: pause, continue at half the rate, and slowly speed up again."""
        with self._pace_changed:
            now = time.monotonic()
            # Requests that were in flight together all get a 429; they count as one.
            if now < self._paused_until:
                self._paused_until = max(self._paused_until, now + (retry_after_seconds or 0.0))
                return
            pause_seconds = (
                min(_FIRST_PAUSE_SECONDS * 2**self._pauses_in_a_row, _LONGEST_PAUSE_SECONDS)
                if retry_after_seconds is None
                else retry_after_seconds
            )
            self._pauses_in_a_row += 1
            recent_request_count = sum(1 for turn in self._turns if turn.started_at > now - 1)
            self._accepted_rate = max(
                _SLOWEST, min(self._accepted_rate or recent_request_count, recent_request_count) / 2
            )
            self._paused_until = now + pause_seconds
            self._pace_changed.notify_all()

    @property
    def pause_left(self) -> float:
        """Seconds until the provider's pause ends; 0 without one."""
        return max(0.0, self._paused_until - time.monotonic())

    def time_for(self, requests: int) -> float:
        """Seconds that this number of requests takes at this pace."""
        return requests * self._interval()

    def _wait_out_pause(self, patience: float) -> None:
        """Wait outside the queue, so that a caller with less patience can leave."""
        with self._pace_changed:
            while (seconds_left := self.pause_left) > 0:
                if seconds_left > patience:
                    raise TooSoon(seconds_left)
                self._pace_changed.wait(seconds_left)

    def _in_front(self) -> _Turn | None:
        """Wait for the turn; None if a pause began first."""
        while (wait_seconds := self._wait()) > 0:
            if self.pause_left:
                return None
            self._pace_changed.wait(wait_seconds)
        return self._begin()

    def _interval(self) -> float:
        lowest_rate = min(
            filter(
                None,
                (self._max_per_window and self._max_per_window / (self._window_seconds - _MARGIN), self._accepted_rate),
            ),
            default=0.0,
        )
        return (1 + _MARGIN) / lowest_rate if lowest_rate else 0.0

    def _wait(self) -> float:
        now = time.monotonic()
        return max(self._paused_until - now, self._next_at - now, -self._room(now))

    def _room(self, now: float) -> float:
        """Seconds since the oldest request of the window left it, counted from when it was sent."""
        if not self._max_per_window or len(self._turns) < self._max_per_window:
            return float("inf")
        oldest_turn = self._turns[0]
        return (
            now - oldest_turn.sent_at - self._window_seconds
            if oldest_turn.sent_at is not None
            else -self._window_seconds
        )

    def _begin(self) -> _Turn:
        now = time.monotonic()
        interval = self._interval()
        # Time lost because the window was full is not made up for, since that would cause a burst each second.
        unused_seconds = min(_AT_ONCE * interval, self._room(now))
        self._next_at = max(self._next_at, now - unused_seconds) + interval
        own_turn = _Turn(now)
        self._turns.append(own_turn)
        return own_turn

    def _sent(self, turn: _Turn) -> None:
        if turn.sent_at is None:
            with self._pace_changed:
                turn.sent_at = time.monotonic()
                self._pace_changed.notify_all()

    def _speed_up(self) -> None:
        """A request was answered without a 429, so raise the accepted rate."""
        with self._pace_changed:
            if self._accepted_rate is None or time.monotonic() < self._paused_until:
                return
            self._pauses_in_a_row = 0
            self._accepted_rate += _FASTER_BY
            if self._accepted_rate >= (self.rate or float("inf")):
                self._accepted_rate = None
