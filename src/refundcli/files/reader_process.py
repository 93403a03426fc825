"""A second process that reads ahead, so that a second core helps with long files."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")

_AT_ITS_END = None
_SAFE_PATH = "PYTHONSAFEPATH"


def read_ahead(read: Callable[[A], Iterator[T]], argument: A) -> Iterator[T]:
    """What `read(argument)` yields, from a second process. Argument and yields are pickled; no T is None.

    If that process cannot start or dies, this one reads the rest, since `read` yields the same each time. So errors of
    reading are raised here.
    """
    received_count, is_over = 0, False
    for part in _from_second_process(read, argument):
        if part is _AT_ITS_END:
            is_over = True
            break
        received_count += 1
        yield part
    if not is_over:
        yield from islice(read(argument), received_count, None)


def there_are_two_cores() -> bool:
    core_count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return core_count > 1


def _from_second_process(read: Callable[[A], Iterator[T]], argument: A) -> Iterator[Any]:
    from multiprocessing import get_context  # noqa: PLC0415 - for long files only

    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, read, argument), daemon=True)
    try:
        with _not_from_the_working_folder():
            _start_with_interrupts_blocked(process)
        sender.close()
        while True:
            yield receiver.recv()
    except (EOFError, OSError):
        return
    finally:
        # Its next send fails, and it ends.
        receiver.close()
        if process.pid:
            process.join()


def _start_with_interrupts_blocked(process: Any) -> None:
    """Start the process with Ctrl-C blocked: only the main process handles it, and the other ends with it."""
    from multiprocessing import resource_tracker  # noqa: PLC0415 - for long files only

    # Start the tracker first: starting it unblocks signals.
    resource_tracker.ensure_running()
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


@contextmanager
def _not_from_the_working_folder() -> Iterator[None]:
    """Keep the child from importing modules of the working folder: a `multiprocessing.py` there is not trusted."""
    previous_safe_path = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if previous_safe_path is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = previous_safe_path


def _send(sender: Any, read: Callable[[A], Iterator[T]], argument: A) -> None:
    # As in the main process: millions of cells make no cycles.
    gc.set_threshold(200_000, 20, 20)
    try:
        for part in read(argument):
            sender.send(part)
        sender.send(_AT_ITS_END)
    except Exception:
        sender.close()
