"""How a setting is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """How a value is converted from the environment's text, and its check."""

    from_text: Callable[[str], object]
    check: Callable[[Any], object]


def worded(check: Callable[[object], object]) -> dict[str, Rule]:
    return {"rule": Rule(str, check)}
