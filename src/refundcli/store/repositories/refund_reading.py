"""Read refunds, closings and credit notes."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, SQLModel, col

from refundcli.domain.closing import Closing
from refundcli.domain.refund import CreditNote, Refund
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.store.repositories.near_numbers import numbers_near
from refundcli.store.repositories.rows import NOTE_COLUMNS, OWNER_COLUMNS, closing_of, credit_note_of, refund_of
from refundcli.store.repositories.store_reading import store_info
from refundcli.store.schema import (
    CreditNoteRow,
    PaymentRow,
    RefundRow,
)
from refundcli.store.value_lists import AMONG, AT_ONCE, among

if TYPE_CHECKING:
    from refundcli.services.ports.records import CreditNoteFilter, PendingRefunds, SucceededRefund

_INVOICE, _REFUND, _NOTE, _CLOSING = (
    SQLModel.metadata.tables[name] for name in ("invoice", "refund", "credit_note", "closing")
)


class SqlRefundReads:
    """Reads refunds and records."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, refund_id: str) -> Refund | None:
        return refund_with_id(self._session, refund_id)

    def by_id(self, refund_ids: Sequence[str]) -> dict[str, Refund]:
        return {refund.id: refund for refund in refunds_where(self._session, among(_REFUND.c.id), refund_ids)}

    def by_key(self, request_key: str) -> list[Refund]:
        return refunds_where(self._session, _REFUND.c.request_key == request_key)

    def by_keys(self, request_keys: Sequence[str]) -> dict[str, list[Refund]]:
        refunds_of_key: dict[str, list[Refund]] = {}
        for start in range(0, len(request_keys), AT_ONCE):
            for refund in refunds_where(
                self._session, among(_REFUND.c.request_key), request_keys[start : start + AT_ONCE]
            ):
                refunds_of_key.setdefault(refund.request_key, []).append(refund)
        return refunds_of_key

    def in_states(self, *states: RefundState) -> list[Refund]:
        return refunds_where(self._session, col(RefundRow.state).in_(states))

    def pending(self, *, overdue: datetime, stuck: str, limit: int) -> "PendingRefunds":
        """`overdue`: those created before then are late; `stuck`: the reason of those that need someone."""
        from refundcli.services.ports.records import PendingRefunds
        from refundcli.store.queries import totals

        refund_ids, pending_count, attention_count = totals.pending_refunds(self._session, overdue, stuck, limit)
        refund_by_id = self.by_id(refund_ids)
        return PendingRefunds([refund_by_id[refund_id] for refund_id in refund_ids], pending_count, attention_count)

    def to_acknowledge(self) -> list[Refund]:
        return refunds_where(
            self._session, col(RefundRow.came_back_at).is_not(None) & col(RefundRow.acknowledged_at).is_(None)
        )

    def by_provider_references(self, provider: Provider, references: Sequence[str]) -> list[Refund]:
        is_at_provider = or_(col(RefundRow.provider) == provider, col(RefundRow.provider).is_(None))
        return [
            refund
            for start in range(0, len(references), AT_ONCE)
            for refund in refunds_where(
                self._session, among(_REFUND.c.provider_reference) & is_at_provider, references[start : start + AT_ONCE]
            )
        ]

    def succeeded(
        self, provider: Provider, since: datetime, until: datetime, *, after: str, limit: int
    ) -> "list[SucceededRefund]":
        """`after`: the id of the last refund that was read."""
        from refundcli.store.queries import summaries

        return summaries.refunds_succeeded(self._session, provider, (since, until), after, limit)


class SqlExternalRefundReads:
    """Reads external refunds."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def listed(self, *, adopted: bool) -> list[Refund]:
        reason_column = col(RefundRow.reason)
        return refunds_where(
            self._session,
            (col(RefundRow.kind) == "external") & ((reason_column != "") if adopted else (reason_column == "")),
        )


class SqlClosingReads:
    """Reads closings."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, closing_id: str) -> Closing | None:
        return next(iter(closings_where(self._session, _CLOSING.c.id == closing_id)), None)

    def in_states(self, *states: ClosingState) -> list[Closing]:
        return closings_where(self._session, _CLOSING.c.state.in_(states))


class SqlCreditNoteReads:
    """Reads credit notes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def matching(self, filters: "CreditNoteFilter") -> list[CreditNote]:
        from refundcli.store.queries import lists

        return [credit_note_of(row) for row in lists.credit_note_rows(self._session, filters)]

    def get(self, number: str) -> CreditNote | None:
        query = (
            sql.select(*NOTE_COLUMNS, *OWNER_COLUMNS)
            .join(_INVOICE, _INVOICE.c.id == _NOTE.c.invoice_id)
            .where(_NOTE.c.number == number)
        )
        note_row = self._session.execute(query).first()
        return credit_note_of(note_row) if note_row else None

    def numbers_near(self, number: str) -> list[str]:
        return [near for near in numbers_near(self._session, col(CreditNoteRow.number), number) if near]

    def number_format(self) -> str:
        return store_info(self._session).number_format


def refund_with_id(session: Session, refund_id: str) -> Refund | None:
    return next(iter(refunds_where(session, _REFUND.c.id == refund_id)), None)


def refunds_of_payments(session: Session, payments: Sequence[PaymentRow]) -> list[Refund]:
    return refunds_where(session, col(RefundRow.payment_id).in_([payment.id for payment in payments]))


def refunds_where(session: Session, condition: ColumnElement[bool], among_values: Sequence[Any] = ()) -> list[Refund]:
    """`among_values`: the values of AMONG, if the condition has it."""
    query = (
        sql.select(_REFUND, *OWNER_COLUMNS, *NOTE_COLUMNS)
        .join(_INVOICE, _INVOICE.c.id == _REFUND.c.invoice_id)
        .join(_NOTE, _NOTE.c.refund_id == _REFUND.c.id, isouter=True)
        .where(condition)
        .order_by(_REFUND.c.created_at, _REFUND.c.id)
    )
    return [refund_of(refund_row) for refund_row in session.execute(query, {AMONG: among_values})]


def closings_where(session: Session, condition: ColumnElement[bool], among_values: Sequence[Any] = ()) -> list[Closing]:
    query = (
        sql.select(_CLOSING, OWNER_COLUMNS[0])
        .join(_INVOICE, _INVOICE.c.id == _CLOSING.c.invoice_id)
        .where(condition)
        .order_by(_CLOSING.c.created_at, _CLOSING.c.id)
    )
    return [closing_of(closing_row) for closing_row in session.execute(query, {AMONG: among_values})]
