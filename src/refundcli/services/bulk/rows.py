"""Rows of a bulk file, as read and as checked.

Named tuples, because a file may have millions of rows: they are built and spooled at a fraction of an object's cost.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple, Protocol

from refundcli.domain.reasons import RefundReason

# Of a file or a plan so many of the first and of the last rows are shown.
FIRST_SHOWN, LAST_SHOWN = 3, 2


class Planned(NamedTuple):
    """What a plan holds for a row: its key, the amount it takes and what remains of the invoice (minor units)."""

    key: str
    takes: int
    remaining: int


class BulkRow(NamedTuple):
    """One requested row: refund an amount, or record that it was refunded externally (R1, R2).

    `amount_text` is the amount as typed, because only the invoice knows its currency; empty means all that remains.
    `cells` are the row's cells, in the order of the file. `planned` is set if the row comes from a plan.
    """

    line: int
    invoice: str
    amount_text: str
    reason: RefundReason
    method: str = ""
    reference: str = ""
    refunded_on: date | None = None
    memo: str = ""
    payment: str = ""
    key: str = ""
    cells: tuple[str, ...] = ()
    planned: Planned | None = None


class CheckedRow(NamedTuple):
    """A row that may be done: its request key, the amount it takes and what remains of its invoice.

    Amounts are in minor units of `currency`. `parts`: for each payment its id, the amount, and how much of that a lost
    dispute took. `facts`: a hash of all that the rules depend on, valid in this process.
    """

    row: BulkRow
    key: str
    takes: int
    remaining: int
    currency: str
    invoice_id: int
    facts: int
    parts: tuple[tuple[int, int, int], ...]


class RowSpool(Protocol):
    """Holds checked rows and their duplicate index outside of memory: a file may have millions of rows."""

    def put(self, rows: Sequence[CheckedRow]) -> None: ...
    def chunks(self) -> Iterator[list[CheckedRow]]:
        """All rows in order, in the chunks in which they were added."""
        ...

    def ends(self, first: int, last: int) -> list[CheckedRow]:
        """At most so many of the first and the last rows, in order, none twice."""
        ...

    def occurrences(self, texts: Sequence[str]) -> list[int]:
        """For each text in turn, how often it has occurred so far, including this time."""
        ...

    def first_with_key(self, keys: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
        """Each key's first line and that line's content; new keys are added."""
        ...

    def line_of(self, facts: str) -> int:
        """The line of the first row with these facts; 0 without one."""
        ...

    def add_lines(self, lines: Mapping[str, int]) -> None:
        """Add facts with their first line; facts that are already stored keep their line."""
        ...

    def taken(self, payment_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
        """What earlier rows take of each payment, and how much of that for lost disputes (minor units)."""
        ...

    def take(self, sums: Mapping[int, tuple[int, int]]) -> None:
        """Store the new sums of these payments."""
        ...
