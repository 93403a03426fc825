"""The outcome of an import: rows by outcome, values that were not overwritten, and problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refundcli.services.imports.from_file import CheckedInvoices, ImportSummary
    from refundcli.services.imports.known_references import MatchedRow
    from refundcli.services.ports.bad_rows import Problem

_CONFLICTS_SHOWN = 20


def show_import(source_name: str, summary: ImportSummary, screen: Screen) -> None:
    """`30 new, 0 changed, 0 unchanged`. `source_name`: the file or the provider."""
    count_words = f"{summary.new} new, {summary.changed} changed, {summary.same} unchanged"
    ending_words = ". Nothing was changed." if summary.same and not summary.written else ""
    screen.say(("✓ ", GOOD), f"{source_name}: {count_words}{ending_words}")


def show_conflicts(summary: ImportSummary, screen: Screen) -> None:
    """Values of the file that did not replace those in the books, by line."""
    for line, number, why in summary.unchanged[:_CONFLICTS_SHOWN]:
        screen.say(("· ", QUIET), f"line {line}, {number}: {why}")
    if summary.unchanged_count > _CONFLICTS_SHOWN:
        screen.say(("· ", QUIET), f"and {summary.unchanged_count - _CONFLICTS_SHOWN} more rows like this")


def show_matched(matched_rows: Sequence[MatchedRow], screen: Screen) -> None:
    """Rows whose invoice the books know by another number."""
    for row in matched_rows[:_CONFLICTS_SHOWN]:
        screen.say(("· ", QUIET), f"line {row.line}: {row.number} is {row.stored_number} in the store (same reference)")
    if len(matched_rows) > _CONFLICTS_SHOWN:
        screen.say(("· ", QUIET), f"and {len(matched_rows) - _CONFLICTS_SHOWN} more rows like this")


def show_bad_rows(checked_invoices: CheckedInvoices, screen: Screen) -> None:
    """The first problems cell by cell, and how many rows there are in all."""
    show_problems(checked_invoices.problems, screen)
    unshown_count = checked_invoices.bad_rows - len({problem.line for problem in checked_invoices.problems})
    if unshown_count > 0:
        screen.say(f"… and {unshown_count} more invalid {'row' if unshown_count == 1 else 'rows'}.", indent=3)


def show_problems(problems: Sequence[Problem], screen: Screen) -> None:
    """A table on a terminal; elsewhere one line for each, as compilers write them."""
    if not problems:
        return
    if not screen.is_terminal:
        for problem in problems:
            position_words = f"line {problem.line}" + (f", {problem.column}" if problem.column else "")
            value_words = f" “{problem.value}”" if problem.value else ""
            hint_words = " ".join(problem.hint.splitlines())
            screen.say(f"{position_words}:{value_words} {problem.message} {hint_words}".rstrip())
        return
    rows = (
        (
            (str(problem.line), STRONG),
            problem.column,
            (_short(problem.value), DOUBT),
            (problem.message, BAD),
            problem.hint,
        )
        for problem in problems
    )
    screen.table(("Line", "Column", "Value", "Problem", "Hint"), rows, right=("Line",), lines=("Hint",))


def _short(value: str) -> str:
    return value if len(value) <= 40 else value[:39] + "…"
