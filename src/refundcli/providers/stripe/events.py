"""Verify Stripe's webhooks, and ask Stripe about the payment of each event."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider
from refundcli.providers.answers import Fields, fields_in, strict_object, text_in
from refundcli.providers.stripe.fields import id_in
from refundcli.providers.stripe.vocabulary import event_blocks, event_meaning
from refundcli.services.ports.provider_updates import NOT_LISTED, Doubt, NewEvent, ProviderUpdate
from refundcli.services.ports.providers import ProviderRecords
from refundcli.services.ports.rejection_reasons import MOST_NAMED, UNREADABLE_KIND, DeliveryRejected, RejectionReason
from refundcli.services.ports.vocabulary import Effect
from refundcli.services.ports.webhooks import VerifiedDelivery
from refundcli.services.preflight.unreviewed import amount_of_doubt

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
        payload = json.loads(event.payload)
        if event_blocks(event.kind):
            reason = f"{event.kind} {NOT_LISTED} type"
            return [
                Doubt(Provider.STRIPE, payments_of(event.kind, payload), event.kind, event.about, reason, event.account)
            ]
        if not _is_relevant(event.kind):
            return None
        snapshot = next(filter(None, map(self._records.payment, _payments_in(payload))), None)
        if snapshot is None:
            refund_update = self._records.refund(event.about) if event.about.startswith(_REFUNDS) else None
            return [refund_update] if refund_update else []
        return [snapshot]

    def amount_in(self, event: NewEvent) -> Money | None:
        return amount_of_doubt(json.loads(event.payload))


class StripeEvents:
    """`DeliveryReader` for one webhook endpoint of one account.

    `current_account` gives the account's id, empty while Stripe could not be asked yet. An event without an account is
    the endpoint's own; one with another account is about a connected account.
    """

    def __init__(
        self,
        webhook_secret: str,
        current_account: Callable[[], str],
        *,
        livemode: bool,
        tolerance: timedelta | None = TOLERANCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A signature may be as old as `tolerance` (None: of any age); `now` is a clock."""
        self.livemode = livemode
        self._secret, self._current_account, self._tolerance, self._now = (
            webhook_secret.encode(),
            current_account,
            tolerance,
            now,
        )

    def read(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        self._verify(body, headers)
        body_text = body.decode("utf-8", "backslashreplace")
        try:
            event = self._event(strict_object(body_text))
        except Exception:  # verified, so it is stored whatever it contains
            event = None
        return VerifiedDelivery([event or self._unreadable(body, body_text)])

    def _verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Stripe signs the bytes of the body (docs.stripe.com/webhooks, "verify manually")."""
        signature_header = {name.lower(): value for name, value in headers.items()}.get("stripe-signature", "")
        if not signature_header:
            raise _rejected(RejectionReason.UNSIGNED, "it has no signature")
        header_parts = [part.strip().partition("=") for part in signature_header.split(",")]
        signing_times = [value for name, _, value in header_parts if name == "t" and _SIGNED_AT.fullmatch(value)]
        expected_signature = (
            hmac.new(self._secret, f"{''.join(signing_times)}.".encode() + body, hashlib.sha256).hexdigest().encode()
        )
        signatures = [value.encode("utf-8", "replace") for name, _, value in header_parts if name == "v1"]
        if len(signing_times) != 1 or not any(
            hmac.compare_digest(expected_signature, signature) for signature in signatures
        ):
            raise _rejected(RejectionReason.FORGED, "its signature is wrong")
        current_time = self._now()
        if int(signing_times[0]) > (current_time + _FUTURE).timestamp():
            raise _rejected(RejectionReason.OUT_OF_TIME, "it was signed in the future")
        if self._tolerance and int(signing_times[0]) < (current_time - self._tolerance).timestamp():
            raise _rejected(RejectionReason.OUT_OF_TIME, "it was signed too long ago")

    def _event(self, event_fields: Fields) -> NewEvent | None:
        """None if it does not have the shape of an event."""
        event_id, event_type, created = (
            text_in(event_fields.get("id")),
            text_in(event_fields.get("type")),
            event_fields.get("created"),
        )
        event_object, livemode = _object_in(event_fields), event_fields.get("livemode")
        if (
            not _EVENT_ID.fullmatch(event_id)
            or not _TYPE.fullmatch(event_type)
            or event_object is None
            or type(livemode) is not bool
        ):
            return None
        if type(created) is not int or not 0 <= created <= (self._now() + _FUTURE).timestamp():
            return None
        own_account, named_account = self._current_account(), text_in(event_fields.get("account"))
        reason_not_applied = RejectionReason.OTHER_ACCOUNT if named_account not in ("", own_account) else None
        if livemode is not self.livemode:
            reason_not_applied = RejectionReason.OTHER_MODE
        return NewEvent(
            provider=Provider.STRIPE,
            # An event for the other mode must not share a key with one for this mode.
            key=event_id if livemode is self.livemode else f"other-mode:{event_id}",
            kind=event_type,
            about=text_in(event_object.get("id")),
            account=named_account or own_account,
            livemode=livemode,
            occurred_at=datetime.fromtimestamp(created, UTC),
            payload=json.dumps(event_fields, sort_keys=True),
            payments=payments_of(event_type, event_fields),
            not_applied=reason_not_applied,
        )

    def _unreadable(self, body: bytes, body_text: str) -> NewEvent:
        """A verified body of another shape, such as a v2 thin event: it concerns the payments it names."""
        try:
            payload = strict_object(body_text)
        except (ValueError, RecursionError):
            payload = {}
        event_type, body_hash = text_in(payload.get("type")), hashlib.sha256(body).hexdigest()
        return NewEvent(
            provider=Provider.STRIPE,
            key=f"body:{body_hash}",
            kind=event_type if _TYPE.fullmatch(event_type) else UNREADABLE_KIND,
            about=next(iter(_IDS.findall(body_text)), ""),
            account=self._current_account(),
            livemode=self.livemode,
            occurred_at=self._now(),
            payload=json.dumps({"body": body_text}),
            payments=tuple(dict.fromkeys(_IDS.findall(body_text)))[:MOST_NAMED],
            not_applied=RejectionReason.UNREADABLE,
        )


def _object_in(event: Fields) -> Fields | None:
    event_object = fields_in(event.get("data")).get("object")
    return event_object if isinstance(event_object, Mapping) else None


def concerns_refunds(event: NewEvent) -> bool:
    return event_blocks(event.kind) or _is_relevant(event.kind)


def payments_named_by(event: NewEvent) -> tuple[str, ...]:
    return payments_of(event.kind, json.loads(event.payload))


def payments_of(event_type: str, event_fields: Fields) -> tuple[str, ...]:
    """The ids of the payment that the event is about; none if it does not concern refunds."""
    is_about_refunds = event_blocks(event_type) or _is_relevant(event_type)
    return tuple(_payments_in(event_fields)) if is_about_refunds else ()


def _is_relevant(event_type: str) -> bool:
    meaning = event_meaning(event_type)
    return meaning is not None and meaning.effect not in (Effect.NONE, Effect.NOTE)


def _payments_in(event: Fields) -> list[str]:
    """The ids of the payment that the event's object belongs to, the charge first."""
    event_object = _object_in(event) or {}
    object_type = event_object.get("object")
    charge = (
        event_object if object_type == "charge" else event_object.get("charge") or event_object.get("latest_charge")
    )
    intent = event_object if object_type == "payment_intent" else event_object.get("payment_intent")
    return list(filter(None, (id_in(charge), id_in(intent))))


def _rejected(reason: RejectionReason, why: str) -> DeliveryRejected:
    return DeliveryRejected(Provider.STRIPE, reason, why)
