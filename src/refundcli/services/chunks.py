"""Long lists in chunks."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def chunked(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, in order. (`itertools.batched` is newer than Python 3.11.)"""
    remaining = iter(rows)
    while piece := list(islice(remaining, size)):
        yield piece
