"""What each payment method allows at each provider: partial refunds, what the request must carry, time limits.

A refund is refused here only where the vendor documents the limit; otherwise the provider decides, before money moves.
Sources: docs.adyen.com/api-explorer/Checkout (refunds), docs.stripe.com/payments and /refunds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from refundcli.domain.statuses import Provider

_SEPARATORS = re.compile(r"[\W_]+")
_PAY_IN_ANOTHER_WAY = "Pay the customer in another way, then record it with mark-refunded."
_USE_THE_DASHBOARD = "Refund it in the provider's dashboard, then record it with mark-refunded."


@dataclass(frozen=True, slots=True)
class MethodRule:
    """What a method allows. Each `why_…` is one or two sentences for the operator, "" if it is allowed.

    `window_days`: how long after the payment a refund is possible. `answer_days`: how long the customer has to give the
    provider a bank account; after that the refund is cancelled. None: no limit is documented.
    """

    why_no_refund: str = ""
    why_no_partial: str = ""
    why_not_after_several_captures: str = ""
    warning: str = ""
    needs_email: bool = False
    window_days: int | None = None
    answer_days: int | None = None
    source: str = ""


ANYTHING_GOES = MethodRule()

_LINE_ITEMS = MethodRule(
    why_no_partial=(
        "To refund part of this payment, Adyen needs the refunded line items, which are not in the books. "
        f"{_USE_THE_DASHBOARD}"
    ),
    source="adyen Checkout v72: lineItems",
)
_MAY_BE_CHARGED_BACK = MethodRule(
    warning="The customer's bank can still charge this payment back after the refund; you would then pay twice.",
    source="docs.adyen.com: sepa-chargebacks",
)
_ASKS_THE_CUSTOMER = MethodRule(
    warning=(
        "Stripe asks the customer by e-mail for bank details, and cancels the refund after 45 days without a reply."
    ),
    needs_email=True,
    window_days=180,
    answer_days=45,
    source="docs.stripe.com: refunds",
)
_BANK_TRANSFER = MethodRule(
    warning=(
        "If Stripe does not have the customer's bank details, it asks the customer for them by e-mail and "
        "cancels the refund after 45 days without a reply; the money then goes to the customer's cash "
        "balance at Stripe."
    ),
    needs_email=True,
    window_days=180,
    answer_days=45,
    source="docs.stripe.com: payments/customer-balance/refunding",
)

# Matched with the beginning of the name or of a word in it, since methods have variants: klarna_paynow.
_ADYEN: Mapping[str, MethodRule] = {
    # `facilypay_3x` and the like are Adyen's names of 3x 4x Oney.
    **dict.fromkeys(
        ("affirm", "afterpay", "atome", "clearpay", "facilypay", "klarna", "oney", "ratepay", "walley", "zip"),
        _LINE_ITEMS,
    ),
    "3x4xoney": _LINE_ITEMS,
    "paypal": MethodRule(
        why_not_after_several_captures="This payment was captured in several parts, and Adyen needs to know which"
        f" of them to refund (capturePspReference). {_USE_THE_DASHBOARD}",
        warning="If this payment was captured in several parts, Adyen may reject the refund: refund it in the dashboard"
        " instead.",
        source="adyen Checkout v72: capturePspReference",
    ),
    "oxxo": MethodRule(
        why_no_refund=f"Adyen cannot refund OXXO payments. {_PAY_IN_ANOTHER_WAY}",
        source="docs.adyen.com: payment-methods/oxxo",
    ),
    **dict.fromkeys(("sepadirectdebit", "ach", "directdebitgb", "bacs"), _MAY_BE_CHARGED_BACK),
}
_STRIPE: Mapping[str, MethodRule] = {
    "boleto": MethodRule(
        why_no_refund=f"Stripe cannot refund boleto payments. {_PAY_IN_ANOTHER_WAY}",
        source="docs.stripe.com: payments/boleto",
    ),
    **dict.fromkeys(("customerbalance", "banktransfer"), _BANK_TRANSFER),
    "konbini": _ASKS_THE_CUSTOMER,
    "promptpay": _ASKS_THE_CUSTOMER,
}
_RULES: Mapping[Provider, Mapping[str, MethodRule]] = {Provider.ADYEN: _ADYEN, Provider.STRIPE: _STRIPE}


def method_rule(provider: Provider, method: str) -> MethodRule:
    """What the method allows, by its name in the invoice file or at the provider; ANYTHING_GOES if it is not listed."""
    name_words = _SEPARATORS.split(method.casefold())
    names_to_match = ("".join(name_words), *name_words)
    rules = (
        rule for prefix, rule in _RULES[provider].items() if any(name.startswith(prefix) for name in names_to_match)
    )
    return next(rules, ANYTHING_GOES)


def why_not_this_way(provider: Provider, method: str, *, is_partial: bool, captures: int = 1) -> str:
    """Why the provider cannot refund this payment from here, as a sentence; "" where it can.

    `is_partial`: less than the whole payment is refunded, counting what was refunded before. `captures`: how many
    captures of the payment are known.
    """
    rule = method_rule(provider, method)
    if rule.why_no_refund:
        return rule.why_no_refund
    if is_partial and rule.why_no_partial:
        return rule.why_no_partial
    return rule.why_not_after_several_captures if captures > 1 else ""


def warning(provider: Provider, method: str) -> str:
    """What the operator should know before refunding this method, as a sentence; "" where there is nothing."""
    return method_rule(provider, method).warning
