"""Write bulk runs and their rows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sql
from sqlalchemy import ColumnElement, bindparam, insert, or_, select, update

from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunState
from refundcli.store.queries.runs import ITEM_NAMES, SqlRunReads, item_of
from refundcli.store.repositories.writes import Writes
from refundcli.store.tables import BULK_ITEM, BULK_RUN
from refundcli.system.processes import is_gone


class SqlRuns(Writes, SqlRunReads):
    """Bulk runs in a transaction that changes the books."""

    def begin(self, run: BulkRun) -> None:
        columns = {field: getattr(run, field) for field in BulkRun.__dataclass_fields__}
        self._connection.execute(insert(BULK_RUN), columns | {"updated_at": run.created_at})
        facts = {"kind": run.kind, "source": run.source, "rows": run.rows, "fingerprint": run.fingerprint}
        facts |= {"planned_by": run.planned_by, "plan_hash": run.plan_hash}
        self._audit.write("run begun", run.id, {}, {field: fact for field, fact in facts.items() if fact})

    def change(self, run_id: str, state: RunState, *, note: str = "") -> None:
        run = self.get(run_id)
        assert run
        statement = update(BULK_RUN).where(BULK_RUN.c.id == run_id, BULK_RUN.c.state != state)
        if self._hits(statement.values(state=state, updated_at=self._audit.at)):
            facts_after = {"state": state} | ({"note": note} if note else {})
            self._audit.write(f"run {state}", run_id, {"state": run.state}, facts_after)

    def stage_items(self, items: Sequence[RunItem]) -> None:
        if items:
            self._connection.execute(
                insert(BULK_ITEM), [{column: getattr(item, column) for column in ITEM_NAMES} for item in items]
            )

    def lease_items(self, run_id: str, *, worker: str, until: datetime, at: datetime, limit: int) -> list[RunItem]:
        """`until`: when the leases lapse; `at`: the time now."""
        self._audit.check_clock()
        leased_items = self._abandoned(run_id, worker, at, limit)
        if len(leased_items) < limit:
            leased_items += self._free(run_id, limit - len(leased_items), BULK_ITEM.c.state == ItemState.WAITING)
        if leased_items:
            statement = update(BULK_ITEM).where(
                BULK_ITEM.c.run_id == run_id, BULK_ITEM.c.n.in_([item.n for item in leased_items])
            )
            self._connection.execute(statement.values(state=ItemState.LEASED, worker=worker, lease_until=until))
        return [replace(item, state=ItemState.LEASED, worker=worker, lease_until=until) for item in leased_items]

    def _abandoned(self, run_id: str, worker: str, at: datetime, limit: int) -> list[RunItem]:
        """Rows leased by other workers that are gone or whose lease lapsed; never this worker's own rows."""
        conditions = (BULK_ITEM.c.state == ItemState.LEASED, BULK_ITEM.c.worker != worker)
        run_condition = BULK_ITEM.c.run_id == run_id
        workers_query = select(BULK_ITEM.c.worker).where(run_condition, *conditions).distinct()
        other_workers = self._connection.execute(workers_query).scalars().all()
        gone_workers = [worker for worker in other_workers if is_gone(worker)]
        is_abandoned = or_(BULK_ITEM.c.worker.in_(gone_workers), BULK_ITEM.c.lease_until <= at)
        return self._free(run_id, limit, *conditions, is_abandoned) if other_workers else []

    def _free(self, run_id: str, limit: int, *conditions: ColumnElement[bool]) -> list[RunItem]:
        query = (
            sql.select(*(BULK_ITEM.c[column] for column in ITEM_NAMES))
            .where(BULK_ITEM.c.run_id == run_id, *conditions)
            .order_by(BULK_ITEM.c.n)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [item_of(row) for row in self._connection.execute(query)]

    def extend_leases(self, run_id: str, *, worker: str, until: datetime) -> None:
        """Let the leases of this worker lapse only at `until`."""
        conditions = (BULK_ITEM.c.run_id == run_id, BULK_ITEM.c.state == ItemState.LEASED)
        statement = update(BULK_ITEM).where(*conditions, BULK_ITEM.c.worker == worker).values(lease_until=until)
        self._connection.execute(statement)

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
            self._connection.execute(_FINISH, parameters)
        return leased_numbers

    def _still_leased(self, items: Sequence[RunItem]) -> set[int]:
        """Only one transaction writes at a time, so the answer holds until this one ends."""
        if not items:
            return set()
        conditions = (BULK_ITEM.c.run_id == items[0].run_id, BULK_ITEM.c.worker == items[0].worker)
        query = select(BULK_ITEM.c.n).where(*conditions, BULK_ITEM.c.state == ItemState.LEASED)
        return set(self._connection.execute(query).scalars()).intersection(item.n for item in items)

    def requeue_unknown(self, run_id: str) -> int:
        statement = update(BULK_ITEM).where(BULK_ITEM.c.run_id == run_id, BULK_ITEM.c.state == ItemState.UNKNOWN)
        cursor = self._connection.execute(statement.values(state=ItemState.WAITING, code="", message="", hint=""))
        return cursor.rowcount


_OF_ROW = (BULK_ITEM.c.run_id == bindparam("of_run"), BULK_ITEM.c.n == bindparam("of_n"))


_FINISH = (
    update(BULK_ITEM)
    .where(*_OF_ROW, BULK_ITEM.c.state == ItemState.LEASED, BULK_ITEM.c.worker == bindparam("of_worker"))
    .values(
        state=bindparam("new_state"),
        code=bindparam("new_code"),
        message=bindparam("new_message"),
        hint=bindparam("new_hint"),
        worker="",
        lease_until=None,
    )
)
