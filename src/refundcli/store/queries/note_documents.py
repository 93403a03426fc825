"""Credit notes with what their documents show."""

import json
from collections.abc import Sequence
from itertools import starmap

from refundcli.domain.statuses import RefundKind
from refundcli.domain.tax.note_content import NoteContent, content_of
from refundcli.domain.tax.seller import Seller, seller_of
from refundcli.services.ports.documents import IssuedNote
from refundcli.store.databases.rows import Row, Rows, columns_of, day, day_or_none
from refundcli.store.queries.refund_rows import CREDIT_NOTE_COLUMNS, credit_note_of

_OF_INVOICE = columns_of("invoice", ("customer_name", "issued_on", "total", "products"))
_OF_REFUND = columns_of("refund", ("kind", "method", "refunded_on"))
_COUNT = 9
DOCUMENTS = f"""
    SELECT {CREDIT_NOTE_COLUMNS}, credit_note.content, credit_note.seller_id, {_OF_INVOICE}, {_OF_REFUND}
    FROM credit_note JOIN invoice ON invoice.id = credit_note.invoice_id
    JOIN refund ON refund.id = credit_note.refund_id
    WHERE {{}}
"""
# Read apart from the notes: a seller may have a logo, and most notes have the same.
_SELLERS = "SELECT id, content FROM seller WHERE id IN (SELECT CAST(key AS BIGINT) FROM json_each(:sellers))"


def issued_notes(rows: Rows, note_rows: Sequence[Row]) -> list[IssuedNote]:
    """From the columns of DOCUMENTS."""
    seller_ids = {row[1 - _COUNT] for row in note_rows} - {None}
    sellers = dict(starmap(_seller, rows.all(_SELLERS, sellers=seller_ids))) if seller_ids else {}
    return [_issued_note(row, sellers) for row in note_rows]


def _seller(seller_id: int, text: str) -> tuple[int, Seller]:
    return seller_id, seller_of(text)


def _issued_note(row: Row, sellers: dict[int, Seller]) -> IssuedNote:
    note = credit_note_of(row[:-_COUNT])
    content, seller_id, customer_name, issued_on, total, products, kind, method, refunded_on = row[-_COUNT:]
    return IssuedNote(
        note=note,
        content=content_of(content)
        if content
        else NoteContent(
            customer_name=customer_name,
            invoice_issued_on=day(issued_on).isoformat(),
            invoice_total=total,
            products=tuple(json.loads(products)) if products else (),
        ),
        seller=sellers.get(seller_id, Seller()),
        seller_id=seller_id or 0,
        is_through_provider=kind != RefundKind.RECORD,
        way=method,
        refunded_on=day_or_none(refunded_on),
    )
