"""The listener as a server: starts its threads, serves until it is stopped, and completes what was accepted."""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from refundcli.domain.statuses import Provider
from refundcli.listener.app import App
from refundcli.listener.event_worker import EventWorker
from refundcli.listener.event_writer import EventWriter
from refundcli.listener.http import Limits, Server
from refundcli.listener.rejection_counter import Rejections
from refundcli.listener.thread_safe_books import SerializedBooks
from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.webhooks import DeliveryReader
from refundcli.services.webhooks.apply_events import Apply, EventOutcomes

_STOP_SECONDS = 10
# The limit on open files to request, and how many of them are left for the store, the log and the rest.
_WANTED_FILES = 2048
_OTHER_FILES = 128


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Report to the operator: applied events, errors, rejected deliveries."""

    applied: Callable[[EventOutcomes], None]
    trouble: Callable[[Exception], None]
    rejected: Callable[[str], None]


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With an explicit protocol asyncio sets TCP_NODELAY, so small responses are sent at once.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # A burst waits in the system's queue (which may be shorter) instead of being refused.
        listener.listen(4096)
    except OSError:
        listener.close()
        raise
    return listener


class Listener:
    """Serves on a bound socket until SIGINT, SIGTERM or `stop`; accepted deliveries are stored by then."""

    def __init__(
        self,
        readers: Mapping[Provider, DeliveryReader],
        *,
        books: Books,
        clock: Clock,
        apply: Apply,
        callbacks: Callbacks,
        limits: Limits | None = None,
    ) -> None:
        turns = SerializedBooks(books)
        self.rejections = Rejections(turns, callbacks.rejected)
        self.writer = EventWriter(turns, self.rejections, stored=self._stored, trouble=callbacks.trouble)
        self._worker = EventWorker(apply, turns, clock, self.writer.is_idle, callbacks.applied, callbacks.trouble)
        app = App(readers, self.writer, self.rejections, callbacks.trouble)
        limits = limits or _within_open_files(Limits())
        self._server = Server(app.respond, limits, bad_request=app.bad_request, trouble=callbacks.trouble)

    def serve(self, listener: socket.socket, *, announce: Callable[[], None]) -> None:
        """`announce` is called once deliveries are accepted and signals are handled."""
        with _stopped_by_signals(self.stop):
            self.writer.start()
            self._worker.start()
            try:
                announce()
                asyncio.run(self._server.serve(listener, stop_seconds=_STOP_SECONDS))
            finally:
                self.writer.stop()
                self._worker.stop()
                listener.close()

    def stop(self) -> None:
        self._server.stop()

    def _stored(self, new: int) -> None:
        self._worker.wake(new)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    with ExitStack() as restored:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not the main thread: its owner stops it
                restored.callback(signal.signal, number, signal.signal(number, lambda *_: stop()))
        yield


def _within_open_files(limits: Limits) -> Limits:
    """As many connections as the limit on open files allows (RLIMIT_NOFILE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
        soft = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    per_kind = max((soft - min(_OTHER_FILES, soft // 2)) // 2, 1)
    return replace(limits, waiting=min(limits.waiting, per_kind), answered=min(limits.answered, per_kind))
