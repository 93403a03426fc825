"""Names for new things: sortable by time, unguessable, safe in a shell, a URL and a provider's field."""

import secrets
from datetime import datetime

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Ten bits at a time: bulk runs name millions of things.
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
_SHIFTS = range(120, -1, -10)


def new_id(prefix: str, at: datetime) -> str:
    """A ULID behind a prefix, such as `rf_01JD…`: 48 bits of milliseconds, then 80 random bits."""
    number = int(at.timestamp() * 1000) << 80 | secrets.randbits(80)
    return prefix + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
