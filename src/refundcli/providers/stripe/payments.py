"""Read the fields of Stripe's charges, refunds and disputes. What a status means is in vocabulary.py (R13)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import Money
from refundcli.domain.payment_methods import why_not_this_way
from refundcli.domain.provider_units import UnreadableAmount, from_provider_minor
from refundcli.domain.statuses import Provider
from refundcli.providers.stripe import fields
from refundcli.providers.stripe.fields import Fields
from refundcli.providers.stripe.vocabulary import REFUND_REASONS, dispute_meaning
from refundcli.providers.transport import safe_text, text_in
from refundcli.services.ports.provider_updates import CannotBeHeld
from refundcli.services.ports.vocabulary import Effect


def releases_in(refunds: Sequence[Fields], charge: Fields) -> list[Fields]:
    """The listed refunds that only release an uncaptured amount. Stripe lists them as refunds, although no money moved.

    The rest of a partial capture is released once, at the capture, before any refund of the payment. A pending refund
    of the same amount moved no money either, but is not a release.
    """
    if not charge.get("captured"):
        return list(refunds)
    released = [refund for refund in refunds if _is_never_captured(refund)]
    if not released:
        rest = sorted((refund for refund in refunds if _may_be_the_rest(refund, charge)), key=_made_at)
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
    """Why it cannot be refunded from here (R12), as a clause or sentences; empty if it can."""
    transfer = charge.get("transfer_data")
    receiver = fields.id_in(transfer.get("destination")) if isinstance(transfer, Mapping) else ""
    if receiver or charge.get("transfer"):
        to = f" to {safe_text(receiver)}" if receiver else ""
        return f"it is a Connect charge, and the transfer{to} would not be reversed"
    if charge.get("application_fee_amount") or charge.get("application_fee"):
        return "it is a Connect charge, and the application fee would not be refunded"
    details = charge.get("payment_method_details")
    method = text_in(details.get("type")) if isinstance(details, Mapping) else ""
    return why_not_this_way(Provider.STRIPE, method, is_partial=False)


def why_not_refundable(disputes: Iterable[Fields]) -> str:
    """Why Stripe would refuse a refund because of a closed dispute; empty if there is no such dispute."""
    blocking = [
        dispute
        for dispute in disputes
        if dispute.get("is_charge_refundable") is False and dispute_state(dispute) is DisputeState.CLOSED
    ]
    return f"not refundable (dispute {safe_text(blocking[0].get('status'))})" if blocking else ""


def dispute_status(dispute: Fields) -> str:
    return text_in(dispute.get("status")) or "null"


def dispute_state(dispute: Fields) -> DisputeState:
    meaning = dispute_meaning(text_in(dispute.get("status")))
    return meaning.dispute if meaning and meaning.dispute else DisputeState.UNKNOWN


def dispute_stage(dispute: Fields) -> DisputeStage:
    meaning = dispute_meaning(text_in(dispute.get("status")))
    return meaning.stage if meaning and meaning.stage else DisputeStage.CHARGEBACK


def disputed_amount(dispute: Fields, of: Currency) -> Money | None:
    """The disputed amount, or what a lost dispute took; None if it is in another currency."""
    lost = _amount_taken(dispute, of) if dispute_state(dispute) is DisputeState.LOST else None
    if lost is not None:
        return lost
    return fields.amount_of(dispute, "amount", of) if fields.currency_of(dispute) == of else None


def _amount_taken(dispute: Fields, of: Currency) -> Money | None:
    """What its balance transactions took, less what they returned; None if they do not say."""
    transactions = dispute.get("balance_transactions")
    if not isinstance(transactions, list) or not transactions:
        return None
    total = 0
    for transaction in transactions:
        amount = transaction.get("amount") if isinstance(transaction, Mapping) else None
        if type(amount) is not int or text_in(transaction.get("currency")).upper() != of.code:
            return None
        total -= amount
    try:
        return from_provider_minor(Provider.STRIPE, max(total, 0), of)
    except UnreadableAmount:
        return None


def is_odd(refund: Fields, of: Currency) -> bool:
    """Is its amount unreadable, zero, or in another currency than the payment? Such a refund cannot be counted."""
    amount = amount_or_none(refund)
    return not amount or amount.currency != of


def amount_or_none(resource: Fields) -> Money | None:
    """The amount of a refund or a dispute; None if it cannot be read."""
    try:
        return fields.amount_of(resource, "amount", fields.currency_of(resource))
    except CannotBeHeld:
        return None


def pending_reason(refund: Fields) -> str:
    """Why Stripe has not finished it: `requires_action` if the customer must act; empty if it says nothing."""
    if refund.get("status") == "requires_action":
        return "requires_action"
    return text_in(refund.get("pending_reason")) if refund.get("status") == "pending" else ""


def expires_at(refund: Fields) -> datetime | None:
    """Until when the customer may act, if they must."""
    action = refund.get("next_action")
    details = action.get("display_details") if isinstance(action, Mapping) else None
    return fields.time_of(details.get("expires_at")) if isinstance(details, Mapping) else None
