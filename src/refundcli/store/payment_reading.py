"""Read the disputes of payments, and the unreviewed provider updates that block their refunds (R11, R13)."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql
from sqlmodel import Session, SQLModel

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import Unreviewed
from refundcli.domain.statuses import Provider
from refundcli.services.provider_news import EventSource, EventState
from refundcli.store import tables  # noqa: F401 (the metadata is filled by it)
from refundcli.store.many_values import AMONG, AT_ONCE, among
from refundcli.store.rows import PAYMENT_COLUMNS, dispute_of

_TABLES = SQLModel.metadata.tables
_INVOICE, _PAYMENT, _DISPUTE = (_TABLES[name] for name in ("invoice", "payment", "dispute"))
_EVENT, _LINK = (_TABLES[name] for name in ("provider_event", "event_payment"))
_OPEN_STATES = (EventState.WAITING, EventState.UNMATCHED, EventState.UNREVIEWED)
_DISPUTES = (
    sql.select(_DISPUTE, _INVOICE.c.currency.label("of_currency"))
    .join(_PAYMENT, _PAYMENT.c.id == _DISPUTE.c.payment_id)
    .join(_INVOICE, _INVOICE.c.id == _PAYMENT.c.invoice_id)
    .where(among(_DISPUTE.c.payment_id))
    .order_by(_DISPUTE.c.id)
)
_UNREVIEWED = (
    sql.select(
        _LINK.c.reference,
        _EVENT.c.id,
        _EVENT.c.provider,
        _EVENT.c.kind,
        _EVENT.c.state,
        _EVENT.c.note,
        _EVENT.c.source,
    )
    .join(_EVENT, _EVENT.c.id == _LINK.c.event_id)
    .where(among(_LINK.c.reference), _EVENT.c.state.in_([state.value for state in _OPEN_STATES]))
    .order_by(_EVENT.c.id)
)
# The positions of these columns in PAYMENT_COLUMNS.
_NAMES = [column.name for column in PAYMENT_COLUMNS]
_IDS = [_NAMES.index(name) for name in ("payment_intent", "charge", "psp_reference")]
_PROVIDER, _ID, _DISPUTED = (_NAMES.index(name) for name in ("provider", "id", "dispute"))


def has_provider(payment: Sequence[Any]) -> bool:
    """Was the payment taken through a provider? `payment` is a row of PAYMENT_COLUMNS."""
    return bool(payment[_PROVIDER])


def may_be_disputed(payment: Sequence[Any]) -> bool:
    """May it have disputes? Yes if a provider or an import could have reported one."""
    return bool(payment[_PROVIDER] or payment[_DISPUTED])


def disputes_of(session: Session, payments: Sequence[Sequence[Any]]) -> dict[int, list[DisputeRecord]]:
    """The disputes of these rows of PAYMENT_COLUMNS by payment id, in the order in which they were stored."""
    return disputes_by_payment(session, [row[_ID] for row in payments])


def disputes_by_payment(session: Session, payment_ids: Sequence[int]) -> dict[int, list[DisputeRecord]]:
    """The disputes of the payments with these ids, in the order in which they were stored."""
    disputes: dict[int, list[DisputeRecord]] = {}
    for start in range(0, len(payment_ids), AT_ONCE):
        for row in session.execute(_DISPUTES, {AMONG: payment_ids[start : start + AT_ONCE]}):
            record = dispute_of(row, currency(row.of_currency))
            disputes.setdefault(record.payment_id, []).append(record)
    return disputes


def unreviewed_of(session: Session, payments: Sequence[Sequence[Any]]) -> dict[int, list[Unreviewed]]:
    """The updates about these rows of PAYMENT_COLUMNS that are not applied, by payment id, oldest first (R13)."""
    owners = {(row[_PROVIDER], row[place]): row[_ID] for row in payments for place in _IDS if row[place]}
    references = list({reference for _, reference in owners})
    by_payment: dict[int, dict[int, Unreviewed]] = {}
    for start in range(0, len(references), AT_ONCE):
        for row in session.execute(_UNREVIEWED, {AMONG: references[start : start + AT_ONCE]}):
            owner = owners.get((row.provider, row.reference))
            if owner is not None:
                by_payment.setdefault(owner, {})[row.id] = _unreviewed(row)
    return {owner: list(updates.values()) for owner, updates in by_payment.items()}


def _unreviewed(row: Any) -> Unreviewed:
    is_waiting = row.state == EventState.WAITING
    return Unreviewed(
        event_id=row.id,
        provider=Provider(row.provider),
        word=row.kind,
        why=row.note or ("not applied yet" if is_waiting else row.state),
        is_waiting=is_waiting,
        needs_a_person=row.state == EventState.UNREVIEWED,
        is_from_webhook=row.source == EventSource.WEBHOOK,
    )
