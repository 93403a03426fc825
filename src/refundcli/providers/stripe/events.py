"""Verify Stripe's webhooks, and ask Stripe about the payment of each event."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider
from refundcli.providers.stripe.fields import id_in
from refundcli.providers.stripe.vocabulary import event_blocks, event_meaning
from refundcli.providers.transport import strict_object, text_in
from refundcli.services.ports.provider_updates import NOT_LISTED, Doubt, NewEvent, ProviderUpdate
from refundcli.services.ports.providers import ProviderRecords
from refundcli.services.ports.rejection_reasons import MOST_NAMED, UNREADABLE_KIND, DeliveryRejected, RejectionReason
from refundcli.services.ports.vocabulary import Effect
from refundcli.services.ports.webhooks import VerifiedDelivery
from refundcli.services.preflight.unreviewed import amount_of_doubt

Fields = Mapping[str, Any]

# How old a signature may be, and how far ahead another clock may run. A saved delivery may be older.
TOLERANCE = timedelta(minutes=5)
_FUTURE = timedelta(minutes=1)
_EVENT_ID = re.compile(r"evt_[A-Za-z0-9_]{1,250}")
_REFUNDS = ("re_", "pyr_")
_TYPE = re.compile(r"[A-Za-z0-9_.\-]{1,100}")
_SIGNED_AT = re.compile(r"[0-9]{1,12}")
# Ids that lead to a payment: its own, and those of its charge, refunds and disputes.
_IDS = re.compile(r"\b(?:pi|ch|py|re|pyr|du|dp)_[A-Za-z0-9]{1,100}\b")


class StripeMeaning:
    """`EventReader` for one account: an event only says which payment to ask Stripe about."""

    def __init__(self, records: ProviderRecords) -> None:
        self._records = records

    def updates_in(self, event: NewEvent) -> Sequence[ProviderUpdate] | None:
        """The payment's snapshot, whatever the event says, so late and repeated events do no harm."""
        body = json.loads(event.payload)
        if event_blocks(event.kind):
            why = f"{event.kind} {NOT_LISTED} type"
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
    """`DeliveryReader` for one webhook endpoint of one account.

    `account` gives the account's id, empty while Stripe could not be asked yet. An event without an account is the
    endpoint's own; one with another account is about a connected account.
    """

    def __init__(
        self,
        secret: str,
        account: Callable[[], str],
        *,
        livemode: bool,
        tolerance: timedelta | None = TOLERANCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.livemode = livemode
        self._secret, self._account, self._tolerance, self._now = secret.encode(), account, tolerance, now

    def read(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        self._verify(body, headers)
        text = body.decode("utf-8", "backslashreplace")
        try:
            event = self._event(strict_object(text))
        except Exception:  # verified, so it is stored whatever it contains
            event = None
        return VerifiedDelivery([event or self._unreadable(body, text)])

    def _verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Stripe signs the bytes of the body (docs.stripe.com/webhooks, "verify manually")."""
        header = {name.lower(): value for name, value in headers.items()}.get("stripe-signature", "")
        if not header:
            raise _rejected(RejectionReason.UNSIGNED, "it has no signature")
        parts = [part.strip().partition("=") for part in header.split(",")]
        times = [value for name, _, value in parts if name == "t" and _SIGNED_AT.fullmatch(value)]
        expected = hmac.new(self._secret, f"{''.join(times)}.".encode() + body, hashlib.sha256).hexdigest().encode()
        signatures = [value.encode("utf-8", "replace") for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not any(hmac.compare_digest(expected, signature) for signature in signatures):
            raise _rejected(RejectionReason.FORGED, "its signature is wrong")
        now = self._now()
        if int(times[0]) > (now + _FUTURE).timestamp():
            raise _rejected(RejectionReason.OUT_OF_TIME, "it was signed in the future")
        if self._tolerance and int(times[0]) < (now - self._tolerance).timestamp():
            raise _rejected(RejectionReason.OUT_OF_TIME, "it was signed too long ago")

    def _event(self, body: Fields) -> NewEvent | None:
        """None if it does not have the shape of an event."""
        key, kind, created = text_in(body.get("id")), text_in(body.get("type")), body.get("created")
        about, livemode = _object_in(body), body.get("livemode")
        if not _EVENT_ID.fullmatch(key) or not _TYPE.fullmatch(kind) or about is None or type(livemode) is not bool:
            return None
        if type(created) is not int or not 0 <= created <= (self._now() + _FUTURE).timestamp():
            return None
        own, named = self._account(), text_in(body.get("account"))
        not_applied = RejectionReason.OTHER_ACCOUNT if named not in ("", own) else None
        if livemode is not self.livemode:
            not_applied = RejectionReason.OTHER_MODE
        return NewEvent(
            provider=Provider.STRIPE,
            # An event for the other mode must not share a key with one for this mode.
            key=key if livemode is self.livemode else f"other-mode:{key}",
            kind=kind,
            about=text_in(about.get("id")),
            account=named or own,
            livemode=livemode,
            occurred_at=datetime.fromtimestamp(created, UTC),
            payload=json.dumps(body, sort_keys=True),
            payments=payments_of(kind, body),
            not_applied=not_applied,
        )

    def _unreadable(self, body: bytes, text: str) -> NewEvent:
        """A verified body of another shape, such as a v2 thin event: it concerns the payments it names."""
        try:
            payload = strict_object(text)
        except (ValueError, RecursionError):
            payload = {}
        kind, key = text_in(payload.get("type")), hashlib.sha256(body).hexdigest()
        return NewEvent(
            provider=Provider.STRIPE,
            key=f"body:{key}",
            kind=kind if _TYPE.fullmatch(kind) else UNREADABLE_KIND,
            about=next(iter(_IDS.findall(text)), ""),
            account=self._account(),
            livemode=self.livemode,
            occurred_at=self._now(),
            payload=json.dumps({"body": text}),
            payments=tuple(dict.fromkeys(_IDS.findall(text)))[:MOST_NAMED],
            not_applied=RejectionReason.UNREADABLE,
        )


def _object_in(event: Fields) -> Fields | None:
    wrapper = event.get("data")
    resource = wrapper.get("object") if isinstance(wrapper, Mapping) else None
    return resource if isinstance(resource, Mapping) else None


def concerns_refunds(event: NewEvent) -> bool:
    return event_blocks(event.kind) or _is_relevant(event.kind)


def payments_named_by(event: NewEvent) -> tuple[str, ...]:
    return payments_of(event.kind, json.loads(event.payload))


def payments_of(event_type: str, body: Fields) -> tuple[str, ...]:
    """The ids of the payment that the event is about; none if it does not concern refunds."""
    bears = event_blocks(event_type) or _is_relevant(event_type)
    return tuple(_payments_in(body)) if bears else ()


def _is_relevant(event_type: str) -> bool:
    meaning = event_meaning(event_type)
    return meaning is not None and meaning.effect not in (Effect.NONE, Effect.NOTE)


def _payments_in(event: Fields) -> list[str]:
    """The ids of the payment that the event's object belongs to, the charge first."""
    resource = _object_in(event) or {}
    kind = resource.get("object")
    charge = resource if kind == "charge" else resource.get("charge") or resource.get("latest_charge")
    intent = resource if kind == "payment_intent" else resource.get("payment_intent")
    return list(filter(None, (id_in(charge), id_in(intent))))


def _rejected(reason: RejectionReason, why: str) -> DeliveryRejected:
    return DeliveryRejected(Provider.STRIPE, reason, why)
