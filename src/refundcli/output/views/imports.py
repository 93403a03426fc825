"""The outcome of an import: rows by outcome, values that were not overwritten, and problems."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen, cell, grid
from refundcli.services.imports.from_file import CheckedInvoices, ImportSummary
from refundcli.services.ports.bad_rows import Problem

if TYPE_CHECKING:
    from rich.text import Text

_CONFLICTS_SHOWN = 20


def show_import(name: str, result: ImportSummary, screen: Screen) -> None:
    """`30 new, 0 changed, 0 unchanged`."""
    counts = f"{result.new} new, {result.changed} changed, {result.same} unchanged"
    tail = ". Nothing was changed." if result.same and not result.written else ""
    screen.say(("✓ ", GOOD), f"{name}: {counts}{tail}")


def show_conflicts(result: ImportSummary, screen: Screen) -> None:
    """Values of the file that did not replace those in the books, by line."""
    for line, number, why in result.unchanged[:_CONFLICTS_SHOWN]:
        screen.say(("· ", QUIET), f"line {line}, {number}: {why}")
    if result.unchanged_count > _CONFLICTS_SHOWN:
        screen.say(("· ", QUIET), f"and {result.unchanged_count - _CONFLICTS_SHOWN} more such rows")


def show_bad_rows(checked: CheckedInvoices, screen: Screen) -> None:
    """The first problems cell by cell, and how many rows there are in all."""
    show_problems(checked.problems, screen)
    unseen = checked.bad_rows - len({problem.line for problem in checked.problems})
    if unseen > 0:
        screen.say(f"… and {unseen} more bad {'row' if unseen == 1 else 'rows'}.", indent=3)


def show_problems(problems: Sequence[Problem], screen: Screen) -> None:
    """A table on a terminal; elsewhere one line for each, as compilers write them."""
    if not problems:
        return
    if not screen.is_terminal:
        for problem in problems:
            where = f"line {problem.line}" + (f", {problem.column}" if problem.column else "")
            value = f" “{problem.value}”" if problem.value else ""
            hint = " ".join(problem.hint.splitlines())
            screen.say(f"{where}:{value} {problem.message} {hint}".rstrip())
        return
    table = grid(header=True)
    for name, share in (("Line", 0), ("Column", 0), ("Value", 2), ("Problem", 3), ("Hint", 3)):
        table.add_column(name, justify="right" if name == "Line" else "left", ratio=share or None, overflow="fold")
    for problem in problems:
        table.add_row(
            cell(str(problem.line), STRONG),
            cell(problem.column),
            cell(_short(problem.value), DOUBT),
            cell(problem.message, BAD),
            _lines(problem.hint),
        )
    screen.console.print(table)


def _lines(hint: str) -> "Text":
    """Each line of the hint on its own line of the cell."""
    from rich.text import Text

    return Text("\n").join(cell(line) for line in hint.splitlines())


def _short(value: str) -> str:
    return value if len(value) <= 40 else value[:39] + "…"
