"""Bringing invoices in from outside: new ones whole, known ones only where the file knows better.

The store's own refunds and reservations, a later status, a decided dispute and money already counted are never
taken back; a row that would is kept as the store has it, and reported.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from refundcli.domain.currencies import currency
from refundcli.domain.invoice import status_after
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus
from refundcli.services.bad_rows import Problem
from refundcli.services.ports import ImportCounts, NewInvoice, NewPayment
from refundcli.store.audit import AuditTrail
from refundcli.store.payment_matching import ID_COLUMNS, all_ids_of, match_payments
from refundcli.store.payment_news import payment_news, payment_values
from refundcli.store.tables import InvoiceRow, PaymentRow

# What a status may still become by news from outside. Refunded is never imported: it follows from the sums.
_FORWARD: dict[str, frozenset[str]] = {
    "draft": frozenset({"open", "paid", "void", "uncollectible"}),
    "open": frozenset({"paid", "void", "uncollectible"}),
    "uncollectible": frozenset({"paid", "void"}),
    "paid": frozenset(),
    "refunded": frozenset(),
    "void": frozenset(),
}
# SQLite takes 32,766 parameters in one statement; this leaves room.
_AT_ONCE = 5_000

Known = dict[str, tuple[InvoiceRow, list[PaymentRow]]]


class Importer:
    """Brings one batch in, in the transaction it is given."""

    def __init__(self, session: Session, audit: AuditTrail, *, source: str) -> None:
        self._session, self._audit, self._source = session, audit, source
        # An invoice is found back in the audit trail by its file and by this very moment.
        self._at = audit.at
        self._counts = ImportCounts()

    def bring_in(self, invoices: Sequence[NewInvoice]) -> ImportCounts:
        known = known_invoices(self._session, [invoice.number for invoice in invoices])
        self._insert([invoice for invoice in invoices if invoice.number not in known])
        for invoice in invoices:
            if invoice.number in known:
                self._update(invoice, *known[invoice.number])
        if self._counts.new or self._counts.changed:
            told = {"new": self._counts.new, "changed": self._counts.changed, "first_line": invoices[0].line}
            self._audit.write("invoices imported", self._source, {}, told)
        return self._counts

    def _insert(self, invoices: Sequence[NewInvoice]) -> None:
        if not invoices:
            return
        made = insert(InvoiceRow).returning(col(InvoiceRow.number), col(InvoiceRow.id))
        rows = [self._invoice_values(invoice) for invoice in invoices]
        ids = {row.number: row.id for row in self._session.execute(made, rows)}
        payments = [
            {"invoice_id": ids[invoice.number], "position": position, **self._payment_values(payment)}
            for invoice in invoices
            for position, payment in enumerate(invoice.payments)
        ]
        if payments:
            self._session.execute(insert(PaymentRow), payments)
        self._counts.new += len(invoices)

    def _invoice_values(self, invoice: NewInvoice) -> dict[str, Any]:
        unit = currency(invoice.currency)
        paid = sum(payment.captured for payment in invoice.payments)
        returned = sum(payment.returned_elsewhere for payment in invoice.payments)
        status = status_after(invoice.status, paid=Money(paid, unit), returned=Money(returned, unit))
        return {
            "number": invoice.number,
            "currency": invoice.currency,
            "total": invoice.total,
            "paid": paid,
            "returned": returned,
            "status": status.value,
            "source": self._source,
            "created_at": self._at,
            "updated_at": self._at,
            **_described(invoice),
        }

    def _payment_values(self, payment: NewPayment) -> dict[str, Any]:
        return payment_values(payment) | {"opening_at": self._at}

    def _update(self, invoice: NewInvoice, row: InvoiceRow, payments: list[PaymentRow]) -> None:
        told = _described(invoice) | {"total": invoice.total}
        if not invoice.invoice_reference:
            # A file without it does not make an invoice that a provider keeps one that can be closed here alone.
            del told["invoice_reference"]
        changes = _differences(row, told)
        status = self._status_change(invoice, row)
        paid_before = row.paid
        touched = self._update_payments(invoice, row, payments)
        if not (changes or status or touched):
            self._counts.same += 1
            return
        before = {name: getattr(row, name) for name in changes} | ({"status": row.status} if status else {})
        self._write(row, changes | status)
        after = changes | status | touched
        self._audit.write("invoice imported again", row.number, before | {"paid": paid_before}, after)
        self._counts.changed += 1

    def _status_change(self, invoice: NewInvoice, row: InvoiceRow) -> dict[str, Any]:
        unit = currency(row.currency)
        paid = sum(payment.captured for payment in invoice.payments)
        returned = sum(payment.returned_elsewhere for payment in invoice.payments)
        told = status_after(invoice.status, paid=Money(paid, unit), returned=Money(returned, unit))
        if row.status in (invoice.status, told):
            return {}
        if row.status == InvoiceStatus.VOID and paid:
            # The books hold any truth, and money that was captured is not void (R9).
            self._report(invoice, f"it was voided here, and the file tells of money captured; it is {told} now")
            return {"status": invoice.status.value}
        if invoice.status is InvoiceStatus.VOID and row.paid:
            self._keep(invoice, "the file says void, and the store knows of money captured")
            return {}
        if invoice.status in _FORWARD[row.status]:
            return {"status": invoice.status.value}
        self._keep(invoice, f"the file says {invoice.status}, the store knows it as {row.status}")
        return {}

    def _update_payments(self, invoice: NewInvoice, row: InvoiceRow, payments: list[PaymentRow]) -> dict[str, Any]:
        touched: dict[str, Any] = {}
        matched = match_payments(invoice.payments, payments)
        for known in matched.known:
            changes, kept = payment_news(known)
            for why in kept:
                self._keep(invoice, why)
            if "opening_returned" in changes:
                changes["opening_at"] = self._at
            if changes:
                found = col(PaymentRow.id) == known.row.id
                self._session.execute(update(PaymentRow).where(found).values(**changes))
                touched[f"payment {known.row.position + 1}"] = changes
        for position, new in enumerate(matched.new, start=len(payments)):
            values = {"invoice_id": row.id, "position": position, **self._payment_values(new)}
            self._session.execute(insert(PaymentRow), [values])
            touched[f"payment {position + 1}"] = "new"
        for payment in matched.told_twice:
            self._keep(invoice, f"{payment.reference} is a payment that the file tells by its other id too")
        if matched.not_told:
            self._keep(invoice, f"the file lacks {len(matched.not_told)} of the payments that the store knows")
        return touched

    def _write(self, row: InvoiceRow, changes: dict[str, Any]) -> None:
        """Sums and status in one UPDATE: the CHECK on Refunded holds at every instant."""
        self._session.expire_all()
        payments = self._session.exec(select(PaymentRow).where(PaymentRow.invoice_id == row.id)).all()
        unit = currency(row.currency)
        paid = sum(payment.captured for payment in payments)
        returned = sum(payment.refunded + payment.returned_elsewhere for payment in payments)
        status = InvoiceStatus(changes.get("status", row.status))
        status = status_after(status, paid=Money(paid, unit), returned=Money(returned, unit))
        values = {
            **changes,
            "paid": paid,
            "returned": returned,
            "status": status.value,
            "updated_at": self._at,
        }
        self._session.execute(update(InvoiceRow).where(col(InvoiceRow.id) == row.id).values(**values))

    def _keep(self, invoice: NewInvoice, why: str) -> None:
        self._report(invoice, f"{why}; kept as it was")

    def _report(self, invoice: NewInvoice, what: str) -> None:
        self._counts.kept.append((invoice.line, invoice.number, what))


def known_invoices(session: Session, numbers: Sequence[str]) -> Known:
    rows = session.exec(select(InvoiceRow).where(col(InvoiceRow.number).in_(numbers))).all()
    by_id: dict[int, list[PaymentRow]] = {row.id or 0: [] for row in rows}
    query = select(PaymentRow).where(col(PaymentRow.invoice_id).in_(by_id)).order_by(col(PaymentRow.position))
    for payment in session.exec(query):
        by_id[payment.invoice_id].append(payment)
    return {row.number: (row, by_id[row.id or 0]) for row in rows}


def conflicts(session: Session, invoices: Sequence[NewInvoice]) -> Iterator[Problem]:
    """What in these rows cannot stand beside what the store holds already."""
    known = known_invoices(session, [invoice.number for invoice in invoices])
    for invoice in invoices:
        if invoice.number in known and known[invoice.number][0].currency != invoice.currency:
            what = f"The store knows {invoice.number} in {known[invoice.number][0].currency}."
            hint = "An invoice keeps its currency; another one needs its own number."
            yield Problem(invoice.line, "currency", invoice.currency, "other-currency", what, hint)
    told = {known: invoice for invoice in invoices for payment in invoice.payments for known in all_ids_of(payment)}
    for value, number in _owners(session, list(told)):
        if told[value].number != number:
            what, hint = f"It belongs to {number} in the store.", "A payment belongs to one invoice."
            yield Problem(told[value].line, "payment_reference", value, "duplicate-payment", what, hint)


def _owners(session: Session, references: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The provider payments among these that the store knows, each with its invoice's number."""
    for name in ID_COLUMNS:
        column = col(getattr(PaymentRow, name))
        query = select(column, InvoiceRow.number).join(InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id))
        for start in range(0, len(references), _AT_ONCE):
            yield from session.exec(query.where(column.in_(references[start : start + _AT_ONCE])))


def _described(invoice: NewInvoice) -> dict[str, Any]:
    return {
        "customer": invoice.customer,
        "customer_name": invoice.customer_name,
        "issued_on": invoice.issued_on,
        "due_on": invoice.due_on,
        "paid_on": invoice.paid_on,
        "invoice_reference": invoice.invoice_reference or None,
        "products": json.dumps(invoice.products, ensure_ascii=False) if invoice.products else "",
        "subscription": invoice.subscription,
    }


def _differences(row: InvoiceRow, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if getattr(row, name) != value}
