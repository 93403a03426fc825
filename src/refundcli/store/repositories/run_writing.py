"""Write bulk runs and their rows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, CursorResult, bindparam, insert, or_, update
from sqlmodel import col, select

from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunState
from refundcli.store.queries.runs import ITEM_NAMES, SqlRunReads, item_of
from refundcli.store.repositories.writes import Writes
from refundcli.store.schema import BulkItemRow, BulkRunRow
from refundcli.system.processes import is_gone

# The session holds no rows after they are read, so these statements need not update it.
_PLAINLY = {"synchronize_session": False}


class SqlRuns(Writes, SqlRunReads):
    """Bulk runs in a transaction that changes the books."""

    def begin(self, run: BulkRun) -> None:
        columns = {field: getattr(run, field) for field in BulkRun.__dataclass_fields__}
        self._session.execute(insert(BulkRunRow).values(**columns, updated_at=run.created_at))
        facts = {"kind": run.kind, "source": run.source, "rows": run.rows, "fingerprint": run.fingerprint}
        facts |= {"planned_by": run.planned_by, "plan_hash": run.plan_hash}
        self._audit.write("run begun", run.id, {}, {field: fact for field, fact in facts.items() if fact})

    def change(self, run_id: str, state: RunState, *, note: str = "") -> None:
        run = self.get(run_id)
        assert run
        statement = update(BulkRunRow).where(col(BulkRunRow.id) == run_id, col(BulkRunRow.state) != state)
        if self._hits(statement.values(state=state, updated_at=self._audit.at)):
            facts_after = {"state": state} | ({"note": note} if note else {})
            self._audit.write(f"run {state}", run_id, {"state": run.state}, facts_after)

    def stage_items(self, items: Sequence[RunItem]) -> None:
        if items:
            self._session.execute(
                insert(BulkItemRow), [{column: getattr(item, column) for column in ITEM_NAMES} for item in items]
            )

    def lease_items(self, run_id: str, *, worker: str, until: datetime, at: datetime, limit: int) -> list[RunItem]:
        """`until`: when the leases lapse; `at`: the time now."""
        self._audit.check_clock()
        leased_items = self._abandoned(run_id, worker, at, limit)
        if len(leased_items) < limit:
            leased_items += self._free(run_id, limit - len(leased_items), col(BulkItemRow.state) == ItemState.WAITING)
        if leased_items:
            statement = update(BulkItemRow).where(
                col(BulkItemRow.run_id) == run_id, col(BulkItemRow.n).in_([item.n for item in leased_items])
            )
            self._session.execute(
                statement.values(state=ItemState.LEASED, worker=worker, lease_until=until), execution_options=_PLAINLY
            )
        return [replace(item, state=ItemState.LEASED, worker=worker, lease_until=until) for item in leased_items]

    def _abandoned(self, run_id: str, worker: str, at: datetime, limit: int) -> list[RunItem]:
        """Rows leased by other workers that are gone or whose lease lapsed; never this worker's own rows."""
        conditions = (col(BulkItemRow.state) == ItemState.LEASED, col(BulkItemRow.worker) != worker)
        run_condition = col(BulkItemRow.run_id) == run_id
        other_workers = self._session.exec(
            select(BulkItemRow.worker).where(run_condition, *conditions).distinct()
        ).all()
        gone_workers = [worker for worker in other_workers if is_gone(worker)]
        is_abandoned = or_(col(BulkItemRow.worker).in_(gone_workers), col(BulkItemRow.lease_until) <= at)
        return self._free(run_id, limit, *conditions, is_abandoned) if other_workers else []

    def _free(self, run_id: str, limit: int, *conditions: ColumnElement[bool]) -> list[RunItem]:
        query = (
            sql.select(*(_ITEM.c[column] for column in ITEM_NAMES))
            .where(col(BulkItemRow.run_id) == run_id, *conditions)
            .order_by(col(BulkItemRow.n))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [item_of(row) for row in self._session.execute(query)]

    def extend_leases(self, run_id: str, *, worker: str, until: datetime) -> None:
        """Let the leases of this worker lapse only at `until`."""
        conditions = (col(BulkItemRow.run_id) == run_id, col(BulkItemRow.state) == ItemState.LEASED)
        statement = update(BulkItemRow).where(*conditions, col(BulkItemRow.worker) == worker).values(lease_until=until)
        self._session.execute(statement, execution_options=_PLAINLY)

    def finish_items(self, items: Sequence[RunItem]) -> set[int]:
        leased_numbers = self._still_leased(items)
        parameters = [
            {
                "of_run": item.run_id,
                "of_n": item.n,
                "of_worker": item.worker,
                "new_state": item.state,
                "new_code": item.code,
                "new_message": item.message,
                "new_hint": item.hint,
            }
            for item in items
            if item.n in leased_numbers
        ]
        if parameters:
            self._session.connection().execute(_FINISH, parameters)
            self._session.expire_all()
        return leased_numbers

    def _still_leased(self, items: Sequence[RunItem]) -> set[int]:
        """Only one transaction writes at a time, so the answer holds until this one ends."""
        if not items:
            return set()
        conditions = (BulkItemRow.run_id == items[0].run_id, BulkItemRow.worker == items[0].worker)
        query = select(BulkItemRow.n).where(*conditions, BulkItemRow.state == ItemState.LEASED)
        return set(self._session.exec(query)).intersection(item.n for item in items)

    def requeue_unknown(self, run_id: str) -> int:
        statement = update(BulkItemRow).where(
            col(BulkItemRow.run_id) == run_id, col(BulkItemRow.state) == ItemState.UNKNOWN
        )
        cursor = self._session.execute(
            statement.values(state=ItemState.WAITING, code="", message="", hint=""), execution_options=_PLAINLY
        )
        assert isinstance(cursor, CursorResult)
        return cursor.rowcount


_ITEM: Any = BulkItemRow.__table__  # type: ignore[attr-defined]


_OF_ROW = (_ITEM.c.run_id == bindparam("of_run"), _ITEM.c.n == bindparam("of_n"))


_FINISH = (
    update(_ITEM)
    .where(*_OF_ROW, _ITEM.c.state == ItemState.LEASED, _ITEM.c.worker == bindparam("of_worker"))
    .values(
        state=bindparam("new_state"),
        code=bindparam("new_code"),
        message=bindparam("new_message"),
        hint=bindparam("new_hint"),
        worker="",
        lease_until=None,
    )
)
