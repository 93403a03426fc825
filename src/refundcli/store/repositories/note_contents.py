"""What credit notes copy when they are issued: the invoice's part of their document, and the seller.

Nothing is read or stored for books whose settings name no seller and whose invoices have nothing for a document.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, insert

from refundcli.domain.currencies import currency
from refundcli.domain.refund import Refund
from refundcli.domain.tax.note_content import InvoiceFacts
from refundcli.store.databases.connection_rows import ConnectionRows
from refundcli.store.databases.rows import day
from refundcli.store.tables import SELLER

# The seller of the settings as JSON, empty if there is none.
SellerText: TypeAlias = Callable[[], str]
Copied: TypeAlias = tuple[str, int | None]

_INVOICES = """
    SELECT id, customer_name, issued_on, total, currency, products, billing FROM invoice
    WHERE id IN (SELECT CAST(key AS BIGINT) FROM json_each(:invoices)) AND (billing <> '' OR :all = 1)
"""
_STANDING = """
    SELECT invoice_id, content FROM credit_note
    WHERE invoice_id IN (SELECT CAST(key AS BIGINT) FROM json_each(:invoices)) AND status = 'issued' AND content <> ''
"""
_SELLER = "SELECT id FROM seller WHERE digest = :digest"


class NoteContents:
    """The content and the seller of notes that are issued in this transaction."""

    def __init__(self, connection: Connection, seller: SellerText) -> None:
        self._connection, self._rows, self._seller = connection, ConnectionRows(connection), seller

    def copied_into(self, refund: Refund, billing: str) -> Copied:
        """Of one refund's note. `billing`: of its invoice, so that nothing is read if there is nothing to copy."""
        is_empty = not (billing or self._seller())
        return next(iter((not is_empty and self.copied([refund])) or ()), ("", None))

    def copied(self, refunds: Sequence[Refund]) -> list[Copied] | None:
        """Of each refund's note, in order of issue; None if there is nothing to copy."""
        seller_id = self._seller_id()
        invoices = self._invoices(refunds, all_of_them=seller_id is not None)
        if not invoices:
            return None
        standing = self._standing([invoice_id for invoice_id, facts in invoices.items() if facts.billing])
        copied: list[Copied] = []
        for refund in refunds:
            facts = invoices.get(refund.invoice_id)
            earlier = standing.setdefault(refund.invoice_id, [])
            content = facts.content(refund.amount.minor, earlier) if facts else ""
            earlier.append(content)
            copied.append((content, seller_id))
        return copied

    def _invoices(self, refunds: Iterable[Refund], *, all_of_them: bool) -> dict[int, InvoiceFacts]:
        invoice_ids = {refund.invoice_id for refund in refunds}
        return {
            invoice_id: InvoiceFacts(name, day(issued_on), total, currency(code).exponent, products, billing)
            for invoice_id, name, issued_on, total, code, products, billing in self._rows.all(
                _INVOICES, invoices=invoice_ids, all=int(all_of_them)
            )
        }

    def _standing(self, invoice_ids: Sequence[int]) -> dict[int, list[str]]:
        contents: dict[int, list[str]] = {}
        for invoice_id, content in self._rows.all(_STANDING, invoices=invoice_ids) if invoice_ids else ():
            contents.setdefault(invoice_id, []).append(content)
        return contents

    def _seller_id(self) -> int | None:
        """The seller's row, which is written when a note needs it first."""
        seller_text = self._seller()
        if not seller_text:
            return None
        digest = hashlib.sha256(seller_text.encode()).hexdigest()
        seller_id = self._rows.value(_SELLER, digest=digest)
        if seller_id is None:
            self._connection.execute(insert(SELLER), {"digest": digest, "content": seller_text})
            seller_id = self._rows.value(_SELLER, digest=digest)
        return int(seller_id)


def issue_facts(number: str, content: str, seller_id: int | None) -> dict[str, object]:
    """What the audit trail has of an issued note: also that its content is what was copied then."""
    if not content:
        return {"number": number}
    facts: dict[str, object] = {"number": number, "content": hashlib.sha256(content.encode()).hexdigest()}
    return facts | ({"seller": seller_id} if seller_id else {})
