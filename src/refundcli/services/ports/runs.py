"""What bulk runs need of the books."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from refundcli.domain.bulk_run import BulkRun, ItemState, RowLease, RunItem, RunState
from refundcli.domain.refund import Refund


class RunReading(Protocol):
    def run(self, run_id: str) -> BulkRun | None: ...
    def runs(self, *, limit: int) -> list[BulkRun]:
        """The newest first."""
        ...

    def unfinished_runs(self) -> list[BulkRun]:
        """Those that are running or stopped, the newest first."""
        ...

    def row_leases(self, run_id: str) -> list[RowLease]:
        """Who holds rows of a run, in the order of their leases' ends."""
        ...

    def unfinished_run(self, fingerprint: str) -> BulkRun | None:
        """The run of this very file or plan that is not finished."""
        ...

    def item_counts(self, run_id: str) -> dict[ItemState, int]: ...
    def item_count_with_code(self, run_id: str, code: str) -> int: ...
    def items(self, run_id: str, *states: ItemState, after: int, limit: int) -> list[RunItem]:
        """Rows of a run in these states, in their order; `after` is the number of one to go on after."""
        ...

    def items_on_lines(self, run_id: str, lines: Sequence[int]) -> dict[int, RunItem]:
        """Rows of a run by the line of its file that they stood on."""
        ...

    def refunds_of_run(self, run_id: str, *, after: str, limit: int) -> list[Refund]:
        """What a run made, in order; `after` is the id of one to go on after."""
        ...


class RunWriting(RunReading, Protocol):
    def begin_run(self, run: BulkRun) -> None: ...
    def change_run(self, run_id: str, state: RunState, *, note: str = "") -> None:
        """One audit entry says so; nothing happens where the run is in this state already."""
        ...

    def stage_items(self, items: Sequence[RunItem]) -> None: ...
    def lease_items(self, run_id: str, *, worker: str, until: datetime, at: datetime, limit: int) -> list[RunItem]:
        """The next rows that wait, or whose worker is gone, now this worker's; rows that others hold are passed over.

        (`FOR UPDATE SKIP LOCKED` on PostgreSQL.)
        """
        ...

    def extend_leases(self, run_id: str, *, worker: str, until: datetime) -> None:
        """This worker is still at the rows that it holds."""
        ...

    def finish_items(self, items: Sequence[RunItem]) -> set[int]:
        """What came of rows of one worker, each still held by it: state, code, message and hint. The rows' numbers.

        `waiting` gives one back. A row that another worker has taken over since is left to that one, and is not among
        the numbers.
        """
        ...

    def requeue_unknown(self, run_id: str) -> int:
        """Rows whose outcome was not known wait again: how many."""
        ...

    def all_or_nothing(self) -> AbstractContextManager[None]:
        """What is raised inside undoes what was changed inside, and nothing else of the transaction."""
        ...
