"""Imports of invoices, from a file and from a provider."""

from typing import TYPE_CHECKING, Any

from refundcli.output.serializers.bulk import row_problem

if TYPE_CHECKING:
    from refundcli.services.imports.from_file import CheckedInvoices, ImportSummary
    from refundcli.services.imports.from_provider import PullSummary


def imported_file(
    name: str, checked: "CheckedInvoices", outcome: "ImportSummary", rejected_file: str | None
) -> dict[str, Any]:
    return {
        "file": name,
        "rows": checked.rows,
        "new": outcome.new,
        "changed": outcome.changed,
        "unchanged": outcome.same,
        "conflicts": [line_conflict(*conflict) for conflict in outcome.unchanged],
        "conflict_count": outcome.unchanged_count,
        "refused": [row_problem(problem) for problem in checked.problems],
        "refused_count": checked.bad_rows,
        "rejected_file": rejected_file,
    }


def pulled(provider: str, outcome: "PullSummary") -> dict[str, Any]:
    invoices = outcome.imported
    return {
        "provider": provider,
        "new": invoices.new,
        "changed": invoices.changed,
        "unchanged": invoices.same,
        "conflicts": [conflict(number, why) for _, number, why in invoices.unchanged],
        "conflict_count": invoices.unchanged_count,
        "updates": outcome.changes,
        "resumed_after": outcome.resumed_after or None,
    }


def line_conflict(line: int, number: str, why: str) -> dict[str, Any]:
    return {"line": line} | conflict(number, why)


def conflict(number: str, why: str) -> dict[str, Any]:
    return {"number": number, "message": why}
