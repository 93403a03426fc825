"""T2 to T4 of a closing, as of a refund: claim it, send it once, store the outcome. Used by `void` and `resume`."""

from dataclasses import replace

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import status_once_closed
from refundcli.domain.statuses import ClosingState
from refundcli.services.dispatch import leases
from refundcli.services.dispatch.outcomes import Signal, closing_outcome_of
from refundcli.services.dispatch.send_refund import NO_LONGER_OURS, SendingPolicy, ask, last_check, write_outcome
from refundcli.services.invoices.lookup import invoice_named
from refundcli.services.ports.books import Books, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.providers import ClosingAnswer, InvoiceCloser
from refundcli.system.interrupts import held_until_written


def send_closing(
    closing: Closing, *, books: Books, closer: InvoiceCloser, clock: Clock, policy: SendingPolicy
) -> Closing:
    """Send a `ready` closing, or a `submitted` one again with the same key, and settle it.

    Returns it in its new state: still `submitted` if the outcome is unknown. Raises OutcomeNotWritten.
    """
    first_send = closing.sending.first_sent_at is None
    with held_until_written(policy.on_interrupt):
        claimed_closing = claim_closing(closing, books=books, clock=clock, seconds_to_send=policy.sending_seconds)
        if claimed_closing is None:
            return books.read(lambda tx: tx.closings.get(closing.id)) or closing
        request, idempotency_key = claimed_closing.sending.request, claimed_closing.sending.idempotency_key
        sending = claimed_closing.sending
        answer = ask(
            lambda: closer.close(request, idempotency_key, last_check(sending, clock)),
            policy,
            patience=lambda: policy.patience(sending, clock.now()),
        ) or ClosingAnswer(Signal.NOT_SENT, message=NO_LONGER_OURS)
        return record_closing_outcome(claimed_closing, answer, first_send=first_send, books=books, policy=policy)


def claim_closing(closing: Closing, *, books: Books, clock: Clock, seconds_to_send: float) -> Closing | None:
    """T2: claim it for this process. None if another process claimed it first."""
    now = clock.now()
    lease = leases.new_lease(now, seconds_to_send)
    return books.write(lambda tx: tx.closings.claim(closing, owner=lease.owner, until=lease.until, at=now))


def record_closing_outcome(
    closing: Closing, answer: ClosingAnswer, *, first_send: bool, books: Books, policy: SendingPolicy
) -> Closing:
    """T4: store the outcome if the answer proves one; otherwise the invoice stays as it is.

    `first_send`: it was never sent before, so the answer is about this request alone.
    """
    state = closing_outcome_of(answer, first_send=first_send)

    def write(tx: Writing) -> Closing:
        if state is None:
            tx.closings.release_lease(closing)
        else:
            settle_closing(tx, closing, state, failure=answer.message)
        return tx.closings.get(closing.id) or closing

    stored_closing = write_outcome(closing, answer, closing.reference, write, books=books, policy=policy)
    if state is None:
        return replace(stored_closing, failure=stored_closing.failure or answer.message)
    is_failed_by_answer = stored_closing.state is ClosingState.FAILED and stored_closing.failure == answer.message
    return replace(stored_closing, failure_code=answer.signal) if is_failed_by_answer else stored_closing


def settle_closing(
    tx: Writing, closing: Closing, state: ClosingState, *, failure: str = "", evidence: str = ""
) -> Closing | None:
    """Store its outcome and the invoice's new status, in the caller's transaction. None if it was changed meanwhile.

    `evidence`: what proves the outcome, where it is not the answer to the request.
    """
    failure_text = failure if state is ClosingState.FAILED else ""
    settled_closing = tx.closings.settle(closing, state, failure=failure_text, evidence=evidence)
    if settled_closing is None or state is not ClosingState.DONE:
        return settled_closing
    invoice = invoice_named(tx, closing.invoice_number)
    status = status_once_closed(invoice, closing.target)
    if status is not invoice.status:
        tx.invoices.change_status(invoice, status, memo=closing.memo, evidence=closing.id)
    return settled_closing
