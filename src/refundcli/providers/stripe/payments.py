"""Read the fields of Stripe's charges, refunds and disputes. What a status means is in vocabulary.py (R13)."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from refundcli.domain.currencies import Currency
from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.money import Money
from refundcli.domain.payment_methods import why_not_this_way
from refundcli.domain.provider_units import UnreadableAmount, from_provider_minor
from refundcli.domain.refund import TraceNumber
from refundcli.domain.statuses import Provider
from refundcli.providers.answers import Fields, fields_in, safe_text, text_in
from refundcli.providers.stripe import fields
from refundcli.providers.stripe.vocabulary import REFUND_REASONS, dispute_meaning
from refundcli.services.ports.provider_updates import CannotBeHeld
from refundcli.services.ports.vocabulary import Effect


def releases_in(refunds: Sequence[Fields], charge: Fields) -> list[Fields]:
    """The listed refunds that only release an uncaptured amount. Stripe lists them as refunds, although no money moved.

    The rest of a partial capture is released once, at the capture, before any refund of the payment. A pending refund
    of the same amount moved no money either, but is not a release.
    """
    if not charge.get("captured"):
        return list(refunds)
    releases = [refund for refund in refunds if _is_never_captured(refund)]
    if not releases:
        possible_releases = sorted((refund for refund in refunds if _may_be_the_rest(refund, charge)), key=_made_at)
        releases = possible_releases[:1]
    return releases


def _is_never_captured(refund: Fields) -> bool:
    reason = REFUND_REASONS.get(text_in(refund.get("reason")))
    return reason is not None and reason.effect is Effect.CAPTURE


def _may_be_the_rest(refund: Fields, charge: Fields) -> bool:
    authorised_minor, captured_minor = charge.get("amount"), charge.get("amount_captured")
    if type(authorised_minor) is not int or type(captured_minor) is not int or captured_minor >= authorised_minor:
        return False
    has_succeeded, moved_money = refund.get("status") == "succeeded", refund.get("balance_transaction") is not None
    is_by_refundcli = bool(text_in(fields_in(refund.get("metadata")).get("refundcli_refund")))
    return (
        refund.get("amount") == authorised_minor - captured_minor
        and has_succeeded
        and not moved_money
        and not is_by_refundcli
    )


def _made_at(refund: Fields) -> int:
    created = refund.get("created")
    return created if type(created) is int else 0


def why_unsupported(charge: Fields) -> str:
    """Why it cannot be refunded from here (R12), as a clause or sentences; empty if it can."""
    receiver = fields.id_in(fields_in(charge.get("transfer_data")).get("destination"))
    if receiver or charge.get("transfer"):
        to_receiver = f" to {safe_text(receiver)}" if receiver else ""
        return f"it is a Connect charge, and the transfer{to_receiver} would not be reversed"
    if charge.get("application_fee_amount") or charge.get("application_fee"):
        return "it is a Connect charge, and the application fee would not be refunded"
    payment_method = text_in(fields_in(charge.get("payment_method_details")).get("type"))
    return why_not_this_way(Provider.STRIPE, payment_method, is_partial=False)


def card_of(charge: Fields) -> tuple[str, str]:
    """The card's last four digits and brand; empty for another method (docs.stripe.com/api/charges/object)."""
    card = fields_in(fields_in(charge.get("payment_method_details")).get("card"))
    last4 = text_in(card.get("last4"))
    is_known = len(last4) == 4 and last4.isascii() and last4.isdecimal()
    return (last4, text_in(card.get("brand"))) if is_known else ("", "")


def why_not_refundable(disputes: Iterable[Fields]) -> str:
    """Why Stripe would refuse a refund because of a closed dispute; empty if there is no such dispute."""
    blocking_disputes = [
        dispute
        for dispute in disputes
        if dispute.get("is_charge_refundable") is False and dispute_state(dispute) is DisputeState.CLOSED
    ]
    return f"not refundable (dispute {safe_text(blocking_disputes[0].get('status'))})" if blocking_disputes else ""


def dispute_status(dispute: Fields) -> str:
    return text_in(dispute.get("status")) or "null"


def dispute_state(dispute: Fields) -> DisputeState:
    meaning = dispute_meaning(text_in(dispute.get("status")))
    return meaning.dispute if meaning and meaning.dispute else DisputeState.UNKNOWN


def dispute_stage(dispute: Fields) -> DisputeStage:
    meaning = dispute_meaning(text_in(dispute.get("status")))
    return meaning.stage if meaning and meaning.stage else DisputeStage.CHARGEBACK


def disputed_amount(dispute: Fields, payment_currency: Currency) -> Money | None:
    """The disputed amount, or what a lost dispute took; None if it is in another currency."""
    lost_amount = _amount_taken(dispute, payment_currency) if dispute_state(dispute) is DisputeState.LOST else None
    if lost_amount is not None:
        return lost_amount
    return (
        fields.amount_of(dispute, "amount", payment_currency)
        if fields.currency_of(dispute) == payment_currency
        else None
    )


def _amount_taken(dispute: Fields, payment_currency: Currency) -> Money | None:
    """What its balance transactions took, less what they returned; None if they do not say."""
    transactions = dispute.get("balance_transactions")
    if not isinstance(transactions, list) or not transactions:
        return None
    taken_minor = 0
    for transaction in transactions:
        amount_minor = fields_in(transaction).get("amount")
        if type(amount_minor) is not int or text_in(transaction.get("currency")).upper() != payment_currency.code:
            return None
        taken_minor -= amount_minor
    try:
        return from_provider_minor(Provider.STRIPE, max(taken_minor, 0), payment_currency)
    except UnreadableAmount:
        return None


def is_odd(refund: Fields, payment_currency: Currency) -> bool:
    """Is its amount unreadable, zero, or in another currency than the payment? Such a refund cannot be counted."""
    amount = amount_or_none(refund)
    return not amount or amount.currency != payment_currency


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


def trace_number(refund: Fields) -> TraceNumber | None:
    """The number for the customer's bank; None until Stripe says where the money goes.

    Any destination, type and status is stored as reported, also one that Stripe's schema does not list yet.
    """
    details = fields_in(refund.get("destination_details"))
    destination = text_in(details.get("type"))
    if not destination:
        return None
    trace_fields = fields_in(details.get(destination))
    number_type, number, status = (
        text_in(trace_fields.get(name)) for name in ("reference_type", "reference", "reference_status")
    )
    return TraceNumber(destination, number_type, number, status)


def expires_at(refund: Fields) -> datetime | None:
    """Until when the customer may act, if they must."""
    action_details = fields_in(fields_in(refund.get("next_action")).get("display_details"))
    return fields.time_of(action_details.get("expires_at"))
