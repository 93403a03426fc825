"""Bulk files and runs."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from refundcli.domain.bulk_run import PARTLY_REFUNDED, ItemState, RunKind, RunState
from refundcli.domain.money import Money
from refundcli.domain.statuses import InvoiceStatus
from refundcli.output.serializers.invoices import money
from refundcli.services.bulk.runs import resume_command

if TYPE_CHECKING:
    from pathlib import Path

    from refundcli.services.bulk.check_report import BulkReport, RecordedFile
    from refundcli.services.bulk.report import RefundedFile
    from refundcli.services.bulk.undo_records import Undone
    from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun
    from refundcli.services.closings.close_file import ClosingsReport
    from refundcli.services.ports.bad_rows import BadRow, Problem
    from refundcli.services.refunds.propose_records import UnreadTransfer


def checked_file(
    file_name: str,
    kind: RunKind,
    report: "BulkReport",
    *,
    dry_run: bool,
    run_id: str | None,
    rejected_path: "Path | None",
) -> dict[str, Any]:
    """A file that was checked, and a file of records that was done."""
    verb_fields: dict[str, Any] = {"recorded": report.requested}
    if kind is RunKind.REFUND:
        partly_refunded = [row_problem(problem) for row in report.partly for problem in row.problems]
        verb_fields = {
            "refunded": report.requested,
            "partly_refunded": report.partly_count,
            "partly_refunded_rows": partly_refunded,
        }
    return (
        {
            "dry_run": dry_run,
            "file": file_name,
            "run": run_id,
            "rows": report.rows,
            "done_before": report.done_before,
            "totals": [
                provider_total(report.rows_of[currency_and_provider], currency_and_provider[1], total)
                for currency_and_provider, total in sorted(report.sums.items())
            ],
        }
        | verb_fields
        | refused_rows(report.codes, report.refused, rejected_path)
    )


def recorded_file(recorded: "RecordedFile") -> dict[str, Any]:
    """`waiting` is null where the outcome of the last rows is unknown; `next` resumes it, if rows are left."""
    shape = checked_file(
        recorded.file_name,
        RunKind.MARK_REFUNDED,
        recorded.report,
        dry_run=False,
        run_id=recorded.run.id if recorded.run else None,
        rejected_path=recorded.rejected_path,
    )
    next_command = resume_command(recorded.run) if recorded.run and recorded.rows_left != 0 else None
    return shape | {"waiting": recorded.rows_left, "next": next_command}


def provider_total(rows: int, provider: str, total: Money) -> dict[str, Any]:
    return {"rows": rows, "provider": provider or None, "amount": money(total)}


def run_report(outcome: "RefundedFile") -> dict[str, Any]:
    """A run through providers. A count that is null is unknown: the store could not be read any more."""
    run, report, counts = outcome.run, outcome.report, outcome.counts
    partly_refunded = [row for row in outcome.bad_rows if row.problems[0].code == PARTLY_REFUNDED]
    fully_refused = [row for row in outcome.bad_rows if row.problems[0].code != PARTLY_REFUNDED]
    shape = {
        "dry_run": False,
        "file": outcome.name,
        "run": run.id,
        "state": report.state,
        "rows": counts.rows,
        "refunded": counts.refunded,
        "accepted": counts.accepted,
        "done_before": counts.done_before,
        "partly_refunded": counts.partly,
        "partly_refunded_rows": [row_problem(problem) for row in partly_refunded for problem in row.problems],
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
    shape |= refused_rows(outcome.refused_by_code, fully_refused, outcome.rejected_path)
    return shape | {"refused_count": counts.refused}


def run_total(total: Money) -> dict[str, Any]:
    return {"amount": money(total)}


def closings_file(
    file_name: str, target: InvoiceStatus, report: "ClosingsReport", *, dry_run: bool, rejected_path: "Path | None"
) -> dict[str, Any]:
    """A file of invoices that were voided or written off; `requested` were valid when the file was checked."""
    return {
        "dry_run": dry_run,
        "file": file_name,
        "action": target,
        "rows": report.rows,
        "requested": len(report.to_close),
        "totals": [money(total) for _, total in sorted(report.owed.items())],
        "closed": report.closed,
        "done_before": report.done_before,
        "unknown": report.unknown,
        "not_started": report.not_started,
    } | refused_rows(report.codes, report.refused, rejected_path)


def refused_rows(
    count_by_code: Counter[str], bad_rows: "Sequence[BadRow]", rejected_path: "Path | None"
) -> dict[str, Any]:
    return {
        "refused_count": count_by_code.total(),
        "refused_by_code": dict(count_by_code),
        "refused": [row_problem(problem) for row in bad_rows for problem in row.problems],
        "rejected_file": str(rejected_path) if rejected_path else None,
    }


def proposed_records(file_name: str, rows: int, incoming: int, left_out: "Sequence[UnreadTransfer]") -> dict[str, Any]:
    transfers = [left_out_transfer(transfer) for transfer in left_out]
    return {"file": file_name, "rows": rows, "passed_over": incoming, "left_out": transfers}


def left_out_transfer(transfer: "UnreadTransfer") -> dict[str, Any]:
    return {"line": transfer.line, "message": transfer.why}


def row_problem(problem: "Problem") -> dict[str, Any]:
    return {
        "line": problem.line,
        "column": problem.column or None,
        "value": problem.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint or None,
    }


def resumed_dry_run(open_run: "UnfinishedRun") -> dict[str, Any]:
    return unfinished_run(open_run) | {"dry_run": True}


def unfinished_run(open_run: "UnfinishedRun") -> dict[str, Any]:
    return {
        "id": open_run.run.id,
        "kind": open_run.run.kind,
        "state": open_run.run.state,
        "file": open_run.run.source,
        "operator": open_run.run.operator,
        "created_at": open_run.run.created_at,
        "rows": open_run.rows,
        "counts": run_counts(open_run),
        "leased": open_run.has_live_worker,
        "leased_by": [lease(holder) for holder in open_run.holders],
        "last_record_at": open_run.last_record_at,
        "command": open_run.command,
    }


def run_counts(open_run: "UnfinishedRun") -> dict[str, int | None]:
    """Rows by state. Null for a run of records: the store does not have its rows."""
    is_known = open_run.run.kind is RunKind.REFUND
    return {
        "waiting": open_run.counts.get(ItemState.WAITING, 0) if is_known else None,
        "leased": open_run.counts.get(ItemState.LEASED, 0) if is_known else None,
        "done": open_run.counts.get(ItemState.DONE, 0) if is_known else None,
        "refused": open_run.refused if is_known else None,
        "partly_refunded": open_run.partly if is_known else None,
        "unknown": open_run.counts.get(ItemState.UNKNOWN, 0) if is_known else None,
    }


def lease(holder: "RunHolder") -> dict[str, Any]:
    return {"process": holder.label, "rows": holder.rows, "lease_until": holder.until, "live": holder.is_live}


def undo(run_or_record_id: str, undone: "Undone", *, dry_run: bool) -> dict[str, Any]:
    """An undo, or what it would undo."""
    return {
        "dry_run": dry_run,
        "undone": run_or_record_id,
        "records": undone.records,
        "totals": [
            undone_total(undone.rows_of[currency_code], total) for currency_code, total in sorted(undone.sums.items())
        ],
        "not_undone": undone.unchanged,
    }


def undone_total(rows: int, total: Money) -> dict[str, Any]:
    return {"rows": rows, "amount": money(total)}
