"""Threads that send requests to providers: a limited number at once, refunds before anything else."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from queue import PriorityQueue
from typing import Any, TypeVar

T = TypeVar("T")


class RequestPool:
    """Runs requests in threads, which have no access to the books."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        # The number keeps the order of equally urgent requests.
        self._requests: PriorityQueue[tuple[bool, int, Future[Any] | None, Callable[[], Any]]] = PriorityQueue()
        self._numbers = count(1)
        self._threads: list[threading.Thread] = []

    def submit(self, ask: Callable[[], T], *, urgent: bool) -> "Future[T]":
        """Queue the request, an `urgent` one before all others. It can be cancelled until a thread starts it."""
        future: Future[T] = Future()
        self._requests.put((not urgent, next(self._numbers), future, ask))
        if len(self._threads) < self._max_threads:
            # A daemon thread, so that a hanging look-up does not prevent the exit.
            thread = threading.Thread(target=self._work, name=f"sender {len(self._threads) + 1}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """End the threads, each after its request; urgent requests in the queue are still sent."""
        for _ in self._threads:
            # Before look-ups in the queue, which are not needed any more.
            self._requests.put((True, -next(self._numbers), None, lambda: None))

    def _work(self) -> None:
        while True:
            _, _, future, ask = self._requests.get()
            if future is None:
                return
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(ask())
                except BaseException as error:
                    future.set_exception(error)
