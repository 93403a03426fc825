"""How fast a provider may be asked: evenly, never more than so many requests in any second, slower when it says so."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

# A second is counted where the requests arrive, and they do not all travel equally long.
_MARGIN = 0.07
# So many may follow each other at once when there was time before: a single command is not held up.
_AT_ONCE = 5
# After "too many" without a word how long to wait: this, and twice as long each time.
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
# What the provider took before it said "too many" is halved, and grows by this much with each request that it takes.
_FASTER_BY = 0.1
_SLOWEST = 1.0


@dataclass(eq=False, slots=True)
class _Turn:
    """One request. Until it is sent nobody knows when it will arrive."""

    started_at: float
    sent_at: float | None = None


Sent: TypeAlias = Callable[[], None]


class TooSoon(Exception):
    """The provider wants to be left alone for `seconds` yet: nothing was sent."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it wants to be left alone for {seconds:.0f} s")
        self.seconds = seconds


class Pace:
    """Requests to one provider, from all threads. No rate, or 0, means no limit but the provider's own."""

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate or None
        # Whole requests fit into a second; below one, the second grows.
        self._most = max(1, int(rate)) if rate else 0
        self._window = (max(1.0, 1 / rate) if rate else 1.0) + _MARGIN
        self._one_at_a_time = threading.Lock()
        self._changed = threading.Condition()
        self._turns: deque[_Turn] = deque(maxlen=self._most or 1000)
        self._next_at = 0.0
        self._paused_until = 0.0
        self._pauses = 0
        # Set after "too many": what the provider seems to take.
        self._accepted_rate: float | None = None

    @contextmanager
    def turn(self, patience: float = float("inf")) -> Iterator[Sent]:
        """Waits until one more request may be begun; what it gives is to be called once the request is sent.

        Raises TooSoon where the provider wants to be left alone for longer than `patience` (seconds).
        """
        mine = None
        while mine is None:
            self._wait_out_pause(patience)
            # The one in front waits for the time, the others for it: nobody is overtaken for long.
            with self._one_at_a_time, self._changed:
                mine = self._in_front()
        try:
            yield lambda: self._sent(mine)
        finally:
            self._sent(mine)
            self._speed_up()

    def slow_down(self, seconds: float | None) -> None:
        """The provider said "too many": nothing more for so long, then half as fast, and slowly faster again."""
        with self._changed:
            now = time.monotonic()
            # All requests that were on their way together are told it; that is one word.
            if now < self._paused_until:
                self._paused_until = max(self._paused_until, now + (seconds or 0.0))
                return
            wait = min(_FIRST_PAUSE_SECONDS * 2**self._pauses, _LONGEST_PAUSE_SECONDS) if seconds is None else seconds
            self._pauses += 1
            accepted = sum(1 for turn in self._turns if turn.started_at > now - 1)
            self._accepted_rate = max(_SLOWEST, min(self._accepted_rate or accepted, accepted) / 2)
            self._paused_until = now + wait
            self._changed.notify_all()

    @property
    def pause_left(self) -> float:
        """Seconds for which the provider does not want to be asked."""
        return max(0.0, self._paused_until - time.monotonic())

    def time_for(self, requests: int) -> float:
        """Seconds that so many requests take at this pace."""
        return requests * self._interval()

    def _wait_out_pause(self, patience: float) -> None:
        """Beside the queue: who waits for this holds up nobody who would rather not."""
        with self._changed:
            while (remaining := self.pause_left) > 0:
                if remaining > patience:
                    raise TooSoon(remaining)
                self._changed.wait(remaining)

    def _in_front(self) -> _Turn | None:
        """The turn when its time has come; None when a pause came first."""
        while (wait := self._wait()) > 0:
            if self.pause_left:
                return None
            self._changed.wait(wait)
        return self._begin()

    def _interval(self) -> float:
        slowest = min(
            filter(None, (self._most and self._most / (self._window - _MARGIN), self._accepted_rate)), default=0.0
        )
        return (1 + _MARGIN) / slowest if slowest else 0.0

    def _wait(self) -> float:
        now = time.monotonic()
        return max(self._paused_until - now, self._next_at - now, -self._room(now))

    def _room(self, now: float) -> float:
        """For how long the request so many before has been a second old, counted from when it was on its way."""
        if not self._most or len(self._turns) < self._most:
            return float("inf")
        oldest = self._turns[0]
        return now - oldest.sent_at - self._window if oldest.sent_at is not None else -self._window

    def _begin(self) -> _Turn:
        now = time.monotonic()
        interval = self._interval()
        # What stood still because there was no room is not made up for: it would come in a heap, second after second.
        unused = min(_AT_ONCE * interval, self._room(now))
        self._next_at = max(self._next_at, now - unused) + interval
        mine = _Turn(now)
        self._turns.append(mine)
        return mine

    def _sent(self, turn: _Turn) -> None:
        if turn.sent_at is None:
            with self._changed:
                turn.sent_at = time.monotonic()
                self._changed.notify_all()

    def _speed_up(self) -> None:
        """Another request was answered; one that was told "too many" has slowed us down before it comes here."""
        with self._changed:
            if self._accepted_rate is None or time.monotonic() < self._paused_until:
                return
            self._pauses = 0
            self._accepted_rate += _FASTER_BY
            if self._accepted_rate >= (self.rate or float("inf")):
                self._accepted_rate = None
