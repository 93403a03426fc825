"""Stripe's objects as they look on the wire."""

from __future__ import annotations

from typing import Any

from .exponents import to_major
from .state import Charge, Dispute, SandboxState, StripeRefund, new_id

Json = dict[str, Any]
API_VERSION = "2026-10-28.endive"
SYMBOLS = {"eur": "€", "usd": "$", "gbp": "£", "jpy": "¥"}


def told_amount(minor: int, currency: str) -> str:
    major = to_major("stripe", minor, currency)
    return f"{SYMBOLS[currency]}{major}" if currency in SYMBOLS else f"{major} {currency.upper()}"


def refund_json(refund: StripeRefund) -> Json:
    shape: Json = {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": f"txn_{refund.id.removeprefix('re_')}",
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "reason": refund.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": refund.status,
        "transfer_reversal": None,
    }
    return shape | _outcome_fields(refund)


def _outcome_fields(refund: StripeRefund) -> Json:
    if refund.status == "failed":
        balance = f"txn_f{refund.id.removeprefix('re_')}"
        return {"failure_reason": refund.failure_reason, "failure_balance_transaction": balance}
    if refund.status == "pending":
        return {"pending_reason": "processing"}
    if refund.status == "requires_action":
        sent = {
            "email_sent_at": refund.created,
            "email_sent_to": refund.instructions_email or "customer@example.com",
        }
        expires = refund.created + 45 * 86400
        return {
            "next_action": {
                "type": "display_details",
                "display_details": {"email_sent": sent, "expires_at": expires},
            }
        }
    return {}


def charge_json(state: SandboxState, charge: Charge) -> Json:
    refunded = state.refunded(charge)
    return {
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.amount if charge.captured else 0,
        "amount_refunded": refunded,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None if charge.processing else f"txn_{charge.id.partition('_')[2]}",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "SANDBOX",
        "captured": charge.captured,
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "disputed": bool(state.disputes_of(charge.id)),
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "on_behalf_of": None,
        "outcome": None,
        "paid": not charge.processing,
        "payment_intent": charge.payment_intent,
        "payment_method": f"pm_{charge.id.partition('_')[2]}",
        "payment_method_details": {"card": _card(), "type": "card"},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": refunded >= charge.amount,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "pending" if charge.processing else "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def _card() -> Json:
    return {
        "brand": "visa",
        "country": "SE",
        "exp_month": 12,
        "exp_year": 2034,
        "funding": "credit",
        "last4": "4242",
        "network": "visa",
    }


def intent_status(charge: Charge) -> str:
    if charge.processing:
        return "processing"
    return "succeeded" if charge.captured else "requires_capture"


def intent_json(charge: Charge) -> Json:
    held = not charge.captured and not charge.processing
    return {
        "id": charge.payment_intent,
        "object": "payment_intent",
        "amount": charge.amount,
        "amount_capturable": charge.amount if held else 0,
        "amount_details": {"tip": {}},
        "amount_received": charge.amount if charge.captured else 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "manual" if held else "automatic",
        "client_secret": f"{charge.payment_intent}_secret_sandbox",
        "confirmation_method": "automatic",
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "last_payment_error": None,
        "latest_charge": charge.id,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": f"pm_{charge.id.partition('_')[2]}",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": {"type": "card"} if charge.processing else None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": intent_status(charge),
        "transfer_data": None,
        "transfer_group": None,
    }


def dispute_json(state: SandboxState, dispute: Dispute) -> Json:
    return {
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": [],
        "charge": dispute.charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": dispute.created + 7 * 86400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": state.is_charge_refundable(dispute),
        "livemode": False,
        "metadata": {},
        "payment_intent": state.charges[dispute.charge].payment_intent,
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": "general",
        "status": dispute.status,
    }


def account_json(state: SandboxState) -> Json:
    return {
        "id": state.account_id,
        "object": "account",
        "business_profile": {"name": "Sandbox"},
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "SE",
        "created": 1_700_000_000,
        "default_currency": "eur",
        "details_submitted": True,
        "email": "sandbox@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


def new_request_id() -> str:
    return new_id("req", 14)
