"""Long lists, a page at a time: each page is one short look, so that no reader of a million rows holds up a writer."""

from collections.abc import Iterator
from dataclasses import replace

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import CreditNote
from refundcli.services.ports.books import Books
from refundcli.services.ports.records import CreditNoteFilter, InvoiceFilter

PAGE = 1_000


def invoice_pages(books: Books, criteria: InvoiceFilter) -> Iterator[list[Invoice]]:
    """All that are wanted, whatever its limit says; nothing where there is none."""
    criteria = replace(criteria, limit=PAGE)
    while page := _invoices(books, criteria):
        yield page
        if len(page) < PAGE:
            return
        criteria = replace(criteria, after=page[-1].number)


def credit_note_pages(books: Books, criteria: CreditNoteFilter) -> Iterator[list[CreditNote]]:
    """As `invoice_pages`. One that is issued meanwhile comes at the end."""
    criteria = replace(criteria, limit=PAGE)
    while page := _credit_notes(books, criteria):
        yield page
        if len(page) < PAGE:
            return
        criteria = replace(criteria, after=page[-1])


def _invoices(books: Books, criteria: InvoiceFilter) -> list[Invoice]:
    return books.read(lambda tx: tx.invoices(criteria))


def _credit_notes(books: Books, criteria: CreditNoteFilter) -> list[CreditNote]:
    return books.read(lambda tx: tx.credit_notes(criteria))
