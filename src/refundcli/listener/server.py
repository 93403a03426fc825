"""The listener as a server: starts its threads, serves until it is told to stop, and ends with nothing half-done."""

import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

import uvicorn

from refundcli.domain.statuses import Provider
from refundcli.listener.app import create_app
from refundcli.listener.applier import Applier, Apply
from refundcli.listener.keeper import Keeper
from refundcli.services.events import Applied
from refundcli.services.ports import Books, EventReader

_STOP_SECONDS = 5


class _Server(uvicorn.Server):
    """Ends well on SIGINT and SIGTERM, where uvicorn would raise the signal again: there is something to store yet."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with ExitStack() as restored:
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(ValueError):  # not the main thread: its owner stops it
                    restored.callback(signal.signal, number, signal.signal(number, self.handle_exit))
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


def serve(
    listener: socket.socket,
    readers: Mapping[Provider, EventReader],
    *,
    books: Books,
    apply: Apply,
    told: Callable[[Applied], None],
    trouble: Callable[[str], None],
) -> Keeper:
    """Until SIGINT or SIGTERM; what was taken is stored by then. The keeper tells what came."""
    applier = Applier(apply, told, trouble)
    keeper = Keeper(books, stored=applier.wake, trouble=trouble)
    config = uvicorn.Config(
        create_app(readers, keeper),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_SECONDS,
        limit_concurrency=1_000,
    )
    keeper.start()
    applier.start()
    try:
        _Server(config).run(sockets=[listener])
    finally:
        keeper.stop()
        applier.stop()
        listener.close()
    return keeper
