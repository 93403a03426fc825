"""What each status, refund reason, error code and event type of Stripe means (R13).

Sources: "stripe spec3" is the vendor's OpenAPI file, "stripe SDK 16" what its Python package lists beside it, "docs: …"
a page of docs.stripe.com. A null status is not a word: callers pass "", which no table lists.
"""

from collections.abc import Mapping
from types import MappingProxyType

from refundcli.domain.dispute import DisputeStage, DisputeState
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch.outcomes import Signal
from refundcli.services.ports.vocabulary import CaptureChange, Direction, Effect, Meaning

_SPEC = "stripe spec3"
_SDK = "stripe SDK 16"
_REFUNDS = "docs: refunds"
_DISPUTES = "docs: disputes/how-disputes-work"
_INTENTS = "docs: payments/paymentintents/lifecycle"


def _dispute(state: DisputeState, stage: DisputeStage, source: str = _SPEC, note: str = "") -> Meaning:
    return Meaning(Effect.DISPUTE, source, dispute=state, stage=stage, note=note)


def _refund(state: RefundState, source: str = _SPEC, note: str = "") -> Meaning:
    return Meaning(Effect.REFUND, source, refund=state, note=note)


def _capture(change: CaptureChange | None, source: str = _SPEC, note: str = "") -> Meaning:
    return Meaning(Effect.CAPTURE, source, capture=change, note=note)


_CHARGEBACK, _INQUIRY = DisputeStage.CHARGEBACK, DisputeStage.INQUIRY

DISPUTE_STATUSES: Mapping[str, Meaning] = MappingProxyType(
    {
        "needs_response": _dispute(DisputeState.OPEN, _CHARGEBACK),
        "under_review": _dispute(DisputeState.OPEN, _CHARGEBACK),
        "appeal_needs_response": _dispute(DisputeState.OPEN, _CHARGEBACK, _SDK, "a lost dispute that is appealed"),
        "appeal_under_review": _dispute(DisputeState.OPEN, _CHARGEBACK, _SDK, "a lost dispute that is appealed"),
        "warning_needs_response": _dispute(DisputeState.OPEN, _INQUIRY, _DISPUTES, "a full refund resolves an inquiry"),
        "warning_under_review": _dispute(DisputeState.OPEN, DisputeStage.ANSWERED_INQUIRY, _DISPUTES),
        "warning_closed": _dispute(DisputeState.CLOSED, DisputeStage.ANSWERED_INQUIRY, _DISPUTES, "no chargeback came"),
        "won": _dispute(DisputeState.WON, _CHARGEBACK),
        "lost": _dispute(DisputeState.LOST, _CHARGEBACK, note="its balance transactions say how much"),
        "prevented": _dispute(DisputeState.LOST, _CHARGEBACK, note="the bank refunded the amount to the customer"),
    }
)

REFUND_STATUSES: Mapping[str, Meaning] = MappingProxyType(
    {
        "pending": _refund(RefundState.PENDING),
        "requires_action": _refund(RefundState.PENDING, _REFUNDS, "the customer must answer Stripe's e-mail"),
        "succeeded": _refund(RefundState.SUCCEEDED),
        "failed": _refund(RefundState.FAILED, _REFUNDS, "the money is back in the Stripe balance"),
        "canceled": _refund(
            RefundState.FAILED, _REFUNDS, "the money is in the Stripe balance, or in the customer's cash balance"
        ),
    }
)

PENDING_REASONS: Mapping[str, Meaning] = MappingProxyType(
    {
        "processing": Meaning(Effect.NONE, _SPEC, refund=RefundState.PENDING),
        "insufficient_funds": Meaning(
            Effect.NOTE, _REFUNDS, refund=RefundState.PENDING, note="the Stripe balance is too low: top it up"
        ),
        "charge_pending": Meaning(Effect.NOTE, _SPEC, refund=RefundState.PENDING, note="the payment itself is pending"),
    }
)

FAILURE_REASONS: Mapping[str, Meaning] = MappingProxyType(
    {
        "lost_or_stolen_card": _refund(RefundState.FAILED, note="the card was reported lost or stolen"),
        "expired_or_canceled_card": _refund(RefundState.FAILED, note="the card expired or was cancelled"),
        "charge_for_pending_refund_disputed": _refund(
            RefundState.FAILED, note="the customer disputed the payment while the refund was pending"
        ),
        "insufficient_funds": _refund(RefundState.FAILED, note="the Stripe balance was too low"),
        "declined": _refund(RefundState.FAILED, note="the bank declined the refund"),
        "merchant_request": _refund(RefundState.FAILED, note="it was cancelled at the merchant's request"),
        "unknown": _refund(RefundState.FAILED, note="Stripe does not know why"),
    }
)

# The `reason` of a refund in Stripe's answers. The last is not a refund: the amount was never captured.
REFUND_REASONS: Mapping[str, Meaning] = MappingProxyType(
    {
        "duplicate": Meaning(Effect.REFUND, _SPEC),
        "fraudulent": Meaning(Effect.REFUND, _SPEC, note="the card and the e-mail address are on block lists"),
        "requested_by_customer": Meaning(Effect.REFUND, _SPEC),
        "expired_uncaptured_charge": _capture(CaptureChange.CANCELLED, note="authorised, never captured"),
    }
)

# Effect capture without a change: nothing was taken, and it still may be.
PAYMENT_INTENT_STATUSES: Mapping[str, Meaning] = MappingProxyType(
    {
        "requires_payment_method": _capture(None, _INTENTS, "not paid: the last attempt failed, or none was made"),
        "requires_confirmation": _capture(None, _INTENTS, "not paid yet"),
        "requires_action": _capture(None, _INTENTS, "not paid yet: the customer must act"),
        "processing": _capture(None, _INTENTS, "being processed (R10)"),
        "requires_capture": _capture(None, _INTENTS, "authorised, not taken"),
        "canceled": _capture(CaptureChange.CANCELLED, _INTENTS, "what was not captured never will be"),
        "succeeded": _capture(CaptureChange.ADDED, _INTENTS, "amount_received says how much"),
    }
)

CHARGE_STATUSES: Mapping[str, Meaning] = MappingProxyType(
    {
        "succeeded": _capture(CaptureChange.ADDED, note="amount_captured says how much; 0 while it is authorised only"),
        "pending": _capture(None, note="being processed (R10)"),
        "failed": _capture(CaptureChange.FAILED, note="never taken"),
    }
)

# An event only says which object to fetch again; the statuses above decide.
_FETCH = "the object is fetched again"
EVENT_TYPES: Mapping[str, Meaning] = MappingProxyType(
    {
        **{
            event_type: Meaning(Effect.REFUND, _SDK, note=_FETCH)
            for event_type in (
                "refund.created",
                "refund.updated",
                "refund.failed",
                "charge.refunded",
                "charge.refund.updated",
            )
        },
        **{
            event_type: Meaning(Effect.DISPUTE, _SDK, note=_FETCH)
            for event_type in (
                "charge.dispute.created",
                "charge.dispute.updated",
                "charge.dispute.closed",
                "charge.dispute.funds_withdrawn",
                "charge.dispute.funds_reinstated",
            )
        },
        **{
            event_type: Meaning(Effect.CAPTURE, _SDK, note=_FETCH)
            for event_type in (
                "charge.captured",
                "charge.expired",
                "charge.failed",
                "charge.pending",
                "charge.succeeded",
                "charge.updated",
                "payment_intent.amount_capturable_updated",
                "payment_intent.canceled",
                "payment_intent.payment_failed",
                "payment_intent.processing",
                "payment_intent.requires_action",
                "payment_intent.succeeded",
            )
        },
        "radar.early_fraud_warning.created": Meaning(Effect.NOTE, _SDK, note="the bank warns of fraud"),
        "radar.early_fraud_warning.updated": Meaning(Effect.NOTE, _SDK, note="the bank warns of fraud"),
        "payment_intent.created": Meaning(Effect.NONE, _SDK),
        "payment_intent.partially_funded": Meaning(Effect.NONE, _SDK),
        "review.opened": Meaning(Effect.NONE, _SDK),
        "review.closed": Meaning(Effect.NONE, _SDK),
    }
)
_ABOUT_REFUNDS = ("refund.", "charge.refund", "charge.dispute")


_CATEGORIES = "docs: reports/reporting-categories"
# The reporting categories of the itemized balance report. The others, which are about no payment, follow below.
REPORTING_CATEGORIES: Mapping[str, Meaning] = MappingProxyType(
    {
        "charge": Meaning(Effect.CAPTURE, _CATEGORIES, capture=CaptureChange.ADDED, direction=Direction.CREDIT),
        "charge_failure": Meaning(Effect.CAPTURE, _CATEGORIES, capture=CaptureChange.FAILED, direction=Direction.DEBIT),
        "partial_capture_reversal": Meaning(
            Effect.BLOCK, _CATEGORIES, direction=Direction.EITHER, note="only part of the payment was captured"
        ),
        "refund": Meaning(Effect.REFUND, _CATEGORIES, refund=RefundState.SUCCEEDED, direction=Direction.DEBIT),
        "refund_failure": Meaning(Effect.REFUND, _CATEGORIES, refund=RefundState.FAILED, direction=Direction.CREDIT),
        "dispute": Meaning(
            Effect.DISPUTE, _CATEGORIES, dispute=DisputeState.OPEN, stage=_CHARGEBACK, direction=Direction.DEBIT
        ),
        "dispute_reversal": Meaning(
            Effect.DISPUTE, _CATEGORIES, dispute=DisputeState.WON, stage=_CHARGEBACK, direction=Direction.CREDIT
        ),
        "other_adjustment": Meaning(
            Effect.BLOCK, _CATEGORIES, direction=Direction.EITHER, note="Stripe adjusted something"
        ),
        **dict.fromkeys(
            (
                *("fee", "network_cost", "tax", "payout", "payout_reversal", "topup", "topup_reversal", "transfer"),
                *("transfer_reversal", "platform_earning", "platform_earning_refund", "contribution", "advance"),
                *("advance_funding", "anticipation_repayment", "climate_order_purchase", "connect_collection_transfer"),
                *("connect_reserved_funds", "risk_reserved_funds", "financing_paydown", "financing_payout"),
                *("financing_paydown_reversal", "financing_payout_reversal", "issuing_authorization_hold"),
                *("issuing_authorization_release", "issuing_dispute", "issuing_transaction"),
                "unreconciled_customer_funds",
            ),
            Meaning(Effect.NONE, _CATEGORIES, direction=Direction.EITHER),
        ),
    }
)


def report_meaning(category: str) -> Meaning | None:
    """What a reporting category means; None where it is not listed, which blocks the payment (R13)."""
    return REPORTING_CATEGORIES.get(category.strip().lower())


def dispute_meaning(status: str) -> Meaning | None:
    """What a dispute's status means; None where it is not listed, which blocks the payment (R13)."""
    return DISPUTE_STATUSES.get(status)


def refund_meaning(status: str) -> Meaning | None:
    """What a refund's status means; None where it is not listed, "" for null included (R13)."""
    return REFUND_STATUSES.get(status)


def event_meaning(event_type: str) -> Meaning | None:
    """What an event type is about; None where it is not listed."""
    return EVENT_TYPES.get(event_type)


def event_blocks(event_type: str) -> bool:
    """Does the event type alone block the payment? Only an unlisted type about refunds or disputes does (R13)."""
    return event_type not in EVENT_TYPES and event_type.startswith(_ABOUT_REFUNDS)


# These codes are not a refusal, whatever the HTTP status and type. The other codes of Stripe's list
# (https://docs.stripe.com/error-codes) say what is wrong with the request, and no refund was made.
CODE_SIGNALS = {
    "approval_required": Signal.AWAITING_APPROVAL,  # https://docs.stripe.com/account/approvals
    "idempotency_key_in_use": Signal.IN_PROGRESS,  # the same request is in progress
    "lock_timeout": Signal.IN_PROGRESS,  # another request has locked the payment
    "rate_limit": Signal.RATE_LIMITED,  # once a 400, now a 429
    "processing_error": Signal.OTHER,  # it stopped at an unknown point
    "payment_method_provider_timeout": Signal.OTHER,
    "terminal_reader_timeout": Signal.OTHER,
}
