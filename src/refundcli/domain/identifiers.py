"""New ids: unguessable, and safe in a shell, a URL and a provider's field."""

import secrets
from datetime import datetime
from functools import lru_cache

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# The character of each byte, every one of them for eight bytes.
_OF_BYTE = _CROCKFORD.encode() * 8


def new_id(prefix: str, created_at: datetime) -> str:
    """A ULID behind a prefix, such as `rf_01JD…`: 48 bits of milliseconds, then 80 random bits."""
    # Bulk runs create millions of ids, a chunk of them at the same time.
    return prefix + _of_time(created_at) + secrets.token_bytes(16).translate(_OF_BYTE).decode()


@lru_cache(maxsize=4)
def _of_time(created_at: datetime) -> str:
    return _characters(int(created_at.timestamp() * 1000), 10)


def _characters(number: int, count: int) -> str:
    """The number in base 32, five bits for each character."""
    return "".join([_CROCKFORD[number >> shift & 31] for shift in range(5 * (count - 1), -1, -5)])


def derived_id(prefix: str, digest: bytes) -> str:
    """An id of the same form from 128 bits of `digest`: equal digests give equal ids.

    Unlike `new_id` it does not sort by time, so lists must be ordered by a time column.
    """
    return prefix + _characters(int.from_bytes(digest[:16]), 26)
