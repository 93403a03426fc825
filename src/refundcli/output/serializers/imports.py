"""Imports of invoices, from a file and from a provider."""

from typing import TYPE_CHECKING, Any

from refundcli.output.serializers.bulk import row_problem

if TYPE_CHECKING:
    from refundcli.services.imports.from_file import CheckedInvoices, ImportResult
    from refundcli.services.imports.from_provider import Pulled


def imported_file(
    name: str, checked: "CheckedInvoices", outcome: "ImportResult", rejected_file: str | None
) -> dict[str, Any]:
    return {
        "file": name,
        "rows": checked.rows,
        "new": outcome.new,
        "changed": outcome.changed,
        "unchanged": outcome.same,
        "conflicts": [line_conflict(*conflict) for conflict in outcome.kept],
        "conflict_count": outcome.kept_count,
        "refused": [row_problem(problem) for problem in checked.problems],
        "refused_count": checked.bad_rows,
        "rejected_file": rejected_file,
    }


def pulled(provider: str, outcome: "Pulled") -> dict[str, Any]:
    invoices = outcome.imported
    return {
        "provider": provider,
        "new": invoices.new,
        "changed": invoices.changed,
        "unchanged": invoices.same,
        "conflicts": [conflict(number, why) for _, number, why in invoices.kept],
        "conflict_count": invoices.kept_count,
        "updates": outcome.news,
        "resumed_after": outcome.went_on or None,
    }


def line_conflict(line: int, number: str, why: str) -> dict[str, Any]:
    return {"line": line} | conflict(number, why)


def conflict(number: str, why: str) -> dict[str, Any]:
    return {"number": number, "message": why}
