"""Verify Adyen's webhooks, each item by its own signature. What an item means is in adyen_meaning.py."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from refundcli.domain.statuses import Provider
from refundcli.providers import BadCredentials
from refundcli.providers.adyen_meaning import Fields, event_key, payments_of
from refundcli.providers.http import text_in
from refundcli.services.deliveries import DeliveryRefused, Flaw
from refundcli.services.provider_news import NewEvent

MOST_ITEMS = 100
_FUTURE = timedelta(days=1)
# No colon: the signature joins the fields with colons and escapes none. With at most one field that may hold
# some, the merchant's own reference, a signed text can be read in one way only.
_WORD = re.compile(r"[A-Za-z0-9_.\-]{0,80}")
_VALUE = re.compile(r"-?[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """What Adyen was told to send along; checked where it is set."""

    username: str
    password: str


class AdyenEvents:
    """`DeliveryReader` for one merchant account; each item of a delivery has its own signature."""

    def __init__(
        self,
        hmac_key: str,
        account: str,
        *,
        livemode: bool,
        auth: BasicAuth | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        try:
            self._key = bytes.fromhex(hmac_key.strip())
        except ValueError:
            raise BadCredentials(Provider.ADYEN, "adyen.hmac_key is no hexadecimal text") from None
        self._account, self.livemode, self._auth, self._now = account, livemode, auth, now

    def events_in(self, body: bytes, headers: Mapping[str, str]) -> list[NewEvent]:
        self._check_sender(headers)
        told = _json(body)
        items = told.get("notificationItems")
        if told.get("live") not in ("true", "false") or not isinstance(items, list) or not 0 < len(items) <= MOST_ITEMS:
            raise _refused(Flaw.UNREADABLE, "it is no delivery of notification items")
        if (told["live"] == "true") != self.livemode:
            raise _refused(Flaw.OTHER_MODE, "it is for the other mode, live or test")
        return [self._event(_item_in(each)) for each in items]

    def _check_sender(self, headers: Mapping[str, str]) -> None:
        if self._auth is None:
            return
        given = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
        scheme, _, encoded = given.partition(" ")
        try:
            words = base64.b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            words = b""
        if not hmac.compare_digest(words, f"{self._auth.username}:{self._auth.password}".encode()):
            raise _refused(Flaw.UNAUTHORIZED, "its user name and password are not the ones in the settings")

    def _event(self, item: Fields) -> NewEvent:
        self._check_signature(item)
        if item["merchantAccountCode"] != self._account:
            raise _refused(Flaw.OTHER_ACCOUNT, "it is for another merchant account")
        at = _time(item.get("eventDate")) or self._now()
        if at > self._now() + _FUTURE:
            raise _refused(Flaw.OUT_OF_TIME, "its date lies in the future")
        return NewEvent(
            provider=Provider.ADYEN,
            key=event_key(item),
            kind=item["eventCode"],
            about=item["pspReference"],
            account=self._account,
            livemode=self.livemode,
            occurred_at=at,
            payload=json.dumps(_without_signature(item), sort_keys=True),
            payments=payments_of(item),
        )

    def _check_signature(self, item: Fields) -> None:
        data = item.get("additionalData")
        signature = text_in(data.get("hmacSignature")) if isinstance(data, Mapping) else ""
        if not signature:
            raise _refused(Flaw.UNSIGNED, "an item has no signature")
        made = base64.b64encode(hmac.new(self._key, _signed_text(item).encode(), hashlib.sha256).digest())
        if not hmac.compare_digest(made, signature.encode("utf-8", "replace")):
            raise _refused(Flaw.FORGED, "the signature of an item does not fit it")


def _json(body: bytes) -> Fields:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise _refused(Flaw.UNREADABLE, "it is no JSON") from None
    if not isinstance(told, dict):
        raise _refused(Flaw.UNREADABLE, "it is no JSON object")
    return told


def _item_in(told: object) -> Fields:
    """An item whose fields can be signed without doubt: words where words belong, no colon but in our reference."""
    item = told.get("NotificationRequestItem") if isinstance(told, Mapping) else None
    if not isinstance(item, Mapping):
        raise _refused(Flaw.UNREADABLE, "an item has another shape")
    words = ("pspReference", "merchantAccountCode", "eventCode", "success")
    whole = all(_WORD.fullmatch(text_in(item.get(name))) and item.get(name) for name in words)
    optional = item.get("originalReference")
    if not whole or item["success"] not in ("true", "false"):
        raise _refused(Flaw.UNREADABLE, "an item lacks what every item has")
    if optional is not None and not _WORD.fullmatch(text_in(optional)):
        raise _refused(Flaw.UNREADABLE, "an item's original reference is none")
    if not isinstance(item.get("merchantReference") or "", str):
        raise _refused(Flaw.UNREADABLE, "an item's merchant reference is no text")
    _signed_amount(item)
    return item


def _signed_amount(item: Fields) -> tuple[str, str]:
    amount = item.get("amount")
    if amount is None:
        return "", ""
    value = amount.get("value") if isinstance(amount, Mapping) else None
    code = amount.get("currency") if isinstance(amount, Mapping) else None
    if type(value) is not int or not _VALUE.fullmatch(str(value)) or not _WORD.fullmatch(text_in(code)):
        raise _refused(Flaw.UNREADABLE, "an item's amount is none")
    return str(value), text_in(code)


def _signed_text(item: Fields) -> str:
    value, code = _signed_amount(item)
    return ":".join(
        (
            text_in(item["pspReference"]),
            text_in(item.get("originalReference")),
            text_in(item["merchantAccountCode"]),
            text_in(item.get("merchantReference")),
            value,
            code,
            text_in(item["eventCode"]),
            text_in(item["success"]),
        )
    )


def _without_signature(item: Fields) -> dict[str, Any]:
    data = item.get("additionalData")
    kept = {name: value for name, value in data.items() if name != "hmacSignature"} if isinstance(data, Mapping) else {}
    return {**item, "additionalData": kept}


def _time(told: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(text_in(told))
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _refused(flaw: Flaw, why: str) -> DeliveryRefused:
    return DeliveryRefused(Provider.ADYEN, flaw, why)
