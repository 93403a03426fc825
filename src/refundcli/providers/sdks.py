"""Import an SDK without the HTTP library that it would choose: refundcli sends its requests itself (transport.py)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HTTP_LIBRARIES = ("requests", "httpx", "aiohttp")


@contextmanager
def without_http_libraries() -> Iterator[None]:
    """Imports made inside find no HTTP library: loading requests takes as long as all the rest of Stripe's SDK."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in _HTTP_LIBRARIES if name not in modules]
    # None stands for a module that cannot be imported (Python's language reference).
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)
