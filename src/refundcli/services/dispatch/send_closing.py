"""T2 to T4 of a closing, as of a refund: claimed, sent once, and what came of it written. For `void` and `resume`."""

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
    """Send a `ready` closing, or a `submitted` one again with its own key, and settle it.

    Returns it as it stands then: still `submitted` when nobody knows. Raises OutcomeNotWritten.
    """
    first_send = closing.sending.first_sent_at is None
    with held_until_written(policy.tell_held):
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
        return take_down_closing(claimed, answer, first_send=first_send, books=books, policy=policy)


def claim_closing(closing: Closing, *, books: Books, clock: Clock, seconds: float) -> Closing | None:
    """T2: ours to send, and nobody else's. None when another got it first."""
    now = clock.now()
    lease = leases.new_lease(now, seconds)
    return books.write(lambda tx: tx.claim_closing(closing, owner=lease.owner, until=lease.until, at=now))


def take_down_closing(
    closing: Closing, answer: ClosingAnswer, *, first_send: bool, books: Books, policy: SendingPolicy
) -> Closing:
    """T4: the outcome, if the answer proves one; else the invoice stays as it is until somebody knows."""
    state = closing_outcome_of(answer, first_send=first_send)

    def write(tx: Writing) -> Closing:
        if state is None:
            tx.release_closing_lease(closing)
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
    """Its end, and the invoice's new status with it, in the caller's transaction. None where it is not as it was."""
    told = failure if state is ClosingState.FAILED else ""
    settled = tx.settle_closing(closing, state, failure=told, evidence=evidence)
    if settled is None or state is not ClosingState.DONE:
        return settled
    invoice = invoice_named(tx, closing.invoice_number)
    status = status_once_closed(invoice, closing.wanted)
    if status is not invoice.status:
        tx.change_status(invoice, status, memo=closing.memo, evidence=closing.id)
    return settled
