"""What happens to payments and refunds without the program's doing: made here, and told by events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import adyen_events, stripe_events
from .records import AdyenRefund, Ending, Made, Refund, StripeRefund
from .state import SandboxState
from .stripe_objects import refund_json

DISPUTE_WORDS = {"open": "needs_response"}


def make_payment(state: SandboxState, given: Mapping[str, Any]) -> Made:
    """A payment as `POST /_sandbox/charges` describes it; amounts are in the provider's minor units."""
    wanted = dict(given)
    provider = wanted.pop("provider", "stripe")
    disputed, dispute_amount = wanted.pop("dispute", None), wanted.pop("dispute_amount", None)
    refunded = wanted.pop("refunded", 0)
    with state.lock:
        made = _add(state, provider, wanted)
        if disputed:
            dispute(state, made.reference, disputed, dispute_amount)
        if refunded:
            refund_by_hand(state, made.reference, refunded)
        return made


def _add(state: SandboxState, provider: str, wanted: dict[str, Any]) -> Made:
    reference = wanted.pop("reference", None)
    if provider == "adyen":
        told = wanted.pop("merchant_reference", None)
        made = state.add_adyen_payment(psp_reference=wanted.pop("psp_reference", reference), reference=told, **wanted)
        adyen_events.payment_made(state, state.payments[made.reference])
        return made
    if provider != "stripe":
        raise ValueError(f"unknown provider {provider!r}: stripe or adyen")
    if reference:
        wanted["payment_intent" if reference.startswith("pi_") else "charge"] = reference
    return state.add_stripe_payment(**wanted)


def capture(state: SandboxState, reference: str) -> None:
    """What was only authorised, or was under way, is paid."""
    with state.lock:
        if reference in state.payments:
            adyen_events.captured(state, state.payments[reference])
        else:
            charge = state.find_charge(reference)
            charge.captured, charge.processing = True, False


def dispute(state: SandboxState, reference: str, status: str, amount: int | None = None) -> str:
    status = DISPUTE_WORDS.get(status, status)
    with state.lock:
        if reference in state.payments:
            payment = state.payments[reference]
            before = payment.dispute
            state.set_dispute(reference, status, amount)
            adyen_events.dispute_moved(state, payment, before)
            return reference
        known = next(iter(state.disputes_of(state.find_charge(reference).id)), None)
        was = known.status if known else None
        found = state.set_dispute(reference, status, amount)
        stripe_events.dispute_moved(state, state.disputes[found], was)
        return found


def refund_by_hand(
    state: SandboxState,
    reference: str,
    amount: int,
    *,
    status: str = "succeeded",
    reason: str | None = None,
    metadata: Mapping[str, str] | None = None,
    event: str = "REFUND",
) -> str:
    """A refund made in the dashboard. Stripe: status, reason, metadata. Adyen: event (or CANCEL_OR_REFUND)."""
    if event not in ("REFUND", "CANCEL_OR_REFUND"):
        raise ValueError(f"unknown event {event!r}: REFUND or CANCEL_OR_REFUND")
    with state.lock:
        made = state.refunds[state.add_dashboard_refund(reference, amount)]
        if isinstance(made, StripeRefund):
            made.status, made.reason, made.metadata = status, reason, dict(metadata or {})
            stripe_events.refund_made(state, made)
        else:
            payment = state.payments[made.payment]
            made.reference = payment.reference
            made.merchant_account = adyen_events.merchant_of(state, payment)
            adyen_events.refund_ended(state, made, event)
        return made.id


def settle(state: SandboxState, refund_id: str, given: Mapping[str, Any]) -> None:
    """What becomes of a refund later.

    Stripe: `status` and `failure_reason`. Adyen: `success` and `reason`, or as `event` what Adyen tells
    of one that had succeeded: REFUND_FAILED, REFUNDED_REVERSED.
    """
    with state.lock:
        refund = state.refunds.get(refund_id)
        if isinstance(refund, StripeRefund):
            _settle_stripe(state, refund, given["status"], given.get("failure_reason"))
        elif isinstance(refund, AdyenRefund):
            _settle_adyen(state, refund, given)
        else:
            raise ValueError(f"no refund {refund_id}")


def _settle_stripe(state: SandboxState, refund: StripeRefund, status: str, why: str | None) -> None:
    before = refund_json(refund)
    refund.status, refund.failure_reason, refund.ending = status, why, None
    stripe_events.refund_changed(state, refund, before)


def _settle_adyen(state: SandboxState, refund: AdyenRefund, given: Mapping[str, Any]) -> None:
    refund.ending = None
    event, reason = given.get("event"), given.get("reason")
    if event is None:
        refund.success, refund.outcome_reason = given["success"], reason
        adyen_events.refund_ended(state, refund)
    elif event in adyen_events.LATER:
        adyen_events.refund_came_back(state, refund, event, reason)
    else:
        raise ValueError(f"unknown event {event!r}: one of {', '.join(sorted(adyen_events.LATER))}")


def advance(state: SandboxState, seconds: float) -> None:
    """The clock goes on, and what was planned to end by then ends."""
    with state.lock:
        state.advance(seconds)
        planned = [(refund.ending, refund) for refund in state.refunds.values() if refund.ending is not None]
        for ending, refund in sorted(planned, key=lambda each: each[0].at):
            if ending.at <= state.now():
                _end(state, refund, ending)


def _end(state: SandboxState, refund: Refund, ending: Ending) -> None:
    succeeded = ending.outcome == "succeeded"
    if isinstance(refund, StripeRefund):
        why = None if succeeded else ending.reason or "expired_or_canceled_card"
        _settle_stripe(state, refund, ending.outcome, why)
    else:
        why = None if succeeded else ending.reason or "Refused"
        _settle_adyen(state, refund, {"success": succeeded, "reason": why})
