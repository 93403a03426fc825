"""Long lists in pages: each is one short read, so that a reader of a million rows does not block writers."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import CreditNote, Refund
from refundcli.services.chunks import chunked, paged
from refundcli.services.ports.reads import AuditEntry, AuditFilter, CreditNoteFilter, InvoiceFilter, RefundFilter

if TYPE_CHECKING:
    from refundcli.services.ports.books import BooksToRead, Reading

PAGE = 1_000


def invoice_pages(books: "BooksToRead", criteria: InvoiceFilter) -> Iterator[list[Invoice]]:
    """All matching invoices, ignoring the limit; no page is empty."""
    if criteria.ids is not None:
        # They are looked through once, not for each page.
        for page_of_ids in chunked(books.read(lambda tx: tx.invoices.ids(criteria)), PAGE):
            yield books.read(partial(_with_ids, ids=page_of_ids))
        return
    yield from paged(
        lambda after: books.read(lambda tx: tx.invoices.matching(replace(criteria, after=after, limit=PAGE))),
        criteria.after,
        lambda invoice: invoice.number,
        size=PAGE,
    )


def _with_ids(reading: "Reading", *, ids: list[int]) -> list[Invoice]:
    return reading.invoices.by_id(ids)


def refund_pages(books: "BooksToRead", criteria: RefundFilter) -> Iterator[list[Refund]]:
    """As `invoice_pages`, newest first."""
    return paged(
        lambda after: books.read(lambda tx: tx.refund_search.matching(replace(criteria, after=after, limit=PAGE))),
        criteria.after,
        lambda refund: refund.id,
        size=PAGE,
    )


def credit_note_pages(books: "BooksToRead", criteria: CreditNoteFilter) -> Iterator[list[CreditNote]]:
    """As `invoice_pages`. Notes issued meanwhile come at the end."""
    return paged(
        lambda after: books.read(lambda tx: tx.credit_notes.matching(replace(criteria, after=after, limit=PAGE))),
        criteria.after,
        lambda credit_note: credit_note,
        size=PAGE,
    )


def audit_pages(books: "BooksToRead", criteria: AuditFilter) -> Iterator[list[AuditEntry]]:
    """As `invoice_pages`, oldest first."""
    return paged(
        lambda after: books.read(lambda tx: tx.audit_lists.matching(replace(criteria, after=after, limit=PAGE))),
        criteria.after,
        lambda entry: entry.seq,
        size=PAGE,
    )


def exported_audit_pages(books: "BooksToRead") -> Iterator[list[dict[str, object]]]:
    """All entries of the audit trail, whole."""
    return paged(
        lambda after: books.read(lambda tx: tx.audit_lists.exported(after=after, limit=PAGE)),
        0,
        lambda entry: int(str(entry["seq"])),
        size=PAGE,
    )
