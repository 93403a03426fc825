"""Lists of bulk runs, and one run with its sums and its next step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from refundcli.domain.bulk_run import PARTLY_REFUNDED, ItemState, RunKind, RunState
from refundcli.services.bulk.runs import rejected_file_of, rejected_rows_command, resume_command, run_named
from refundcli.services.bulk.unfinished_runs import UnfinishedRun, unfinished_run
from refundcli.services.ports.books import Reading
from refundcli.services.ports.reads import RunFilter, RunSums


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in any state, its rows by state, and the sums of its refunds by currency."""

    standing: UnfinishedRun
    sums: Sequence[RunSums]

    @property
    def done(self) -> int:
        """Rows that are done; of a run of records, the records that it wrote."""
        if self.standing.run.kind is RunKind.REFUND:
            return self.standing.counts.get(ItemState.DONE, 0)
        return sum(total.refunds for total in self.sums)

    def count(self, state: ItemState) -> int | None:
        """Rows in this state, without those refunded in part. None for a run of records: its rows are not stored."""
        if self.standing.run.kind is not RunKind.REFUND:
            return None
        return self.standing.refused if state is ItemState.REFUSED else self.standing.counts.get(state, 0)


@dataclass(frozen=True, slots=True)
class RunDetails:
    """`rejected_file`: empty if it is not on this machine. `command`: the next step, empty where nobody has to act."""

    listed: ListedRun
    refused_codes: Mapping[str, int]
    rejected_file: str
    command: str


def listed_runs(reading: Reading, filters: RunFilter) -> list[ListedRun]:
    """A page, newest first; without the workers that have leased rows."""
    runs = reading.run_search.matching(filters)
    run_ids = [run.id for run in runs]
    counts_by_run, sums_by_run = reading.run_search.item_counts_by_run(run_ids), reading.run_search.sums_by_run(run_ids)
    listed = []
    for run in runs:
        counts = counts_by_run.get(run.id, {})
        partly = reading.runs.item_count_with_code(run.id, PARTLY_REFUNDED) if counts.get(ItemState.REFUSED) else 0
        listed.append(ListedRun(UnfinishedRun(run, counts, (), partly), sums_by_run.get(run.id, ())))
    return listed


def run_details(reading: Reading, run_id: str, *, now: datetime) -> RunDetails:
    """Raises RunNotFound. `now` is the time of the books' clock, which leases use too."""
    run = run_named(reading, run_id)
    standing = unfinished_run(reading, run, now=now)
    listed = ListedRun(standing, reading.run_search.sums_by_run([run.id]).get(run.id, ()))
    return RunDetails(listed, reading.run_search.refused_codes(run.id), rejected_file_of(run), _command(listed))


def _command(listed: ListedRun) -> str:
    run = listed.standing.run
    if run.state is not RunState.FINISHED:
        return "" if listed.standing.has_live_worker else resume_command(run)
    if repeat_command := rejected_rows_command(run):
        return repeat_command
    if run.kind is RunKind.REFUND and any(total.failed.minor for total in listed.sums):
        return f"refundcli refunds list --run {run.id} --state failed"
    if any(total.accepted.minor for total in listed.sums):
        return f"refundcli refunds list --run {run.id} --state pending"
    return ""
