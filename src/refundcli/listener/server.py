"""The listener as a server: starts its threads, serves until it is stopped, and completes what was accepted."""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from refundcli.domain.statuses import Provider
from refundcli.listener.app import App
from refundcli.listener.event_worker import EventWorker
from refundcli.listener.event_writer import EventWriter
from refundcli.listener.heartbeat import Heartbeat
from refundcli.listener.http import QUEUED_CONNECTIONS, Server
from refundcli.listener.rejection_counter import Rejections
from refundcli.listener.thread_safe_books import SerializedBooks
from refundcli.services.ports.books import Books
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.provider_updates import NewEvent
from refundcli.services.ports.rejection_reasons import RejectionReason
from refundcli.services.ports.webhooks import DeliveryReader
from refundcli.services.webhooks.apply_events import ApplyEvents, EventOutcomes

_STOP_SECONDS = 10
_MOST_CONNECTIONS = 512
# The limit on open files to request, and how many of them are left for the store, the log and the rest.
_WANTED_FILES = 1024
_OTHER_FILES = 128


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Report to the operator: applied events, errors, counts of rejected deliveries; and each delivery by itself."""

    applied: Callable[[EventOutcomes], None]
    trouble: Callable[[Exception], None]
    rejected: Callable[[str], None]
    stored: Callable[[Sequence[NewEvent]], None]
    rejection: Callable[[Provider | None, RejectionReason], None]


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With an explicit protocol asyncio sets TCP_NODELAY, so small responses are sent at once.
    listening_socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening_socket.bind((host, port))
        listening_socket.listen(QUEUED_CONNECTIONS)
    except OSError:
        listening_socket.close()
        raise
    return listening_socket


class Listener:
    """Serves on a bound socket until SIGINT, SIGTERM or `stop`; accepted deliveries are stored by then."""

    def __init__(
        self,
        readers: Mapping[Provider, DeliveryReader],
        *,
        books: Books,
        clock: Clock,
        apply_events: ApplyEvents,
        callbacks: Callbacks,
    ) -> None:
        shared_books = SerializedBooks(books)
        self.rejections = Rejections(shared_books, callbacks.rejected, callbacks.rejection)
        self.writer = EventWriter(
            shared_books,
            self.rejections,
            stored=self._stored,
            trouble=callbacks.trouble,
            show=callbacks.stored,
            heartbeat=Heartbeat(shared_books, tuple(readers)),
        )
        apply = replace(apply_events, books=shared_books).waiting
        self._worker = EventWorker(
            apply, shared_books, clock, self.writer.is_idle, callbacks.applied, callbacks.trouble
        )
        app = App(readers, self.writer, self.rejections, callbacks.trouble)
        self._server = Server(app.respond, _most_connections(), bad_request=app.bad_request, trouble=callbacks.trouble)

    def serve(self, listening_socket: socket.socket, *, announce: Callable[[], None]) -> None:
        """`announce` is called once deliveries are accepted and signals are handled."""
        with _stopped_by_signals(self.stop):
            self.writer.start()
            self._worker.start()
            try:
                announce()
                asyncio.run(self._server.serve(listening_socket, stop_seconds=_STOP_SECONDS))
            finally:
                self.writer.stop()
                self._worker.stop()
                listening_socket.close()

    def stop(self) -> None:
        self._server.stop()

    def _stored(self, new_count: int) -> None:
        self._worker.wake(new_count)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    with ExitStack() as restored_handlers:
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not the main thread: its owner stops it
                restored_handlers.callback(
                    signal.signal, signal_number, signal.signal(signal_number, lambda *_: stop())
                )
        yield


def _most_connections() -> int:
    """As many as the limit on open files allows (RLIMIT_NOFILE), which is raised where that is possible."""
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted_limit = _WANTED_FILES if hard_limit == resource.RLIM_INFINITY else min(hard_limit, _WANTED_FILES)
    if soft_limit == resource.RLIM_INFINITY or soft_limit >= _WANTED_FILES:
        return _MOST_CONNECTIONS
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft_limit, wanted_limit), hard_limit))
        soft_limit = max(soft_limit, wanted_limit)
    return min(_MOST_CONNECTIONS, max(soft_limit - min(_OTHER_FILES, soft_limit // 2), 1))
