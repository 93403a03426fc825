"""What an operator sees before the questions about a refund."""

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.money import Money
from refundcli.domain.reasons import RefundReason
from refundcli.output.terminal import STRONG, Screen


def show_subject(invoice: Invoice, amount_left: Money | None, screen: Screen) -> None:
    """The invoice on one line. `amount_left`: what may be refunded; None while that depends on the reason."""
    words = [
        invoice.customer_name or invoice.customer,
        f"{invoice.status.label} {invoice.paid}{_way(invoice.payments)}",
    ]
    if amount_left:
        words.append(f"{amount_left} left to refund")
    screen.say((invoice.number, STRONG), *(f"   {word}" for word in words))


def show_reasons(screen: Screen) -> None:
    numbered = [f"{number} {reason.label.capitalize()}" for number, reason in enumerate(RefundReason, 1)]
    per_line = 1 if screen.accessible else 4
    for first in range(0, len(numbered), per_line):
        heading = "        " if first else "Reason  "
        screen.say(heading + "  ".join(numbered[first : first + per_line]))


def payment_words(payment: Payment, amount_left: Money) -> str:
    """`pi_3Qx…, by card through Stripe: 40.00 EUR left`."""
    reference_words = f"{payment.reference}," if payment.reference else "payment"
    return f"{reference_words}{_way((payment,))}: {amount_left} left"


def _way(payments: tuple[Payment, ...]) -> str:
    if len(payments) != 1:
        return " in several payments" if payments else ""
    (payment,) = payments
    method_words = f" by {payment.method}" if payment.method else ""
    return f"{method_words} through {payment.provider.label}" if payment.provider else method_words
