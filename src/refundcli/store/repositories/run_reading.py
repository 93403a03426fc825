"""Read bulk runs and their rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, select

from refundcli.domain.bulk_run import BulkRun, ItemState, RowLease, RunItem, RunKind, RunState
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.store.repositories.refund_reading import refunds_where
from refundcli.store.schema import BulkItemRow, BulkRunRow, RefundRow
from refundcli.store.value_lists import among

_REFUND = SQLModel.metadata.tables["refund"]

_NEWEST = (col(BulkRunRow.created_at).desc(), col(BulkRunRow.id).desc())


class SqlRunReads:
    """Reads bulk runs and their rows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, run_id: str) -> BulkRun | None:
        row = self._session.get(BulkRunRow, run_id, populate_existing=True)
        return run_of(row) if row else None

    def newest(self, *, limit: int) -> list[BulkRun]:
        return [run_of(row) for row in self._session.exec(select(BulkRunRow).order_by(*_NEWEST).limit(limit))]

    def unfinished(self) -> list[BulkRun]:
        query = select(BulkRunRow).where(BulkRunRow.state != RunState.FINISHED).order_by(*_NEWEST)
        return [run_of(row) for row in self._session.exec(query)]

    def row_leases(self, run_id: str) -> list[RowLease]:
        worker_column, last_lease_end = col(BulkItemRow.worker), func.max(BulkItemRow.lease_until)
        query = select(worker_column, func.count(), last_lease_end).where(
            BulkItemRow.run_id == run_id, BulkItemRow.state == ItemState.LEASED
        )
        return [
            RowLease(*row)
            for row in self._session.exec(query.group_by(worker_column).order_by(last_lease_end, worker_column))
        ]

    def unfinished_of(self, fingerprint: str) -> BulkRun | None:
        conditions = (BulkRunRow.fingerprint == fingerprint, BulkRunRow.state != RunState.FINISHED)
        row = self._session.exec(select(BulkRunRow).where(*conditions)).first()
        return run_of(row) if row else None

    def item_count_with_code(self, run_id: str, code: str) -> int:
        query = select(func.count()).where(
            BulkItemRow.run_id == run_id, BulkItemRow.state == ItemState.REFUSED, BulkItemRow.code == code
        )
        return self._session.exec(query).one()

    def item_counts(self, run_id: str) -> dict[ItemState, int]:
        query = select(BulkItemRow.state, func.count()).where(BulkItemRow.run_id == run_id)
        return {ItemState(state): count for state, count in self._session.exec(query.group_by(col(BulkItemRow.state)))}

    def items(self, run_id: str, *states: ItemState, after: int, limit: int) -> list[RunItem]:
        """`after`: the `n` of the last row that was read."""
        query = (
            select(BulkItemRow)
            .where(BulkItemRow.run_id == run_id, col(BulkItemRow.state).in_(states), BulkItemRow.n > after)
            .order_by(col(BulkItemRow.n))
            .limit(limit)
        )
        return [item_of(row) for row in self._session.exec(query)]

    def items_on_lines(self, run_id: str, lines: Sequence[int]) -> dict[int, RunItem]:
        query = select(BulkItemRow).where(BulkItemRow.run_id == run_id, col(BulkItemRow.line).in_(lines))
        return {row.line: item_of(row) for row in self._session.exec(query)}

    def refunds(self, run_id: str, *, after: str, limit: int) -> list[Refund]:
        """`after`: the id of the last refund that was read."""
        query = select(RefundRow.id).where(RefundRow.run_id == run_id, RefundRow.id > after)
        refund_ids = list(self._session.exec(query.order_by(col(RefundRow.id)).limit(limit)))
        return sorted(refunds_where(self._session, among(_REFUND.c.id), refund_ids), key=lambda refund: refund.id)

    def newest_refund(self, run_id: str) -> datetime | None:
        newest: datetime | None = self._session.exec(
            select(func.max(RefundRow.created_at)).where(RefundRow.run_id == run_id)
        ).one()
        return newest


def run_of(row: BulkRunRow) -> BulkRun:
    return BulkRun(
        id=row.id,
        kind=RunKind(row.kind),
        state=RunState(row.state),
        source=row.source,
        fingerprint=row.fingerprint,
        rows=row.rows,
        operator=row.operator,
        created_at=row.created_at,
        planned_by=row.planned_by,
        plan_hash=row.plan_hash,
        options=row.options,
    )


def item_of(row: BulkItemRow) -> RunItem:
    columns = {column: getattr(row, column) for column in RunItem.__dataclass_fields__}
    return RunItem(**columns | {"reason": RefundReason(row.reason), "state": ItemState(row.state)})


def item_values(item: RunItem) -> dict[str, Any]:
    return {column: getattr(item, column) for column in RunItem.__dataclass_fields__}
