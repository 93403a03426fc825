"""The fields of a charge and a refund that depend on the payment method."""

from __future__ import annotations

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
        "cashapp",
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
        "sofort",
        "swish",
        "twint",
        "wechat_pay",
        "zip",
    ]
)
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
    if refund.method == "card":
        # An ARN (or STAN, system_trace_audit_number) is known to the cardholder's bank days later.
        card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
        return {"destination_details": {"card": card, "type": "card"}}
    destination_type = DESTINATIONS.get(refund.method, refund.method if refund.method in SAME_NAME else None)
    if destination_type is None:
        return {}
    details = (
        {"reference_status": "pending"}
        if destination_type.endswith("_transfer") and destination_type != "au_bank_transfer"
        else {}
    )
    return {"destination_details": {destination_type: details, "type": destination_type}}


def next_action(refund: StripeRefund) -> Json:
    email_details = {
        "email_sent_at": refund.created,
        "email_sent_to": refund.instructions_email or "customer@example.com",
    }
    expires_at = refund.created + EMAIL_DAYS * 86400
    return {"type": "display_details", "display_details": {"email_sent": email_details, "expires_at": expires_at}}
