"""Write and undo records of refunds made by other means, many at once, each within its payment's bound (I1)."""

import json
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, SQLModel

from refundcli.domain.currencies import currency
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import CreditNoteStatus, InvoiceStatus, RefundState
from refundcli.services.ports.records import Record
from refundcli.store.audit import AuditTrail
from refundcli.store.bulk_sql import insert_many, stored, update_many
from refundcli.store.repositories.credit_note_numbers import next_numbers
from refundcli.store.repositories.rows import facts_of, refund_values
from refundcli.store.schema import CAPTURED, CAPTURED_SHARE, TAKEN_BY_DISPUTES
from refundcli.store.value_lists import AMONG, AT_ONCE, among

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _ENTRY = _TABLES["invoice"], _TABLES["payment"], _TABLES["audit_entry"]
_RECORDED, _OF_DISPUTE = f"refund {RefundState.RECORDED}", "of_dispute"
# The same guard as for every amount: a payment never refunds more than was captured (I1).
_TAKE = (
    "UPDATE payment SET refunded = refunded + ?, dispute_recorded = dispute_recorded + ?, lost = lost - ?"  # noqa: S608
    f" WHERE id = ? AND reserved + refunded + returned_elsewhere + credited + lost - ? + ? <= {CAPTURED}"
)
_GIVE = (
    "UPDATE payment SET refunded = refunded - ?,"
    " dispute_recorded = CASE WHEN dispute_recorded > ? THEN dispute_recorded - ? ELSE 0 END"
    " WHERE id = ? AND refunded >= ?"
)
# Of older records it is unclear what they took: no more counts as recorded than the records that still stand.
_BOUND = """
    UPDATE payment SET dispute_recorded = (
        SELECT CASE WHEN sum(r.amount) < payment.dispute_recorded THEN sum(r.amount)
            WHEN count(*) = 0 THEN 0 ELSE payment.dispute_recorded END
        FROM refund r WHERE r.payment_id = payment.id AND r.kind = 'record' AND r.state = 'recorded'
            AND r.reason = 'chargeback')
    WHERE id = ?"""
# What disputes have taken may have changed since it was recorded (R11).
_LOSE = (
    f"UPDATE payment SET lost = CASE WHEN {TAKEN_BY_DISPUTES} > dispute_recorded"  # noqa: S608
    f" THEN {TAKEN_BY_DISPUTES} - dispute_recorded ELSE 0 END WHERE id = ?"
)
_REVERSE = "UPDATE refund SET state = ?, failure = ?, updated_at = ? WHERE id = ? AND state = ?"
_VOID = "UPDATE credit_note SET status = ?, voided_at = ? WHERE refund_id = ? AND status = ?"
# Sums and status in one UPDATE, so that the CHECK on Refunded always holds (R6).
_SUMS = "UPDATE invoice SET paid = ?, returned = ?, status = ?, updated_at = ? WHERE id = ?"
_NOTE = (
    "id", "refund_id", "invoice_id", "number", "status", "amount", "currency", "reason", "memo", "issued_on",
    "issued_at",
)  # fmt: skip


class Recording:
    """Writes records in the given transaction, whose lock keeps every other writer out."""

    def __init__(self, session: Session, audit: AuditTrail) -> None:
        self._session, self._connection, self._audit = session, session.connection(), audit
        self._at = stored(self._connection, audit.at)

    def record(self, records: Sequence[Record], *, on: date, credit_note_format: str) -> None:
        """Payments, refunds, issued credit notes, invoices, and an audit entry for each change (R7, I10)."""
        if not records:
            return
        self._audit.check_clock()
        update_many(self._connection, _TAKE, list(map(_taken, records)))
        self._insert_refunds(records)
        numbers = next_numbers(self._session, on, credit_note_format, len(records))
        self._issue(records, numbers, on)
        for record, number in zip(records, numbers, strict=True):
            refund = record.refund
            self._audit.write(_RECORDED, refund.id, {}, facts_of(refund) | _of_dispute(record))
            self._audit.write("credit note issued", refund.id, {}, {"number": number})
        self._update_invoices([record.refund.invoice_id for record in records])

    def undo(self, records: Sequence[Record], *, memo: str) -> None:
        """Undo records: `recorded` becomes `reversed`, the amounts are free, and the void notes keep their numbers."""
        if not records:
            return
        refunds = [record.refund for record in records]
        took = self._taken_by_disputes([record.refund.id for record in records if record.charged_back])
        update_many(self._connection, _GIVE, [_given_back(refund, refund.id in took) for refund in refunds])
        was, now = RefundState.RECORDED.value, RefundState.REVERSED.value
        update_many(self._connection, _REVERSE, [(now, memo, self._at, refund.id, was) for refund in refunds])
        charged_back = [(record.refund.payment_id,) for record in records if record.charged_back]
        update_many(self._connection, _BOUND, charged_back)
        update_many(self._connection, _LOSE, charged_back)
        issued, void = CreditNoteStatus.ISSUED.value, CreditNoteStatus.VOID.value
        update_many(self._connection, _VOID, [(void, self._at, refund.id, issued) for refund in refunds])
        for refund in refunds:
            number = refund.credit_note.number if refund.credit_note else ""
            after = {"state": RefundState.REVERSED, "memo": memo}
            self._audit.write("refund reversed", refund.id, {"state": refund.state}, after)
            self._audit.write("credit note void", refund.id, {"status": CreditNoteStatus.ISSUED}, {"number": number})
        self._update_invoices([refund.invoice_id for refund in refunds])

    def _taken_by_disputes(self, refund_ids: Sequence[str]) -> set[str]:
        """Those of the records that were written as taken by a dispute; records of earlier releases do not say."""
        disputed: set[str] = set()
        written = select(_ENTRY.c.subject, _ENTRY.c.after).where(among(_ENTRY.c.subject), _ENTRY.c.action == _RECORDED)
        for start in range(0, len(refund_ids), AT_ONCE):
            some = {AMONG: refund_ids[start : start + AT_ONCE]}
            rows = self._connection.execute(written, some)
            disputed.update(refund_id for refund_id, after in rows if _OF_DISPUTE in json.loads(after))
        return disputed

    def _insert_refunds(self, records: Sequence[Record]) -> None:
        rows = []
        for record in records:
            values = refund_values(record.refund)
            values["created_at"] = values["updated_at"] = self._at
            values["refunded_on"] = stored(self._connection, values["refunded_on"])
            rows.append(values)
        insert_many(self._connection, "refund", tuple(rows[0]), [tuple(values.values()) for values in rows])

    def _issue(self, records: Sequence[Record], numbers: Sequence[str], on: date) -> None:
        day, issued = stored(self._connection, on), CreditNoteStatus.ISSUED.value
        rows = []
        for record, number in zip(records, numbers, strict=True):
            refund = record.refund
            assert refund.reason
            what = (refund.amount.minor, refund.amount.currency.code, refund.reason.value, refund.memo)
            rows.append(
                (new_id("cn_", self._audit.at), refund.id, refund.invoice_id, number, issued, *what, day, self._at)
            )
        insert_many(self._connection, "credit_note", _NOTE, rows)

    def _update_invoices(self, invoice_ids: Sequence[int]) -> None:
        changed = []
        ids = list(dict.fromkeys(invoice_ids))
        for start in range(0, len(ids), AT_ONCE):
            some = {AMONG: ids[start : start + AT_ONCE]}
            for of, number, stored_status, code, paid, returned in self._connection.execute(_sums(), some):
                unit, before = currency(code), InvoiceStatus(stored_status)
                status = status_after(before, paid=Money(int(paid), unit), returned=Money(int(returned), unit))
                changed.append((int(paid), int(returned), status.value, self._at, of))
                if status is not before:
                    self._audit.write(f"invoice {status}", number, {"status": before}, {"status": status})
        update_many(self._connection, _SUMS, changed)


def _taken(record: Record) -> tuple[int, ...]:
    minor = record.refund.amount.minor
    lost = minor if record.charged_back else 0
    return minor, lost, lost, record.refund.payment_id, lost, minor


def _of_dispute(record: Record) -> dict[str, object]:
    """For the audit entry, from which `undo` reads it: whether disputes took it (R11)."""
    return {_OF_DISPUTE: str(record.refund.amount)} if record.charged_back else {}


def _given_back(refund: Refund, is_of_dispute: bool) -> tuple[int, ...]:
    minor = refund.amount.minor
    of_dispute = minor if is_of_dispute else 0
    return minor, of_dispute, of_dispute, refund.payment_id, minor


@lru_cache
def _sums() -> Any:
    """What was paid and returned of each invoice, from its payments."""
    back: Any = _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
    columns = (_INVOICE.c.id, _INVOICE.c.number, _INVOICE.c.status, _INVOICE.c.currency)
    sums = (func.sum(CAPTURED_SHARE), func.sum(back))
    joined: Any = _INVOICE.join(_PAYMENT, _PAYMENT.c.invoice_id == _INVOICE.c.id)
    return select(*columns, *sums).select_from(joined).where(among(_INVOICE.c.id)).group_by(*columns)
