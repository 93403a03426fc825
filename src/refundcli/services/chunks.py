"""Long lists in chunks."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def chunked(elements: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, in order. (`itertools.batched` is newer than Python 3.11.)"""
    remaining = iter(elements)
    while chunk := list(islice(remaining, size)):
        yield chunk
