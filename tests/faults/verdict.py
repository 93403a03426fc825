"""A summary of violations in four classes, printed at the end of each fault test."""

from collections import Counter
from collections.abc import Iterable

DOUBLE, LOST, RELEASED, WRONG = KINDS = (
    "double refunds",
    "lost refunds",
    "reservations released without proof",
    "wrong statuses",
)
_KIND_OF = {"I1": DOUBLE, "I3": DOUBLE, "I4": DOUBLE, "I2": LOST, "I6, lost": LOST, "I5": RELEASED}


def summed(broken: Iterable[str]) -> str:
    """The count of each class; anything outside the first three is a wrong status."""
    kinds = Counter(_KIND_OF.get(sentence.partition(":")[0], WRONG) for sentence in broken)
    return ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
