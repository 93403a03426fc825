"""Import invoices from a file: the whole file is checked first, then written in chunks.

Valid rows are spooled, so that the file is read once. A kill between two chunks leaves whole invoices and their audit
entries; importing the same file again adds the rest.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

from refundcli.domain.errors import Refused
from refundcli.services.imports.known_references import MatchedRow, same_number, with_known_numbers
from refundcli.services.ports.bad_rows import DUPLICATE_REFERENCE, BadRow, Problem
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.bulk_invoices import InvoiceBlock, RowBatch
from refundcli.services.ports.records import ImportConflicts, ImportCounts

Advance: TypeAlias = Callable[[int], None]
Reject: TypeAlias = Callable[[BadRow], None]

# Each chunk is one short transaction, so that others can write in between.
_CHUNK_SECONDS = 0.8
MOST_IN_CHUNK = 50_000
# An existing invoice may take a hundred times as long as a new one, and the time is checked only between blocks.
EXISTING_AT_ONCE, NEW_AT_ONCE = 250, 5_000
_SHOWN = 50
_MOST_UNCHANGED = 1000


class InvoiceSpool(Protocol):
    """Stores valid rows until the whole file is checked."""

    def put(self, block: InvoiceBlock) -> object: ...

    def blocks(self, after: int, *, size: int, whole: bool) -> Iterator[tuple[int, InvoiceBlock]]:
        """Blocks of `size` rows from the position `after`, each with the position after it; 0 is the start.

        With `whole` they have all columns; otherwise the first line, and where the rows are.
        """
        ...

    def lines_of(self, numbers: Sequence[str]) -> dict[str, list[int]]:
        """The lines of these invoice numbers."""
        ...


@dataclass(slots=True)
class CheckedInvoices:
    """The checked rows of a file. `problems` are the first ones. `existing`: how many invoices the books have already,
    as of the audit entry `as_of`, which is None if the books changed during the check. `matched`: rows whose invoice
    the books know by another number. `must_be_corrected`: leaving out the invalid rows would not be enough."""

    rows: int = 0
    bad_rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    existing: int = 0
    as_of: int | None = None
    matched: list[MatchedRow] = field(default_factory=list)
    must_be_corrected: bool = False

    @property
    def good_rows(self) -> int:
        return self.rows - self.bad_rows

    def add(self, row: BadRow) -> None:
        self.bad_rows += 1
        self.problems += row.problems[: _SHOWN - len(self.problems)]


@dataclass(slots=True)
class ImportSummary:
    """What an import did. `unchanged`: the first of `unchanged_count` lines where the books kept their own value."""

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
        self.unchanged += counts.unchanged[: _MOST_UNCHANGED - len(self.unchanged)]
        self.unchanged_count += len(counts.unchanged)


class ImportRefused(Refused):
    """Some rows of the file `source` cannot be imported, and `--skip-invalid` was not given."""

    code = "bad-rows"

    def __init__(self, source: str, checked: CheckedInvoices, *, invoices_written: int = 0) -> None:
        bad_count, row_count = checked.bad_rows, checked.rows
        outcome_text = (
            f"Invoices written before these rows: {invoices_written}" if invoices_written else "Nothing was written"
        )
        super().__init__(
            f"{bad_count} of {row_count} {'row' if row_count == 1 else 'rows'} cannot be imported. {outcome_text}.",
            hint="Correct them and run the command again, or add --skip-invalid to import the others.",
            context={
                "file": source,
                "rows": row_count,
                "bad_rows": bad_count,
                "problems": [asdict(problem) for problem in checked.problems],
            },
        )
        self.checked = checked


def check_invoices(
    batches: Iterable[RowBatch], *, spool: InvoiceSpool, books: Books, advance: Advance, reject: Reject
) -> CheckedInvoices:
    """Check every row by itself and against the books, and spool the valid ones. Changes nothing.

    `advance` gets the number of rows of each batch, `reject` each invalid row.
    """
    summary = CheckedInvoices()
    for batch_index, batch in enumerate(batches):
        conflicts = books.read(partial(_conflicts, block=batch.good))
        if any(problem.code == DUPLICATE_REFERENCE for problem in conflicts.problems):
            block, matched_rows = books.read(partial(with_known_numbers, block=batch.good, problems=conflicts.problems))
            batch, conflicts = batch._replace(good=block), books.read(partial(_conflicts, block=block))
            summary.matched += matched_rows
        summary.existing += conflicts.existing
        summary.as_of = conflicts.as_of if batch_index == 0 or conflicts.as_of == summary.as_of else None
        valid_block, conflicting_rows = _without_conflicts(batch, conflicts.problems)
        spool.put(valid_block)
        for bad_row in sorted([*batch.bad, *conflicting_rows], key=lambda bad_row: bad_row.line):
            summary.add(bad_row)
            reject(bad_row)
        summary.rows += batch.rows
        advance(batch.rows)
    for problem in same_number(summary.matched, spool.lines_of([row.stored_number for row in summary.matched])):
        summary.add(BadRow(problem.line, (problem,), problem.value))
        summary.must_be_corrected = True
    return summary


def write_invoices(
    spool: InvoiceSpool, checked: CheckedInvoices, *, source: str, books: Books, advance: Advance
) -> ImportSummary:
    """Write the spooled rows. Raises ImportRefused if a change of the books makes a row invalid.

    `source` is the file's name; `advance` gets the number of rows of each chunk.
    """
    summary = ImportSummary()
    outcome = _ChunkOutcome(as_of=checked.as_of)
    while not outcome.is_last:
        write = partial(_write_chunk, spool=spool, previous=outcome, checked=checked, source=source, summary=summary)
        outcome = books.write(write)
        summary.add(outcome.counts)
        advance(outcome.rows)
    return summary


@dataclass(slots=True)
class _ChunkOutcome:
    """The outcome of one chunk: its end in the spool, and the newest audit entry after it.

    Once others have changed the books, the check is void for all later chunks.
    """

    as_of: int | None
    after: int = 0
    rows: int = 0
    is_last: bool = False
    counts: ImportCounts = field(default_factory=ImportCounts)


def _write_chunk(
    tx: Writing,
    *,
    spool: InvoiceSpool,
    previous: _ChunkOutcome,
    checked: CheckedInvoices,
    source: str,
    summary: ImportSummary,
) -> _ChunkOutcome:
    """Write the chunk that follows the `previous` one.

    `source` is the file's name, `summary` what the earlier chunks wrote.
    """
    # Every change has an audit entry (I10): without a new one, the check is still valid.
    books_unchanged = previous.as_of is not None and tx.audit.newest_entry() == previous.as_of
    all_new = books_unchanged and not checked.existing
    outcome = _ChunkOutcome(as_of=None, after=previous.after, is_last=True)

    def blocks() -> Iterator[InvoiceBlock]:
        began_at = time.monotonic()
        size = NEW_AT_ONCE if all_new else EXISTING_AT_ONCE
        for position_after, block in spool.blocks(previous.after, size=size, whole=not all_new):
            if not books_unchanged:
                _refuse_late(
                    tx.imports.conflicts(block).problems, block, source=source, invoices_written=summary.written
                )
            yield block
            outcome.after = position_after
            outcome.rows += block.size
            if time.monotonic() - began_at > _CHUNK_SECONDS or outcome.rows >= MOST_IN_CHUNK:
                outcome.is_last = False
                return

    outcome.counts = tx.imports.add_blocks(blocks(), source=source, all_new=all_new)
    if books_unchanged:
        outcome.as_of = tx.audit.newest_entry()
    return outcome


def _conflicts(tx: Reading, *, block: InvoiceBlock) -> ImportConflicts:
    return tx.imports.conflicts(block)


def _without_conflicts(batch: RowBatch, problems: Sequence[Problem]) -> tuple[InvoiceBlock, list[BadRow]]:
    """The valid rows that do not conflict with the books, and the others."""
    if not problems:
        return batch.good, []
    problems_by_line: dict[int, list[Problem]] = {}
    for problem in problems:
        problems_by_line.setdefault(problem.line, []).append(problem)
    conflicting_rows = [
        BadRow(line, tuple(problems_by_line[line]), original if isinstance(original, str) else tuple(original))
        for line, original in zip(batch.good.lines, batch.originals(), strict=True)
        if line in problems_by_line
    ]
    return batch.good.only([line not in problems_by_line for line in batch.good.lines]), conflicting_rows


def _refuse_late(problems: Sequence[Problem], block: InvoiceBlock, *, source: str, invoices_written: int) -> None:
    """Raises ImportRefused if the block has problems; `source` is the file's name."""
    if problems:
        bad_rows = len({problem.line for problem in problems})
        raise ImportRefused(
            source, CheckedInvoices(block.size, bad_rows, list(problems[:_SHOWN])), invoices_written=invoices_written
        )
