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

    def __init__(self, run_id: str, kind: RunKind, near: list[str]) -> None:
        newest = f"The newest: {', '.join(near)}." if near else "No file was run yet."
        super().__init__(
            f"There is no run {ascii(run_id[:80])[1:-1]} of {kind}.",
            hint=f"{newest} Running the same file again resumes its run too: refundcli {kind} --from FILE",
        )


class RunFinished(Refused):
    code = "run-finished"

    def __init__(self, run: BulkRun, *, is_undone: bool = False) -> None:
        rejected = [f"{name}.rejected.csv" for name in (run.source, run.id)]
        rejected_file = next(filter(os.path.exists, rejected), None)
        hint = "Nothing is left to do. refundcli status   shows what needs attention"
        if rejected_file:
            again = f"refundcli {run.kind} --from {shlex.quote(rejected_file)}"
            hint = f"Correct the rows that were refused, then: {again}"
        super().__init__(
            f"{run.id} was undone: a run that was undone is not resumed."
            if is_undone
            else f"{run.id} is finished: all of its rows were done or refused.",
            hint=hint,
            context={"run": run.id},
        )


def fingerprint(kind: RunKind, sha256: str, options: Mapping[str, object]) -> str:
    """A hash of a file and of the options that change the meaning of its rows: the same hash is the same run."""
    text = json.dumps([kind, sha256, options], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def begin(run: BulkRun, *, checked_as: str, books: Books) -> BulkRun:
    """Start this run, or resume the one its rows were checked as, or an unfinished one with the same fingerprint."""

    def work(tx: Writing) -> BulkRun:
        existing = tx.run(checked_as) if checked_as else tx.unfinished_run(run.fingerprint)
        if existing is None:
            tx.begin_run(run)
            return run
        tx.change_run(existing.id, RunState.RUNNING, note="gone on with")
        return existing

    return books.write(work)


def end(run: BulkRun, state: RunState, *, books: Books, note: str = "") -> None:
    books.write(lambda tx: tx.change_run(run.id, state, note=note))


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


def run_named(reading: Reading, run_id: str, kind: RunKind) -> BulkRun:
    """The run. Raises RunNotFound, which lists the newest runs."""
    run = reading.run(run_id)
    if run is None or run.kind is not kind:
        near = [candidate.id for candidate in reading.runs(limit=4 * _SHOWN) if candidate.kind is kind]
        raise RunNotFound(run_id, kind, near[:_SHOWN])
    return run


def unfinished_run_named(reading: Reading, run_id: str, kind: RunKind) -> BulkRun:
    """The unfinished run. Raises RunNotFound, RunFinished."""
    run = run_named(reading, run_id, kind)
    if run.state is RunState.FINISHED:
        raise RunFinished(run, is_undone=_is_undone(reading, run))
    return run


def _is_undone(reading: Reading, run: BulkRun) -> bool:
    """Were its records undone? The first ones tell, because an undo takes all of them in turn."""
    first = reading.refunds_of_run(run.id, after="", limit=_FIRST)
    return run.kind is RunKind.MARK_REFUNDED and bool(first) and all(r.state is RefundState.REVERSED for r in first)
