"""Ctrl-C while money moves: deferred until the outcome is stored (DESIGN, T2 to T4)."""

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
    """The operator interrupted the command, which stopped as soon as it was safe. Its text says what is known."""


@contextmanager
def held_until_written(notify: Callable[[], None]) -> Iterator[None]:
    """Defer SIGINT and SIGTERM inside; raise Interrupted at the end if one arrived. `notify` is called at once.

    If the work inside fails, its error is raised and the signal stays pending, so nothing more is started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raise_if_interrupted()

    def remember(signal_number: int, _frame: FrameType | None) -> None:
        _SIGNALS.append(signal_number)
        if len(_SIGNALS) == 1:
            notify()

    previous_handlers = {signal_number: signal.signal(signal_number, remember) for signal_number in _HELD}
    try:
        yield
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Call before starting more work: raises Interrupted if a signal is pending."""
    if _SIGNALS and threading.current_thread() is threading.main_thread():
        _SIGNALS.clear()
        raise Interrupted


def pause(seconds: float) -> None:
    """Sleep for so many seconds; return early when a signal is pending."""
    end_time = time.monotonic() + seconds
    while (seconds_left := end_time - time.monotonic()) > 0 and not is_interrupted():
        time.sleep(min(seconds_left, _LOOK_SECONDS))


def is_interrupted() -> bool:
    """Is a signal pending? Then no further request is sent."""
    return bool(_SIGNALS)


@contextmanager
def stop_on_signal(notify: Callable[[], None]) -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; the work then stops where it is safe. `notify` is called once."""
    stop_event = threading.Event()

    def remember(signal_number: int, _frame: FrameType | None) -> None:
        if not stop_event.is_set():
            stop_event.set()
            notify()

    if threading.current_thread() is not threading.main_thread():
        yield stop_event
        return
    previous_handlers = {signal_number: signal.signal(signal_number, remember) for signal_number in _HELD}
    try:
        yield stop_event
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)
