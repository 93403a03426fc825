"""Read the disputes, other shares and blocking provider updates of payments."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.currencies import currency
from refundcli.domain.dispute import DisputeRecord
from refundcli.domain.invoice import OtherShare, Payment, Unreviewed
from refundcli.domain.money import Money
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import Provider
from refundcli.services.ports.provider_updates import EventSource, EventState
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.store import schema  # noqa: F401 (it fills the metadata)
from refundcli.store.imports.payment_matching import id_column
from refundcli.store.repositories.rows import PAYMENT_COLUMNS, dispute_of
from refundcli.store.schema import CaptureRow, InvoiceRow, PaymentRow
from refundcli.store.value_lists import AMONG, AT_ONCE, among

if TYPE_CHECKING:
    from refundcli.services.ports.records import Capture, FailedCapture, PaymentLine

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
# Stored and not applied, because no payment that it names was in the books.
_SET_ASIDE = sql.and_(_EVENT.c.state == EventState.NOTED.value, _EVENT.c.not_applied != "")
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
    .where(among(_LINK.c.reference))
    .where(sql.or_(_EVENT.c.state.in_([state.value for state in _OPEN_STATES]), _SET_ASIDE))
    .order_by(_EVENT.c.id)
)
# The positions of these columns in PAYMENT_COLUMNS.
_NAMES = [column.name for column in PAYMENT_COLUMNS]
_IDS = [_NAMES.index(name) for name in ("payment_intent", "charge", "psp_reference")]
_PROVIDER, _ID, _DISPUTED, _SHARE_OF = (_NAMES.index(name) for name in ("provider", "id", "dispute", "share_of"))
_GIVEN = [_NAMES.index(name) for name in ("reserved", "refunded", "returned_elsewhere")]
_ALLOCATED, _OPENING_RETURNED, _OPENING_AT, _RECORDED = (
    _NAMES.index(name) for name in ("allocated", "opening_returned", "opening_at", "dispute_recorded")
)
_SHARES = (
    sql.select(*PAYMENT_COLUMNS, _INVOICE.c.number)
    .join(_INVOICE, _INVOICE.c.id == _PAYMENT.c.invoice_id)
    .where(among(_PAYMENT.c.share_of))
    .order_by(_PAYMENT.c.id)
)


def has_provider(payment: Sequence[Any]) -> bool:
    """Was the payment taken through a provider? `payment` is a row of PAYMENT_COLUMNS."""
    return bool(payment[_PROVIDER])


def may_be_disputed(payment: Sequence[Any]) -> bool:
    """May it have disputes? Yes if a provider or an import could have reported one."""
    return bool(payment[_PROVIDER] or payment[_DISPUTED])


def disputes_of(session: Session, payment_rows: Sequence[Sequence[Any]]) -> dict[int, list[DisputeRecord]]:
    """By payment, from PAYMENT_COLUMNS, in the order in which they were stored; all shares have the same."""
    home_of_payment = {payment_row[_ID]: payment_row[_SHARE_OF] or payment_row[_ID] for payment_row in payment_rows}
    disputes_by_home = disputes_by_payment(session, list(set(home_of_payment.values())))
    return (
        {
            payment_id: disputes_by_home[home_id]
            for payment_id, home_id in home_of_payment.items()
            if home_id in disputes_by_home
        }
        if disputes_by_home
        else {}
    )


def disputes_by_payment(session: Session, payment_ids: Sequence[int]) -> dict[int, list[DisputeRecord]]:
    """The disputes of the payments with these ids, in the order in which they were stored."""
    disputes: dict[int, list[DisputeRecord]] = {}
    for start in range(0, len(payment_ids), AT_ONCE):
        for dispute_row in session.execute(_DISPUTES, {AMONG: payment_ids[start : start + AT_ONCE]}):
            record = dispute_of(dispute_row, currency(dispute_row.of_currency))
            disputes.setdefault(record.payment_id, []).append(record)
    return disputes


def unreviewed_of(session: Session, payment_rows: Sequence[Sequence[Any]]) -> dict[int, list[Unreviewed]]:
    """By payment, from PAYMENT_COLUMNS: the updates that are stored and not applied, oldest first (R13)."""
    payments_of_reference: dict[tuple[str, str], list[int]] = {}
    for payment_row in payment_rows:
        for column_index in _IDS:
            if payment_row[column_index]:
                payments_of_reference.setdefault((payment_row[_PROVIDER], payment_row[column_index]), []).append(
                    payment_row[_ID]
                )
    references = list({reference for _, reference in payments_of_reference})
    updates_by_payment: dict[int, dict[int, Unreviewed]] = {}
    for start in range(0, len(references), AT_ONCE):
        for event_row in session.execute(_UNREVIEWED, {AMONG: references[start : start + AT_ONCE]}):
            for payment_id in payments_of_reference.get((event_row.provider, event_row.reference), ()):
                updates_by_payment.setdefault(payment_id, {})[event_row.id] = _unreviewed(event_row)
    return {payment_id: list(updates.values()) for payment_id, updates in updates_by_payment.items()}


def shared_payments(payment_rows: Sequence[Sequence[Any]]) -> list[int]:
    """The first shares, by their ids, of those that pay several invoices; from PAYMENT_COLUMNS."""
    return list({row[_SHARE_OF] for row in payment_rows if row[_SHARE_OF] is not None})


def shares_by_payment(session: Session, first_share_ids: Sequence[int]) -> dict[int, list[Any]]:
    """All shares by their first share: PAYMENT_COLUMNS and the invoice's number, each with the provider's ids."""
    shares: dict[int, list[Any]] = {}
    for start in range(0, len(first_share_ids), AT_ONCE):
        for share_row in session.execute(_SHARES, {AMONG: first_share_ids[start : start + AT_ONCE]}):
            shares.setdefault(share_row[_SHARE_OF], []).append(share_row)
    for first_share_id, share_rows in shares.items():
        first_share_row = next(share_row for share_row in share_rows if share_row[_ID] == first_share_id)
        shares[first_share_id] = [_named_like(first_share_row, share_row) for share_row in share_rows]
    return shares


def named_by_first_share(payment_row: Sequence[Any], shares_by_first: Mapping[int, Sequence[Any]]) -> Sequence[Any]:
    """From PAYMENT_COLUMNS: the row with the provider's ids, which only the first share has."""
    return (
        _named_like(shares_by_first[payment_row[_SHARE_OF]][0], payment_row)
        if payment_row[_SHARE_OF] in shares_by_first
        else payment_row
    )


def _named_like(first_share_row: Sequence[Any], share_row: Sequence[Any]) -> tuple[Any, ...]:
    cells = list(share_row)
    for column_index in _IDS:
        cells[column_index] = first_share_row[column_index]
    return tuple(cells)


def other_shares_of(
    payment_row: Sequence[Any],
    shares_by_first: Mapping[int, Sequence[Any]],
    currency_code: str,
    refunds_by_payment: Mapping[int, Sequence[Refund]],
) -> list[OtherShare]:
    """The shares of the other invoices; `refunds_by_payment` by payment."""
    unit = currency(currency_code)
    return [
        OtherShare(
            payment_id=share_row[_ID],
            invoice_number=share_row[-1],
            allocated=Money(share_row[_ALLOCATED], unit),
            used=Money(sum(share_row[column_index] for column_index in _GIVEN), unit),
            refunds=tuple(refunds_by_payment.get(share_row[_ID], ())),
            opening_returned=Money(share_row[_OPENING_RETURNED], unit),
            opening_at=share_row[_OPENING_AT],
            dispute_recorded=Money(share_row[_RECORDED], unit),
        )
        for share_row in shares_by_first.get(payment_row[_SHARE_OF], ())
        if share_row[_ID] != payment_row[_ID]
    ]


def _unreviewed(event_row: Any) -> Unreviewed:
    is_waiting = event_row.state == EventState.WAITING
    return Unreviewed(
        event_id=event_row.id,
        provider=Provider(event_row.provider),
        word=event_row.kind,
        why=event_row.note or ("not applied yet" if is_waiting else event_row.state),
        is_waiting=is_waiting,
        needs_a_person=event_row.state in (EventState.UNREVIEWED, EventState.NOTED),
        is_from_webhook=event_row.source == EventSource.WEBHOOK,
    )


class SqlPaymentReads:
    """Reads payments and their captures."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def captures(self, payment: Payment) -> "dict[str, Capture]":
        from refundcli.services.ports.records import Capture

        unit = payment.allocated.currency
        capture_rows = self._session.exec(select(CaptureRow).where(CaptureRow.payment_id == payment.home_id))
        return {
            capture_row.reference: Capture(
                CaptureChange(capture_row.state), Money(capture_row.amount, unit), capture_row.reported_at
            )
            for capture_row in capture_rows
        }

    def failed_captures(self) -> "list[FailedCapture]":
        from refundcli.store.queries import totals

        return totals.failed_captures(self._session)

    def known_as(self, provider: Provider, references: Sequence[str]) -> dict[str, tuple[str, int]]:
        payment_of_reference: dict[str, tuple[str, int]] = {}
        for reference in references:
            column = col(getattr(PaymentRow, id_column(provider, reference)))
            query = select(InvoiceRow.number, PaymentRow.id).where(column == reference)
            number_and_id = self._session.exec(
                query.join(PaymentRow, col(PaymentRow.invoice_id) == col(InvoiceRow.id))
            ).first()
            if number_and_id:
                payment_of_reference[reference] = (number_and_id[0], number_and_id[1] or 0)
        return payment_of_reference

    def lines(self, provider: Provider, references: Sequence[str]) -> "dict[str, PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines(self._session, provider, references)

    def count(self, provider: Provider) -> int:
        from refundcli.store.queries import summaries

        return summaries.payment_count(self._session, provider)

    def lines_after(self, provider: Provider, after: int, *, limit: int) -> "list[PaymentLine]":
        from refundcli.store.queries import summaries

        return summaries.payment_lines_after(self._session, provider, after, limit)
