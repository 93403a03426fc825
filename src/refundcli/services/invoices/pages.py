"""Long lists, a page at a time: each page is one short look, so that no reader of a million rows holds up a writer."""

from collections.abc import Iterator
from dataclasses import replace

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import CreditNote
from refundcli.services.ports.books import Books
from refundcli.services.ports.records import CreditNoteFilter, InvoiceFilter

PAGE = 1_000


def invoice_pages(books: Books, wanted: InvoiceFilter) -> Iterator[list[Invoice]]:
    """All that are wanted, whatever its limit says; nothing where there is none."""
    wanted = replace(wanted, limit=PAGE)
    while page := _invoices(books, wanted):
        yield page
        if len(page) < PAGE:
            return
        wanted = replace(wanted, after=page[-1].number)


def credit_note_pages(books: Books, wanted: CreditNoteFilter) -> Iterator[list[CreditNote]]:
    """As `invoice_pages`. One that is issued meanwhile comes at the end."""
    wanted = replace(wanted, limit=PAGE)
    while page := _credit_notes(books, wanted):
        yield page
        if len(page) < PAGE:
            return
        wanted = replace(wanted, after=page[-1])


def _invoices(books: Books, wanted: InvoiceFilter) -> list[Invoice]:
    return books.read(lambda tx: tx.invoices(wanted))


def _credit_notes(books: Books, wanted: CreditNoteFilter) -> list[CreditNote]:
    return books.read(lambda tx: tx.credit_notes(wanted))
