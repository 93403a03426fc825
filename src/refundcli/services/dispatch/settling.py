"""What the outcome of a refund or closing changes in the books, in the caller's transaction (I9, I10)."""

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import status_once_closed
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import ClosingState, RefundState
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import RefundAnswer
from refundcli.services.ports.records import Settlement


def settle_refund(
    tx: Writing,
    refund: Refund,
    state: RefundState,
    answer: RefundAnswer,
    *,
    clock: Clock,
    credit_note_format: str,
    evidence: str = "",
) -> None:
    """Store the state, the sums, the invoice and the credit note.

    `evidence`: what proves the outcome, where a person resolved it by hand.
    """
    settlement = Settlement(
        state,
        answer.reference,
        answer.status,
        answer.message if state in (RefundState.FAILED, RefundState.REVERSED) else "",
        evidence,
        failure_code=answer.signal if state is RefundState.FAILED else "",
        pending_reason=answer.pending_reason,
        expires_at=answer.expires_at,
        trace=answer.trace,
    )
    _end(tx, refund, settlement, clock=clock, credit_note_format=credit_note_format)


def write_settlement(
    tx: Writing, refund: Refund, settlement: Settlement, *, clock: Clock, credit_note_format: str
) -> Refund | None:
    """Store the state and what follows from it; None if the change is not allowed, or it was changed meanwhile."""
    is_settled = _end(tx, refund, settlement, clock=clock, credit_note_format=credit_note_format)
    return tx.refunds.get(refund.id) if is_settled else None


def _end(tx: Writing, refund: Refund, settlement: Settlement, *, clock: Clock, credit_note_format: str) -> bool:
    settled_refund = tx.refunds.settle(refund, settlement)
    if settled_refund is None:
        return False
    # An external refund that is not adopted has no credit note to issue or void.
    if settlement.state.is_accepted:
        tx.credit_notes.issue(settled_refund, at=clock.now(), on=clock.today(), credit_note_format=credit_note_format)
    elif settlement.state in (RefundState.FAILED, RefundState.REVERSED):
        tx.credit_notes.void(settled_refund, at=clock.now())
    return True


def settle_closing(
    tx: Writing, closing: Closing, state: ClosingState, *, failure: str = "", evidence: str = ""
) -> None:
    """Store its outcome and the invoice's new status. Nothing happens if it was changed meanwhile.

    `evidence`: what proves the outcome, where it is not the answer to the request.
    """
    failure_text = failure if state is ClosingState.FAILED else ""
    settled_closing = tx.closings.settle(closing, state, failure=failure_text, evidence=evidence)
    if settled_closing is None or state is not ClosingState.DONE:
        return
    invoice = invoice_named(tx, closing.invoice_number)
    status = status_once_closed(invoice, closing.target)
    if status is not invoice.status:
        tx.invoices.change_status(invoice, status, memo=closing.memo, evidence=closing.id)
