"""Invoices from a CSV or JSON Lines file, a stretch of its lines at a time, so that a million are read in no time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress

from refundcli.documents.invoice_columns import InvoiceColumns, NotPlain
from refundcli.documents.invoice_rows import (
    COLUMNS,
    REQUIRED,
    Seen,
    SeenBefore,
    invoice_in_record,
    invoice_in_table,
)
from refundcli.documents.json_lines import JsonLinesFile
from refundcli.documents.source import Source
from refundcli.documents.table_file import Block, TableFile
from refundcli.services.bad_rows import BadRow
from refundcli.services.chunks import chunked
from refundcli.services.invoice_block import InvoiceBlock, Stretch, block_of
from refundcli.services.ports import NewInvoice

# Of rows that are not all plain, this few are read cell by cell at once.
_FEW = 25
_RECORDS = 500


class InvoiceFile:
    """An invoices file. `columns` are those of a table, and nothing for JSON Lines."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._table = None if _is_json_lines(source) else TableFile(source, known=COLUMNS, required=REQUIRED)
        self.columns = self._table.columns if self._table else ()

    def stretches(self) -> Iterator[Stretch]:
        """Every row in order, from the start each time."""
        seen = Seen()
        if self._table:
            yield from _Table(self.columns, seen).stretches(self._table.blocks())
        else:
            records = JsonLinesFile(self.source).records()
            rows = (row if isinstance(row, BadRow) else invoice_in_record(*row, seen) for row in records)
            yield from map(_stretch, chunked(rows, _RECORDS))


class _Table:
    def __init__(self, columns: Sequence[str], seen: Seen) -> None:
        self._columns, self._seen = columns, seen
        self._plain = InvoiceColumns(columns)

    def stretches(self, blocks: Iterable[Block | BadRow]) -> Iterator[Stretch]:
        for block in blocks:
            if isinstance(block, BadRow):
                yield _stretch([block])
            else:
                yield from self._read(block.lines, block.rows)

    def _read(self, lines: Sequence[int], rows: Sequence[Sequence[str]]) -> Iterator[Stretch]:
        try:
            yield self._without_doubles(self._plain.read(lines, rows), rows)
        except NotPlain:
            if len(rows) <= _FEW:
                yield _stretch(self._row(line, row, self._seen) for line, row in zip(lines, rows, strict=True))
                return
            half = len(rows) // 2
            yield from self._read(lines[:half], rows[:half])
            yield from self._read(lines[half:], rows[half:])

    def _without_doubles(self, found: InvoiceBlock, rows: Sequence[Sequence[str]]) -> Stretch:
        """What is good by itself, but for what came before it in the file."""
        numbers = self._seen.numbers.lines_of(found.numbers, found.lines)
        paid = found.payments
        known = [
            bool(provider and reference) for provider, reference in zip(paid.providers, paid.references, strict=True)
        ]
        names = list(compress(map(" ".join, zip(paid.providers, paid.references, strict=True)), known))
        again = self._seen.payments.lines_of(names, [found.lines[place] for place in compress(paid.invoices, known)])
        if not (numbers or again):
            return Stretch(found, (), rows)
        wanted = [line not in numbers and line not in again for line in found.lines]
        doubles = (
            self._row(line, row, SeenBefore(numbers.get(line, 0), again.get(line, 0)))
            for line, row, good in zip(found.lines, rows, wanted, strict=True)
            if not good
        )
        return Stretch(found.only(wanted), _stretch(doubles).bad, list(compress(rows, wanted)))

    def _row(self, line: int, row: Sequence[str], seen: Seen) -> NewInvoice | BadRow:
        return invoice_in_table(line, self._columns, row, seen)


def _stretch(rows: Iterable[NewInvoice | BadRow]) -> Stretch:
    good: list[NewInvoice] = []
    bad: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow):
            bad.append(row)
        else:
            good.append(row)
    return Stretch(block_of(good), bad, [row.original for row in good])


def _is_json_lines(source: Source) -> bool:
    """By its name, else by its first character."""
    name = source.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        return True
    if name.endswith(".csv"):
        return False
    with source.text() as text:
        while piece := text.read(4096):
            if piece.strip():
                return piece.lstrip().startswith("{")
    return False
