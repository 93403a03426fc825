"""Pages of long lists. A page starts after the last key of the previous one, so all pages are equally fast."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, SQLModel

from refundcli.store.repositories.rows import INVOICE_COLUMNS, NOTE_COLUMNS, OWNER_COLUMNS
from refundcli.store.schema import DISPUTED, MONEY_LEFT, PROCESSING, THROUGH_PROVIDER

if TYPE_CHECKING:
    from refundcli.services.ports.records import CreditNoteFilter, InvoiceFilter

_INVOICE, _PAYMENT, _NOTE = (SQLModel.metadata.tables[name] for name in ("invoice", "payment", "credit_note"))
_ISSUE = sql.tuple_(_NOTE.c.issued_on, _NOTE.c.issued_at, _NOTE.c.number)
# Sorting so few payments by invoice number is faster than walking along all numbers to find them.
_FEW = 50_000


def invoice_rows(session: Session, filters: "InvoiceFilter") -> Sequence[Any]:
    """Rows of INVOICE_COLUMNS, by number.

    One condition uses its index and the others filter its rows: left to itself, SQLite would read all paid invoices
    to find those of one customer.
    """
    query = sql.select(*INVOICE_COLUMNS).where(_INVOICE.c.number > filters.after).order_by(_INVOICE.c.number)
    has_leading_condition = bool(filters.customer)
    if filters.customer:
        query = query.where(_INVOICE.c.customer == filters.customer)
    for condition in _of_payments(filters):
        if has_leading_condition or not _are_few(session, condition):
            query = query.where(sql.exists().where(_PAYMENT.c.invoice_id == _INVOICE.c.id, condition))
        else:
            query = query.where(_INVOICE.c.id.in_(sql.select(_PAYMENT.c.invoice_id).where(condition)))
            has_leading_condition = True
    status_column = func.coalesce(_INVOICE.c.status, "") if has_leading_condition else _INVOICE.c.status
    if filters.status:
        query = query.where(status_column == filters.status)
    if filters.refundable:
        query = query.where(_INVOICE.c.status != "void")
    return session.execute(query.limit(filters.limit)).all()


def count_invoices(session: Session, filters: "InvoiceFilter") -> int:
    """How many invoices have a payment that matches the filters, such as a disputed one."""
    query = sql.select(func.count(sql.distinct(_PAYMENT.c.invoice_id))).where(*_of_payments(filters))
    count: int = session.execute(query).scalar_one()
    return count


def _of_payments(filters: "InvoiceFilter") -> Iterator[ColumnElement[bool]]:
    if filters.disputed:
        # In parentheses, because it is an OR among other conditions.
        yield sql.and_(sql.text(f"({DISPUTED.text})"))
    if filters.processing:
        yield sql.and_(PROCESSING)
    if filters.provider:
        yield sql.and_(THROUGH_PROVIDER, _PAYMENT.c.provider == filters.provider)
    if filters.refundable:
        yield sql.and_(MONEY_LEFT)


def _are_few(session: Session, condition: ColumnElement[bool]) -> bool:
    matching_payments = sql.select(_PAYMENT.c.invoice_id).where(condition).limit(_FEW + 1).subquery()
    count: int = session.execute(sql.select(func.count()).select_from(matching_payments)).scalar_one()
    return count <= _FEW


def credit_note_rows(session: Session, filters: "CreditNoteFilter") -> Sequence[Any]:
    """Rows of NOTE_COLUMNS and OWNER_COLUMNS, in the order of issue."""
    query = (
        sql.select(*NOTE_COLUMNS, *OWNER_COLUMNS)
        .join(_INVOICE, _INVOICE.c.id == _NOTE.c.invoice_id)
        .where(_NOTE.c.number.is_not(None))
        .order_by(*_ISSUE.clauses)
        .limit(filters.limit)
    )
    if filters.after:
        query = query.where((filters.after.issued_on, filters.after.issued_at, filters.after.number) < _ISSUE)
    elif filters.since:
        # Needed on the first page only: later pages contain later notes.
        query = query.where(_NOTE.c.issued_on >= filters.since)
    if filters.until:
        query = query.where(_NOTE.c.issued_on <= filters.until)
    if filters.invoice:
        query = query.where(_INVOICE.c.number == filters.invoice)
    if filters.reason:
        query = query.where(_NOTE.c.reason == filters.reason)
    return session.execute(query).all()
