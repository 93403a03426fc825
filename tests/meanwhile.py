"""Runs something else while a command or a run is at work."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def meanwhile(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    """Runs `work` after `seconds`; its errors are raised here."""
    with ThreadPoolExecutor(1) as beside:

        def later() -> None:
            time.sleep(seconds)
            work()

        future = beside.submit(later)
        yield
        future.result()


@contextmanager
def once(it_is_so: Callable[[], bool], work: Callable[[], object]) -> Iterator[None]:
    """Runs `later` once the condition holds; its errors are raised here."""
    over = threading.Event()

    def later() -> None:
        while not it_is_so():
            if over.wait(0.01):
                return
        work()

    with ThreadPoolExecutor(1) as beside:
        future = beside.submit(later)
        try:
            yield
        finally:
            over.set()
        future.result()
