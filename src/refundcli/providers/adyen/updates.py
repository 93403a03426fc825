"""Turns an Adyen event into provider updates. What each event code means is in vocabulary.py (R13)."""

import json
import re
from collections.abc import Sequence

from refundcli.domain.currencies import CODES, currency
from refundcli.domain.dispute import DisputeStage
from refundcli.domain.money import Money
from refundcli.domain.provider_units import UnreadableAmount, from_provider_minor
from refundcli.domain.statuses import Provider, RefundState
from refundcli.providers.adyen.vocabulary import cancel_or_refund, event_meaning
from refundcli.providers.answers import Fields, fields_in, safe_text, text_in
from refundcli.services.ports.provider_updates import (
    NOT_LISTED,
    CaptureUpdate,
    DisputeUpdate,
    Doubt,
    NewEvent,
    ProviderUpdate,
    RefundUpdate,
    UnsupportedUpdate,
    Update,
)
from refundcli.services.ports.vocabulary import Effect, Meaning
from refundcli.services.preflight.unreviewed import amount_of_doubt

_OUR_REFUND = re.compile(r"rf_[0-9A-Z]{26}")
_PART_OF_ORDER = re.compile(r"order-[0-9]+-pspReference")
_SAYS_NOTHING = (Effect.NONE, Effect.NOTE)
_ABOUT_A_REFUND = (Effect.REFUND, Effect.DISPUTE)
_NEW_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|\.")


def event_key(item: Fields) -> str:
    """The event's key, the same for each delivery of it; a later event of this code has another date or amount."""
    amount = item.get("amount") or {}
    parts = [item.get(name, "") for name in ("pspReference", "eventCode", "success", "eventDate")]
    return ":".join(str(part) for part in (*parts, amount.get("value", ""), amount.get("currency", "")))


def payments_of(item: Fields) -> tuple[str, ...]:
    """The references of the payments that the event is about; none if it does not concern refunds.

    Without an originalReference, its pspReference is the payment's.
    """
    meaning = _meaning_of(item)
    if meaning and meaning.effect in _SAYS_NOTHING and not _is_split(item):
        return ()
    payment_reference = text_in(item.get("originalReference")) or text_in(item.get("pspReference"))
    return tuple(dict.fromkeys((payment_reference, *_payments_of_order(item))))


def says_nothing_in_other_shape(event_type: str) -> bool:
    """Is it a listed event that does not concern refunds? `ach.notificationOfChange` is ACH_NOTIFICATION_OF_CHANGE."""
    meaning = event_meaning(_NEW_WORD.sub("_", event_type).upper(), True)
    return meaning is not None and meaning.effect in _SAYS_NOTHING


class AdyenMeaning:
    """`EventReader` for Adyen."""

    def updates_in(self, event: NewEvent) -> Sequence[ProviderUpdate] | None:
        return updates_in(event)

    def amount_in(self, event: NewEvent) -> Money | None:
        payload = json.loads(event.payload)
        return amount_of_doubt(payload) if "why" in payload else _amount(payload)


def concerns_refunds(event: NewEvent) -> bool:
    return updates_in(event) is not None


def payments_named_by(event: NewEvent) -> tuple[str, ...]:
    return payments_of(json.loads(event.payload))


def updates_in(event: NewEvent) -> Sequence[ProviderUpdate] | None:
    """The event's updates; None if it does not concern refunds."""
    item = json.loads(event.payload)
    if "eventCode" not in item and says_nothing_in_other_shape(event.kind):
        return None
    meaning = _meaning_of(item)
    if _is_split(item) and (meaning is None or meaning.effect not in _ABOUT_A_REFUND):
        # The event's own update still applies. A refund would also have to be split, which refundcli cannot do.
        split_update = UnsupportedUpdate(
            Provider.ADYEN, payments_of(item), "its amount is split between accounts at Adyen"
        )
        return [split_update, *(_updates_of(event, item, meaning) or ())]
    return _updates_of(event, item, meaning)


def _updates_of(event: NewEvent, item: Fields, meaning: Meaning | None) -> Sequence[Update] | None:
    if meaning is None:
        return _doubts(event, item, f"{event.kind} {NOT_LISTED} code")
    if meaning.effect in _SAYS_NOTHING:
        return None
    if meaning.effect is Effect.BLOCK:
        return _doubts(event, item, _with_reason(item, meaning.note or f"{event.kind} needs review"))
    if meaning.effect is Effect.DISPUTE:
        return [_dispute_update(event, item, meaning)]
    amount = _amount(item)
    if amount is None:
        return _doubts(event, item, f"its amount cannot be read: {_amount_text(item)}")
    if meaning.effect is Effect.CAPTURE:
        return [_capture_update(event, item, meaning, amount)]
    return [_refund_update(event, item, meaning, amount)]


def _meaning_of(item: Fields) -> Meaning | None:
    event_code, is_success = text_in(item.get("eventCode")), item.get("success") == "true"
    if event_code == "CANCEL_OR_REFUND":
        action = text_in(fields_in(item.get("additionalData")).get("modification.action"))
        return cancel_or_refund(action, is_success)
    return event_meaning(event_code, is_success)


def _refund_update(event: NewEvent, item: Fields, meaning: Meaning, amount: Money) -> RefundUpdate:
    assert meaning.refund
    merchant_reference = text_in(item.get("merchantReference"))
    is_failure = meaning.refund in (RefundState.FAILED, RefundState.REVERSED)
    reason = safe_text(text_in(item.get("reason")) or event.kind)
    return RefundUpdate(
        provider=Provider.ADYEN,
        reference=item["pspReference"],
        payment_references=tuple(filter(None, (text_in(item.get("originalReference")),))),
        amount=amount,
        state=meaning.refund,
        status=f"{event.kind} {item['success']}",
        account=event.account,
        livemode=event.livemode,
        refund_id=merchant_reference if _OUR_REFUND.fullmatch(merchant_reference) else "",
        failure=f"Adyen: {reason}" if is_failure else "",
        may_be_retried=meaning.may_be_retried,
        created_at=event.occurred_at,
        reported_at=event.occurred_at,
    )


def _dispute_update(event: NewEvent, item: Fields, meaning: Meaning) -> DisputeUpdate:
    """Its pspReference is the dispute's, unless it equals originalReference: then the dispute has none."""
    original_reference = text_in(item.get("originalReference"))
    own_reference = item["pspReference"]
    return DisputeUpdate(
        provider=Provider.ADYEN,
        reference="" if own_reference == original_reference else own_reference,
        payment_references=(original_reference,) if original_reference else (own_reference,),
        state=meaning.dispute,
        stage=meaning.stage or DisputeStage.CHARGEBACK,
        status=event.kind,
        at=event.occurred_at,
        amount=_amount(item),
        account=event.account,
        livemode=event.livemode,
    )


def _capture_update(event: NewEvent, item: Fields, meaning: Meaning, amount: Money) -> CaptureUpdate:
    assert meaning.capture
    return CaptureUpdate(
        provider=Provider.ADYEN,
        reference=item["pspReference"],
        payment_references=(text_in(item.get("originalReference")) or item["pspReference"],),
        change=meaning.capture,
        amount=amount,
        status=f"{event.kind} {item['success']}",
        at=event.occurred_at,
        account=event.account,
    )


def _doubts(event: NewEvent, item: Fields, why: str) -> list[Update]:
    return [
        Doubt(Provider.ADYEN, (reference,), event.kind, event.about, why, event.account)
        for reference in payments_of(item)
    ]


def _is_split(item: Fields) -> bool:
    """Was the payment, or its capture, split between accounts of a platform?"""
    return any(str(name).startswith("split.") for name in fields_in(item.get("additionalData")))


def _payments_of_order(item: Fields) -> list[str]:
    """The references of all payments of an order, which may be cancelled or refunded together."""
    additional_fields = fields_in(item.get("additionalData")).items()
    return [text_in(value) for name, value in additional_fields if _PART_OF_ORDER.fullmatch(name) and text_in(value)]


def _with_reason(item: Fields, why: str) -> str:
    reason = safe_text(text_in(item.get("reason")))
    return f"{why} ({reason})" if reason and reason != "null" else why


def _amount_text(item: Fields) -> str:
    amount = item.get("amount") or {}
    return f"{amount.get('value', 'none')} {safe_text(amount.get('currency'))}".strip()


def _amount(item: Fields) -> Money | None:
    """The amount in the books' minor units; None if there is none, or it is not a whole amount in its currency."""
    amount = fields_in(item.get("amount"))
    minor_units, currency_code = amount.get("value"), text_in(amount.get("currency"))
    if type(minor_units) is not int or minor_units <= 0 or currency_code not in CODES:
        return None
    try:
        return from_provider_minor(Provider.ADYEN, minor_units, currency(currency_code))
    except UnreadableAmount:
        return None
