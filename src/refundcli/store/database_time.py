"""The database's time, which all machines at one PostgreSQL store share (DESIGN §3).

It is measured once and then advanced by the machine's monotonic clock, which nobody sets.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from refundcli.store.db_errors import store_error

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
    before, _THREAD.is_in_transaction = _THREAD.is_in_transaction, True
    try:
        yield
    finally:
        _THREAD.is_in_transaction = before


@dataclass
class DatabaseTime:
    """Call it for the database's time, in UTC. `tell_skew` is called once if the machine's clock is far off."""

    engine: Engine
    machine: "Clock"
    tell_skew: Callable[[timedelta], None] = field(default=lambda skew: None)
    steady: Callable[[], float] = field(default=steady_seconds)
    _measured: _Measured | None = None
    _skew_reported: bool = False
    # By the steady clock.
    _not_before: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> datetime:
        """Raises StoreUnreachable and its kind while the database was never reached."""
        measured = self._latest()
        return measured.database + timedelta(seconds=self.steady() - measured.steady)

    def skew(self) -> timedelta:
        """How far the machine's clock is ahead of the database's; negative where it is behind."""
        return self.machine.now() - self()

    def _latest(self) -> _Measured:
        measured = self._measured
        if measured is None:
            with self._lock:
                return self._measured or self._first()
        if _THREAD.is_in_transaction or not self._is_due(measured):
            return measured
        # Other threads wait only if the last measurement may be wrong.
        if not self._lock.acquire(blocking=self._jumped(measured)):
            return measured
        try:
            if self._measured is measured:
                self._measure_again(measured)
            return self._measured or measured
        finally:
            self._lock.release()

    def _first(self) -> _Measured:
        try:
            self._measured = self._measure()
        except DBAPIError as error:
            raise store_error(error) from error
        self._note_skew(self._measured)
        return self._measured

    def _measure_again(self, previous: _Measured) -> None:
        """An unreachable database does not delay recording an answer: the last measurement still counts."""
        jumped = self._jumped(previous)
        with suppress(DBAPIError):
            latest = self._measure()
            if jumped or latest.error <= _MOST_ERROR_SECONDS:
                self._measured = latest
                return
        self._not_before = self.steady() + (_JUMP_SECONDS if jumped else _RETRY_SECONDS)

    def _is_due(self, measured: _Measured) -> bool:
        now = self.steady()
        is_old = now - measured.steady > _MEASURE_AGAIN_SECONDS or self._jumped(measured)
        return is_old and now >= self._not_before

    def _jumped(self, measured: _Measured) -> bool:
        passed_here = (self.machine.now() - measured.machine).total_seconds()
        return abs(passed_here - (self.steady() - measured.steady)) > _JUMP_SECONDS

    def _measure(self) -> _Measured:
        """The best of a few attempts, if the first is not good enough."""
        with self.engine.connect() as connection:
            # BEGIN may wait for a pooler's connection; the query after it is one round trip.
            connection.begin()
            best = self._ask(connection)
            for _ in range(_MOST_ATTEMPTS - 1):
                if best.error <= _MOST_ERROR_SECONDS:
                    break
                best = min(best, self._ask(connection), key=lambda measurement: measurement.error)
        return best

    def _ask(self, connection: Connection) -> _Measured:
        started = self.steady()
        database: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        answered = self.steady()
        error = (answered - started) / 2
        return _Measured(database.astimezone(UTC), self.machine.now(), started + error, error)

    def _note_skew(self, measured: _Measured) -> None:
        skew = measured.machine - measured.database
        if abs(skew) > SKEW_WORTH_A_NOTE and not self._skew_reported:
            self._skew_reported = True
            self.tell_skew(skew)
