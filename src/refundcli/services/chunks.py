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
    page_after: Callable[[K], list[T]], start: K, position_of: Callable[[T], K], *, size: int = 0
) -> Iterator[list[T]]:
    """Pages, each read after the last element of the page before; no page is empty.

    `size`: a page with fewer is the last; without it, pages are read until one is empty, so that none is missed that is
    stored meanwhile.
    """
    position = start
    while page := page_after(position):
        yield page
        if len(page) < size:
            return
        position = position_of(page[-1])
