"""Bulk runs and their rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from refundcli.domain.bulk_run import BulkRun, ItemState, RowLease, RunItem, RunState
from refundcli.domain.refund import Refund
from refundcli.services.ports.reads import RunFilter, RunSums


class RunReads(Protocol):
    def newest_refund(self, run_id: str) -> datetime | None:
        """When the run created its newest refund or record; None before the first."""
        ...

    def get(self, run_id: str) -> BulkRun | None: ...
    def newest(self, *, limit: int) -> list[BulkRun]:
        """Newest first."""
        ...

    def unfinished(self) -> list[BulkRun]:
        """Running and stopped runs, newest first."""
        ...

    def row_leases(self, run_id: str) -> list[RowLease]:
        """The leases on rows of a run, ordered by their end."""
        ...

    def unfinished_of(self, fingerprint: str) -> BulkRun | None:
        """The unfinished run of this file or plan."""
        ...

    def item_counts(self, run_id: str) -> dict[ItemState, int]: ...
    def item_count_with_code(self, run_id: str, code: str) -> int: ...
    def items(self, run_id: str, *states: ItemState, after: int, limit: int) -> list[RunItem]:
        """Rows of a run in these states, in order, after the row numbered `after`."""
        ...

    def items_on_lines(self, run_id: str, lines: Sequence[int]) -> dict[int, RunItem]:
        """Rows of a run by their line in its file."""
        ...

    def refunds(self, run_id: str, *, after: str, limit: int) -> list[Refund]:
        """Refunds and records of a run, in order, after the one with the id `after`."""
        ...


class RunSearches(Protocol):
    """What `runs list` and `runs show` read."""

    def matching(self, filters: RunFilter) -> list[BulkRun]:
        """A page, newest first."""
        ...

    def with_plan(self, seal: str) -> BulkRun | None:
        """The newest run of the plan with this seal."""
        ...

    def older_count(self, filters: RunFilter) -> int:
        """How many match after the run `after`."""
        ...

    def sums(self, filters: RunFilter) -> list[RunSums]:
        """By currency, of all runs that match, on any page."""
        ...

    def sums_by_run(self, run_ids: Sequence[str]) -> dict[str, list[RunSums]]:
        """Of these runs, by currency; a run without refunds is absent."""
        ...

    def item_counts_by_run(self, run_ids: Sequence[str]) -> dict[str, dict[ItemState, int]]: ...
    def refused_codes(self, run_id: str) -> dict[str, int]:
        """How many of its stored rows were refused, by code, the most frequent first."""
        ...


class Runs(RunReads, Protocol):
    def begin(self, run: BulkRun) -> None: ...
    def change(self, run_id: str, state: RunState, *, note: str = "") -> None:
        """Change the state, with an audit entry; nothing happens if the run has it already."""
        ...

    def stage_items(self, items: Sequence[RunItem]) -> None: ...
    def lease_items(self, run_id: str, *, worker: str, until: datetime, at: datetime, limit: int) -> list[RunItem]:
        """Lease the next waiting rows, or rows with a lapsed lease, to this worker; rows leased to others are skipped.

        Raises StoreProblem if the clock cannot be right (DESIGN §3).
        """
        ...

    def extend_leases(self, run_id: str, *, worker: str, until: datetime) -> None:
        """Extend this worker's leases."""
        ...

    def finish_items(self, items: Sequence[RunItem]) -> set[int]:
        """Store the outcomes of rows leased to one worker: state, code, message and hint. Returns the rows' numbers.

        The state `waiting` returns a row. A row that another worker leased since is skipped and not in the numbers.
        """
        ...

    def requeue_unknown(self, run_id: str) -> int:
        """Let rows with an unknown outcome wait again. Returns how many."""
        ...
