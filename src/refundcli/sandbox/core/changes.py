"""Changes that happen outside the program, at the provider, each with its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refundcli.sandbox.adyen import disputes, effects
from refundcli.sandbox.adyen import events as adyen_events
from refundcli.sandbox.core.records import AdyenRefund, Ending, PaymentIds, Refund, StripeRefund
from refundcli.sandbox.core.state import SandboxState
from refundcli.sandbox.stripe import events as stripe_events
from refundcli.sandbox.stripe import patch, payments

DISPUTE_WORDS = {"open": "needs_response"}


def make_payment(state: SandboxState, body: Mapping[str, Any]) -> PaymentIds:
    """A payment as `POST /_sandbox/charges` describes it; amounts are in the provider's minor units.

    With `captured_amount` only that much of it was captured, and Stripe lists the rest as refunded.
    """
    options = dict(body)
    provider = options.pop("provider", "stripe")
    dispute_status, dispute_amount = options.pop("dispute", None), options.pop("dispute_amount", None)
    refunded_amount = options.pop("refunded", 0)
    with state.lock:
        payment = _add(state, provider, options)
        if dispute_status:
            dispute(state, payment.reference, dispute_status, dispute_amount)
        if refunded_amount:
            dashboard_refund(state, payment.reference, refunded_amount)
        return payment


def _add(state: SandboxState, provider: str, options: dict[str, Any]) -> PaymentIds:
    """A new payment; `options` are its fields, as `make_payment` reads them."""
    reference = options.pop("reference", None)
    if provider == "adyen":
        merchant_reference = options.pop("merchant_reference", None)
        payment_ids = state.add_adyen_payment(
            psp_reference=options.pop("psp_reference", reference), reference=merchant_reference, **options
        )
        payment = state.payments[payment_ids.reference]
        adyen_events.payment_made(state, payment, effects.split_data(payment))
        return payment_ids
    if provider != "stripe":
        raise ValueError(f"unknown provider {provider!r}: stripe or adyen")
    if reference:
        options["payment_intent" if reference.startswith("pi_") else "charge"] = reference
    captured_amount, payment_status = options.pop("captured_amount", None), options.pop("status", None)
    _connect(options)
    payment_ids = state.add_stripe_payment(**options)
    if captured_amount is not None:
        payments.release(state, state.find_charge(payment_ids.reference), captured_amount)
    if payment_status is not None:
        payments.becomes(state, state.find_charge(payment_ids.reference), payment_status)
    return payment_ids


# Fields of a payment for a connected account, on the charge and on its intent.
CONNECT = ("transfer_data", "application_fee_amount", "on_behalf_of")


def _connect(options: dict[str, Any]) -> None:
    """Moves the fields for a connected account from a payment's options to its charge and its intent."""
    connect_fields = {name: options.pop(name) for name in CONNECT if name in options}
    # An intent omits an unset amount.
    transfer = {name: value for name, value in (connect_fields.get("transfer_data") or {}).items() if value is not None}
    intent_connect_fields = connect_fields | ({"transfer_data": transfer} if transfer else {})
    options["fields"] = connect_fields | dict(options.get("fields") or {})
    options["intent_fields"] = intent_connect_fields | dict(options.get("intent_fields") or {})


def capture(state: SandboxState, reference: str, amount: int | None = None) -> None:
    """Captures an authorised or processing payment: all of it, or `amount`; the rest is released."""
    with state.lock:
        if reference in state.payments:
            adyen_events.captured(state, state.payments[reference], amount)
        else:
            payments.capture(state, state.find_charge(reference), amount)


def dispute(
    state: SandboxState,
    reference: str,
    status: str,
    amount: int | None = None,
    *,
    dispute: str | None = None,
    new: bool = False,
    reinstated: int = 0,
    **fields: Any,
) -> str:
    """Opens or moves a dispute of a payment and sends the provider's events; returns its id.

    `dispute` is the id of one of several, `new` opens one more. Stripe: `reinstated` is what a lost one gives back;
    other fields (reason, is_charge_refundable, …) are set on the object. An Adyen one answers with the payment
    where the payment has one dispute that nobody named.
    """
    status = DISPUTE_WORDS.get(status, status)
    with state.lock:
        old_statuses = {known_dispute.id: known_dispute.status for known_dispute in state.disputes_about(reference)}
        dispute_id = state.set_dispute(reference, status, amount, dispute=dispute, new=new)
        if reference in state.payments:
            disputes.moved(state, state.adyen_disputes[dispute_id], old_statuses.get(dispute_id))
            return dispute_id if new or dispute else reference
        if fields:
            patch.patch(state, dispute_id, fields, event=False)
        stripe_events.dispute_moved(state, state.disputes[dispute_id], old_statuses.get(dispute_id), reinstated)
        return dispute_id


def dashboard_refund(
    state: SandboxState,
    reference: str,
    amount: int,
    *,
    status: str | None = "succeeded",
    reason: str | None = None,
    metadata: Mapping[str, str] | None = None,
    event: str = "REFUND",
    **fields: Any,
) -> str:
    """A refund made in the dashboard. Stripe: status (any, or None), reason, metadata, and any other field.

    Adyen: `event` is REFUND, REFUND_WITH_DATA or CANCEL_OR_REFUND.
    """
    if event not in ("REFUND", "REFUND_WITH_DATA", "CANCEL_OR_REFUND"):
        raise ValueError(f"unknown event {event!r}: REFUND, REFUND_WITH_DATA or CANCEL_OR_REFUND")
    with state.lock:
        refund = state.add_dashboard_refund(reference, amount)
        if isinstance(refund, StripeRefund):
            refund.status, refund.reason, refund.metadata = status, reason, dict(metadata or {})
            if fields:
                patch.patch(state, refund.id, fields, event=False)
            stripe_events.refund_made(state, refund)
        else:
            payment = state.payments[refund.payment]
            refund.reference = payment.reference
            refund.merchant_account = adyen_events.merchant_of(state, payment)
            adyen_events.refund_ended(state, refund, event)
        return refund.id


def settle(state: SandboxState, refund_id: str, outcome: Mapping[str, Any]) -> None:
    """Sets the later outcome of a refund.

    Stripe: `status` and `failure_reason`, or any other field. Adyen: `success` and `reason`, or as `event` what
    Adyen sends of one that had succeeded: REFUND_FAILED, REFUNDED_REVERSED (with an `amount`: of a part).
    """
    with state.lock:
        refund = state.refunds.get(refund_id)
        if isinstance(refund, StripeRefund):
            refund.ending = None
            # Each reason belongs to one failure.
            patch.patch(state, refund_id, {"failure_reason": None} | dict(outcome))
        elif isinstance(refund, AdyenRefund):
            _settle_adyen(state, refund, outcome)
        else:
            raise ValueError(f"no refund {refund_id}")


def _settle_adyen(state: SandboxState, refund: AdyenRefund, outcome: Mapping[str, Any]) -> None:
    refund.ending = None
    event_code, reason = outcome.get("event"), outcome.get("reason")
    if event_code is None:
        refund.success, refund.outcome_reason = outcome["success"], reason
        adyen_events.refund_ended(state, refund)
    elif event_code in adyen_events.LATER:
        adyen_events.refund_reversed(state, refund, event_code, reason, outcome.get("amount"))
    else:
        raise ValueError(f"unknown event {event_code!r}: one of {', '.join(sorted(adyen_events.LATER))}")


def advance(state: SandboxState, seconds: float) -> float:
    """Advances the clock and ends the refunds planned to end by then; the new time."""
    with state.lock:
        state.advance(seconds)
        planned_endings = [(refund.ending, refund) for refund in state.refunds.values() if refund.ending is not None]
        for ending, refund in sorted(planned_endings, key=lambda planned_refund: planned_refund[0].at):
            if ending.at <= state.now():
                _end(state, refund, ending)
        stripe_events.report_trace_numbers(state)
        return state.now()


def _end(state: SandboxState, refund: Refund, ending: Ending) -> None:
    has_succeeded = ending.outcome == "succeeded"
    if isinstance(refund, StripeRefund):
        failure_reason = (ending.reason or "expired_or_canceled_card") if ending.outcome == "failed" else None
        settle(state, refund.id, {"status": ending.outcome, "failure_reason": failure_reason})
    else:
        failure_reason = None if has_succeeded else ending.reason or "Refused"
        _settle_adyen(state, refund, {"success": has_succeeded, "reason": failure_reason})
