"""Threads that send requests to providers: a limited number at once, refunds before anything else."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False, slots=True)
class Job:
    """A request to a provider `about` something, and its outcome: `response`, or `error` if it failed."""

    ask: Callable[[], Any]
    then: Callable[["Job"], None]
    about: Any = None
    response: Any = None
    error: BaseException | None = None

    @property
    def answer(self) -> Any:
        """The response. Raises the error."""
        if self.error is not None:
            raise self.error
        return self.response


class RequestPool:
    """Runs jobs in threads; only the worker's own thread handles finished jobs and writes to the books."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._urgent_jobs: deque[Job] = deque()
        self._other_jobs: deque[Job] = deque()
        self._finished_jobs: deque[Job] = deque()
        self._job_added = threading.Condition()
        self._job_finished = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle_threads = 0
        # Changed only by the worker's own thread.
        self._outstanding_jobs = 0
        self._is_closed = False

    def send(self, job: Job, *, urgent: bool) -> None:
        """Queue the job; an `urgent` one runs before all others."""
        with self._job_added:
            (self._urgent_jobs if urgent else self._other_jobs).append(job)
            self._outstanding_jobs += 1
            if not self._idle_threads and len(self._threads) < self._max_threads:
                # A daemon thread, so that a hanging look-up does not prevent the exit.
                thread = threading.Thread(target=self._work, name=f"sender {len(self._threads) + 1}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._job_added.notify()

    @property
    def outstanding(self) -> int:
        """The number of jobs that were not returned yet."""
        return self._outstanding_jobs

    def wait(self, seconds: float) -> None:
        """Wait until a job is finished, at most for so many seconds."""
        with self._job_finished:
            if not self._finished_jobs:
                self._job_finished.wait(seconds)

    def next_finished(self) -> Job | None:
        """The job that finished first; None without one."""
        with self._job_finished:
            if not self._finished_jobs:
                return None
            self._outstanding_jobs -= 1
            return self._finished_jobs.popleft()

    def cancel_queued(self) -> list[Job]:
        """Drop the jobs that no thread has started; returns the urgent ones, without a response."""
        with self._job_added:
            urgent_jobs = list(self._urgent_jobs)
            self._outstanding_jobs -= len(urgent_jobs) + len(self._other_jobs)
            self._urgent_jobs.clear()
            self._other_jobs.clear()
        return urgent_jobs

    def close(self) -> None:
        with self._job_added:
            self._is_closed = True
            self._other_jobs.clear()
            self._job_added.notify_all()

    def _next(self) -> Job | None:
        with self._job_added:
            while not (self._urgent_jobs or self._other_jobs or self._is_closed):
                self._idle_threads += 1
                self._job_added.wait()
                self._idle_threads -= 1
            if self._urgent_jobs:
                return self._urgent_jobs.popleft()
            return self._other_jobs.popleft() if self._other_jobs else None

    def _work(self) -> None:
        while job := self._next():
            try:
                job.response = job.ask()
            except BaseException as error:
                job.error = error
            with self._job_finished:
                self._finished_jobs.append(job)
                self._job_finished.notify()
