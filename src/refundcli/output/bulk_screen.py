"""What a file of records comes to: before it is done, and after."""

from collections.abc import Sequence
from typing import Any

from refundcli.output.import_screen import problem_shape, show_problems
from refundcli.output.shapes import money
from refundcli.output.terminal import BAD, GOOD, QUIET, STRONG, Screen, cell, grid
from refundcli.services.bulk_marks import BulkReport

_LINES_SHOWN = 10


def show_summary(name: str, report: BulkReport, screen: Screen) -> None:
    """Rows and sums by currency, what was done before, and the refusals by code with their lines."""
    screen.say((name, STRONG), f"   {_rows(report.rows)}   mark as refunded (no money moves)")
    table = grid()
    table.add_column()
    for _ in range(3):
        table.add_column(justify="right")
    words = "  Will record"
    for code, rows in sorted(report.rows_by_currency.items()):
        total = report.totals[code]
        table.add_row(cell(words), cell(_rows(rows)), cell(f"{total.number:>12}", STRONG), cell(code))
        words = ""
    if not report.recorded:
        table.add_row(cell("  Will record"), cell("0 rows"), cell(""), cell(""))
    if report.done_before:
        table.add_row(cell("  Done before", QUIET), cell(_rows(report.done_before)), cell(""), cell(""))
    if report.refused_count:
        table.add_row(cell("  Refused", BAD), cell(_rows(report.refused_count)), cell(""), cell(""))
    screen.console.print(table)
    if report.refused_count:
        codes = " · ".join(f"{count} {code}" for code, count in report.codes.most_common())
        screen.say(f"{codes}   (lines {_lines(report)})", indent=3)
        show_problems([problem for row in report.refused for problem in row.problems], screen)


def show_done(report: BulkReport, screen: Screen) -> None:
    sums = ", ".join(str(total) for _, total in sorted(report.totals.items()))
    done = f"; {report.done_before} were recorded before" if report.done_before else ""
    screen.say(("✓ ", GOOD), f"Recorded {_rows(report.recorded)}", f": {sums}" if sums else "", done, ".")


def bulk_shape(name: str, report: BulkReport, *, dry_run: bool, rejected_file: str | None) -> dict[str, Any]:
    problems = [problem for row in report.refused for problem in row.problems]
    return {
        "dry_run": dry_run,
        "file": name,
        "rows": report.rows,
        "recorded": report.recorded,
        "done_before": report.done_before,
        "totals": [
            {"rows": report.rows_by_currency[code], "amount": money(total)}
            for code, total in sorted(report.totals.items())
        ],
        "refused_count": report.refused_count,
        "refused_by_code": dict(report.codes),
        "refused": [problem_shape(problem) for problem in problems],
        "rejected_file": rejected_file,
    }


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _lines(report: BulkReport) -> str:
    shown: Sequence[str] = [str(row.line) for row in report.refused[:_LINES_SHOWN]]
    return ", ".join(shown) + (" …" if report.refused_count > len(shown) else "")
