"""Records of refunds made elsewhere, written and taken back in sets: a file of a million is as sound as one typed."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import CursorResult, Table, bindparam, func, insert, select, update
from sqlmodel import Session, SQLModel

from refundcli.domain.currencies import currency
from refundcli.domain.identifiers import new_id
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import CreditNoteStatus, InvoiceStatus, RefundState
from refundcli.services.ports import Record
from refundcli.store.audit import AuditTrail
from refundcli.store.numbering import next_numbers
from refundcli.store.rows import facts_of, refund_values

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _REFUND, _NOTE = (_TABLES[name] for name in ("invoice", "payment", "refund", "credit_note"))
# SQLite takes 32,766 parameters in one statement; this leaves room.
_AT_ONCE = 5_000


class Recording:
    """Writes records in the transaction that it is given, whose lock keeps every other writer out."""

    def __init__(self, session: Session, audit: AuditTrail) -> None:
        self._session, self._audit = session, audit

    def record(self, records: Sequence[Record], *, on: date, number_format: str) -> None:
        """Payments, refunds, issued credit notes, invoices, and an audit entry for each change (R7, I10)."""
        if not records:
            return
        self._take(records)
        self._session.execute(insert(_REFUND), [refund_values(record.refund) for record in records])
        numbers = next_numbers(self._session, on, number_format, len(records))
        self._issue(records, numbers, on)
        for record, number in zip(records, numbers, strict=True):
            refund = record.refund
            self._audit.write(f"refund {refund.state}", refund.id, {}, facts_of(refund))
            self._audit.write("credit note issued", refund.id, {}, {"number": number})
        self._update_invoices([record.refund.invoice_id for record in records])

    def take_back(self, records: Sequence[Record], *, memo: str) -> None:
        """`recorded` becomes `reversed`: the amounts are free again, the notes void with their numbers kept."""
        if not records:
            return
        refunds = [record.refund for record in records]
        ids = [{"of": refund.id} for refund in refunds]
        recorded = (_REFUND.c.id == bindparam("of"), _REFUND.c.state == RefundState.RECORDED)
        reversed_now = {"state": RefundState.REVERSED, "failure": memo, "updated_at": self._audit.at}
        self._each(update(_REFUND).where(*recorded).values(**reversed_now), ids)
        void = {"status": CreditNoteStatus.VOID, "voided_at": self._audit.at}
        self._each(update(_NOTE).where(_NOTE.c.refund_id == bindparam("of")).values(**void), ids)
        self._give(records)
        for refund in refunds:
            number = refund.credit_note.number if refund.credit_note else ""
            after = {"state": RefundState.REVERSED, "memo": memo}
            self._audit.write("refund reversed", refund.id, {"state": refund.state}, after)
            self._audit.write("credit note void", refund.id, {"status": CreditNoteStatus.ISSUED}, {"number": number})
        self._update_invoices([refund.invoice_id for refund in refunds])

    def _take(self, records: Sequence[Record]) -> None:
        """Under the same guard as every amount: no payment gives back more than it took (I1)."""
        given = _PAYMENT.c.reserved + _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
        room = (_PAYMENT.c.id == bindparam("of"), given + bindparam("amount") <= _PAYMENT.c.captured)
        self._each(update(_PAYMENT).where(*room).values(**_moved(+1)), _amounts(records))

    def _give(self, records: Sequence[Record]) -> None:
        found = update(_PAYMENT).where(_PAYMENT.c.id == bindparam("of"), _PAYMENT.c.refunded >= bindparam("amount"))
        self._each(found.values(**_moved(-1)), _amounts(records))

    def _issue(self, records: Sequence[Record], numbers: Sequence[str], on: date) -> None:
        at = self._audit.at
        notes = [
            {
                "id": new_id("cn_", at),
                "refund_id": record.refund.id,
                "invoice_id": record.refund.invoice_id,
                "number": number,
                "status": CreditNoteStatus.ISSUED.value,
                "amount": record.refund.amount.minor,
                "currency": record.refund.amount.currency.code,
                "reason": record.refund.reason,
                "memo": record.refund.memo,
                "issued_on": on,
                "issued_at": at,
            }
            for record, number in zip(records, numbers, strict=True)
        ]
        self._session.execute(insert(_NOTE), notes)

    def _update_invoices(self, invoice_ids: Sequence[int]) -> None:
        """Sums and status of each in one UPDATE, so that the CHECK on Refunded holds at every instant (R6)."""
        changed: list[dict[str, Any]] = []
        wanted = list(dict.fromkeys(invoice_ids))
        for start in range(0, len(wanted), _AT_ONCE):
            for row in self._session.execute(_sums_of(wanted[start : start + _AT_ONCE])):
                unit = currency(row.currency)
                paid, returned = Money(int(row.paid), unit), Money(int(row.returned), unit)
                before = InvoiceStatus(row.status)
                status = status_after(before, paid=paid, returned=returned)
                changed.append(
                    {"of": row.id, "new_paid": paid.minor, "new_returned": returned.minor, "new_status": status.value}
                )
                if status is not before:
                    self._audit.write(f"invoice {status}", row.number, {"status": before}, {"status": status})
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("paid", "returned", "status")}
        statement = update(_INVOICE).where(_INVOICE.c.id == bindparam("of"))
        self._each(statement.values(**values, updated_at=self._audit.at), changed)

    def _each(self, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
        """Every one of the rows must be found as it is expected: they were read under the same lock."""
        result = self._session.execute(statement, list(rows))
        assert isinstance(result, CursorResult)
        assert result.rowcount == len(rows), f"{result.rowcount} of {len(rows)} rows were as they had been read"


def _moved(sign: int) -> dict[str, Any]:
    return {
        "refunded": _PAYMENT.c.refunded + sign * bindparam("amount"),
        "dispute_recorded": _PAYMENT.c.dispute_recorded + sign * bindparam("charged_back"),
    }


def _amounts(records: Sequence[Record]) -> list[dict[str, Any]]:
    return [
        {
            "of": record.refund.payment_id,
            "amount": record.refund.amount.minor,
            "charged_back": record.refund.amount.minor if record.charged_back else 0,
        }
        for record in records
    ]


def _sums_of(invoice_ids: Sequence[int]) -> Any:
    back: Any = _PAYMENT.c.refunded + _PAYMENT.c.returned_elsewhere
    columns = (_INVOICE.c.id, _INVOICE.c.number, _INVOICE.c.status, _INVOICE.c.currency)
    sums = (func.sum(_PAYMENT.c.captured).label("paid"), func.sum(back).label("returned"))
    joined: Table | Any = _INVOICE.join(_PAYMENT, _PAYMENT.c.invoice_id == _INVOICE.c.id)
    return select(*columns, *sums).select_from(joined).where(_INVOICE.c.id.in_(invoice_ids)).group_by(*columns)
