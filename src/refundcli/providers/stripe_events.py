"""Stripe's webhooks: the signature is the SDK's to check, and the event is only a hint to ask again."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe

from refundcli.domain.statuses import Provider
from refundcli.providers.http import text_in
from refundcli.providers.stripe_fields import id_in
from refundcli.services.deliveries import DeliveryRefused, Flaw
from refundcli.services.ports import ProviderRecords
from refundcli.services.provider_news import NewEvent, News

Fields = Mapping[str, Any]

# How old a signature may be, and how far ahead another clock. A saved delivery is older, and its event no worse.
TOLERANCE = timedelta(minutes=5)
_FUTURE = timedelta(minutes=1)
_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
_REFUNDS = ("re_", "pyr_")
_SIGNED_AT = re.compile(r"(?:^|,)\s*t=([0-9]{1,12})(?:,|$)")

# Events that bear on refunds and disputes; what they are about is asked for anew.
KINDS = (
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)


class StripeEvents:
    """`EventReader` for one webhook endpoint of one account."""

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

    def news_in(self, event: NewEvent) -> Sequence[News] | None:
        """How the payment stands now, whatever the event says: so late and doubled ones do no harm."""
        if event.kind not in KINDS:
            return None
        told = json.loads(event.payload)
        truth = next(filter(None, map(self._records.payment, _payments_in(told))), None)
        if truth is None:
            refund = self._records.refund(event.about) if event.about.startswith(_REFUNDS) else None
            return [refund] if refund else []
        # An inquiry that was closed leaves no dispute behind: only an event of a dispute may say that there is none.
        dispute = truth.told_dispute if event.kind.startswith("charge.dispute.") else truth.dispute
        return [*([dispute] if dispute else []), *truth.refunds]

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
        )


def _object_in(told: Fields) -> Fields | None:
    data = told.get("data")
    found = data.get("object") if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _payments_in(told: Fields) -> list[str]:
    """By which ids the payment can be asked for that the event's object belongs to, by its charge first."""
    found = _object_in(told) or {}
    charge = found if found.get("object") == "charge" else found.get("charge")
    return list(filter(None, (id_in(charge), id_in(found.get("payment_intent")))))


def _refused(flaw: Flaw, why: str) -> DeliveryRefused:
    return DeliveryRefused(Provider.STRIPE, flaw, why)
