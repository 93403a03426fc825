"""A person says that they know of a refund that failed after its success, or came back."""

from refundcli.domain.errors import Refused
from refundcli.domain.refund import Refund
from refundcli.services.finding import RefundNotFound
from refundcli.services.ports import Books, Reading, Writing


class NothingToAcknowledge(Refused):
    code = "nothing-to-acknowledge"

    def __init__(self, refund: Refund) -> None:
        known = f", acknowledged by {refund.acknowledged_by}" if refund.acknowledged_at else ""
        super().__init__(
            f"{refund.id} is {refund.state}{known}: there is nothing to acknowledge.",
            hint=f"refundcli invoice show {refund.invoice_number}",
            context={"refund": refund.id, "status": refund.state},
        )


def check(reading: Reading, refund_id: str) -> Refund:
    """The refund, if it waits for a person. Raises RefundNotFound, NothingToAcknowledge."""
    refund = reading.refund(refund_id)
    if refund is None:
        raise RefundNotFound(refund_id)
    if not refund.needs_acknowledgement:
        raise NothingToAcknowledge(refund)
    return refund


def acknowledge(refund_id: str, *, memo: str, books: Books) -> Refund:
    """Write it down; after a late failure the amount is free to be refunded again from then on."""

    def know(tx: Writing) -> Refund:
        return tx.acknowledge(check(tx, refund_id), memo=memo)

    return books.write(know)
