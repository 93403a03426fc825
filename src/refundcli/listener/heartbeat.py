"""Stores once a minute that the listener runs, for `status --max-age events=…`."""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books
from refundcli.services.webhooks.heartbeat import record_heartbeat

_EVERY_SECONDS = 60.0


@dataclass
class Heartbeat:
    """The thread that stores deliveries calls it, so that a beat proves that deliveries can be stored."""

    books: Books
    providers: Iterable[Provider]
    _next_at: float = 0.0

    def beat(self) -> None:
        """If the store cannot be written, the next attempt is a minute later."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _EVERY_SECONDS
            record_heartbeat(self.books, self.providers, host=socket.gethostname())
