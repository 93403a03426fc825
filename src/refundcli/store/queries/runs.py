"""Read bulk runs and their rows."""

from collections.abc import Sequence
from datetime import datetime

from refundcli.domain.bulk_run import BulkRun, ItemState, RowLease, RunItem, RunKind, RunState
from refundcli.domain.reasons import RefundReason
from refundcli.domain.refund import Refund
from refundcli.store.databases.rows import Reads, Row, moment, moment_or_none
from refundcli.store.queries.refunds import refunds_where

_RUN = (
    "id", "kind", "state", "source", "fingerprint", "rows", "operator", "created_at", "planned_by", "plan_hash",
    "options",
)  # fmt: skip
ITEM_NAMES = tuple(RunItem.__dataclass_fields__)
ITEM_COLUMNS = ", ".join(ITEM_NAMES)
RUNS = f"""SELECT {", ".join(f'"{name}"' for name in _RUN)} FROM bulk_run"""
NEWEST_FIRST = "ORDER BY created_at DESC, id DESC"
_ITEMS = f"SELECT {ITEM_COLUMNS} FROM bulk_item WHERE run_id = :run AND"
_ROW_LEASES = """
    SELECT worker, count(*), max(lease_until) FROM bulk_item WHERE run_id = :run AND state = :leased
    GROUP BY worker ORDER BY max(lease_until), worker
"""


class SqlRunReads(Reads):
    """Reads bulk runs and their rows."""

    def get(self, run_id: str) -> BulkRun | None:
        return next(iter(self._runs("WHERE id = :id", id=run_id)), None)

    def newest(self, *, limit: int) -> list[BulkRun]:
        return self._runs(f"{NEWEST_FIRST} LIMIT :limit", limit=limit)

    def unfinished(self) -> list[BulkRun]:
        return self._runs(f"WHERE state <> 'finished' {NEWEST_FIRST}")

    def unfinished_of(self, fingerprint: str) -> BulkRun | None:
        condition = "WHERE fingerprint = :fingerprint AND state <> 'finished'"
        return next(iter(self._runs(condition, fingerprint=fingerprint)), None)

    def row_leases(self, run_id: str) -> list[RowLease]:
        rows = self._rows.all(_ROW_LEASES, run=run_id, leased=ItemState.LEASED)
        return [RowLease(worker, count, moment_or_none(until)) for worker, count, until in rows]

    def item_count_with_code(self, run_id: str, code: str) -> int:
        text = "SELECT count(*) FROM bulk_item WHERE run_id = :run AND state = 'refused' AND code = :code"
        return int(self._rows.value(text, run=run_id, code=code))

    def item_counts(self, run_id: str) -> dict[ItemState, int]:
        text = "SELECT state, count(*) FROM bulk_item WHERE run_id = :run GROUP BY state"
        return {ItemState(state): count for state, count in self._rows.all(text, run=run_id)}

    def items(self, run_id: str, *states: ItemState, after: int, limit: int) -> list[RunItem]:
        """`after`: the `n` of the last row that was read."""
        text = f"{_ITEMS} state IN (SELECT key FROM json_each(:states)) AND n > :after ORDER BY n LIMIT :limit"
        return [item_of(row) for row in self._rows.all(text, run=run_id, states=states, after=after, limit=limit)]

    def items_on_lines(self, run_id: str, lines: Sequence[int]) -> dict[int, RunItem]:
        text = f"{_ITEMS} line IN (SELECT CAST(key AS BIGINT) FROM json_each(:lines))"
        items = [item_of(row) for row in self._rows.all(text, run=run_id, lines=lines)]
        return {item.line: item for item in items}

    def refunds(self, run_id: str, *, after: str, limit: int) -> list[Refund]:
        """`after`: the id of the last refund that was read."""
        condition = "refund.id IN (SELECT id FROM refund WHERE run_id = :run AND id > :after ORDER BY id LIMIT :limit)"
        refunds = refunds_where(self._rows, condition, run=run_id, after=after, limit=limit)
        return sorted(refunds, key=lambda refund: refund.id)

    def newest_refund(self, run_id: str) -> datetime | None:
        return moment_or_none(self._rows.value("SELECT max(created_at) FROM refund WHERE run_id = :run", run=run_id))

    def _runs(self, condition: str, **parameters: object) -> list[BulkRun]:
        return [run_of(row) for row in self._rows.all(f"{RUNS} {condition}", **parameters)]


def run_of(row: Row) -> BulkRun:
    cells = dict(zip(_RUN, row, strict=True))
    return BulkRun(
        **cells
        | {"kind": RunKind(cells["kind"]), "state": RunState(cells["state"]), "created_at": moment(cells["created_at"])}
    )


def item_of(row: Row) -> RunItem:
    """From ITEM_COLUMNS."""
    cells = dict(zip(ITEM_NAMES, row, strict=True))
    state, lease_until = ItemState(cells["state"]), moment_or_none(cells["lease_until"])
    return RunItem(**cells | {"reason": RefundReason(cells["reason"]), "state": state, "lease_until": lease_until})
