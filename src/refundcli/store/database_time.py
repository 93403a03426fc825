"""The database's time, which all machines at one PostgreSQL store share (DESIGN §3).

It is measured once and then counted on by the machine's monotonic clock, which nobody sets.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from refundcli.store.troubles import store_error

if TYPE_CHECKING:
    from refundcli.services.ports import Clock

# A machine's clock that is further off than this is worth a note.
SKEW_WORTH_A_NOTE = timedelta(seconds=60)
_MEASURE_AGAIN_SECONDS = 60.0
# The machine slept, or somebody set its clock: the monotonic clock may have stood still meanwhile.
_JUMP_SECONDS = 1.0


def steady_seconds() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class _Measured:
    """What both clocks and the database said at one moment."""

    database: datetime
    machine: datetime
    steady: float


@dataclass
class DatabaseTime:
    """Call it for the database's time, in UTC. `tell_skew` is called once if the machine's clock is far off."""

    engine: Engine
    machine: "Clock"
    tell_skew: Callable[[timedelta], None] = field(default=lambda skew: None)
    steady: Callable[[], float] = field(default=steady_seconds)
    _measured: _Measured | None = None
    _told: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> datetime:
        """Raises StoreUnreachable and its kind while the database was never reached."""
        with self._lock:
            measured = self._latest()
            return measured.database + timedelta(seconds=self.steady() - measured.steady)

    def skew(self) -> timedelta:
        """How far the machine's clock is ahead of the database's; negative where it is behind."""
        return self.machine.now() - self()

    def _latest(self) -> _Measured:
        if self._measured is None:
            try:
                self._measured = self._measure()
            except DBAPIError as error:
                raise store_error(error) from error
            self._note_skew(self._measured)
        elif self._is_old(self._measured):
            # A database that is away for a while takes no time from whoever writes down an answer: the old measurement
            # still counts.
            with suppress(DBAPIError):
                self._measured = self._measure()
        return self._measured

    def _is_old(self, measured: _Measured) -> bool:
        passed = self.steady() - measured.steady
        passed_here = (self.machine.now() - measured.machine).total_seconds()
        return passed > _MEASURE_AGAIN_SECONDS or abs(passed_here - passed) > _JUMP_SECONDS

    def _measure(self) -> _Measured:
        with self.engine.connect() as connection:
            asked = self.steady()
            told: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            answered = self.steady()
        return _Measured(told.astimezone(UTC), self.machine.now(), (asked + answered) / 2)

    def _note_skew(self, measured: _Measured) -> None:
        skew = measured.machine - measured.database
        if abs(skew) > SKEW_WORTH_A_NOTE and not self._told:
            self._told = True
            self.tell_skew(skew)
