"""What time it is, and what day it is in the books."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

# Clocks that are kept by NTP differ by far less, and a correction moves them by less.
_FURTHEST_BEHIND = timedelta(minutes=10)
# A store may rest for months, so less than a year cannot be told from a quiet one; a clock that was never set, or whose
# year was mistyped, is off by more.
_FURTHEST_AHEAD = timedelta(days=366)


def is_plausible(now: datetime, newest: datetime) -> bool:
    """Can `now` be the time, where the newest entry of the books is of `newest`? (DESIGN §3)"""
    return newest - _FURTHEST_BEHIND <= now <= newest + _FURTHEST_AHEAD


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock, with the date in a zone that does not change."""

    zone: tzinfo

    def now(self) -> datetime:
        return datetime.now(UTC)

    def today(self) -> date:
        return datetime.now(self.zone).date()


@dataclass(frozen=True, slots=True)
class BooksClock:
    """The books' clock: `time` is the one clock of all who use the store; the date is in the store's `zone`."""

    time: Callable[[], datetime]
    zone: Callable[[], tzinfo]

    def now(self) -> datetime:
        return self.time()

    def today(self) -> date:
        return self.time().astimezone(self.zone()).date()
