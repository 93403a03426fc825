"""One text for one set of facts: the same facts give the same text, in whatever order they were told."""

from typing import Any

import orjson


def canonical(facts: dict[str, Any]) -> str:
    """JSON with sorted names and without spaces; what JSON has no word for is told as Python prints it."""
    return orjson.dumps(facts, default=str, option=orjson.OPT_SORT_KEYS).decode()
