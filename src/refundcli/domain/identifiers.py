"""New ids: unguessable, and safe in a shell, a URL and a provider's field."""

import secrets
from datetime import datetime

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Ten bits at a time, because bulk runs create millions of ids.
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
_SHIFTS = range(120, -1, -10)


def new_id(prefix: str, created_at: datetime) -> str:
    """A ULID behind a prefix, such as `rf_01JD…`: 48 bits of milliseconds, then 80 random bits."""
    number = int(created_at.timestamp() * 1000) << 80 | secrets.randbits(80)
    return prefix + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def derived_id(prefix: str, digest: bytes) -> str:
    """An id of the same form from 128 bits of `digest`: equal digests give equal ids.

    Unlike `new_id` it does not sort by time, so lists must be ordered by a time column.
    """
    number = int.from_bytes(digest[:16])
    return prefix + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
