"""Ctrl-C while money moves: held until what came of it is written (DESIGN, T2 to T4)."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The operator asked to stop, and it was done as soon as it was safe. Its text, if any, says what is certain."""


@contextmanager
def held_until_written(tell: Callable[[], None]) -> Iterator[None]:
    """Hold SIGINT and SIGTERM back inside; raise Interrupted at the end if one came. `tell` is called at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if not came:
            tell()
        came.append(number)

    before = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise Interrupted


@contextmanager
def stop_when_asked(tell: Callable[[], None]) -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, for work that then ends where it is safe. `tell` is called once."""
    asked = threading.Event()

    def remember(number: int, _frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            tell()

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
