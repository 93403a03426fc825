"""Lists of bulk runs, newest first, with the sums of their refunds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from refundcli.domain.bulk_run import BulkRun, ItemState
from refundcli.domain.currencies import currency
from refundcli.domain.money import Money
from refundcli.store.databases.rows import Row, Rows
from refundcli.store.queries.runs import NEWEST_FIRST, RUNS, run_of

if TYPE_CHECKING:
    from refundcli.services.ports.reads import RunFilter, RunSums

_IS_AFTER = "(created_at, id) < (SELECT created_at, id FROM bulk_run WHERE id = :after)"
_LISTED = "SELECT key FROM json_each(:runs)"
_SUMS = ", ".join(
    (
        "currency, count(*)",
        *(
            f"sum(CASE WHEN state IN ({states}) THEN amount ELSE 0 END)"
            for states in (
                "'succeeded', 'recorded'",
                "'pending'",
                "'ready', 'submitted', 'awaiting-approval'",
                "'failed', 'reversed'",
            )
        ),
    )
)
_SUMS_BY_RUN = f"""
    SELECT run_id, {_SUMS} FROM refund WHERE run_id IN ({_LISTED}) GROUP BY run_id, currency ORDER BY run_id, currency
"""


class SqlRunSearch:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def matching(self, filters: "RunFilter") -> list[BulkRun]:
        conditions, parameters = _matching(filters)
        after = f" AND {_IS_AFTER}" if filters.after else ""
        text = f"{RUNS} WHERE {conditions}{after} {NEWEST_FIRST} LIMIT :limit"
        return [run_of(row) for row in self._rows.all(text, **parameters, limit=filters.limit)]

    def with_plan(self, seal: str) -> BulkRun | None:
        text = f"{RUNS} WHERE plan_hash = :seal {NEWEST_FIRST} LIMIT 1"
        return next((run_of(row) for row in self._rows.all(text, seal=seal)), None)

    def older_count(self, filters: "RunFilter") -> int:
        conditions, parameters = _matching(filters)
        return int(self._rows.value(f"SELECT count(*) FROM bulk_run WHERE {conditions} AND {_IS_AFTER}", **parameters))

    def sums(self, filters: "RunFilter") -> "list[RunSums]":
        conditions, parameters = _matching(filters)
        text = f"""SELECT '', {_SUMS} FROM refund
            WHERE run_id IN (SELECT id FROM bulk_run WHERE {conditions}) GROUP BY currency ORDER BY currency"""
        return [_sums_of(row) for row in self._rows.all(text, **parameters)]

    def sums_by_run(self, run_ids: Sequence[str]) -> "dict[str, list[RunSums]]":
        sums_by_run: dict[str, list[RunSums]] = {}
        for row in self._rows.all(_SUMS_BY_RUN, runs=run_ids):
            sums_by_run.setdefault(row[0], []).append(_sums_of(row))
        return sums_by_run

    def item_counts_by_run(self, run_ids: Sequence[str]) -> dict[str, dict[ItemState, int]]:
        text = f"SELECT run_id, state, count(*) FROM bulk_item WHERE run_id IN ({_LISTED}) GROUP BY run_id, state"
        counts_by_run: dict[str, dict[ItemState, int]] = {}
        for run_id, state, count in self._rows.all(text, runs=run_ids):
            counts_by_run.setdefault(run_id, {})[ItemState(state)] = count
        return counts_by_run

    def refused_codes(self, run_id: str) -> dict[str, int]:
        text = """SELECT code, count(*) FROM bulk_item WHERE run_id = :run AND state = 'refused'
            GROUP BY code ORDER BY count(*) DESC, code"""
        return {code: count for code, count in self._rows.all(text, run=run_id)}  # noqa: C416 - rows are no tuples


def _matching(filters: "RunFilter") -> tuple[str, dict[str, Any]]:
    """Conditions and their parameters; no filter's text is part of the SQL."""
    conditions = ["created_at >= :since", "created_at < :until"]
    parameters: dict[str, Any] = {"since": filters.since, "until": filters.until, "after": filters.after}
    for column, value in {"state": filters.state, "kind": filters.kind, "operator": filters.operator}.items():
        if value:
            conditions.append(f"{column} = :{column}")
            parameters[column] = value
    return " AND ".join(conditions), parameters


def _sums_of(row: Row) -> "RunSums":
    from refundcli.services.ports.reads import RunSums

    _, code, refunds, *sums = row
    return RunSums(int(refunds), *(Money(int(amount), currency(code)) for amount in sums))
