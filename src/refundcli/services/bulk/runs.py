"""Bulk runs: started once, resumed, and finished."""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping

from refundcli.domain.bulk_run import BulkRun, RunKind, RunState
from refundcli.domain.errors import NotFound, Refused
from refundcli.domain.identifiers import new_id
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.books import Books, Reading, Writing
from refundcli.services.ports.clock import Clock

_SHOWN = 5
_FIRST = 100


class RunNotFound(NotFound):
    code = "run-not-found"

    def __init__(self, run_id: str, kind: RunKind, newest_ids: list[str], *, to_resume: bool) -> None:
        newest_runs = f"The newest: {', '.join(newest_ids)}." if newest_ids else "No file has been run yet."
        other_way = f" Running the same file again resumes its run too: refundcli {kind} --from FILE"
        super().__init__(
            f"There is no run {ascii(run_id[:80])[1:-1]} started with refundcli {kind}.",
            hint=newest_runs + (other_way if to_resume else ""),
        )


class RunFinished(Refused):
    code = "run-finished"

    def __init__(self, run: BulkRun, *, is_undone: bool = False) -> None:
        rejected_paths = [f"{source_or_id}.rejected.csv" for source_or_id in (run.source, run.id)]
        rejected_path = next(filter(os.path.exists, rejected_paths), None)
        hint = "Nothing is left to do. refundcli status   shows what needs attention"
        if rejected_path:
            repeat_command = f"refundcli {run.kind} --from {shlex.quote(rejected_path)}"
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


def begin(run: BulkRun, *, checked_run_id: str, books: Books) -> BulkRun:
    """Start this run, or resume the one its rows were checked as, or an unfinished one with the same fingerprint.

    `checked_run_id`: the run as which they were checked, or "".
    """

    def work(tx: Writing) -> BulkRun:
        existing_run = tx.runs.get(checked_run_id) if checked_run_id else tx.runs.unfinished_of(run.fingerprint)
        if existing_run is None:
            tx.runs.begin(run)
            return run
        tx.runs.change(existing_run.id, RunState.RUNNING, note="resumed")
        return existing_run

    return books.write(work)


def end(run: BulkRun, state: RunState, *, books: Books, note: str = "") -> None:
    books.write(lambda tx: tx.runs.change(run.id, state, note=note))


def new_run(
    kind: RunKind,
    *,
    source: str,
    fingerprint: str,
    rows: int,
    operator: str,
    clock: Clock,
    options: Mapping[str, object],
    planned_by: str = "",
    plan_hash: str = "",
) -> BulkRun:
    """A run that starts now. `source`: the path of its file or plan; `options`: those that change what its rows mean.

    `planned_by` and `plan_hash`: who checked its plan, and the plan's hash; empty without a plan.
    """
    now = clock.now()
    return BulkRun(
        id=new_id("run_", now),
        kind=kind,
        state=RunState.RUNNING,
        source=source,
        fingerprint=fingerprint,
        rows=rows,
        operator=operator,
        created_at=now,
        planned_by=planned_by,
        plan_hash=plan_hash,
        options=json.dumps(options, sort_keys=True, default=str),
    )


def resume_command(run: BulkRun) -> str:
    return f"refundcli {run.kind} --resume {run.id}"


def run_named(reading: Reading, run_id: str, kind: RunKind, *, to_resume: bool) -> BulkRun:
    """The run. Raises RunNotFound, which lists the newest runs. `to_resume`: it is named to be resumed."""
    run = reading.runs.get(run_id)
    if run is None or run.kind is not kind:
        newest_ids = [candidate.id for candidate in reading.runs.newest(limit=4 * _SHOWN) if candidate.kind is kind]
        raise RunNotFound(run_id, kind, newest_ids[:_SHOWN], to_resume=to_resume)
    return run


def unfinished_run_named(reading: Reading, run_id: str, kind: RunKind) -> BulkRun:
    """The unfinished run. Raises RunNotFound, RunFinished."""
    run = run_named(reading, run_id, kind, to_resume=True)
    if run.state is RunState.FINISHED:
        raise RunFinished(run, is_undone=_is_undone(reading, run))
    return run


def _is_undone(reading: Reading, run: BulkRun) -> bool:
    """Were its records undone? The first ones tell, because an undo takes all of them in turn."""
    first_refunds = reading.runs.refunds(run.id, after="", limit=_FIRST)
    return (
        run.kind is RunKind.MARK_REFUNDED
        and bool(first_refunds)
        and all(refund.state is RefundState.REVERSED for refund in first_refunds)
    )
