"""Bulk runs in a list, and one with its next step."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from refundcli.output.serializers.bulk import lease, run_counts
from refundcli.output.serializers.invoices import money

if TYPE_CHECKING:
    from refundcli.services.bulk.plan_contents import PlanContents, PlanRow
    from refundcli.services.bulk.run_lists import ListedRun, RunDetails
    from refundcli.services.ports.reads import RunSums


def run(listed: "ListedRun") -> dict[str, Any]:
    bulk_run = listed.standing.run
    return {
        "id": bulk_run.id,
        "kind": bulk_run.kind,
        "state": bulk_run.state,
        "file": bulk_run.source,
        "operator": bulk_run.operator,
        "planned_by": bulk_run.planned_by or None,
        "created_at": bulk_run.created_at,
        "rows": listed.standing.rows,
        "counts": dict(run_counts(listed.standing), done=listed.done),
        "totals": list(map(run_sums, listed.sums)),
    }


def run_details(details: "RunDetails") -> dict[str, Any]:
    standing = details.listed.standing
    return run(details.listed) | {
        "refused_by_code": dict(details.refused_codes),
        "rejected_file": details.rejected_file or None,
        "leased_by": list(map(lease, standing.holders)),
        "last_record_at": standing.last_record_at,
        "command": details.command or None,
    }


def plan(contents: "PlanContents") -> dict[str, Any]:
    return {
        "file": contents.file,
        "kind": contents.kind,
        "source": contents.source,
        "planned_by": contents.planned_by,
        "planned_at": datetime.fromisoformat(contents.planned_at),
        "rows": contents.rows,
        "totals": list(map(money, contents.totals)),
        "first_and_last": list(map(plan_row, contents.ends)),
        "changed": contents.changed,
        "run": contents.run.id if contents.run else None,
        "may_be_applied": not contents.refusal,
        "refusal": contents.refusal or None,
        "command": contents.command,
    }


def plan_row(row: "PlanRow") -> dict[str, Any]:
    return {"line": row.line, "invoice": row.invoice, "customer_name": row.customer_name, "amount": money(row.amount)}


def run_sums(total: "RunSums") -> dict[str, Any]:
    return {
        "refunds": total.refunds,
        "final": money(total.final),
        "accepted": money(total.accepted),
        "unfinished": money(total.unfinished),
        "failed": money(total.failed),
    }
