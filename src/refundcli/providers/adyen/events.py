"""Verify Adyen's webhooks, each item by its own signature. What an item means is in updates.py."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials
from refundcli.providers.adyen.updates import event_key, payments_of, says_nothing_in_other_shape
from refundcli.providers.answers import Fields, fields_in, strict_object, text_in
from refundcli.services.ports.provider_updates import NewEvent
from refundcli.services.ports.rejection_reasons import (
    MOST_NAMED,
    UNREADABLE_KIND,
    DeliveryRejected,
    Rejection,
    RejectionReason,
)
from refundcli.services.ports.webhooks import VerifiedDelivery

_FUTURE = timedelta(days=1)
_WORD = re.compile(r"[A-Za-z0-9_.\-]{0,80}")


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """The user name and password that Adyen sends with webhooks; checked if they are set."""

    username: str
    password: str


class AdyenEvents:
    """`DeliveryReader` for one merchant account; each item of a delivery has its own signature."""

    def __init__(
        self,
        hmac_key: str,
        merchant_account: str,
        *,
        livemode: bool,
        auth: BasicAuth | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        try:
            self._hmac_key = bytes.fromhex(hmac_key.strip())
        except ValueError:
            raise BadCredentials(Provider.ADYEN, "adyen.hmac_key is not hexadecimal") from None
        self._merchant_account, self.livemode, self._auth, self._now = merchant_account, livemode, auth, now

    def read(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        """Verify each item by itself: one bad item must not make Adyen repeat the delivery."""
        self._check_sender(headers)
        payload = _json(body)
        if "notificationItems" not in payload:
            return VerifiedDelivery([self._other_shape(body, payload, headers)])
        entries, events, rejections = payload["notificationItems"], list[NewEvent](), list[Rejection]()
        if not isinstance(entries, list) or not entries:
            raise _rejected(RejectionReason.UNREADABLE, "it has no notification items")
        for entry_number, entry in enumerate(entries, start=1):
            try:
                events.append(self._event(_verified_item(entry, self._hmac_key), payload.get("live")))
            except DeliveryRejected as rejection:
                rejections.append(Rejection(entry_number, rejection.reason, rejection.why))
        if not events:
            raise _rejected(rejections[0].reason, rejections[0].why, rejections)
        return VerifiedDelivery(events, rejections)

    def _check_sender(self, headers: Mapping[str, str]) -> None:
        if self._auth is None:
            return
        authorization = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
        scheme, _, encoded_credentials = authorization.partition(" ")
        try:
            credentials = base64.b64decode(encoded_credentials, validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            credentials = b""
        if not hmac.compare_digest(credentials, f"{self._auth.username}:{self._auth.password}".encode()):
            raise _rejected(RejectionReason.UNAUTHORIZED, "its user name and password do not match the settings")

    def _event(self, item: Fields, live_flag: object) -> NewEvent:
        """A verified item; whatever it contains, it is stored."""
        try:
            return self._known_event(item, live_flag) or self._unreadable(item)
        except Exception:
            return self._unreadable(item)

    def _known_event(self, item: Fields, live_flag: object) -> NewEvent | None:
        """None if it does not have the shape of a notification item."""
        occurred_at = _time(item["eventDate"]) if item.get("eventDate") else self._now()
        if (
            not _is_known_shape(item)
            or live_flag not in ("true", "false")
            or occurred_at is None
            or occurred_at > self._now() + _FUTURE
        ):
            return None
        account, livemode = item["merchantAccountCode"], live_flag == "true"
        reason_not_applied = RejectionReason.OTHER_ACCOUNT if account != self._merchant_account else None
        if livemode is not self.livemode:
            reason_not_applied = RejectionReason.OTHER_MODE
        return NewEvent(
            provider=Provider.ADYEN,
            # An event for the other mode must not share a key with one for this mode.
            key=event_key(item) if livemode is self.livemode else f"other-mode:{event_key(item)}",
            kind=item["eventCode"],
            about=item["pspReference"],
            account=account,
            livemode=livemode,
            occurred_at=occurred_at,
            payload=json.dumps(_without_signature(item), sort_keys=True),
            payments=payments_of(item),
            not_applied=reason_not_applied,
        )

    def _unreadable(self, item: Fields) -> NewEvent:
        """A verified item of another shape: it concerns the payments it names."""
        try:
            payload_json = json.dumps(_without_signature(item), sort_keys=True)
        except RecursionError:
            payload_json = json.dumps({"unreadable": "nested too deeply", "pspReference": item.get("pspReference")})
        return self._of_other_shape(payload_json, text_in(item.get("eventCode")), _references_in(item))

    def _other_shape(self, body: bytes, payload: Fields, headers: Mapping[str, str]) -> NewEvent:
        """A webhook with `type` and `data` that is signed as a whole, in a header (docs.adyen.com, verify HMAC)."""
        signature = {name.lower(): value for name, value in headers.items()}.get("hmacsignature", "")
        if not signature:
            raise _rejected(RejectionReason.UNSIGNED, "it has no signature")
        if not _fits(signature, body, self._hmac_key):
            raise _rejected(RejectionReason.FORGED, "its signature is wrong")
        event_type = text_in(payload.get("type"))
        event = self._of_other_shape(json.dumps(payload, sort_keys=True), event_type, _references_in(payload))
        return replace(event, not_applied=None) if says_nothing_in_other_shape(event_type) else event

    def _of_other_shape(self, payload_json: str, event_type: str, payment_references: tuple[str, ...]) -> NewEvent:
        return NewEvent(
            provider=Provider.ADYEN,
            key=f"body:{hashlib.sha256(payload_json.encode()).hexdigest()}",
            kind=event_type if _WORD.fullmatch(event_type) and event_type else UNREADABLE_KIND,
            about=next(iter(payment_references), ""),
            account=self._merchant_account,
            livemode=self.livemode,
            occurred_at=self._now(),
            payload=payload_json,
            payments=payment_references,
            not_applied=RejectionReason.UNREADABLE,
        )


def _json(body: bytes) -> Fields:
    try:
        return strict_object(body)
    except (ValueError, RecursionError):
        raise _rejected(RejectionReason.UNREADABLE, "it is not a JSON object") from None


def _verified_item(entry: object, hmac_key: bytes) -> Fields:
    item = fields_in(fields_in(entry).get("NotificationRequestItem"))
    signature = text_in(fields_in(item.get("additionalData")).get("hmacSignature"))
    if not signature:
        raise _rejected(RejectionReason.UNSIGNED, "an item has no signature")
    if not _fits(signature, _signed_text(item).encode("utf-8", "replace"), hmac_key):
        raise _rejected(RejectionReason.FORGED, "the signature of an item is wrong")
    return item


def _fits(signature: str, signed_bytes: bytes, hmac_key: bytes) -> bool:
    expected_signature = base64.b64encode(hmac.new(hmac_key, signed_bytes, hashlib.sha256).digest())
    return hmac.compare_digest(expected_signature, signature.encode("utf-8", "replace"))


def _signed_text(item: Fields) -> str:
    """The text that Adyen signs. It does not escape colons, so only our own reference may have any."""
    amount = item.get("amount") or {}
    amount = amount if isinstance(amount, Mapping) else {"value": amount}
    before_reference = [
        _signed(item.get(name)) for name in ("pspReference", "originalReference", "merchantAccountCode")
    ]
    after_reference = [_signed(amount.get("value")), _signed(amount.get("currency"))]
    after_reference += [_signed(item.get(name)) for name in ("eventCode", "success")]
    if any(":" in part for part in (*before_reference, *after_reference)):
        raise _rejected(RejectionReason.FORGED, "an item has a colon in a field that never has one")
    return ":".join((*before_reference, _signed(item.get("merchantReference")), *after_reference))


def _signed(field: object) -> str:
    if field is None:
        return ""
    if isinstance(field, bool):
        return "true" if field else "false"
    if isinstance(field, str | int):
        return str(field)
    raise _rejected(RejectionReason.FORGED, "an item has a field that cannot be signed")


def _is_known_shape(item: Fields) -> bool:
    required_words = [item.get(name) for name in ("pspReference", "merchantAccountCode", "eventCode", "success")]
    original_reference, merchant_reference = item.get("originalReference"), item.get("merchantReference")
    amount = item.get("amount")
    return (
        all(isinstance(word, str) and word and _WORD.fullmatch(word) for word in required_words)
        and item["success"] in ("true", "false")
        and (
            original_reference is None
            or (isinstance(original_reference, str) and _WORD.fullmatch(original_reference) is not None)
        )
        and (merchant_reference is None or isinstance(merchant_reference, str))
        and (amount is None or _is_amount(amount))
    )


def _is_amount(amount: object) -> bool:
    minor_units, currency_code = fields_in(amount).get("value"), fields_in(amount).get("currency")
    return (
        type(minor_units) is int
        and abs(minor_units) < 10**15
        and isinstance(currency_code, str)
        and _WORD.fullmatch(currency_code) is not None
    )


def _references_in(payload: object) -> tuple[str, ...]:
    """The values of fields named …Reference, which may be our payments."""
    references, unvisited_nodes = list[str](), [payload]
    while unvisited_nodes and len(references) < MOST_NAMED:
        node = unvisited_nodes.pop()
        if isinstance(node, list):
            unvisited_nodes += node
        elif isinstance(node, Mapping):
            reference_fields = [value for name, value in node.items() if name.lower().endswith("reference")]
            references += [
                value for value in reference_fields if isinstance(value, str) and value and _WORD.fullmatch(value)
            ]
            unvisited_nodes += [value for value in node.values() if isinstance(value, Mapping | list)]
    return tuple(dict.fromkeys(references))[:MOST_NAMED]


def _without_signature(item: Fields) -> dict[str, Any]:
    unsigned = {name: value for name, value in fields_in(item.get("additionalData")).items() if name != "hmacSignature"}
    return {**item, "additionalData": unsigned}


def _time(iso_time: object) -> datetime | None:
    try:
        event_time = datetime.fromisoformat(text_in(iso_time))
        return event_time.astimezone(UTC) if event_time.tzinfo else event_time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _rejected(reason: RejectionReason, why: str, rejections: Sequence[Rejection] = ()) -> DeliveryRejected:
    return DeliveryRejected(Provider.ADYEN, reason, why, rejections)
