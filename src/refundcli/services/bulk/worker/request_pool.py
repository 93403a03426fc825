"""Threads that send requests to providers: a limited number at once, refunds before anything else."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False, slots=True)
class Job:
    """A request to a provider `about` something, and its outcome: `result`, or `error` if it failed."""

    ask: Callable[[], Any]
    then: Callable[["Job"], None]
    about: Any = None
    result: Any = None
    error: BaseException | None = None

    @property
    def answer(self) -> Any:
        """The result. Raises the error."""
        if self.error is not None:
            raise self.error
        return self.result


class RequestPool:
    """Runs jobs in threads; only the worker's own thread handles finished jobs and writes to the books."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._urgent: deque[Job] = deque()
        self._others: deque[Job] = deque()
        self._done: deque[Job] = deque()
        self._to_do = threading.Condition()
        self._back = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        # Changed only by the worker's own thread.
        self._outstanding = 0
        self._closed = False

    def send(self, job: Job, *, urgent: bool) -> None:
        with self._to_do:
            (self._urgent if urgent else self._others).append(job)
            self._outstanding += 1
            if not self._idle and len(self._threads) < self._most:
                # A daemon thread, so that a hanging look-up does not prevent the exit.
                thread = threading.Thread(target=self._work, name=f"sender {len(self._threads) + 1}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._to_do.notify()

    @property
    def outstanding(self) -> int:
        """The number of jobs that were not returned yet."""
        return self._outstanding

    def wait(self, seconds: float) -> None:
        """Wait until a job is finished, at most for so many seconds."""
        with self._back:
            if not self._done:
                self._back.wait(seconds)

    def next_finished(self) -> Job | None:
        """The job that finished first; None without one."""
        with self._back:
            if not self._done:
                return None
            self._outstanding -= 1
            return self._done.popleft()

    def cancel_queued(self) -> list[Job]:
        """Drop the jobs that no thread has started; returns the urgent ones, without a result."""
        with self._to_do:
            urgent = list(self._urgent)
            self._outstanding -= len(urgent) + len(self._others)
            self._urgent.clear()
            self._others.clear()
        return urgent

    def close(self) -> None:
        with self._to_do:
            self._closed = True
            self._others.clear()
            self._to_do.notify_all()

    def _next(self) -> Job | None:
        with self._to_do:
            while not (self._urgent or self._others or self._closed):
                self._idle += 1
                self._to_do.wait()
                self._idle -= 1
            if self._urgent:
                return self._urgent.popleft()
            return self._others.popleft() if self._others else None

    def _work(self) -> None:
        while job := self._next():
            try:
                job.result = job.ask()
            except BaseException as error:
                job.error = error
            with self._back:
                self._done.append(job)
                self._back.notify()
