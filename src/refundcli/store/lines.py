"""Payments and refunds as bare lines, for comparisons that pass a million of them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session, col

from refundcli.domain.currencies import Currency, currency
from refundcli.domain.money import Money
from refundcli.domain.statuses import Dispute, Provider, RefundState
from refundcli.services.ports import PaymentLine, RefundLine
from refundcli.store.tables import InvoiceRow, PaymentRow, RefundRow

_of = lru_cache(currency)


def payment_lines(session: Session, provider: Provider, references: Sequence[str]) -> dict[str, PaymentLine]:
    """By the provider's reference, with their refunds there."""
    query = _payments(provider).where(_reference(provider).in_(references))
    rows = session.execute(query).all()
    refunds = _refunds(session, [row[0] for row in rows])
    return {row[2]: _line(row, refunds.get(row[0], ())) for row in rows}


def payment_lines_after(session: Session, provider: Provider, after: int, limit: int) -> list[PaymentLine]:
    query = _payments(provider).where(col(PaymentRow.id) > after, _reference(provider).is_not(None))
    return [_line(row, ()) for row in session.execute(query.order_by(col(PaymentRow.id)).limit(limit))]


def _reference(provider: Provider) -> Any:
    return col(PaymentRow.psp_reference if provider is Provider.ADYEN else PaymentRow.charge)


def _payments(provider: Provider) -> Select[Any]:
    wanted = select(
        col(PaymentRow.id),
        col(InvoiceRow.number),
        _reference(provider),
        col(PaymentRow.captured),
        col(InvoiceRow.currency),
        col(PaymentRow.dispute),
        col(PaymentRow.dispute_at),
        col(PaymentRow.paid_on),
    )
    joined = wanted.join(InvoiceRow, col(InvoiceRow.id) == col(PaymentRow.invoice_id))
    return joined.where(col(PaymentRow.provider) == provider)


def _line(row: Sequence[Any], refunds: Sequence[RefundLine]) -> PaymentLine:
    number, invoice, reference, captured, code, dispute, dispute_at, paid_on = row
    money = Money(captured, _of(code))
    return PaymentLine(number, invoice, reference, money, Dispute(dispute), dispute_at, paid_on, tuple(refunds))


def _refunds(session: Session, payments: Sequence[int]) -> dict[int, list[RefundLine]]:
    query = select(
        col(RefundRow.payment_id),
        col(RefundRow.id),
        col(RefundRow.provider_reference),
        col(RefundRow.amount),
        col(RefundRow.currency),
        col(RefundRow.state),
        col(RefundRow.came_back_at),
    ).where(col(RefundRow.payment_id).in_(payments))
    found: dict[int, list[RefundLine]] = {}
    for payment, line in _refund_lines(session.execute(query)):
        found.setdefault(payment, []).append(line)
    return found


def _refund_lines(rows: Any) -> Iterator[tuple[int, RefundLine]]:
    for payment, refund, reference, amount, code, state, came_back_at in rows:
        of: Currency = _of(code)
        line = RefundLine(refund, reference or "", Money(amount, of), RefundState(state), came_back_at)
        yield payment, line
