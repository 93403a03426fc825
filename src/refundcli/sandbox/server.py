"""The sandbox as a server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from refundcli.sandbox.app import create_app
from refundcli.sandbox.core.seed import seed_payments
from refundcli.sandbox.core.state import SandboxState

# Never another interface: there is no password on this.
HOST = "127.0.0.1"


class HangableProtocol(H11Protocol):
    """Lets a fault close the connection: the transport travels in the scope's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class SandboxServer(uvicorn.Server):
    """Ends with a clean exit on SIGINT and SIGTERM, where uvicorn would raise the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with contextlib.ExitStack() as exit_stack:
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                with contextlib.suppress(ValueError):  # Not the main thread: its owner stops it.
                    previous_handler = signal.signal(signal_number, self.handle_exit)
                    exit_stack.callback(signal.signal, signal_number, previous_handler)
            yield

    async def main_loop(self) -> None:
        while not self.should_exit:
            await asyncio.sleep(0.02)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops at once; nothing here needs a graceful end."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)


def bind(port: int) -> socket.socket:
    """Port 0 takes a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def make_server(state: SandboxState) -> SandboxServer:
    config = uvicorn.Config(
        create_app(state),
        http=HangableProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    return SandboxServer(config)


def serve(
    listener: socket.socket,
    *,
    seed_rows: Iterable[Mapping[str, Any]] = (),
    announce: Callable[[str], None] = print,
    state: SandboxState | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM. Calls `announce` with the URL once connections are accepted.

    `seed_rows` are rows of an invoices file, whose payments are created first.
    """
    sandbox_state = state or SandboxState()
    seed_payments(sandbox_state, seed_rows)
    with listener:
        server = make_server(sandbox_state)
        # A full garbage collection over the loaded data would delay calls by a tenth of a second.
        gc.freeze()
        announce(url_of(listener))
        server.run(sockets=[listener])
