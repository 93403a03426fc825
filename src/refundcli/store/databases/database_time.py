"""The database's time, which all machines at one PostgreSQL store share (DESIGN §3).

It is measured once and then advanced by the machine's monotonic clock, which nobody sets.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from refundcli.domain.errors import StoreProblem

if TYPE_CHECKING:
    from refundcli.services.ports.clock import Clock

# Report the machine's clock if it is further off than this.
SKEW_WORTH_A_NOTE = timedelta(seconds=60)
_MEASURE_AGAIN_SECONDS = 60.0
# After a failed measurement, which may take as long as a connection takes to fail.
_RETRY_SECONDS = 30.0
# Half a round trip. Leases leave more room than this.
_MOST_ERROR_SECONDS = 0.5
_MOST_ATTEMPTS = 3
# The machine slept, or somebody set its clock: the monotonic clock may have paused.
_JUMP_SECONDS = 1.0


def steady_seconds() -> float:
    """Seconds of a clock that also counts while the machine sleeps, if the system has one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class _Measured:
    """Both clocks and the database at the same moment, accurate to `error` seconds."""

    database: datetime
    machine: datetime
    steady: float
    error: float


class _Thread(threading.local):
    is_in_transaction = False


_THREAD = _Thread()


@contextmanager
def in_transaction() -> Iterator[None]:
    """Take no second connection to measure the time: behind a pooler, it might wait for the first one."""
    was_in_transaction, _THREAD.is_in_transaction = _THREAD.is_in_transaction, True
    try:
        yield
    finally:
        _THREAD.is_in_transaction = was_in_transaction


@dataclass
class DatabaseTime:
    """Call it for the database's time, in UTC. `tell_skew` is called once if the machine's clock is far off.

    `asking`: a transaction in which the database can be asked for its time. It raises StoreProblem.
    """

    asking: Callable[[], AbstractContextManager[Callable[[], datetime]]]
    machine: "Clock"
    tell_skew: Callable[[timedelta], None] = field(default=lambda skew: None)
    steady: Callable[[], float] = field(default=steady_seconds)
    _measurement: _Measured | None = None
    _skew_reported: bool = False
    # By the steady clock.
    _retry_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> datetime:
        """Raises StoreUnreachable and its kind while the database was never reached."""
        measurement = self._latest()
        return measurement.database + timedelta(seconds=self.steady() - measurement.steady)

    def skew(self) -> timedelta:
        """How far the machine's clock is ahead of the database's; negative where it is behind."""
        return self.machine.now() - self()

    def _latest(self) -> _Measured:
        measurement = self._measurement
        if measurement is None:
            with self._lock:
                return self._measurement or self._first()
        if _THREAD.is_in_transaction or not self._is_due(measurement):
            return measurement
        # Other threads wait only if the last measurement may be wrong.
        if not self._lock.acquire(blocking=self._jumped(measurement)):
            return measurement
        try:
            if self._measurement is measurement:
                self._measure_again(measurement)
            return self._measurement or measurement
        finally:
            self._lock.release()

    def _first(self) -> _Measured:
        self._measurement = self._measure()
        self._note_skew(self._measurement)
        return self._measurement

    def _measure_again(self, old_measurement: _Measured) -> None:
        """An unreachable database does not delay recording an answer: the last measurement still counts."""
        clock_jumped = self._jumped(old_measurement)
        with suppress(StoreProblem):
            new_measurement = self._measure()
            if clock_jumped or new_measurement.error <= _MOST_ERROR_SECONDS:
                self._measurement = new_measurement
                return
        self._retry_seconds = self.steady() + (_JUMP_SECONDS if clock_jumped else _RETRY_SECONDS)

    def _is_due(self, measurement: _Measured) -> bool:
        steady_now = self.steady()
        is_measurement_old = steady_now - measurement.steady > _MEASURE_AGAIN_SECONDS or self._jumped(measurement)
        return is_measurement_old and steady_now >= self._retry_seconds

    def _jumped(self, measurement: _Measured) -> bool:
        machine_seconds = (self.machine.now() - measurement.machine).total_seconds()
        return abs(machine_seconds - (self.steady() - measurement.steady)) > _JUMP_SECONDS

    def _measure(self) -> _Measured:
        """The best of a few attempts, if the first is not good enough."""
        with self.asking() as ask:
            best_measurement = self._timed(ask)
            for _ in range(_MOST_ATTEMPTS - 1):
                if best_measurement.error <= _MOST_ERROR_SECONDS:
                    break
                best_measurement = min(best_measurement, self._timed(ask), key=lambda measurement: measurement.error)
        return best_measurement

    def _timed(self, ask: Callable[[], datetime]) -> _Measured:
        seconds_before = self.steady()
        database_time = ask()
        seconds_after = self.steady()
        error_seconds = (seconds_after - seconds_before) / 2
        return _Measured(
            database_time.astimezone(UTC), self.machine.now(), seconds_before + error_seconds, error_seconds
        )

    def _note_skew(self, measurement: _Measured) -> None:
        skew = measurement.machine - measurement.database
        if abs(skew) > SKEW_WORTH_A_NOTE and not self._skew_reported:
            self._skew_reported = True
            self.tell_skew(skew)
