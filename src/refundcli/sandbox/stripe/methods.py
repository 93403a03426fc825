"""The fields of a charge and a refund that depend on the payment method."""

from __future__ import annotations

import hashlib

from refundcli.sandbox.core.records import Charge, Json, StripeRefund

# docs.stripe.com/payments/boleto: a payment cannot be refunded.
NO_REFUNDS = frozenset(["boleto"])
# No native refund: Stripe asks the customer by e-mail for a bank account (45 days).
BY_EMAIL = frozenset(["customer_balance", "konbini", "promptpay"])
# Refund destinations whose name differs from the method's.
DESTINATIONS = {
    "au_becs_debit": "au_bank_transfer",
    "bacs_debit": "gb_bank_transfer",
    "customer_balance": "eu_bank_transfer",
    "konbini": "jp_bank_transfer",
    "promptpay": "th_bank_transfer",
    "sepa_debit": "eu_bank_transfer",
    "us_bank_account": "us_bank_transfer",
}
SAME_NAME = frozenset(
    [
        "affirm",
        "afterpay_clearpay",
        "alipay",
        "alma",
        "amazon_pay",
        "blik",
        "card",
        "cashapp",
        "crypto",
        "eps",
        "giropay",
        "grabpay",
        "klarna",
        "mb_way",
        "multibanco",
        "p24",
        "paynow",
        "paypal",
        "pix",
        "revolut",
        "scalapay",
        "sofort",
        "swish",
        "twint",
        "wechat_pay",
        "zip",
    ]
)
# The destinations whose refunds get a number for the customer's bank, by Stripe's schema.
WITH_REFERENCE = frozenset(
    [
        "blik",
        "br_bank_transfer",
        "card",
        "eu_bank_transfer",
        "gb_bank_transfer",
        "jp_bank_transfer",
        "mb_way",
        "multibanco",
        "mx_bank_transfer",
        "p24",
        "swish",
        "th_bank_transfer",
        "us_bank_transfer",
    ]
)
# It is known days after the refund.
REFERENCE_DAYS = 3
EMAIL_DAYS = 45


def payment_method_details(charge: Charge) -> Json:
    """`type`, and an object of that name, empty for most methods."""
    if charge.method == "card":
        return {"card": _card(), "type": "card"}
    return {charge.method: {"tax_id": "000.000.000-00"} if charge.method == "boleto" else {}, "type": charge.method}


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


def destination_details(refund: StripeRefund) -> Json:
    """Empty for a method outside Stripe's list of destinations."""
    destination_type = DESTINATIONS.get(refund.method, refund.method if refund.method in SAME_NAME else None)
    if destination_type is None:
        return {}
    details = _reference(refund) if destination_type in WITH_REFERENCE else {}
    if destination_type == "card":
        details |= {"reference_type": "acquirer_reference_number", "type": "refund"}
    return {"destination_details": {destination_type: details, "type": destination_type}}


def _reference(refund: StripeRefund) -> Json:
    """An ARN has 23 digits; the same ones for the same refund."""
    if not refund.is_traceable:
        return {"reference_status": "pending"}
    number = int.from_bytes(hashlib.sha256(refund.id.encode()).digest()) % 10**22
    return {"reference": f"7{number:022}", "reference_status": "available"}


def next_action(refund: StripeRefund) -> Json:
    email_details = {
        "email_sent_at": refund.created,
        "email_sent_to": refund.instructions_email or "customer@example.com",
    }
    expires_at = refund.created + EMAIL_DAYS * 86400
    return {"type": "display_details", "display_details": {"email_sent": email_details, "expires_at": expires_at}}
