"""Unreviewed events from a report or a snapshot: what cannot be applied blocks refunds until reviewed (R13)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from refundcli.domain.currencies import CODES, currency
from refundcli.domain.money import Money
from refundcli.services.ports.books import Writing
from refundcli.services.ports.provider_updates import Doubt, EventSource, EventState, NewEvent


def store_doubt(
    tx: Writing,
    doubt: Doubt,
    reported_at: datetime,
    why: str,
    *,
    source: EventSource = EventSource.API,
    occurrence: str = "",
) -> EventState:
    """Store a doubt as an unreviewed event, once for each object, word and `occurrence`; returns the event's state."""
    amount = doubt.amount
    payload = {"object": doubt.object_id, "word": doubt.word, "why": doubt.why}
    amount_fields = {"amount": amount.minor, "currency": amount.currency.code} if amount else {}
    event = NewEvent(
        provider=doubt.provider,
        key=":".join(filter(None, (source.value, doubt.object_id, doubt.word, occurrence))),
        kind=doubt.word,
        about=doubt.object_id,
        account=doubt.account,
        livemode=bool(tx.store.livemode()),
        occurred_at=reported_at.astimezone(UTC),
        payload=json.dumps(payload | amount_fields, sort_keys=True),
        payments=doubt.payment_references,
        source=source,
    )
    return tx.events.store_unreviewed(event, why)


def amount_of_doubt(payload: Mapping[str, Any]) -> Money | None:
    """The amount in the payload of a stored doubt; None without one."""
    minor_units, currency_code = payload.get("amount"), payload.get("currency")
    return Money(minor_units, currency(currency_code)) if type(minor_units) is int and currency_code in CODES else None
