"""Void and uncollectible: ending an invoice that was not paid. No money moves (R9)."""

from collections.abc import Callable, Iterator

from refundcli.domain.eligibility import uncollectible_blockers, void_blockers
from refundcli.domain.invoice import Invoice
from refundcli.domain.refusals import RuleRefusal, most_important
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.finding import invoice_named
from refundcli.services.ports import Books, Reading, Writing

_BLOCKERS: dict[InvoiceStatus, Callable[[Invoice], Iterator[RuleRefusal]]] = {
    InvoiceStatus.VOID: void_blockers,
    InvoiceStatus.UNCOLLECTIBLE: uncollectible_blockers,
}


def check_closing(reading: Reading, number: str, status: InvoiceStatus) -> Invoice:
    """The invoice, if it may be voided or written off. Raises the refusal that comes first (R9, R10)."""
    invoice = invoice_named(reading, number)
    refusal = most_important(_BLOCKERS[status](invoice))
    if refusal:
        raise refusal
    return invoice


def close_invoice(books: Books, number: str, status: InvoiceStatus, *, memo: str) -> Invoice:
    """Void an invoice or write it off; the rules are asked in the transaction that does it."""

    def close(tx: Writing) -> Invoice:
        tx.change_status(check_closing(tx, number, status), status, memo=memo)
        return invoice_named(tx, number)

    return books.write(close)
