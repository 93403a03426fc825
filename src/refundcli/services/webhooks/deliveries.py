"""Verify deliveries and store their events; they are applied afterwards."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from refundcli.domain.errors import RefundcliError
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books
from refundcli.services.ports.provider_updates import NewEvent
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
    return replace(delivery, events=[_storable(event) for event in delivery.events])


def _storable(event: NewEvent) -> NewEvent:
    """The event without characters that databases reject: lone surrogates, and NUL in PostgreSQL.

    If there were any, it is not applied, so a person must review it.
    """
    cleaned = replace(
        event,
        key=_clean(event.key),
        kind=_clean(event.kind),
        about=_clean(event.about),
        account=_clean(event.account),
        payload=_clean(event.payload),
        payments=tuple(map(_clean, event.payments)),
    )
    if cleaned == event:
        return event
    key_hash = hashlib.sha256(event.key.encode("utf-8", "replace")).hexdigest()
    return replace(cleaned, key=f"cleaned:{key_hash}", not_applied=RejectionReason.UNREADABLE)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def store_events(events: Sequence[NewEvent], *, books: Books) -> int:
    """Store events; the delivery may be acknowledged only afterwards. Returns how many were new."""
    return books.write(lambda tx: tx.events.store(events))
