"""Read short summaries of payments and refunds, for comparisons over a million of them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select
from sqlmodel import Session, SQLModel

from refundcli.domain.currencies import Currency, currency
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider, RefundKind, RefundState
from refundcli.services.ports.records import PaymentLine, RefundLine, SucceededRefund
from refundcli.store.schema import CAPTURED_SHARE
from refundcli.store.value_lists import AMONG, among

_INVOICE, _PAYMENT, _REFUND = (SQLModel.metadata.tables[name] for name in ("invoice", "payment", "refund"))
_REFUNDS_OF = select(
    _REFUND.c.payment_id,
    _REFUND.c.id,
    _REFUND.c.provider_reference,
    _REFUND.c.amount,
    _REFUND.c.currency,
    _REFUND.c.state,
    _REFUND.c.came_back_at,
    _REFUND.c.kind,
    _REFUND.c.reason,
    _REFUND.c.succeeded_at,
    _REFUND.c.failed_at,
).where(among(_REFUND.c.payment_id))
_of = lru_cache(currency)


def payment_lines(session: Session, provider: Provider, references: Sequence[str]) -> dict[str, PaymentLine]:
    """By the provider's reference, with their refunds there."""
    rows = session.execute(_named(provider), {AMONG: references}).all()
    refunds = _refunds(session, [row[0] for row in rows])
    return {row[2]: _line(row, refunds.get(row[0], ())) for row in rows}


def payment_lines_after(session: Session, provider: Provider, after: int, limit: int) -> list[PaymentLine]:
    return [_line(row, ()) for row in session.execute(_page(provider), {"after": after, "page": limit})]


def payment_count(session: Session, provider: Provider) -> int:
    """How many payments have an id at the provider. Of a shared payment, only the first share has it."""
    ids = (_PAYMENT.c.psp_reference, _PAYMENT.c.payment_intent, _PAYMENT.c.charge)
    query = select(func.count()).select_from(_PAYMENT).where(_PAYMENT.c.provider == provider)
    return int(session.execute(query.where(or_(*(column.is_not(None) for column in ids)))).scalar_one())


def refunds_succeeded(
    session: Session, provider: Provider, between: tuple[datetime, datetime], after: str, limit: int
) -> list[SucceededRefund]:
    """Sorted by id. Of a payment that several invoices share, only the first share has the reference."""
    query = (
        select(
            _REFUND.c.id,
            _REFUND.c.provider_reference,
            _REFUND.c.amount,
            _REFUND.c.currency,
            _INVOICE.c.number,
            _reference(provider),
        )
        .join(_INVOICE, _INVOICE.c.id == _REFUND.c.invoice_id)
        .join(_PAYMENT, _PAYMENT.c.id == _REFUND.c.payment_id)
        .where(_REFUND.c.provider == provider, _REFUND.c.state == RefundState.SUCCEEDED, _REFUND.c.id > after)
        .where(_REFUND.c.succeeded_at.between(*between), _reference(provider).is_not(None))
        .order_by(_REFUND.c.id)
        .limit(limit)
    )
    return [
        SucceededRefund(refund, reference or "", Money(amount, _of(code)), invoice, payment)
        for refund, reference, amount, code, invoice, payment in session.execute(query)
    ]


@lru_cache
def _named(provider: Provider) -> Select[Any]:
    return _payments(provider).where(among(_reference(provider)))


@lru_cache
def _page(provider: Provider) -> Select[Any]:
    query = _payments(provider).where(_PAYMENT.c.id > bindparam("after"), _reference(provider).is_not(None))
    return query.order_by(_PAYMENT.c.id).limit(bindparam("page"))


def _reference(provider: Provider) -> ColumnElement[Any]:
    return _PAYMENT.c.psp_reference if provider is Provider.ADYEN else _PAYMENT.c.charge


def _payments(provider: Provider) -> Select[Any]:
    columns = select(
        _PAYMENT.c.id,
        _INVOICE.c.number,
        _reference(provider),
        CAPTURED_SHARE,
        _INVOICE.c.currency,
        _PAYMENT.c.paid_on,
    )
    joined = columns.join(_INVOICE, _INVOICE.c.id == _PAYMENT.c.invoice_id)
    return joined.where(_PAYMENT.c.provider == provider)


def _line(row: Sequence[Any], refunds: Sequence[RefundLine]) -> PaymentLine:
    number, invoice, reference, captured, code, paid_on = row
    money = Money(captured, _of(code))
    return PaymentLine(number, invoice, reference, money, paid_on, tuple(refunds))


def _refunds(session: Session, payments: Sequence[int]) -> dict[int, list[RefundLine]]:
    by_payment: dict[int, list[RefundLine]] = {}
    for payment, line in _refund_lines(session.execute(_REFUNDS_OF, {AMONG: payments})):
        by_payment.setdefault(payment, []).append(line)
    return by_payment


def _refund_lines(rows: Any) -> Iterator[tuple[int, RefundLine]]:
    for payment, refund, reference, amount, code, state, came_back_at, kind, reason, *dates in rows:
        of: Currency = _of(code)
        money, now = Money(amount, of), RefundState(state)
        unadopted = kind == RefundKind.EXTERNAL and not reason and now.is_accepted
        is_record = kind == RefundKind.RECORD
        line = RefundLine(refund, reference or "", money, now, came_back_at, unadopted, is_record, *dates)
        yield payment, line
