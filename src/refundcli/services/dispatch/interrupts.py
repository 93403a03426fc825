"""Ctrl-C while money moves: held until what came of it is written (DESIGN, T2 to T4)."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM)
_SIGNALS: list[int] = []
_LOOK_SECONDS = 0.1


class Interrupted(BaseException):
    """The operator asked to stop, and it was done as soon as it was safe. Its text, if any, says what is certain."""


@contextmanager
def held_until_written(notify: Callable[[], None]) -> Iterator[None]:
    """Hold SIGINT and SIGTERM back inside; raise Interrupted at the end if one came. `notify` is called at once.

    Where the work inside fails, its error is raised, and the signal stays held: nothing more is begun.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raise_if_interrupted()

    def remember(number: int, _frame: FrameType | None) -> None:
        _SIGNALS.append(number)
        if len(_SIGNALS) == 1:
            notify()

    before = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Before something more is begun: raise Interrupted if a signal is still held back."""
    if _SIGNALS and threading.current_thread() is threading.main_thread():
        _SIGNALS.clear()
        raise Interrupted


def pause(seconds: float) -> None:
    """Sleep, but not on while a signal is being held back."""
    until = time.monotonic() + seconds
    while (remaining := until - time.monotonic()) > 0 and not is_interrupted():
        time.sleep(min(remaining, _LOOK_SECONDS))


def is_interrupted() -> bool:
    """Whether a signal is being held back: then no further request is begun."""
    return bool(_SIGNALS)


@contextmanager
def stop_on_signal(notify: Callable[[], None]) -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for work that then ends where it is safe. `notify` is called once."""
    stop = threading.Event()

    def remember(number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            notify()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
