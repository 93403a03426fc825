"""Verify Stripe's webhooks with the SDK, and ask Stripe about the payment of each event."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe

from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider
from refundcli.providers.http import text_in
from refundcli.providers.stripe_fields import id_in
from refundcli.providers.stripe_vocabulary import event_blocks, event_meaning
from refundcli.services.deliveries import DeliveryRefused, Flaw
from refundcli.services.doubts import amount_of_doubt
from refundcli.services.ports import ProviderRecords
from refundcli.services.provider_news import Doubt, NewEvent, News
from refundcli.services.vocabulary import Effect

Fields = Mapping[str, Any]

# How old a signature may be, and how far ahead another clock. A saved delivery is older, and its event no worse.
TOLERANCE = timedelta(minutes=5)
_FUTURE = timedelta(minutes=1)
_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
_REFUNDS = ("re_", "pyr_")
_SIGNED_AT = re.compile(r"(?:^|,)\s*t=([0-9]{1,12})(?:,|$)")


class StripeMeaning:
    """`EventReader` for one account: an event only says which payment to ask Stripe about."""

    def __init__(self, records: ProviderRecords) -> None:
        self._records = records

    def news_in(self, event: NewEvent) -> Sequence[News] | None:
        """The payment's snapshot, whatever the event says, so late and repeated events do no harm."""
        body = json.loads(event.payload)
        if event_blocks(event.kind):
            why = f"{event.kind} is not a known event type"
            return [Doubt(Provider.STRIPE, payments_of(event.kind, body), event.kind, event.about, why, event.account)]
        if not _is_relevant(event.kind):
            return None
        snapshot = next(filter(None, map(self._records.payment, _payments_in(body))), None)
        if snapshot is None:
            refund = self._records.refund(event.about) if event.about.startswith(_REFUNDS) else None
            return [refund] if refund else []
        return [snapshot]

    def amount_in(self, event: NewEvent) -> Money | None:
        return amount_of_doubt(json.loads(event.payload))


class StripeEvents:
    """`DeliveryReader` for one webhook endpoint of one account."""

    def __init__(
        self,
        secret: str,
        records: ProviderRecords,
        *,
        tolerance: timedelta | None = TOLERANCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.livemode = records.livemode
        self._secret, self._records, self._tolerance, self._now = secret, records, tolerance, now

    def events_in(self, body: bytes, headers: Mapping[str, str]) -> list[NewEvent]:
        text = self._believed(body, headers)
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            raise _refused(Flaw.UNREADABLE, "it is no JSON") from None
        return [self._event(told if isinstance(told, dict) else {})]

    def _believed(self, body: bytes, headers: Mapping[str, str]) -> str:
        given = {name.lower(): value for name, value in headers.items()}.get("stripe-signature", "")
        if not given:
            raise _refused(Flaw.UNSIGNED, "it has no signature")
        try:
            text = body.decode()
            tolerance = int(self._tolerance.total_seconds()) if self._tolerance else None
            stripe.WebhookSignature.verify_header(text, given, self._secret, tolerance)
        except stripe.SignatureVerificationError as error:
            too_old = "tolerance" in str(error)
            flaw = Flaw.OUT_OF_TIME if too_old else Flaw.FORGED
            raise _refused(flaw, "it was signed too long ago" if too_old else "its signature does not fit it") from None
        except Exception:  # a header or a body that the SDK stumbles over
            raise _refused(Flaw.UNREADABLE, "its signature or its text cannot be read") from None
        signed_at = _SIGNED_AT.search(given)
        if signed_at is None or int(signed_at[1]) > (self._now() + _FUTURE).timestamp():
            raise _refused(Flaw.OUT_OF_TIME, "it was signed in the future")
        return text

    def _event(self, told: Fields) -> NewEvent:
        key, kind, created = text_in(told.get("id")), text_in(told.get("type")), told.get("created")
        about = _object_in(told)
        if not _EVENT_ID.fullmatch(key) or not kind or type(created) is not int or about is None:
            raise _refused(Flaw.UNREADABLE, "it is no event")
        if told.get("livemode") is not self._records.livemode:
            raise _refused(Flaw.OTHER_MODE, "it is for the other mode, live or test")
        if text_in(told.get("account")) not in ("", self._records.account):
            raise _refused(Flaw.OTHER_ACCOUNT, "it is for another account")
        if not 0 <= created <= (self._now() + _FUTURE).timestamp():
            raise _refused(Flaw.OUT_OF_TIME, "its date lies in the future")
        return NewEvent(
            provider=Provider.STRIPE,
            key=key,
            kind=kind[:100],
            about=text_in(about.get("id")),
            account=self._records.account,
            livemode=self._records.livemode,
            occurred_at=datetime.fromtimestamp(created, UTC),
            payload=json.dumps(told, sort_keys=True),
            payments=payments_of(kind, told),
        )


def _object_in(told: Fields) -> Fields | None:
    data = told.get("data")
    found = data.get("object") if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else None


def payments_of(event_type: str, body: Fields) -> tuple[str, ...]:
    """The ids of the payment that the event is about; none if it does not concern refunds."""
    bears = event_blocks(event_type) or _is_relevant(event_type)
    return tuple(_payments_in(body)) if bears else ()


def _is_relevant(event_type: str) -> bool:
    meaning = event_meaning(event_type)
    return meaning is not None and meaning.effect not in (Effect.NONE, Effect.NOTE)


def _payments_in(told: Fields) -> list[str]:
    """By which ids the payment can be asked for that the event's object belongs to, by its charge first."""
    found = _object_in(told) or {}
    kind = found.get("object")
    charge = found if kind == "charge" else found.get("charge") or found.get("latest_charge")
    intent = found if kind == "payment_intent" else found.get("payment_intent")
    return list(filter(None, (id_in(charge), id_in(intent))))


def _refused(flaw: Flaw, why: str) -> DeliveryRefused:
    return DeliveryRefused(Provider.STRIPE, flaw, why)
