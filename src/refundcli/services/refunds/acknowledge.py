"""A person acknowledges a refund that failed or was reversed after it was accepted, or a loss (R14, I13)."""

from dataclasses import dataclass

from refundcli.domain.errors import Refused
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import zero
from refundcli.domain.next_steps import record_command
from refundcli.domain.refund import Refund
from refundcli.services.invoices.lookup import RefundNotFound, invoice_named
from refundcli.services.ports.books import Books, Reading, Writing


class NothingToAcknowledge(Refused):
    code = "nothing-to-acknowledge"

    def __init__(self, refund: Refund) -> None:
        by_whom = f", acknowledged by {refund.acknowledged_by}" if refund.acknowledged_at else ""
        super().__init__(
            f"{refund.id} has the status {refund.state}{by_whom}: there is nothing to acknowledge.",
            hint=f"refundcli invoice show {refund.invoice_number}   shows its state",
            context={"refund": refund.id, "status": refund.state},
        )


class SucceededAfterFailure(Refused):
    """The provider reported a success after the failure: the customer most likely has the money (R14)."""

    code = "succeeded-after-failure"

    def __init__(self, refund: Refund) -> None:
        provider_label = refund.provider.label if refund.provider else "The provider"
        super().__init__(
            f"{provider_label} reported {refund.id} as failed, and later as successful: "
            "the customer most likely has the money.",
            hint=(
                f"To record the refund: {record_command(refund)}\nOnly if the customer does not have the money: "
                f"refundcli acknowledge {refund.id} --not-refunded --memo TEXT"
            ),
            context={"refund": refund.id, "invoice": refund.invoice_number},
        )


class NoLoss(Refused):
    code = "nothing-to-acknowledge"

    def __init__(self, invoice: Invoice) -> None:
        super().__init__(
            f"{invoice.number} has no loss to acknowledge.",
            hint=f"refundcli invoice show {invoice.number}   shows its amounts",
            context={"invoice": invoice.number},
        )


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Records that a person acknowledged a refund or a loss."""

    books: Books

    def check(self, refund_id: str, *, not_refunded: bool = False) -> Refund:
        """Raises as `_to_acknowledge`."""
        return self.books.read(lambda tx: _to_acknowledge(tx, refund_id, not_refunded=not_refunded))

    def refund(self, refund_id: str, *, memo: str, not_refunded: bool = False) -> Refund:
        """Record the acknowledgement; after a late failure this also releases the amount, so it can be refunded again.

        Raises as `_to_acknowledge`.
        """
        return self.books.write(
            lambda tx: tx.refunds.acknowledge(_to_acknowledge(tx, refund_id, not_refunded=not_refunded), memo=memo)
        )

    def loss(self, invoice_number: str, *, memo: str) -> Invoice:
        """Record that a person acknowledged the invoice's loss (I13). Raises InvoiceNotFound, NoLoss."""

        def write(tx: Writing) -> Invoice:
            invoice = invoice_named(tx, invoice_number)
            nothing = zero(invoice.currency)
            if not any(payment.loss > (payment.loss_acknowledged or nothing) for payment in invoice.payments):
                raise NoLoss(invoice)
            tx.invoices.acknowledge_loss(invoice, memo=memo)
            return invoice_named(tx, invoice_number)

        return self.books.write(write)


def _to_acknowledge(reading: Reading, refund_id: str, *, not_refunded: bool) -> Refund:
    """The refund, if it needs acknowledgement. Raises RefundNotFound, NothingToAcknowledge, SucceededAfterFailure.

    `not_refunded`: a person confirms that the customer does not have the money.
    """
    refund = reading.refunds.get(refund_id)
    if refund is None:
        raise RefundNotFound(refund_id)
    if not refund.needs_acknowledgement:
        raise NothingToAcknowledge(refund)
    if refund.succeeded_after_failure and not not_refunded:
        raise SucceededAfterFailure(refund)
    return refund
