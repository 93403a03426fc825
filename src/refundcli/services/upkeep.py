"""What is due about an invoice before it is refunded: updates that are stored and not applied, holds that lapsed.

Its own transaction or the caller's: a refund is never decided beside an update that is known (R13, R14).
"""

from datetime import datetime

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.services.finding import invoice_named
from refundcli.services.ports import Books, Clock, Writing
from refundcli.services.sending import SendingPolicy


def is_due(invoice: Invoice, now: datetime) -> bool:
    """Stripe's events are hints to ask it again, which is done before each refund: only Adyen's are applied here."""
    updates = (each for payment in invoice.payments for each in payment.unreviewed)
    waiting = any(each.provider is Provider.ADYEN and not each.needs_a_person for each in updates)
    return waiting or any(
        refund.holding and refund.hold_until and refund.hold_until <= now for refund in invoice.refunds
    )


def keep_up(number: str, *, books: Books, policy: SendingPolicy, clock: Clock) -> None:
    """Do what is due, if anything. Raises InvoiceNotFound."""
    invoice = books.read(lambda tx: invoice_named(tx, number))
    if is_due(invoice, clock.now()):
        books.write(lambda tx: keep_up_in(tx, number, policy=policy, clock=clock))


def keep_up_in(tx: Writing, number: str, *, policy: SendingPolicy, clock: Clock) -> None:
    """The same in the caller's transaction."""
    invoice = invoice_named(tx, number)
    if is_due(invoice, clock.now()):
        policy.upkeep(tx, invoice)
        tx.release_lapsed_holds(invoice_named(tx, number))
