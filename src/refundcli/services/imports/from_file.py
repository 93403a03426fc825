"""Bring invoices in: the whole file is checked first, then written chunk by chunk.

What was found good is kept aside, so that it is read once. A kill between two chunks leaves whole invoices and their
audit entries; the same file again does the rest.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

from refundcli.domain.errors import Refused
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.invoice_block import InvoiceBlock, RowBatch
from refundcli.services.ports.records import ImportConflicts, ImportCounts

Advance: TypeAlias = Callable[[int], None]
Reject: TypeAlias = Callable[[BadRow], None]

# Each chunk is one short transaction, so that others get in between.
_CHUNK_SECONDS = 0.8
MOST_IN_CHUNK = 50_000
# A known invoice may take a hundred times as long as a new one, and the time is looked at between blocks only.
_KNOWN_AT_ONCE = 250
_SHOWN = 50
_MOST_KEPT = 1000


class InvoiceSpool(Protocol):
    """Where good rows are kept until the whole file was looked at."""

    def put(self, block: InvoiceBlock) -> None: ...

    def blocks(self, after: int) -> Iterator[tuple[int, InvoiceBlock]]:
        """Each block from a place on, with the place after it; 0 is the first."""
        ...


@dataclass(slots=True)
class CheckedInvoices:
    """What the rows of a file come to. `problems` holds the first ones. `known` counts the invoices that the books
    have already, as they were at the audit entry `as_of`; nothing when they changed meanwhile."""

    rows: int = 0
    bad_rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    existing: int = 0
    as_of: int | None = None

    @property
    def good_rows(self) -> int:
        return self.rows - self.bad_rows

    def add(self, row: BadRow) -> None:
        self.bad_rows += 1
        self.problems += row.problems[: _SHOWN - len(self.problems)]


@dataclass(slots=True)
class ImportSummary:
    """What an import did. `kept` tells by line what the books knew better, the first thousand of `kept_count`."""

    new: int = 0
    changed: int = 0
    same: int = 0
    unchanged: list[tuple[int, str, str]] = field(default_factory=list)
    unchanged_count: int = 0

    @property
    def written(self) -> int:
        return self.new + self.changed

    def add(self, counts: ImportCounts) -> None:
        self.new += counts.new
        self.changed += counts.changed
        self.same += counts.same
        self.unchanged += counts.unchanged[: _MOST_KEPT - len(self.unchanged)]
        self.unchanged_count += len(counts.unchanged)


class ImportRefused(Refused):
    """Some rows cannot be brought in, and nobody said that the others should be."""

    code = "bad-rows"

    def __init__(self, source: str, checked: CheckedInvoices, *, written: int = 0) -> None:
        bad, rows = checked.bad_rows, checked.rows
        outcome = f"{written} before them were written" if written else "Nothing was written"
        super().__init__(
            f"{bad} of {rows} {'row' if rows == 1 else 'rows'} cannot be brought in. {outcome}.",
            hint="Correct them and run it again, or add --skip-invalid to bring in the others.",
            context={
                "file": source,
                "rows": rows,
                "bad_rows": bad,
                "problems": [asdict(problem) for problem in checked.problems],
            },
        )
        self.checked = checked


def check_invoices(
    batches: Iterable[RowBatch], *, spool: InvoiceSpool, books: Books, advance: Advance, reject: Reject
) -> CheckedInvoices:
    """Look at every row, and at what the books hold beside it; what is good goes on the shelf. Nothing is changed."""
    checked = CheckedInvoices()
    for place, batch in enumerate(batches):
        conflicts = books.read(partial(_look, block=batch.good))
        checked.existing += conflicts.existing
        checked.as_of = conflicts.as_of if place == 0 or conflicts.as_of == checked.as_of else None
        good, against = _without(batch, conflicts.problems)
        for part in good.parts(_KNOWN_AT_ONCE) if conflicts.existing else (good,):
            spool.put(part)
        for row in sorted([*batch.bad, *against], key=lambda row: row.line):
            checked.add(row)
            reject(row)
        checked.rows += batch.rows
        advance(batch.rows)
    return checked


def write_invoices(
    spool: InvoiceSpool, checked: CheckedInvoices, *, source: str, books: Books, advance: Advance
) -> ImportSummary:
    """Write what was found good. Raises ImportRefused where the books have changed since against a row."""
    summary = ImportSummary()
    chunk = _Written(as_of=checked.as_of)
    while not chunk.is_last:
        write = partial(_write_chunk, spool=spool, before=chunk, checked=checked, source=source, summary=summary)
        chunk = books.write(write)
        summary.add(chunk.counts)
        advance(chunk.rows)
    return summary


@dataclass(slots=True)
class _Written:
    """What one chunk came to: how far on the shelf it went, and the audit entry that the books stand at since.

    Once others have changed the books, nothing that was found while checking holds for any later chunk.
    """

    as_of: int | None
    after: int = 0
    rows: int = 0
    is_last: bool = False
    counts: ImportCounts = field(default_factory=ImportCounts)


def _write_chunk(
    tx: Writing, *, spool: InvoiceSpool, before: _Written, checked: CheckedInvoices, source: str, summary: ImportSummary
) -> _Written:
    # No change is without its entry (I10): with no new one, what was found in the books while checking still holds.
    unchanged = before.as_of is not None and tx.newest_entry() == before.as_of
    chunk = _Written(as_of=None, after=before.after, is_last=True)

    def blocks() -> Iterator[InvoiceBlock]:
        began = time.monotonic()
        for after, block in spool.blocks(before.after):
            if not unchanged:
                _refuse_late(tx.import_conflicts(block).problems, block, source=source, written=summary.written)
            yield block
            chunk.after = after
            chunk.rows += block.size
            if time.monotonic() - began > _CHUNK_SECONDS or chunk.rows >= MOST_IN_CHUNK:
                chunk.is_last = False
                return

    chunk.counts = tx.import_blocks(blocks(), source=source, all_new=unchanged and not checked.existing)
    if unchanged:
        chunk.as_of = tx.newest_entry()
    return chunk


def _look(tx: Reading, *, block: InvoiceBlock) -> ImportConflicts:
    return tx.import_conflicts(block)


def _without(batch: RowBatch, problems: Sequence[Problem]) -> tuple[InvoiceBlock, list[BadRow]]:
    """The good rows that can stand beside what the books hold, and the others."""
    if not problems:
        return batch.good, []
    by_line: dict[int, list[Problem]] = {}
    for problem in problems:
        by_line.setdefault(problem.line, []).append(problem)
    against = [
        BadRow(line, tuple(by_line[line]), original if isinstance(original, str) else tuple(original))
        for line, original in zip(batch.good.lines, batch.originals, strict=True)
        if line in by_line
    ]
    return batch.good.only([line not in by_line for line in batch.good.lines]), against


def _refuse_late(problems: Sequence[Problem], block: InvoiceBlock, *, source: str, written: int) -> None:
    if problems:
        bad_rows = len({problem.line for problem in problems})
        raise ImportRefused(source, CheckedInvoices(block.size, bad_rows, list(problems[:_SHOWN])), written=written)
