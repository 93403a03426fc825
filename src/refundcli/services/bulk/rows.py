"""Rows of a bulk file, as they are read, and as they are once they were checked.

Tuples with names, because a file may have millions: they are made and kept aside at a fraction of an object's cost.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple, Protocol

from refundcli.domain.reasons import RefundReason


class Planned(NamedTuple):
    """What a plan says of a row: its key, and what it takes of how much is left (minor units)."""

    key: str
    takes: int
    remaining: int


class BulkRow(NamedTuple):
    """One wish: to send an amount back, or to record that it was returned elsewhere (R1, R2).

    `amount_text` is as it was typed, because only the invoice knows its currency; empty means all that remains.
    `cells` are the row's own cells, in the order of the file. `planned` is set where the row comes from a plan.
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
    """A row that may be done: its request key, and what it will take of how much is left of its invoice.

    Amounts are in minor units of the currency `currency`. `parts` are the payments that give it, each with its
    amount and with how much of that a lost dispute took; `facts` stands for all that the rules looked at, in this
    process.
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
    """Where checked rows wait, and what was seen of them, outside of memory: a file may have millions."""

    def put(self, rows: Sequence[CheckedRow]) -> None: ...
    def chunks(self) -> Iterator[list[CheckedRow]]:
        """All that was put, in order, as many at once as were put at once."""
        ...

    def occurrences(self, texts: Sequence[str]) -> list[int]:
        """For each text in turn, how often it has come by now, itself included."""
        ...

    def first_with_key(self, keys: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
        """Each key's first line and what that line asked for; those that are new are remembered."""
        ...

    def line_of(self, facts: str) -> int:
        """The line of the first row that said this, 0 where none did."""
        ...

    def add_lines(self, lines: Mapping[str, int]) -> None:
        """What rows said, and on which line first; what was said before keeps its line."""
        ...

    def taken(self, payments: Sequence[int]) -> dict[int, tuple[int, int]]:
        """What rows before these take of each payment, and how much of that for lost disputes (minor units)."""
        ...

    def take(self, sums: Mapping[int, tuple[int, int]]) -> None:
        """The new sums of these payments."""
        ...
