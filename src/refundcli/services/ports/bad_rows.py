"""Rows of a file that cannot be taken as they are, and why."""

from dataclasses import dataclass

# Values are shown to say which cell is meant, not to be kept.
_SHOWN = 100
# Only the provider knows how much of a payment each invoice has.
ONE_INVOICE = (
    "A payment in a file belongs to one invoice. Where a Stripe payment pays several: refundcli invoice pull stripe"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One cell, or one row, that is wrong: where it stands, what it says, and what to do about it."""

    line: int
    column: str
    value: str
    code: str
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", self.value[:_SHOWN])


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row with everything that is wrong in it.

    `original` is the row as it stood: its cells, or the text of the line where it is not a table's row. `key` is
    the request key that the row has in a bulk file, so that it stays the same wish when it comes back.
    """

    line: int
    problems: tuple[Problem, ...]
    original: tuple[str, ...] | str
    key: str = ""
