"""JSON of Stripe's objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from refundcli.sandbox.core.exponents import to_major
from refundcli.sandbox.core.records import Json
from refundcli.sandbox.core.state import Charge, Dispute, SandboxState, StripeRefund, new_id
from refundcli.sandbox.stripe.methods import destination_details, next_action, payment_method_details

API_VERSION = "2026-10-28.endive"
SYMBOLS = {"eur": "€", "usd": "$", "gbp": "£", "jpy": "¥"}


def amount_text(minor_units: int, currency: str) -> str:
    major_units = to_major("stripe", minor_units, currency)
    return f"{SYMBOLS[currency]}{major_units}" if currency in SYMBOLS else f"{major_units} {currency.upper()}"


def overlaid(object_json: Json, fields: Mapping[str, Any]) -> Json:
    """The object with `fields` merged in; a null sets null."""
    merged = dict(object_json)
    for name, value in fields.items():
        inner_field = merged.get(name)
        merged[name] = (
            overlaid(inner_field, value) if isinstance(inner_field, dict) and isinstance(value, dict) else value
        )
    return merged


def refund_json(refund: StripeRefund) -> Json:
    shape: Json = {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": f"txn_{refund.id.removeprefix('re_')}",
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "reason": refund.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": refund.status,
        "transfer_reversal": None,
    }
    # A completed or expired instruction is no longer shown.
    hidden_fields = frozenset([] if refund.status == "requires_action" else ["next_action"])
    overrides = {name: value for name, value in refund.fields.items() if name not in hidden_fields}
    return overlaid(shape | destination_details(refund) | _outcome_fields(refund), overrides)


def _outcome_fields(refund: StripeRefund) -> Json:
    fields: Json = {"instructions_email": refund.instructions_email} if refund.instructions_email else {}
    if refund.status == "failed":
        balance_transaction = f"txn_f{refund.id.removeprefix('re_')}"
        return fields | {
            "failure_reason": refund.failure_reason or "unknown",
            "failure_balance_transaction": balance_transaction,
        }
    if refund.status == "pending":
        return fields | {"pending_reason": refund.pending_reason}
    return fields | ({"next_action": next_action(refund)} if refund.status == "requires_action" else {})


# Fields that the sandbox leaves null.
CHARGE_NULLS = [
    "application",
    "application_fee",
    "application_fee_amount",
    "failure_balance_transaction",
    "on_behalf_of",
    "outcome",
    "receipt_email",
    "receipt_number",
    "receipt_url",
    "review",
    "shipping",
    "source_transfer",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
]
INTENT_NULLS = [
    "application",
    "application_fee_amount",
    "automatic_payment_methods",
    "next_action",
    "on_behalf_of",
    "payment_method_configuration_details",
    "receipt_email",
    "review",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
]


def charge_json(state: SandboxState, charge: Charge) -> Json:
    refunded_amount = state.refunded(charge)
    shape: Json = {
        "id": charge.id,
        **dict.fromkeys(CHARGE_NULLS),
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.taken,
        "amount_refunded": refunded_amount,
        "balance_transaction": None if not charge.captured else f"txn_{charge.id.partition('_')[2]}",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "SANDBOX",
        "captured": charge.captured,
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "disputed": bool(state.disputes_of(charge.id)),
        "failure_code": "card_declined" if charge.failed else None,
        "failure_message": "Your card was declined." if charge.failed else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "paid": not charge.processing and not charge.failed,
        "payment_intent": charge.payment_intent,
        "payment_method": f"pm_{charge.id.partition('_')[2]}",
        "payment_method_details": payment_method_details(charge),
        "refunded": refunded_amount >= charge.amount,
        "status": _charge_status(charge),
    }
    return overlaid(shape, charge.fields)


def _charge_status(charge: Charge) -> str:
    if charge.failed:
        return "failed"
    return "pending" if charge.processing else "succeeded"


def intent_status(charge: Charge) -> str:
    if charge.canceled:
        return "canceled"
    if charge.failed:
        return "requires_payment_method"
    if charge.processing:
        return "processing"
    return "succeeded" if charge.captured else "requires_capture"


def intent_json(charge: Charge) -> Json:
    is_uncaptured = intent_status(charge) == "requires_capture"
    shape: Json = {
        "id": charge.payment_intent,
        **dict.fromkeys(INTENT_NULLS),
        "object": "payment_intent",
        "amount": charge.amount,
        "amount_capturable": charge.amount if is_uncaptured else 0,
        "amount_details": {"tip": {}},
        "amount_received": charge.taken,
        "canceled_at": charge.created if charge.canceled else None,
        "cancellation_reason": charge.canceled,
        "capture_method": "manual"
        if is_uncaptured or charge.canceled or charge.amount_captured is not None
        else "automatic",
        "client_secret": f"{charge.payment_intent}_secret_sandbox",
        "confirmation_method": "automatic",
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "last_payment_error": _last_error(charge),
        "latest_charge": charge.id,
        "livemode": False,
        "metadata": {},
        "payment_method": f"pm_{charge.id.partition('_')[2]}",
        "payment_method_options": {},
        "payment_method_types": [charge.method],
        "processing": {"type": "card"} if charge.processing else None,
        "status": intent_status(charge),
    }
    return overlaid(shape, charge.intent_fields)


def _last_error(charge: Charge) -> Json | None:
    if not charge.failed:
        return None
    return {"code": "card_declined", "message": "Your card was declined.", "type": "card_error"}


def _balance_transactions(dispute: Dispute) -> Iterable[Json]:
    for transaction_number, (amount, moved_at) in enumerate(dispute.movements):
        yield {
            "id": f"txn_{dispute.id.removeprefix('dp_')}{transaction_number}",
            "object": "balance_transaction",
            "amount": amount,
            "available_on": moved_at,
            "balance_type": "payments",
            "created": moved_at,
            "currency": dispute.currency,
            "description": f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute.charge}",
            "exchange_rate": None,
            "fee": 0,
            "fee_details": [],
            "net": amount,
            "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
            "source": dispute.id,
            "status": "available",
            "type": "adjustment",
        }


CASES = {"prevented": "resolution"}


def _dispute_method(charge: Charge, dispute: Dispute) -> Json:
    if charge.method != "card":
        return {}
    case_type = "inquiry" if (dispute.status or "").startswith("warning_") else CASES.get(dispute.status, "chargeback")
    card = {"brand": "visa", "case_type": case_type, "network_reason_code": "10.4"}
    return {"payment_method_details": {"card": card, "type": "card"}}


def dispute_json(state: SandboxState, dispute: Dispute) -> Json:
    shape = {
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": list(_balance_transactions(dispute)),
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
        "reason": dispute.reason,
        "status": dispute.status,
    }
    return overlaid(shape | _dispute_method(state.charges[dispute.charge], dispute), dispute.fields)


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
