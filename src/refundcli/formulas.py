"""Cells that a spreadsheet would run as formulas: guarded when written, restored when read.

Excel and LibreOffice run a cell that begins with one of these signs, and show one that begins with an apostrophe. A
cell that begins with apostrophes and such a sign gets one more, so that reading restores it exactly (OWASP,
"CSV Injection").
"""

import re

_SIGNS = "=+\\-@\t\r\n\0＝＋－＠"
GUARDED = re.compile(rf"'+\s*[\"{_SIGNS}]")
# With what would be taken for a guarded cell.
_RUNS = re.compile(rf"'*\s*[{_SIGNS}]|'+\s*\"")
# In text that has no quotes of its own, a quotation mark at the start of a cell opens one: it swallows rows, or
# uncovers the formula after it.
_RUNS_OR_OPENS = re.compile(rf"'*\s*[\"{_SIGNS}]")


def guarded(cell: str, *, quoted: bool = True) -> str:
    """The cell, guarded against spreadsheets. `quoted`: the writer quotes cells that need it, as CSV does."""
    if cell[:1].isalnum():  # nearly every cell, and far sooner than the expression
        return cell
    return f"'{cell}" if (_RUNS if quoted else _RUNS_OR_OPENS).match(cell) else cell


def unguarded(cell: str) -> str:
    """The cell without the apostrophe that `guarded` put before it."""
    return cell[1:] if GUARDED.match(cell) else cell
