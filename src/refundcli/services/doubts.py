"""Unreviewed events made from a report or a snapshot: what cannot be applied blocks refunds until reviewed (R13)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from refundcli.domain.currencies import CODES, currency
from refundcli.domain.money import Money
from refundcli.services.provider_news import Doubt, EventSource, NewEvent


def doubt_event(
    doubt: Doubt, at: datetime, *, livemode: bool, source: EventSource = EventSource.API, occurrence: str = ""
) -> NewEvent:
    """The event for a doubt. Its key is the same for the same object and word; `occurrence` tells several apart."""
    amount = doubt.amount
    payload = {"object": doubt.object_id, "word": doubt.word, "why": doubt.why}
    about = {"amount": amount.minor, "currency": amount.currency.code} if amount else {}
    return NewEvent(
        provider=doubt.provider,
        key=":".join(filter(None, (source.value, doubt.object_id, doubt.word, occurrence))),
        kind=doubt.word,
        about=doubt.object_id,
        account=doubt.account,
        livemode=livemode,
        occurred_at=at.astimezone(UTC),
        payload=json.dumps(payload | about, sort_keys=True),
        payments=doubt.payment_references,
        source=source,
    )


def amount_of_doubt(payload: Mapping[str, Any]) -> Money | None:
    """The amount in the payload of `doubt_event`; None without one."""
    minor, code = payload.get("amount"), payload.get("currency")
    return Money(minor, currency(code)) if type(minor) is int and code in CODES else None
