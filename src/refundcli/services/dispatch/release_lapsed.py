"""Before a refund: apply the invoice's stored provider updates, and release amounts whose hold has lapsed.

So no refund is decided on while a stored update is waiting (R13, R14).
"""

from datetime import datetime

from refundcli.domain.invoice import Invoice
from refundcli.domain.statuses import Provider
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Writing
from refundcli.services.ports.clock import Clock


def is_due(invoice: Invoice, now: datetime) -> bool:
    """Is there a stored update to apply or a lapsed hold? Only Adyen's: Stripe is asked before each refund anyway."""
    updates = (update for payment in invoice.payments for update in payment.unreviewed)
    has_waiting_update = any(update.provider is Provider.ADYEN and not update.needs_a_person for update in updates)
    return has_waiting_update or any(
        refund.holding and refund.hold_until and refund.hold_until <= now for refund in invoice.refunds
    )


def apply_due_updates_in(tx: Writing, invoice_number: str, *, policy: SendingPolicy, clock: Clock) -> None:
    """Apply and release what is due, in the caller's transaction. Raises InvoiceNotFound."""
    up_to_date_in(tx, invoice_number, policy=policy, clock=clock)


def up_to_date_in(tx: Writing, invoice_number: str, *, policy: SendingPolicy, clock: Clock) -> Invoice:
    """The same; returns the invoice as it is then."""
    invoice = invoice_named(tx, invoice_number)
    if not is_due(invoice, clock.now()):
        return invoice
    policy.apply_updates(tx, invoice)
    tx.refunds.release_lapsed_holds(invoice_named(tx, invoice_number))
    return invoice_named(tx, invoice_number)
