"""Imports of invoices, from a file and from a provider."""

from typing import TYPE_CHECKING, Any

from refundcli.output.serializers.bulk import row_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refundcli.services.imports.from_file import CheckedInvoices, ImportSummary
    from refundcli.services.imports.from_provider import PullSummary
    from refundcli.services.imports.known_references import MatchedRow


def imported_file(
    file_name: str,
    checked_invoices: "CheckedInvoices",
    summary: "ImportSummary",
    rejected_file: str | None,
    *,
    read_as: str | None = None,
    passed_over: "Mapping[str, int] | None" = None,
) -> dict[str, Any]:
    return {
        "file": file_name,
        "rows": checked_invoices.rows,
        "new": summary.new,
        "changed": summary.changed,
        "unchanged": summary.same,
        "conflicts": [line_conflict(*line_number_why) for line_number_why in summary.unchanged],
        "conflict_count": summary.unchanged_count,
        "refused": [row_problem(problem) for problem in checked_invoices.problems],
        "refused_count": checked_invoices.bad_rows,
        "rejected_file": rejected_file,
        "matched": [matched_row(row) for row in checked_invoices.matched],
        "read_as": read_as,
        "passed_over": dict(passed_over or {}),
    }


def matched_row(row: "MatchedRow") -> dict[str, Any]:
    return {"line": row.line, "number": row.stored_number, "number_in_file": row.number}


def review_file(file_name: str, rows: int, rejected_file: str | None) -> dict[str, Any]:
    return {"file": file_name, "rows": rows, "rejected_file": rejected_file}


def pulled(provider: str, summary: "PullSummary") -> dict[str, Any]:
    import_summary = summary.imported
    return {
        "provider": provider,
        "new": import_summary.new,
        "changed": import_summary.changed,
        "unchanged": import_summary.same,
        "conflicts": [conflict(number, why) for _, number, why in import_summary.unchanged],
        "conflict_count": import_summary.unchanged_count,
        "updates": summary.changes,
        "resumed_after": summary.resumed_after or None,
    }


def line_conflict(line: int, number: str, why: str) -> dict[str, Any]:
    return {"line": line} | conflict(number, why)


def conflict(number: str, why: str) -> dict[str, Any]:
    return {"number": number, "message": why}
