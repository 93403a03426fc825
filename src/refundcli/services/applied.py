"""What came of a provider update, and which payment it is about."""

from dataclasses import dataclass

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.ports import Reading
from refundcli.services.provider_news import DisputeNews, EventState


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a provider update. `changed`: the books are not as they were before it.

    Applied means that it changed or confirmed a row; anything else about one of our payments is unreviewed (R13).
    """

    state: EventState
    note: str = ""
    changed: bool = False
    refund: Refund | None = None


def payment_referenced(tx: Reading, provider: Provider, references: tuple[str, ...]) -> tuple[Invoice, Payment] | None:
    """The payment in the books with one of these references, the first of them first."""
    owners = tx.invoices_of_payments(provider, [reference for reference in references if reference])
    for reference in references:
        invoice = owners.get(reference)
        payment = next((p for p in invoice.payments if reference in p.references), None) if invoice else None
        if invoice and payment:
            return invoice, payment
    return None


def payment_of_dispute(tx: Reading, news: DisputeNews) -> tuple[Invoice, Payment] | None:
    """By the payment it names, else by the dispute that is known, else by its own reference as a payment's."""
    found = payment_referenced(tx, news.provider, news.payment_references)
    if found or not news.reference:
        return found
    return tx.payment_of_dispute(news.provider, news.account, news.reference)
