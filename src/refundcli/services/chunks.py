"""Long lists in chunks and pages."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K")


def chunked(elements: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, in order. (`itertools.batched` is newer than Python 3.11.)"""
    remaining = iter(elements)
    while chunk := list(islice(remaining, size)):
        yield chunk


def paged(
    page_after: Callable[[K], list[T]], start: K, position_of: Callable[[T], K], *, size: int
) -> Iterator[list[T]]:
    """Pages of `size`, each read after the last element of the page before; no page is empty."""
    position = start
    while page := page_after(position):
        yield page
        if len(page) < size:
            return
        position = position_of(page[-1])
