"""Bulk runs and their rows, written."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import and_, bindparam, insert, or_, update
from sqlmodel import col, select

from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunState
from refundcli.services.ports import Record
from refundcli.store.provider_writing import SqlProviderWriting
from refundcli.store.recording import Recording
from refundcli.store.rows import item_of, item_values
from refundcli.store.tables import BulkItemRow, BulkRunRow


class SqlRunWriting(SqlProviderWriting):
    """One transaction that also keeps bulk runs, and records in sets."""

    def record(self, records: Sequence[Record], *, on: date, number_format: str) -> None:
        Recording(self._session, self._audit).record(records, on=on, number_format=number_format)

    def take_back_records(self, records: Sequence[Record], *, memo: str) -> None:
        Recording(self._session, self._audit).take_back(records, memo=memo)
        self._session.expire_all()

    def begin_run(self, run: BulkRun) -> None:
        values = {name: getattr(run, name) for name in BulkRun.__dataclass_fields__}
        self._session.execute(insert(BulkRunRow).values(**values, updated_at=run.created_at))
        facts = {"kind": run.kind, "source": run.source, "rows": run.rows, "fingerprint": run.fingerprint}
        facts |= {"planned_by": run.planned_by, "plan_hash": run.plan_hash}
        self._audit.write("run begun", run.id, {}, {name: fact for name, fact in facts.items() if fact})

    def change_run(self, run_id: str, state: RunState, *, note: str = "") -> None:
        known = self.run(run_id)
        assert known
        changed = update(BulkRunRow).where(col(BulkRunRow.id) == run_id, col(BulkRunRow.state) != state)
        if self._hits(changed.values(state=state, updated_at=self._audit.at)):
            after = {"state": state} | ({"note": note} if note else {})
            self._audit.write(f"run {state}", run_id, {"state": known.state}, after)

    def stage_items(self, items: Sequence[RunItem]) -> None:
        if items:
            self._session.execute(insert(BulkItemRow), [item_values(item) for item in items])

    def take_items(self, run_id: str, *, worker: str, until: datetime, at: datetime, limit: int) -> list[RunItem]:
        left_behind = and_(col(BulkItemRow.state) == ItemState.TAKEN, col(BulkItemRow.lease_until) <= at)
        free = or_(col(BulkItemRow.state) == ItemState.WAITING, left_behind)
        query = (
            select(BulkItemRow)
            .where(col(BulkItemRow.run_id) == run_id, free)
            .order_by(col(BulkItemRow.n))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = [item_of(row) for row in self._session.exec(query)]
        if found:
            taken = update(BulkItemRow).where(
                col(BulkItemRow.run_id) == run_id, col(BulkItemRow.n).in_([item.n for item in found])
            )
            self._session.execute(taken.values(state=ItemState.TAKEN, worker=worker, lease_until=until))
            self._session.expire_all()
        return found

    def finish_items(self, items: Sequence[RunItem]) -> None:
        statement = (
            update(BulkItemRow.__table__)  # type: ignore[attr-defined]
            .where(col(BulkItemRow.run_id) == bindparam("of_run"), col(BulkItemRow.n) == bindparam("of_n"))
            .values(
                state=bindparam("now"), code=bindparam("why"), message=bindparam("told"), hint=bindparam("next"),
                worker="", lease_until=None,
            )
        )  # fmt: skip
        rows = [
            {"of_run": i.run_id, "of_n": i.n, "now": i.state, "why": i.code, "told": i.message, "next": i.hint}
            for i in items
        ]
        if rows:
            self._session.execute(statement, rows)
            self._session.expire_all()
