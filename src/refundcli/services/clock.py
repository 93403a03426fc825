"""The time, and the date of the books."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

# Clocks under NTP differ by far less, and a correction moves them by less.
_FURTHEST_BEHIND = timedelta(minutes=10)
# A store may be unused for months, so less than a year is plausible; a clock that was never set, or set to a wrong
# year, is off by more.
_FURTHEST_AHEAD = timedelta(days=366)


def is_plausible(now: datetime, newest_entry_at: datetime) -> bool:
    """Can `now` be the time if the newest entry of the books is from `newest_entry_at`? (DESIGN §3)"""
    return newest_entry_at - _FURTHEST_BEHIND <= now <= newest_entry_at + _FURTHEST_AHEAD


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock, with the date in a fixed zone."""

    zone: tzinfo

    def now(self) -> datetime:
        return datetime.now(UTC)

    def today(self) -> date:
        return datetime.now(self.zone).date()


@dataclass(frozen=True, slots=True)
class BooksClock:
    """The books' clock: `time` is shared by all users of the store; the date is in the store's `zone`."""

    time: Callable[[], datetime]
    zone: Callable[[], tzinfo]

    def now(self) -> datetime:
        return self.time()

    def today(self) -> date:
        return self.time().astimezone(self.zone()).date()
