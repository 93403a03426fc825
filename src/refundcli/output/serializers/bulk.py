"""Bulk files and runs."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from refundcli.domain.bulk_run import BulkRun, ItemState, RunKind, RunState
from refundcli.domain.money import Money
from refundcli.output.serializers.invoices import money
from refundcli.services.bulk.runs import resume_command
from refundcli.services.dispatch.outcome_errors import PARTLY_REFUNDED

if TYPE_CHECKING:
    from refundcli.services.bulk.check_report import BulkReport
    from refundcli.services.bulk.report import RowCounts, RunReport
    from refundcli.services.bulk.undo_records import Undone
    from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun
    from refundcli.services.ports.bad_rows import BadRow, Problem


def checked_file(
    name: str, kind: RunKind, report: "BulkReport", *, dry_run: bool, run: str | None, rejected_file: str | None
) -> dict[str, Any]:
    """A file that was checked, and a file of records that was done."""
    by_verb: dict[str, Any] = {"recorded": report.requested}
    if kind is RunKind.REFUND:
        partly = [row_problem(problem) for row in report.partly for problem in row.problems]
        by_verb = {
            "refunded": report.requested,
            "partly_refunded": report.partly_count,
            "partly_refunded_rows": partly,
        }
    return (
        {
            "dry_run": dry_run,
            "file": name,
            "run": run,
            "rows": report.rows,
            "done_before": report.done_before,
            "totals": [
                provider_total(report.rows_of[group], group[1], total) for group, total in sorted(report.sums.items())
            ],
        }
        | by_verb
        | refused_rows(report.codes, report.refused, rejected_file)
    )


def recorded_file(
    name: str,
    report: "BulkReport",
    *,
    run: str | None,
    rejected_file: str | None,
    waiting: int | None,
    next_step: str | None,
) -> dict[str, Any]:
    """`waiting` is null where the outcome of the last rows is unknown."""
    shape = checked_file(name, RunKind.MARK_REFUNDED, report, dry_run=False, run=run, rejected_file=rejected_file)
    return shape | {"waiting": waiting, "next": next_step}


def provider_total(rows: int, provider: str, total: Money) -> dict[str, Any]:
    return {"rows": rows, "provider": provider or None, "amount": money(total)}


def run_report(
    name: str,
    run: BulkRun,
    report: "RunReport",
    counts: "RowCounts",
    *,
    codes: Counter[str],
    first: "Sequence[BadRow]",
    path: str | None,
) -> dict[str, Any]:
    """A run through providers. A count that is null is unknown: the store could not be read any more.

    `codes` and `first` are the refused and partly refunded rows of the file, and `path` where they are.
    """
    partly = [row for row in first if row.problems[0].code == PARTLY_REFUNDED]
    refused = [row for row in first if row.problems[0].code != PARTLY_REFUNDED]
    codes = codes - Counter({PARTLY_REFUNDED: codes[PARTLY_REFUNDED]})
    shape = {
        "dry_run": False,
        "file": name,
        "run": run.id,
        "state": report.state,
        "rows": counts.rows,
        "refunded": counts.refunded,
        "accepted": counts.accepted,
        "done_before": counts.done_before,
        "partly_refunded": counts.partly,
        "partly_refunded_rows": [row_problem(problem) for row in partly for problem in row.problems],
        "unknown": counts.unknown,
        "waiting": counts.waiting,
        "leased_by_others": counts.held_by_others,
        "not_in_run": counts.left_out,
        "leased_by": [lease(holder) for holder in report.holders],
        "stopped": report.stopped,
        "next": None if report.state is RunState.FINISHED else resume_command(run),
        "totals": [run_total(total) for _, total in sorted(report.totals.items())],
        "accepted_totals": [run_total(total) for _, total in sorted(report.accepted_totals.items())],
        "not_written": [unwritten.context for unwritten in report.not_written],
    }
    return shape | refused_rows(codes, refused, path) | {"refused_count": counts.refused}


def run_total(total: Money) -> dict[str, Any]:
    return {"amount": money(total)}


def refused_rows(codes: Counter[str], first: "Sequence[BadRow]", path: str | None) -> dict[str, Any]:
    return {
        "refused_count": codes.total(),
        "refused_by_code": dict(codes),
        "refused": [row_problem(problem) for row in first for problem in row.problems],
        "rejected_file": path,
    }


def row_problem(problem: "Problem") -> dict[str, Any]:
    return {
        "line": problem.line,
        "column": problem.column or None,
        "value": problem.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint or None,
    }


def resumed_dry_run(of: "UnfinishedRun") -> dict[str, Any]:
    return unfinished_run(of) | {"dry_run": True}


def unfinished_run(of: "UnfinishedRun") -> dict[str, Any]:
    return {
        "id": of.run.id,
        "kind": of.run.kind,
        "state": of.run.state,
        "file": of.run.source,
        "operator": of.run.operator,
        "created_at": of.run.created_at,
        "rows": of.rows,
        "counts": run_counts(of),
        "leased": of.has_live_worker,
        "leased_by": [lease(holder) for holder in of.holders],
        "last_record_at": of.last_record_at,
        "command": of.command,
    }


def run_counts(of: "UnfinishedRun") -> dict[str, int | None]:
    """Rows by state. Null for a run of records: the store does not have its rows."""
    is_known = of.run.kind is RunKind.REFUND
    return {
        "waiting": of.counts.get(ItemState.WAITING, 0) if is_known else None,
        "leased": of.counts.get(ItemState.LEASED, 0) if is_known else None,
        "done": of.counts.get(ItemState.DONE, 0) if is_known else None,
        "refused": of.refused if is_known else None,
        "partly_refunded": of.partly if is_known else None,
        "unknown": of.counts.get(ItemState.UNKNOWN, 0) if is_known else None,
    }


def lease(holder: "RunHolder") -> dict[str, Any]:
    return {"process": holder.label, "rows": holder.rows, "lease_until": holder.until, "live": holder.is_live}


def undo(what: str, undone: "Undone", *, dry_run: bool) -> dict[str, Any]:
    """An undo, or what it would undo."""
    return {
        "dry_run": dry_run,
        "undone": what,
        "records": undone.records,
        "totals": [undone_total(undone.rows_of[code], total) for code, total in sorted(undone.sums.items())],
        "not_undone": undone.unchanged,
    }


def undone_total(rows: int, total: Money) -> dict[str, Any]:
    return {"rows": rows, "amount": money(total)}
