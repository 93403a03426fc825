"""What an import says: how many rows went in, what the books knew better, and what is wrong with the others."""

from collections.abc import Sequence
from typing import Any

from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen, cell, grid
from refundcli.services.imports.from_file import CheckedInvoices, ImportSummary
from refundcli.services.imports.from_provider import PullSummary
from refundcli.services.ports.bad_rows import Problem

_KEPT_SHOWN = 20


def show_import(name: str, result: ImportSummary, screen: Screen) -> None:
    """`30 new, 0 changed, 0 unchanged`."""
    counts = f"{result.new} new, {result.changed} changed, {result.same} unchanged"
    tail = ". Nothing was changed." if result.same and not result.written else ""
    screen.say(("✓ ", GOOD), f"{name}: {counts}{tail}")


def show_kept(result: ImportSummary, screen: Screen) -> None:
    """Where the books and the file told different stories, line by line."""
    for line, number, why in result.unchanged[:_KEPT_SHOWN]:
        screen.say(("· ", QUIET), f"line {line}, {number}: {why}")
    if result.unchanged_count > _KEPT_SHOWN:
        screen.say(("· ", QUIET), f"and {result.unchanged_count - _KEPT_SHOWN} more such rows")


def show_bad_rows(checked: CheckedInvoices, screen: Screen) -> None:
    """The first problems cell by cell, and how many rows there are in all."""
    show_problems(checked.problems, screen)
    unseen = checked.bad_rows - len({problem.line for problem in checked.problems})
    if unseen > 0:
        screen.say(f"… and {unseen} more bad {'row' if unseen == 1 else 'rows'}.", indent=3)


def show_problems(problems: Sequence[Problem], screen: Screen) -> None:
    """A table on a terminal; elsewhere one line for each, as compilers write them."""
    if not screen.is_terminal:
        for problem in problems:
            where = f"line {problem.line}" + (f", {problem.column}" if problem.column else "")
            value = f" “{problem.value}”" if problem.value else ""
            screen.say(f"{where}:{value} {problem.message} {problem.hint}".rstrip())
        return
    table = grid(header=True)
    for name, share in (("Line", 0), ("Column", 0), ("Value", 2), ("What is wrong", 3), ("What to write", 3)):
        table.add_column(name, justify="right" if name == "Line" else "left", ratio=share or None, overflow="fold")
    for problem in problems:
        table.add_row(
            cell(str(problem.line), STRONG),
            cell(problem.column),
            cell(_short(problem.value), DOUBT),
            cell(problem.message, BAD),
            cell(problem.hint),
        )
    screen.console.print(table)


def import_shape(
    name: str, checked: CheckedInvoices, result: ImportSummary, rejected_file: str | None
) -> dict[str, Any]:
    return {
        "file": name,
        "rows": checked.rows,
        "new": result.new,
        "changed": result.changed,
        "same": result.same,
        "kept": [{"line": line, "number": number, "why": why} for line, number, why in result.unchanged],
        "kept_count": result.unchanged_count,
        "refused": [problem_shape(problem) for problem in checked.problems],
        "refused_count": checked.bad_rows,
        "rejected_file": rejected_file,
    }


def pull_shape(provider: str, done: PullSummary) -> dict[str, Any]:
    result = done.imported
    return {
        "provider": provider,
        "new": result.new,
        "changed": result.changed,
        "same": result.same,
        "kept": [{"number": number, "why": why} for _, number, why in result.unchanged],
        "kept_count": result.unchanged_count,
        "news": done.changes,
        "went_on_after": done.resumed_after or None,
    }


def problem_shape(problem: Problem) -> dict[str, Any]:
    return {
        "line": problem.line,
        "column": problem.column or None,
        "value": problem.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint or None,
    }


def _short(value: str) -> str:
    return value if len(value) <= 40 else value[:39] + "…"
