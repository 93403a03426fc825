"""Reading Stripe's charges, refunds and disputes, by Stripe's vocabulary."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import Money
from refundcli.domain.payment_methods import why_not_this_way
from refundcli.domain.provider_units import UnreadableAmount, from_provider_minor
from refundcli.domain.statuses import Provider
from refundcli.providers import stripe_fields as fields
from refundcli.providers.http import said, text_in
from refundcli.providers.stripe_fields import Fields
from refundcli.providers.stripe_vocabulary import REFUND_REASONS, dispute_meaning
from refundcli.services.provider_news import CannotBeHeld
from refundcli.services.vocabulary import Effect


def releases_in(refunds: Sequence[Fields], charge: Fields) -> list[Fields]:
    """What was authorised and never captured. Stripe lists it like a refund; no money was taken or moved.

    The rest of a partial capture is released once, when it is captured: before any refund of the payment. A refund of
    the same amount that is still on its way moved no money either, and is no release.
    """
    if not charge.get("captured"):
        return list(refunds)
    released = [each for each in refunds if _is_never_captured(each)]
    if not released:
        rest = sorted((each for each in refunds if _may_be_the_rest(each, charge)), key=_made_at)
        released = rest[:1]
    return released


def _is_never_captured(refund: Fields) -> bool:
    reason = REFUND_REASONS.get(text_in(refund.get("reason")))
    return reason is not None and reason.effect is Effect.CAPTURE


def _may_be_the_rest(refund: Fields, charge: Fields) -> bool:
    authorised, captured = charge.get("amount"), charge.get("amount_captured")
    if type(authorised) is not int or type(captured) is not int or captured >= authorised:
        return False
    is_final, moved_money = refund.get("status") == "succeeded", refund.get("balance_transaction") is not None
    is_ours = bool(fields.text_of(refund.get("metadata"), "refundcli_refund"))
    return refund.get("amount") == authorised - captured and is_final and not moved_money and not is_ours


def _made_at(refund: Fields) -> int:
    created = refund.get("created")
    return created if type(created) is int else 0


def why_unsupported(charge: Fields) -> str:
    """Why it cannot be refunded from here without harm; empty where it can."""
    transfer = charge.get("transfer_data")
    receiver = fields.id_in(transfer.get("destination")) if isinstance(transfer, Mapping) else ""
    if receiver or charge.get("transfer"):
        to = f" to {said(receiver)}" if receiver else ""
        return f"it is a Connect charge: the transfer{to} would not be taken back"
    if charge.get("application_fee_amount") or charge.get("application_fee"):
        return "it is a Connect charge: the application fee would not be returned"
    details = charge.get("payment_method_details")
    method = text_in(details.get("type")) if isinstance(details, Mapping) else ""
    return why_not_this_way(Provider.STRIPE, method, is_partial=False)


def why_not_refundable(disputes: Iterable[Fields]) -> str:
    """A dispute that takes nothing by itself may still stand in the way of a refund."""
    in_the_way = [
        each
        for each in disputes
        if each.get("is_charge_refundable") is False and dispute_state(each) is DisputeState.CLOSED
    ]
    return f"not refundable (dispute {said(in_the_way[0].get('status'))})" if in_the_way else ""


def dispute_status(dispute: Fields) -> str:
    return text_in(dispute.get("status")) or "null"


def dispute_state(dispute: Fields) -> DisputeState:
    meaning = dispute_meaning(text_in(dispute.get("status")))
    return meaning.dispute if meaning and meaning.dispute else DisputeState.UNKNOWN


def dispute_stage(dispute: Fields) -> DisputeStage:
    meaning = dispute_meaning(text_in(dispute.get("status")))
    return meaning.stage if meaning and meaning.stage else DisputeStage.CHARGEBACK


def disputed_amount(dispute: Fields, of: Currency) -> Money | None:
    """What it is about, and once it is lost what it took; None where that is in another currency."""
    taken = _taken(dispute, of) if dispute_state(dispute) is DisputeState.LOST else None
    if taken is not None:
        return taken
    return fields.amount_of(dispute, "amount", of) if fields.currency_of(dispute) == of else None


def _taken(dispute: Fields, of: Currency) -> Money | None:
    """What its balance transactions took, less what they gave back."""
    transactions = dispute.get("balance_transactions")
    if not isinstance(transactions, list) or not transactions:
        return None
    total = 0
    for each in transactions:
        amount = each.get("amount") if isinstance(each, Mapping) else None
        if type(amount) is not int or text_in(each.get("currency")).upper() != of.code:
            return None
        total -= amount
    try:
        return from_provider_minor(Provider.STRIPE, max(total, 0), of)
    except UnreadableAmount:
        return None


def is_odd(refund: Fields, of: Currency) -> bool:
    """Is it over nothing, or in another currency than its payment? Such a refund cannot be counted."""
    return not refund.get("amount") or fields.currency_of(refund) != of


def amount_or_none(thing: Fields) -> Money | None:
    """The amount of a refund or a dispute, where it can be read."""
    try:
        return fields.amount_of(thing, "amount", fields.currency_of(thing))
    except CannotBeHeld:
        return None


def pending_reason(refund: Fields) -> str:
    """Why Stripe has not finished it; `requires_action` where the customer must act."""
    if refund.get("status") == "requires_action":
        return "requires_action"
    return text_in(refund.get("pending_reason")) if refund.get("status") == "pending" else ""


def expires_at(refund: Fields) -> datetime | None:
    """Until when the customer may act."""
    action = refund.get("next_action")
    details = action.get("display_details") if isinstance(action, Mapping) else None
    return fields.time_of(details.get("expires_at")) if isinstance(details, Mapping) else None
