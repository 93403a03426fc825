"""Bring invoices in: the whole file is checked first, then written chunk by chunk.

A kill between two chunks leaves whole invoices and their audit entries; the same file again does the rest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TypeAlias

from refundcli.domain.errors import Refused
from refundcli.services.bad_rows import BadRow, Problem
from refundcli.services.chunks import chunked
from refundcli.services.ports import Books, ImportCounts, NewInvoice, Writing

Rows: TypeAlias = Callable[[], Iterable[NewInvoice | BadRow]]
Advance: TypeAlias = Callable[[int], None]
Reject: TypeAlias = Callable[[BadRow], None]

# Each chunk is one short transaction, so that others get in between.
CHUNK = 1000
_SHOWN = 50
_MOST_KEPT = 1000


@dataclass(slots=True)
class CheckedInvoices:
    """What the rows of a file come to. `problems` holds the first ones; `in_conflict` the lines of rows that
    are good by themselves and cannot stand beside what the books hold."""

    rows: int = 0
    bad_rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    in_conflict: set[int] = field(default_factory=set)

    def add(self, row: BadRow) -> None:
        self.bad_rows += 1
        self.problems += row.problems[: _SHOWN - len(self.problems)]


@dataclass(slots=True)
class ImportResult:
    """What an import did. `kept` tells by line what the books knew better, the first thousand of `kept_count`."""

    new: int = 0
    changed: int = 0
    same: int = 0
    kept: list[tuple[int, str, str]] = field(default_factory=list)
    kept_count: int = 0

    @property
    def written(self) -> int:
        return self.new + self.changed

    def add(self, counts: ImportCounts) -> None:
        self.new += counts.new
        self.changed += counts.changed
        self.same += counts.same
        self.kept += counts.kept[: _MOST_KEPT - len(self.kept)]
        self.kept_count += len(counts.kept)


class ImportRefused(Refused):
    """Some rows cannot be brought in, and nobody said that the others should be."""

    code = "bad-rows"

    def __init__(self, source: str, checked: CheckedInvoices, *, written: int = 0) -> None:
        bad, rows = checked.bad_rows, checked.rows
        done = f"{written} before them were written" if written else "Nothing was written"
        super().__init__(
            f"{bad} of {rows} {'row' if rows == 1 else 'rows'} cannot be brought in. {done}.",
            hint="Correct them and run it again, or add --skip-invalid to bring in the others.",
            context={
                "file": source,
                "rows": rows,
                "bad_rows": bad,
                "problems": [asdict(problem) for problem in checked.problems],
            },
        )
        self.checked = checked


def check_invoices(rows: Rows, *, books: Books, advance: Advance, reject: Reject) -> CheckedInvoices:
    """Look at every row, and at what the books hold beside it. Nothing is changed."""
    checked = CheckedInvoices()
    for chunk in chunked(rows(), CHUNK):
        conflicts = _conflicts(chunk, books)
        for row in chunk:
            checked.rows += 1
            if isinstance(row, NewInvoice) and row.line in conflicts:
                checked.in_conflict.add(row.line)
                row = BadRow(row.line, tuple(conflicts[row.line]), row.original)
            if isinstance(row, BadRow):
                checked.add(row)
                reject(row)
        advance(len(chunk))
    return checked


def bring_in(rows: Rows, checked: CheckedInvoices, *, source: str, books: Books, advance: Advance) -> ImportResult:
    """Write what was found good. Raises ImportRefused where the books have changed since against a row."""
    result = ImportResult()
    good = (row for row in rows() if isinstance(row, NewInvoice) and row.line not in checked.in_conflict)
    for chunk in chunked(good, CHUNK):
        result.add(books.write(partial(_write, chunk=chunk, source=source, before=result)))
        advance(len(chunk))
    return result


def _conflicts(chunk: Sequence[NewInvoice | BadRow], books: Books) -> dict[int, list[Problem]]:
    good = [row for row in chunk if isinstance(row, NewInvoice)]
    by_line: dict[int, list[Problem]] = {}
    for problem in books.read(lambda tx: tx.import_conflicts(good)) if good else ():
        by_line.setdefault(problem.line, []).append(problem)
    return by_line


def _write(tx: Writing, *, chunk: Sequence[NewInvoice], source: str, before: ImportResult) -> ImportCounts:
    late = tx.import_conflicts(chunk)
    if late:
        bad_rows = len({problem.line for problem in late})
        raise ImportRefused(source, CheckedInvoices(len(chunk), bad_rows, late[:_SHOWN]), written=before.written)
    return tx.import_invoices(chunk, source=source)
