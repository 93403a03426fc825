"""Bulk runs that are not finished: how far each is, who holds its rows, and how it is resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.bulk_run import BulkRun, ItemState, RowLease, RunKind
from refundcli.services import leases
from refundcli.services.bulk_runs import resume_command
from refundcli.services.ports import Reading


@dataclass(frozen=True, slots=True)
class RunHolder:
    """A worker that holds rows of a run: where it runs, how many rows, until when at the latest.

    `is_live`: its lease has not ended, and its process is not known to be gone.
    """

    shown: str
    rows: int
    until: datetime | None
    is_live: bool


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that is running or stopped. `counts` has its rows by state, as the store has them now.

    A run of records has no rows in the store: its counts and holders are empty.
    """

    run: BulkRun
    counts: Mapping[ItemState, int]
    holders: Sequence[RunHolder]

    @property
    def is_held(self) -> bool:
        """Is a living worker at it? Then it needs nobody. Of a run of records nobody can tell."""
        return any(holder.is_live for holder in self.holders)

    @property
    def rows(self) -> int:
        """Rows of the run; of a run of records, those of its file."""
        return sum(self.counts.values()) if self.run.kind is RunKind.REFUND else self.run.rows

    @property
    def command(self) -> str:
        """The next step: it does no row twice."""
        return resume_command(self.run)


def unfinished_runs(reading: Reading, *, now: datetime) -> list[UnfinishedRun]:
    """All of them, the newest first. `now` is the time of the books' clock, as of every lease."""
    return [unfinished_run(reading, run, now=now) for run in reading.unfinished_runs()]


def unfinished_run(reading: Reading, run: BulkRun, *, now: datetime) -> UnfinishedRun:
    return UnfinishedRun(run, reading.item_counts(run.id), holders_of(reading.row_leases(run.id), now=now))


def holders_of(held: Sequence[RowLease], *, now: datetime) -> list[RunHolder]:
    return [RunHolder(leases.holder_of(each.worker).shown, each.rows, each.until, _is_live(each, now)) for each in held]


def _is_live(held: RowLease, now: datetime) -> bool:
    return held.until is not None and held.until > now and not leases.is_gone(held.worker)
