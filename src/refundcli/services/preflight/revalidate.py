"""Check the rules again for a refund that was reserved a while ago (R11, R13)."""

from dataclasses import replace

from refundcli.domain.eligibility import Intent, refund_blockers
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.refusals import OverRefund, RuleRefusal, most_important
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import RefundReading


def why_not_any_more(reading: RefundReading, refund: Refund) -> RuleRefusal | None:
    """Why it would be refused now; None if it may be sent. Its own reserved amount counts as available."""
    return why_not_now(invoice_named(reading, refund.invoice_number), refund)


def why_not_now(invoice: Invoice, refund: Refund) -> RuleRefusal | None:
    """The same for an invoice that was read just now."""
    stored_payment = next(p for p in invoice.payments if p.id == refund.payment_id)
    payment = replace(stored_payment, reserved=stored_payment.reserved - refund.amount)
    intent = Intent(refund.reason, refund.dispute_decision, amount=refund.amount)
    refusal = most_important(refund_blockers(invoice, payment, intent))
    if refusal is None and payment.refundable < refund.amount:
        return OverRefund(invoice, refund.amount, payment.refundable, reason=refund.reason)
    return refusal
