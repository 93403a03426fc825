"""The machine's view: what `-o json` shows of each thing. docs/json.md describes every key; scripts depend on them."""

from collections.abc import Mapping
from typing import Any

# It changes when a key is renamed, removed or given another meaning. New keys do not change it.
SCHEMA = "1"


def document(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A top-level object, with the version of its shape."""
    return {"schema": SCHEMA, **shape}
