"""Bulk runs that are not finished: their progress, the workers that have leased their rows, and how to resume them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from refundcli.domain.bulk_run import PARTLY_REFUNDED, BulkRun, ItemState, RowLease, RunKind, RunState
from refundcli.services.bulk.runs import resume_command
from refundcli.services.ports.books import Reading
from refundcli.system import processes

# A run of records writes about once a second; the store does not know its process.
_RECORDS_WITHIN = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class RunHolder:
    """A worker that has leased rows of a run: its host and process, the number of rows, and the end of its last lease.

    `is_live`: its lease has not ended, and its process is not known to have ended.
    """

    label: str
    rows: int
    until: datetime | None
    is_live: bool


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that is running or stopped. `counts`: its stored rows by state.

    `partly`: how many of the rows stored as refused were refunded in part. A run of records has no stored rows: its
    counts and holders are empty. `last_record_at`: the time of its last record, None before the first;
    `is_recording`: it is running, and wrote a moment ago.
    """

    run: BulkRun
    counts: Mapping[ItemState, int]
    holders: Sequence[RunHolder]
    partly: int = 0
    last_record_at: datetime | None = None
    is_recording: bool = False

    @property
    def refused(self) -> int:
        """Rows of which nothing was refunded."""
        return self.counts.get(ItemState.REFUSED, 0) - self.partly

    @property
    def has_live_worker(self) -> bool:
        """Is a live worker processing it? Then nobody has to act."""
        return self.is_recording or any(holder.is_live for holder in self.holders)

    @property
    def rows(self) -> int:
        """Rows of the run; of a run of records, those of its file."""
        return sum(self.counts.values()) if self.run.kind is RunKind.REFUND else self.run.rows

    @property
    def rows_left(self) -> int:
        """Rows that are neither done nor refused."""
        return self.rows - self.counts.get(ItemState.DONE, 0) - self.counts.get(ItemState.REFUSED, 0)

    @property
    def command(self) -> str:
        """The next step, which repeats no row."""
        return resume_command(self.run)


def unfinished_runs(reading: Reading, *, now: datetime) -> list[UnfinishedRun]:
    """All unfinished runs, newest first. `now` is the time of the books' clock, which leases use too."""
    return [unfinished_run(reading, run, now=now) for run in reading.runs.unfinished()]


def unfinished_run(reading: Reading, run: BulkRun, *, now: datetime) -> UnfinishedRun:
    if run.kind is not RunKind.REFUND:
        last_record_at = reading.runs.newest_refund(run.id)
        is_recording = run.state is RunState.RUNNING and now - (last_record_at or run.created_at) < _RECORDS_WITHIN
        return UnfinishedRun(run, {}, (), last_record_at=last_record_at, is_recording=is_recording)
    counts_by_state = reading.runs.item_counts(run.id)
    partly_refunded_count = (
        reading.runs.item_count_with_code(run.id, PARTLY_REFUNDED) if counts_by_state.get(ItemState.REFUSED) else 0
    )
    return UnfinishedRun(
        run, counts_by_state, holders_of(reading.runs.row_leases(run.id), now=now), partly_refunded_count
    )


def holders_of(row_leases: Sequence[RowLease], *, now: datetime) -> list[RunHolder]:
    return [
        RunHolder(processes.process_named(lease.worker).shown, lease.rows, lease.until, _is_live(lease, now))
        for lease in row_leases
    ]


def _is_live(lease: RowLease, now: datetime) -> bool:
    return lease.until is not None and lease.until > now and not processes.is_gone(lease.worker)
