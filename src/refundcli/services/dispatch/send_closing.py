"""T2 to T4 of a closing, as of a refund: claim it, send it once, store the outcome. Used by `void` and `resume`."""

from dataclasses import replace

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import status_once_closed
from refundcli.domain.statuses import ClosingState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.interrupts import held_until_written
from refundcli.services.dispatch.outcomes import Signal, closing_outcome_of
from refundcli.services.dispatch.send_refund import NO_LONGER_OURS, SendingPolicy, ask, last_check, write_outcome
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import ClosingAnswer, InvoiceCloser


def send_closing(
    closing: Closing, *, books: Books, closer: InvoiceCloser, clock: Clock, policy: SendingPolicy
) -> Closing:
    """Send a `ready` closing, or a `submitted` one again with the same key, and settle it.

    Returns it in its new state: still `submitted` if the outcome is unknown. Raises OutcomeNotWritten.
    """
    first_send = closing.sending.first_sent_at is None
    with held_until_written(policy.on_interrupt):
        claimed = claim_closing(closing, books=books, clock=clock, seconds=policy.sending_seconds)
        if claimed is None:
            return books.read(lambda tx: tx.closing(closing.id)) or closing
        request, key = claimed.sending.request, claimed.sending.idempotency_key
        sending = claimed.sending
        answer = ask(
            lambda: closer.close(request, key, last_check(sending, clock)),
            policy,
            patience=lambda: policy.patience(sending, clock.now()),
        ) or ClosingAnswer(Signal.NOT_SENT, message=NO_LONGER_OURS)
        return record_closing_outcome(claimed, answer, first_send=first_send, books=books, policy=policy)


def claim_closing(closing: Closing, *, books: Books, clock: Clock, seconds: float) -> Closing | None:
    """T2: claim it for this process. None if another process claimed it first."""
    now = clock.now()
    lease = leases.new_lease(now, seconds)
    return books.write(lambda tx: tx.claim_closing(closing, owner=lease.owner, until=lease.until, at=now))


def record_closing_outcome(
    closing: Closing, answer: ClosingAnswer, *, first_send: bool, books: Books, policy: SendingPolicy
) -> Closing:
    """T4: store the outcome if the answer proves one; otherwise the invoice stays as it is."""
    state = closing_outcome_of(answer, first_send=first_send)

    def write(tx: Writing) -> Closing:
        if state is None:
            tx.let_go_of_closing(closing)
        else:
            settle_closing(tx, closing, state, failure=answer.message)
        return tx.closing(closing.id) or closing

    written = write_outcome(closing, answer, closing.reference, write, books=books, policy=policy)
    if state is None:
        return replace(written, failure=written.failure or answer.message)
    failed_by_this = written.state is ClosingState.FAILED and written.failure == answer.message
    return replace(written, failure_code=answer.signal) if failed_by_this else written


def settle_closing(
    tx: Writing, closing: Closing, state: ClosingState, *, failure: str = "", evidence: str = ""
) -> Closing | None:
    """Store its outcome and the invoice's new status, in the caller's transaction. None if it was changed meanwhile."""
    failure_text = failure if state is ClosingState.FAILED else ""
    settled = tx.settle_closing(closing, state, failure=failure_text, evidence=evidence)
    if settled is None or state is not ClosingState.DONE:
        return settled
    invoice = invoice_named(tx, closing.invoice_number)
    status = status_once_closed(invoice, closing.target)
    if status is not invoice.status:
        tx.change_status(invoice, status, memo=closing.memo, evidence=closing.id)
    return settled
