"""The outcome of a provider update, and the payment in the books that it is about."""

from dataclasses import dataclass

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Reading
from refundcli.services.ports.provider_updates import DisputeUpdate, EventState


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """The outcome of applying one provider update. `changed`: the update changed the books.

    Applied means that it changed or confirmed a row; any other update about one of our payments is unreviewed (R13).
    """

    state: EventState
    note: str = ""
    changed: bool = False
    refund: Refund | None = None


def payment_referenced(tx: Reading, provider: Provider, references: tuple[str, ...]) -> tuple[Invoice, Payment] | None:
    """The payment in the books with one of these references, tried in their order; None without one."""
    invoices_by_reference = tx.invoices.of_payments(provider, [reference for reference in references if reference])
    for reference in references:
        invoice = invoices_by_reference.get(reference)
        payment = next((p for p in invoice.payments if reference in p.references), None) if invoice else None
        if invoice and payment:
            return invoice, payment
    return None


def payment_of_dispute(tx: Reading, update: DisputeUpdate) -> tuple[Invoice, Payment] | None:
    """The payment that the update names, else the payment of the stored dispute with its reference; or None."""
    named_match = payment_referenced(tx, update.provider, update.payment_references)
    if named_match or not update.reference:
        return named_match
    return tx.disputes.payment_of(update.provider, update.account, update.reference)
