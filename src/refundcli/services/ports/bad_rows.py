"""Invalid rows of a file, and what is wrong with them."""

from dataclasses import dataclass

# The code of a row whose invoice at the provider belongs to another invoice.
DUPLICATE_REFERENCE = "duplicate-reference"
# A value only identifies its cell, so its first characters are enough.
_SHOWN = 100
# Only the provider knows how much of a payment each invoice has.
ONE_INVOICE = (
    "A payment in a file belongs to one invoice. Where a Stripe payment pays several: refundcli invoice pull stripe"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An invalid cell or row: its place, its value, and how to correct it."""

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
    """An invalid row with all its problems.

    `original`: its cells as they were, or the text of the line outside a table. `key`: its request key in a bulk file,
    so that the corrected row is still the same request.
    """

    line: int
    problems: tuple[Problem, ...]
    original: tuple[str, ...] | str
    key: str = ""
