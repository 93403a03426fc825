"""Connections of the listener: none may dribble, and what is no HTTP is counted with the rest."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from refundcli.listener.refusals import Refusals
from refundcli.services.deliveries import Flaw


def connection_class(refusals: Refusals, *, head_seconds: float) -> type[H11Protocol]:
    """`head_seconds`: a request's line and headers come within this, or the connection ends."""

    class Connection(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            refusals.add(Flaw.UNREADABLE)
            super().send_400_response(msg)

        def _watch(self) -> None:
            under_way = self.cycle is not None and not self.cycle.response_complete
            if under_way or self.transport.is_closing():
                self._unwatch()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(head_seconds, self._give_up)

        def _unwatch(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _give_up(self) -> None:
            self._head_timer = None
            under_way = self.cycle is not None and not self.cycle.response_complete
            # After an answer the connection may rest: the server's own timer ends that.
            if not under_way and self.timeout_keep_alive_task is None:
                self.transport.close()

    return Connection
