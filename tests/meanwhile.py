"""Something else happens while a command or a run is at work."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def meanwhile(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    """After so long; what goes wrong there goes wrong here."""
    with ThreadPoolExecutor(1) as beside:

        def later() -> None:
            time.sleep(seconds)
            work()

        done = beside.submit(later)
        yield
        done.result()
