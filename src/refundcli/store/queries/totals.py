"""What `status` asks of long tables, counted by the database: pending refunds, failed captures, the last delivery."""

from datetime import datetime

from sqlalchemy import case, func, or_, select
from sqlmodel import Session, SQLModel

from refundcli.domain.currencies import currency
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus, Provider, RefundState
from refundcli.services.ports.provider_updates import EventSource
from refundcli.services.ports.records import FailedCapture
from refundcli.services.ports.vocabulary import CaptureChange

_INVOICE, _PAYMENT, _REFUND, _CAPTURE, _EVENT = (
    SQLModel.metadata.tables[name] for name in ("invoice", "payment", "refund", "capture", "provider_event")
)
_CLOSED = (InvoiceStatus.VOID, InvoiceStatus.UNCOLLECTIBLE)


def pending_refunds(
    session: Session, overdue_before: datetime, stuck_reason: str, limit: int
) -> tuple[list[str], int, int]:
    """The first ids, those that need attention first; how many are pending, and how many need attention."""
    needs_attention = or_(_REFUND.c.created_at < overdue_before, _REFUND.c.pending_reason == stuck_reason)
    is_urgent = case((needs_attention, 1), else_=0)
    is_pending = _REFUND.c.state == RefundState.PENDING
    pending_count, attention_count = session.execute(
        select(func.count(), func.coalesce(func.sum(is_urgent), 0)).select_from(_REFUND).where(is_pending)
    ).one()
    order = (is_urgent.desc(), _REFUND.c.created_at, _REFUND.c.id)
    refund_ids = session.execute(select(_REFUND.c.id).where(is_pending).order_by(*order).limit(limit)).scalars().all()
    return list(refund_ids), int(pending_count), int(attention_count)


def failed_captures(session: Session) -> list[FailedCapture]:
    """Failed captures, without those captured again since and those of invoices closed since."""
    query = (
        select(
            _CAPTURE.c.provider,
            _INVOICE.c.number,
            _CAPTURE.c.reference,
            _CAPTURE.c.amount,
            _INVOICE.c.currency,
            _CAPTURE.c.reported_at,
        )
        .join(_PAYMENT, _PAYMENT.c.id == _CAPTURE.c.payment_id)
        .join(_INVOICE, _INVOICE.c.id == _PAYMENT.c.invoice_id)
        .where(_CAPTURE.c.state == CaptureChange.FAILED, _PAYMENT.c.captured < _PAYMENT.c.allocated)
        .where(_INVOICE.c.status.not_in(_CLOSED))
        .order_by(_CAPTURE.c.reported_at.desc(), _CAPTURE.c.id)
    )
    return [
        FailedCapture(
            Provider(provider), invoice_number, reference, Money(amount, currency(currency_code)), reported_at
        )
        for provider, invoice_number, reference, amount, currency_code, reported_at in session.execute(query)
    ]


def last_delivery(session: Session, provider: Provider) -> datetime | None:
    """When the newest webhook arrived: the one with the highest id. The index shows if there is any event at all."""
    any_event_query = select(_EVENT.c.id).where(_EVENT.c.provider == provider).limit(1)
    if session.execute(any_event_query).first() is None:
        return None
    # In this form no index on the provider is used: only a few of the newest events are read.
    is_of_provider = func.coalesce(_EVENT.c.provider, "") == provider.value
    query = select(_EVENT.c.received_at).where(is_of_provider, _EVENT.c.source == EventSource.WEBHOOK)
    received_at: datetime | None = session.execute(query.order_by(_EVENT.c.id.desc()).limit(1)).scalar()
    return received_at
