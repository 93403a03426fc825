"""Before a refund: apply the invoice's stored provider updates, and release amounts whose hold has lapsed.

So no refund is decided on while a stored update is waiting (R13, R14).
"""

from datetime import datetime

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.services.dispatch.send_refund import SendingPolicy
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock


def is_due(invoice: Invoice, now: datetime) -> bool:
    """Is there a stored update to apply or a lapsed hold? Only Adyen's: Stripe is asked before each refund anyway."""
    updates = (update for payment in invoice.payments for update in payment.unreviewed)
    has_waiting_update = any(update.provider is Provider.ADYEN and not update.needs_a_person for update in updates)
    return has_waiting_update or any(
        refund.holding and refund.hold_until and refund.hold_until <= now for refund in invoice.refunds
    )


def apply_due_updates(invoice_number: str, *, books: Books, policy: SendingPolicy, clock: Clock) -> None:
    """Apply and release what is due, in its own transaction. Raises InvoiceNotFound."""
    invoice = books.read(lambda tx: invoice_named(tx, invoice_number))
    if is_due(invoice, clock.now()):
        books.write(lambda tx: apply_due_updates_in(tx, invoice_number, policy=policy, clock=clock))


def apply_due_updates_in(tx: Writing, invoice_number: str, *, policy: SendingPolicy, clock: Clock) -> None:
    """Apply and release what is due, in the caller's transaction. Raises InvoiceNotFound."""
    invoice = invoice_named(tx, invoice_number)
    if is_due(invoice, clock.now()):
        policy.apply_updates(tx, invoice)
        tx.refunds.release_lapsed_holds(invoice_named(tx, invoice_number))
