"""Bulk runs: started once, resumed, and finished."""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping

from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.errors import NotFound, Refused
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.books import Reading, Writing

_SHOWN = 5
_FIRST = 100


class RunNotFound(NotFound):
    code = "run-not-found"

    def __init__(self, run_id: str, kind: RunKind | None, newest_ids: list[str], *, to_resume: bool = False) -> None:
        newest_runs = f"The newest: {', '.join(newest_ids)}." if newest_ids else "No file has been run yet."
        started_words = f" started with refundcli {kind}" if kind else ""
        other_way = f" Running the same file again resumes its run too: refundcli {kind} --from FILE"
        super().__init__(
            f"There is no run {ascii(run_id[:80])[1:-1]}{started_words}.",
            hint=newest_runs + (other_way if to_resume else ""),
        )


class RunFinished(Refused):
    code = "run-finished"

    def __init__(self, run: BulkRun, *, is_undone: bool = False) -> None:
        hint = "Nothing is left to do. refundcli status   shows what needs attention"
        if repeat_command := rejected_rows_command(run):
            hint = f"Correct the rows that were refused, then: {repeat_command}"
        super().__init__(
            f"{run.id} was undone: a run that has been undone cannot be resumed."
            if is_undone
            else f"{run.id} is finished: all of its rows were done or refused.",
            hint=hint,
            context={"run": run.id},
        )


def fingerprint(kind: RunKind, sha256: str, options: Mapping[str, object]) -> str:
    """A hash of a file and of the options that change the meaning of its rows: the same hash is the same run.

    `sha256`: the hash of the file's content.
    """
    canonical_text = json.dumps([kind, sha256, options], sort_keys=True, default=str)
    return hashlib.sha256(canonical_text.encode()).hexdigest()


def begin_in(tx: Writing, run: BulkRun, *, checked_run_id: str) -> tuple[BulkRun, bool]:
    """Start this run, or find the one its rows were checked as, or an unfinished one with the same fingerprint.

    `checked_run_id`: the run as which they were checked, or "". If it was finished meanwhile, no new one is started.
    Returns the run, and whether it existed.
    """
    existing_run = tx.runs.get(checked_run_id) if checked_run_id else tx.runs.unfinished_of(run.fingerprint)
    if existing_run is None:
        tx.runs.begin(run)
    return existing_run or run, existing_run is not None


def resume_command(run: BulkRun) -> str:
    return f"refundcli {run.kind} --resume {run.id}"


def rejected_file_of(run: BulkRun) -> str:
    """The file with its rejected rows; empty if there is none on this machine."""
    rejected_paths = [f"{source_or_id}.rejected.csv" for source_or_id in (run.source, run.id)]
    return next(filter(os.path.exists, rejected_paths), "")


def rejected_rows_command(run: BulkRun) -> str:
    """The command that runs its rejected rows, once they are corrected; empty if there is no such file."""
    rejected_path = rejected_file_of(run)
    return f"refundcli {run.kind} --from {shlex.quote(rejected_path)}" if rejected_path else ""


def run_named(reading: Reading, run_id: str, kind: RunKind | None = None, *, to_resume: bool = False) -> BulkRun:
    """The run, of this kind. Raises RunNotFound, which lists the newest. `to_resume`: it is named to be resumed."""
    run = reading.runs.get(run_id)
    if run is None or (kind and run.kind is not kind):
        newest_runs = reading.runs.newest(limit=4 * _SHOWN)
        newest_ids = [candidate.id for candidate in newest_runs if kind in (None, candidate.kind)]
        raise RunNotFound(run_id, kind, newest_ids[:_SHOWN], to_resume=to_resume)
    return run


def unfinished_run_named(reading: Reading, run_id: str, kind: RunKind) -> BulkRun:
    """The unfinished run. Raises RunNotFound, RunFinished."""
    run = run_named(reading, run_id, kind, to_resume=True)
    if run.state is RunState.FINISHED:
        raise RunFinished(run, is_undone=_is_undone(reading, run))
    return run


def _is_undone(reading: Reading, run: BulkRun) -> bool:
    """Were its records undone? The first ones show it, because an undo begins with them."""
    first_refunds = reading.runs.refunds(run.id, after="", limit=_FIRST)
    return (
        run.kind is RunKind.MARK_REFUNDED
        and bool(first_refunds)
        and all(refund.state is RefundState.REVERSED for refund in first_refunds)
    )
