"""Records by id in order of creation, indexed by the ids they name: reading a page costs only its rows."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar


class StoredRecord(Protocol):
    @property
    def created(self) -> int: ...

    def named(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=StoredRecord)
# Creation time and insertion number.
Place = tuple[int, int]


class RecordTable(dict[str, T], Generic[T]):
    """A dict without deletions; each entry keeps its creation time and names from its first insertion."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[tuple[Place, str]] = []
        self._places: dict[str, Place] = {}
        self._named: dict[str, list[str]] = {}

    def __setitem__(self, key: str, item: T) -> None:
        if key not in self:
            place = (item.created, len(self))
            self._places[key] = place
            insort(self._order, (place, key))
            for name in item.named():
                self._named.setdefault(name, []).append(key)
        super().__setitem__(key, item)

    def naming(self, name: str) -> list[T]:
        """Records that name `name`, in order of insertion."""
        return [self[key] for key in self._named.get(name, ())]

    def page(self, request: PageRequest[T]) -> tuple[list[T], bool]:
        """The matching records of one page, newest first, and whether there are more."""
        order = self._order if request.naming is None else self._order_of(request.naming)
        low, high = _span(order, request.created)
        if request.ending_before is not None:
            above = bisect_right(order, (self._places[request.ending_before], request.ending_before))
            page, more = self._take(order, iter(range(max(low, above), high)), request)
            return page[::-1], more
        if request.starting_after is not None:
            below = bisect_left(order, (self._places[request.starting_after], request.starting_after))
            high = min(high, below)
        return self._take(order, iter(range(high - 1, low - 1, -1)), request)

    def _order_of(self, name: str) -> list[tuple[Place, str]]:
        return sorted((self._places[key], key) for key in self._named.get(name, ()))

    def _take(
        self, order: list[tuple[Place, str]], walk: Iterator[int], request: PageRequest[T]
    ) -> tuple[list[T], bool]:
        page: list[T] = []
        for index in walk:
            item = self[order[index][1]]
            if not request.matches(item):
                continue
            if len(page) == request.limit:
                return page, True
            page.append(item)
        return page, False


class PageRequest(Generic[T]):
    """The cursors are ids in the table."""

    def __init__(
        self,
        *,
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
        created: Mapping[str, int] | None = None,
        naming: str | None = None,
        matches: Callable[[T], bool] = lambda item: True,
    ) -> None:
        self.limit = limit
        self.starting_after, self.ending_before = starting_after, ending_before
        self.created: Mapping[str, int] = created or {}
        self.naming, self.matches = naming, matches


def _span(order: list[tuple[Place, str]], bounds: Mapping[str, int]) -> tuple[int, int]:
    low, high = 0, len(order)
    for bound, moment in bounds.items():
        later = moment + (bound in ("gt", "lte"))
        edge = bisect_left(order, ((later, -1), ""))
        if bound in ("gt", "gte"):
            low = max(low, edge)
        else:
            high = min(high, edge)
    return low, high
