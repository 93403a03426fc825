"""The same text for the same facts, whatever their order."""

from typing import Any

import orjson


def canonical(facts: dict[str, Any]) -> str:
    """JSON with sorted names and without spaces; other types as `str`."""
    return orjson.dumps(facts, default=str, option=orjson.OPT_SORT_KEYS).decode() if facts else "{}"
