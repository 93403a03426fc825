"""The listener as a server: starts its threads, serves until it is told to stop, and ends with nothing half-done."""

import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import uvicorn

from refundcli.domain.statuses import Provider
from refundcli.listener.app import create_app
from refundcli.listener.applier import Applier
from refundcli.listener.connections import connection_class
from refundcli.listener.keeper import Keeper
from refundcli.listener.refusals import Refusals
from refundcli.listener.turns import InTurns
from refundcli.services.events import Applied, Apply
from refundcli.services.ports import Books, Clock, DeliveryReader

_STOP_SECONDS = 10
# Fewer than the files that a process may have open.
_MOST_CONNECTIONS = 500


@dataclass(frozen=True, slots=True)
class Telling:
    """What the operator is told: what was applied, what went wrong, what was not believed."""

    applied: Callable[[Applied], None]
    trouble: Callable[[Exception], None]
    refused: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in seconds, a client may take for a request's head and for its body."""

    head: float = 10.0
    body: float = 10.0


class _Server(uvicorn.Server):
    """Leaves signals alone: there is something to store and to apply yet when it has ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, small answers leave at once.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


class Listener:
    """Serves on a bound socket until SIGINT, SIGTERM or `stop`; what was taken is stored by then."""

    def __init__(
        self,
        readers: Mapping[Provider, DeliveryReader],
        *,
        books: Books,
        clock: Clock,
        apply: Apply,
        telling: Telling,
        patience: Patience | None = None,
    ) -> None:
        patience, turns = patience or Patience(), InTurns(books)
        self.refusals = Refusals(turns, telling.refused)
        self.keeper = Keeper(turns, self.refusals, stored=self._stored, trouble=telling.trouble)
        self._applier = Applier(apply, turns, clock, self.keeper.is_idle, telling.applied, telling.trouble)
        app = create_app(readers, self.keeper, self.refusals, body_seconds=patience.body, trouble=telling.trouble)
        self._server = _Server(_config(app, connection_class(self.refusals, head_seconds=patience.head)))

    def serve(self, listener: socket.socket, *, announce: Callable[[], None]) -> None:
        """`announce` is called once deliveries are taken, and a signal would end it well."""
        with _stopped_by_signals(self.stop):
            self.keeper.start()
            self._applier.start()
            try:
                announce()
                self._server.run(sockets=[listener])
            finally:
                self.keeper.stop()
                self._applier.stop()
                listener.close()

    def stop(self) -> None:
        self._server.should_exit = True

    def _stored(self, new: int) -> None:
        self._applier.wake(new)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    with ExitStack() as restored:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not the main thread: its owner stops it
                restored.callback(signal.signal, number, signal.signal(number, lambda *_: stop()))
        yield


def _config(app: object, connection: type) -> uvicorn.Config:
    # It would tell of odd requests in its own words, one by one.
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_SECONDS,
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=512,
    )
