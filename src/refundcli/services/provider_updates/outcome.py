"""The outcome of a provider update, and the payment in the books that it is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from refundcli.domain.invoice import Invoice, Payment
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Reading
from refundcli.services.ports.provider_updates import DisputeUpdate, EventState, Update

Match: TypeAlias = tuple[Invoice, Payment]


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """The outcome of applying one provider update. `changed`: the update changed the books.

    Applied means that it changed or confirmed a row; any other update about one of our payments is unreviewed (R13).
    """

    state: EventState
    note: str = ""
    changed: bool = False
    refund: Refund | None = None


def unreviewed(note: str, refund: Refund | None = None, *, changed: bool = False) -> UpdateOutcome:
    return UpdateOutcome(EventState.UNREVIEWED, note, changed, refund)


NOT_IN_BOOKS = UpdateOutcome(EventState.UNMATCHED, "its payment is not in the books")


def payment_among(invoices_by_reference: Mapping[str, Invoice], references: tuple[str, ...]) -> Match | None:
    """The first payment with one of these references, tried in their order; None without one."""
    matches = (
        (invoice, payment)
        for reference in references
        if (invoice := invoices_by_reference.get(reference))
        for payment in invoice.payments
        if reference in payment.references
    )
    return next(matches, None)


def payment_referenced(tx: Reading, provider: Provider, references: tuple[str, ...]) -> Match | None:
    """The payment in the books with one of these references, tried in their order; None without one."""
    return payment_among(tx.invoices.of_payments(provider, list(filter(None, references))), references)


def payment_of(tx: Reading, update: Update) -> Match | None:
    """The payment that the update names, else the payment of the stored dispute with its reference; or None."""
    named_match = payment_referenced(tx, update.provider, update.payment_references)
    if named_match or not isinstance(update, DisputeUpdate) or not update.reference:
        return named_match
    return tx.disputes.payment_of(update.provider, update.account, update.reference)


def reloaded(tx: Reading, invoice: Invoice, payment: Payment) -> Match:
    """The invoice and its payment as they are now in this transaction."""
    current_invoice = tx.invoices.get(invoice.number)
    assert current_invoice
    return current_invoice, next(p for p in current_invoice.payments if p.id == payment.id)
