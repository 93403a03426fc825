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
        self._sort_keys_and_ids: list[tuple[Place, str]] = []
        self._sort_key_of_id: dict[str, Place] = {}
        self._ids_naming: dict[str, list[str]] = {}

    def __setitem__(self, record_id: str, record: T) -> None:
        if record_id not in self:
            sort_key = (record.created, len(self))
            self._sort_key_of_id[record_id] = sort_key
            insort(self._sort_keys_and_ids, (sort_key, record_id))
            for named_id in record.named():
                self._ids_naming.setdefault(named_id, []).append(record_id)
        super().__setitem__(record_id, record)

    def __reduce__(self) -> tuple[type[RecordTable[T]], tuple[()], None, None, Iterator[tuple[str, T]]]:
        # A pickle adds the records again, which builds the indexes.
        return RecordTable, (), None, None, iter(self.items())

    def add(self, record_id: str, record: T) -> T:
        """ValueError where there is one with this id."""
        if record_id in self:
            raise ValueError(f"{record_id} exists already")
        self[record_id] = record
        return record

    def naming(self, named_id: str) -> list[T]:
        """Records that name `named_id`, in order of insertion."""
        return [self[record_id] for record_id in self._ids_naming.get(named_id, ())]

    def page(self, page_request: PageRequest[T]) -> tuple[list[T], bool]:
        """The matching records of one page, newest first, and whether there are more."""
        sort_keys_and_ids = (
            self._sort_keys_and_ids if page_request.naming is None else self._order_of(page_request.naming)
        )
        first_index, end_index = _span(sort_keys_and_ids, page_request.created)
        if page_request.ending_before is not None:
            index_above = bisect_right(
                sort_keys_and_ids, (self._sort_key_of_id[page_request.ending_before], page_request.ending_before)
            )
            page, has_more = self._take(
                sort_keys_and_ids, iter(range(max(first_index, index_above), end_index)), page_request
            )
            return page[::-1], has_more
        if page_request.starting_after is not None:
            index_below = bisect_left(
                sort_keys_and_ids, (self._sort_key_of_id[page_request.starting_after], page_request.starting_after)
            )
            end_index = min(end_index, index_below)
        return self._take(sort_keys_and_ids, iter(range(end_index - 1, first_index - 1, -1)), page_request)

    def _order_of(self, named_id: str) -> list[tuple[Place, str]]:
        return sorted((self._sort_key_of_id[record_id], record_id) for record_id in self._ids_naming.get(named_id, ()))

    def _take(
        self, sort_keys_and_ids: list[tuple[Place, str]], indexes: Iterator[int], page_request: PageRequest[T]
    ) -> tuple[list[T], bool]:
        page: list[T] = []
        for index in indexes:
            record = self[sort_keys_and_ids[index][1]]
            if not page_request.matches(record):
                continue
            if len(page) == page_request.limit:
                return page, True
            page.append(record)
        return page, False


class PageRequest(Generic[T]):
    """Which records are on a page."""

    def __init__(
        self,
        *,
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
        created: Mapping[str, int] | None = None,
        naming: str | None = None,
        matches: Callable[[T], bool] = lambda record: True,
    ) -> None:
        """The cursors are ids in the table. `created` are times by bound (gt, gte, lt, lte).

        With `naming`, only records that name this id are on the page.
        """
        self.limit = limit
        self.starting_after, self.ending_before = starting_after, ending_before
        self.created: Mapping[str, int] = created or {}
        self.naming, self.matches = naming, matches


def _span(sort_keys_and_ids: list[tuple[Place, str]], bound_times: Mapping[str, int]) -> tuple[int, int]:
    first_index, end_index = 0, len(sort_keys_and_ids)
    for bound_kind, bound_time in bound_times.items():
        edge_time = bound_time + (bound_kind in ("gt", "lte"))
        edge_index = bisect_left(sort_keys_and_ids, ((edge_time, -1), ""))
        if bound_kind in ("gt", "gte"):
            first_index = max(first_index, edge_index)
        else:
            end_index = min(end_index, edge_index)
    return first_index, end_index
