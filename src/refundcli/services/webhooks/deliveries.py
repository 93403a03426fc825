"""Verify deliveries and store their events; they are applied afterwards."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from refundcli.domain.errors import RefundcliError
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books
from refundcli.services.ports.provider_updates import (
    NewEvent,
)
from refundcli.services.ports.rejection_reasons import DeliveryRejected, RejectionReason
from refundcli.services.ports.webhooks import DeliveryReader, VerifiedDelivery

DeliveryReaders = Callable[[Provider], DeliveryReader]


def verify(provider: Provider, reader: DeliveryReader, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
    """The verified events of one delivery, cleaned for the store. Raises only DeliveryRejected for bad content."""
    try:
        delivery = reader.read(body, headers)
    except RefundcliError:
        raise
    except Exception as error:
        raise DeliveryRejected(provider, RejectionReason.UNREADABLE, "it cannot be read") from error
    return replace(delivery, events=[event if _can_be_stored(event) else _cleaned(event) for event in delivery.events])


def _can_be_stored(event: NewEvent) -> bool:
    """Databases reject lone surrogates, and PostgreSQL rejects NUL."""
    text = "".join((event.key, event.kind, event.about, event.account, event.payload, *event.payments))
    return _clean(text) == text


def _cleaned(event: NewEvent) -> NewEvent:
    """The event with unstorable characters replaced. It is not applied, so a person must review it."""
    return replace(
        event,
        key=f"cleaned:{hashlib.sha256(event.key.encode('utf-8', 'replace')).hexdigest()}",
        kind=_clean(event.kind),
        about=_clean(event.about),
        account=_clean(event.account),
        payload=_clean(event.payload),
        payments=tuple(map(_clean, event.payments)),
        not_applied=RejectionReason.UNREADABLE,
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def store_events(events: Sequence[NewEvent], *, books: Books) -> int:
    """Store events; the delivery may be acknowledged only afterwards. Returns how many were new."""
    return books.write(lambda tx: tx.events.store(events))


def count_rejected(counts: Mapping[tuple[Provider | None, RejectionReason], int], *, books: Books) -> None:
    """Add to the counts of rejected deliveries."""
    if counts:
        books.write(lambda tx: tx.deliveries.count_rejected(counts))
