"""Write credit notes: draft, issued, void."""

from datetime import date, datetime

from sqlalchemy import Connection, bindparam, insert, select, update

from refundcli.domain.identifiers import new_id
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus
from refundcli.store.audit import AuditTrail
from refundcli.store.queries.refunds import SqlCreditNoteReads
from refundcli.store.repositories.credit_note_numbers import check_next_number, next_numbers
from refundcli.store.repositories.note_contents import NoteContents, SellerText, issue_facts
from refundcli.store.repositories.writes import Writes
from refundcli.store.tables import CREDIT_NOTE, INVOICE, STORE_INFO


class SqlCreditNotes(Writes, SqlCreditNoteReads):
    """Credit notes in a transaction that changes the books. `seller`: of the settings, for notes issued here."""

    def __init__(self, connection: Connection, audit: AuditTrail, seller: SellerText = lambda: "") -> None:
        super().__init__(connection, audit)
        self._contents = NoteContents(connection, seller)

    def draft(self, refund: Refund) -> None:
        """Insert a draft, which is numbered once the provider answers. Checks now that the next number is free."""
        assert refund.reason
        self._audit.check_clock()
        check_next_number(self._connection, self._audit.today)
        note_columns = {
            "id": new_id("cn_", self._audit.at),
            "refund_id": refund.id,
            "invoice_id": refund.invoice_id,
            "status": CreditNoteStatus.DRAFT.value,
            "amount": refund.amount.minor,
            "currency": refund.amount.currency.code,
            "reason": refund.reason.value,
            "memo": refund.memo,
        }
        self._connection.execute(insert(CREDIT_NOTE), note_columns)

    def issue(self, refund: Refund, *, at: datetime, on: date, credit_note_format: str) -> None:
        """Give the draft the next number, counted in this transaction, so that no number is lost (I9)."""
        note_status, _, billing = self._note_of(refund)
        if note_status != CreditNoteStatus.DRAFT:
            return
        # The refund was made, so it must be dated even if the clock is wrong now: the books' time is used.
        at, on = self._audit.dated(at, on)
        (number,) = next_numbers(self._connection, on, credit_note_format, 1)
        columns = {"number": number, "status": CreditNoteStatus.ISSUED.value, "issued_on": on, "issued_at": at}
        content, seller_id = self._contents.copied_into(refund, billing)
        if content:
            columns |= {"content": content, "seller_id": seller_id}
        self._hits(_NOTE_OF, of_refund=refund.id, **columns)
        self._audit.write("credit note issued", refund.id, {}, issue_facts(number, content, seller_id))

    def void(self, refund: Refund, *, at: datetime) -> None:
        """Void the note. It keeps its number, so the series has no gap and no number is used twice (I9)."""
        note_status, note_number, _ = self._note_of(refund)
        if note_status in ("", CreditNoteStatus.VOID):
            return
        at, _ = self._audit.dated(at, at.date())
        self._hits(_NOTE_OF, of_refund=refund.id, status=CreditNoteStatus.VOID.value, voided_at=at)
        self._audit.write("credit note void", refund.id, {"status": note_status}, {"number": note_number})

    def _note_of(self, refund: Refund) -> tuple[str, str, str]:
        """Status, number and the invoice's billing; all empty for an external refund that is not adopted."""
        note_row = self._connection.execute(_STATUS_OF_NOTE, {"of_refund": refund.id}).first()
        return (note_row.status, note_row.number or "", note_row.billing) if note_row else ("", "", "")

    def change_number_format(self, credit_note_format: str) -> None:
        previous_format = self.number_format()
        self._connection.execute(update(STORE_INFO).values(number_format=credit_note_format))
        self._audit.write("number format changed", "store", {"format": previous_format}, {"format": credit_note_format})


_NOTE_OF = update(CREDIT_NOTE).where(CREDIT_NOTE.c.refund_id == bindparam("of_refund"))


_STATUS_OF_NOTE = (
    select(CREDIT_NOTE.c.status, CREDIT_NOTE.c.number, INVOICE.c.billing)
    .join_from(CREDIT_NOTE, INVOICE, CREDIT_NOTE.c.invoice_id == INVOICE.c.id)
    .where(CREDIT_NOTE.c.refund_id == bindparam("of_refund"))
)
