"""The listener's heartbeat: a quiet provider and a listener that is not running look the same without it."""

from collections.abc import Iterable
from datetime import datetime

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books, Reading, Writing


def record_heartbeat(books: Books, providers: Iterable[Provider], *, host: str) -> None:
    """Deliveries of these providers can be received and stored now."""

    def record(tx: Writing) -> None:
        for provider in providers:
            tx.store.set_sync_state(_name(provider), host)

    books.write(record)


def last_heartbeat(reading: Reading, provider: Provider) -> datetime | None:
    stored_state = reading.store.sync_state(_name(provider))
    return stored_state[1] if stored_state else None


def _name(provider: Provider) -> str:
    return f"listener:{provider}"
