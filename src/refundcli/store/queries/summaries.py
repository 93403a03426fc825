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
    payment_rows = session.execute(_named(provider), {AMONG: references}).all()
    refunds_by_payment = _refunds(session, [payment_row[0] for payment_row in payment_rows])
    return {
        payment_row[2]: _line(payment_row, refunds_by_payment.get(payment_row[0], ())) for payment_row in payment_rows
    }


def payment_lines_after(session: Session, provider: Provider, after: int, limit: int) -> list[PaymentLine]:
    return [_line(row, ()) for row in session.execute(_page(provider), {"after": after, "page": limit})]


def payment_count(session: Session, provider: Provider) -> int:
    """How many payments have an id at the provider. Of a shared payment, only the first share has it."""
    id_columns = (_PAYMENT.c.psp_reference, _PAYMENT.c.payment_intent, _PAYMENT.c.charge)
    query = select(func.count()).select_from(_PAYMENT).where(_PAYMENT.c.provider == provider)
    return int(session.execute(query.where(or_(*(column.is_not(None) for column in id_columns)))).scalar_one())


def refunds_succeeded(
    session: Session, provider: Provider, period: tuple[datetime, datetime], after: str, limit: int
) -> list[SucceededRefund]:
    """Sorted by id; `after`: the id of the last one that was read.

    Of a payment that several invoices share, only the first share has the reference.
    """
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
        .where(_REFUND.c.succeeded_at.between(*period), _reference(provider).is_not(None))
        .order_by(_REFUND.c.id)
        .limit(limit)
    )
    return [
        SucceededRefund(
            refund_id, provider_reference or "", Money(amount, _of(currency_code)), invoice_number, payment_reference
        )
        for refund_id, provider_reference, amount, currency_code, invoice_number, payment_reference in session.execute(
            query
        )
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
    columns_query = select(
        _PAYMENT.c.id,
        _INVOICE.c.number,
        _reference(provider),
        CAPTURED_SHARE,
        _INVOICE.c.currency,
        _PAYMENT.c.paid_on,
    )
    query = columns_query.join(_INVOICE, _INVOICE.c.id == _PAYMENT.c.invoice_id)
    return query.where(_PAYMENT.c.provider == provider)


def _line(payment_row: Sequence[Any], refunds: Sequence[RefundLine]) -> PaymentLine:
    payment_id, invoice_number, reference, captured_minor, currency_code, paid_on = payment_row
    captured_amount = Money(captured_minor, _of(currency_code))
    return PaymentLine(payment_id, invoice_number, reference, captured_amount, paid_on, tuple(refunds))


def _refunds(session: Session, payment_ids: Sequence[int]) -> dict[int, list[RefundLine]]:
    lines_by_payment: dict[int, list[RefundLine]] = {}
    for payment_id, refund_line in _refund_lines(session.execute(_REFUNDS_OF, {AMONG: payment_ids})):
        lines_by_payment.setdefault(payment_id, []).append(refund_line)
    return lines_by_payment


def _refund_lines(refund_rows: Any) -> Iterator[tuple[int, RefundLine]]:
    for (
        payment_id,
        refund_id,
        reference,
        minor,
        currency_code,
        state_text,
        came_back_at,
        kind,
        reason,
        *succeeded_and_failed_at,
    ) in refund_rows:
        unit: Currency = _of(currency_code)
        refund_amount, refund_state = Money(minor, unit), RefundState(state_text)
        is_unadopted = kind == RefundKind.EXTERNAL and not reason and refund_state.is_accepted
        is_record = kind == RefundKind.RECORD
        line = RefundLine(
            refund_id,
            reference or "",
            refund_amount,
            refund_state,
            came_back_at,
            is_unadopted,
            is_record,
            *succeeded_and_failed_at,
        )
        yield payment_id, line
