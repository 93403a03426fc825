"""`refund` with a file: send back what was checked, through the providers, many at once."""

import json
import sys
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import typer

from refundcli.cli.commands.refunds import request
from refundcli.cli.commands.refunds.file_run import (
    BulkOptions,
    checked_file,
    confirm,
    note_afterwards,
    show_checked,
    tell_rejected,
)
from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunKind, RunState
from refundcli.domain.errors import RefundcliError, before_sending
from refundcli.domain.statuses import Provider
from refundcli.files.bulk.rejected_rows import RejectedFile
from refundcli.output import json as json_output
from refundcli.output.errors import show_error
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import resumed_dry_run, run_report
from refundcli.output.serializers.errors import error
from refundcli.output.views.bulk import show_refunded, show_unfinished_runs
from refundcli.services.bulk.refund_rows import RefundWishes, begin_staged
from refundcli.services.bulk.refund_run import run_refunds
from refundcli.services.bulk.report import RowCounts, RunLimits, RunReport, Stopped, row_counts
from refundcli.services.bulk.runs import resume_command, unfinished_run_named
from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun, unfinished_run
from refundcli.services.bulk.validation import BulkReport
from refundcli.services.dispatch.interrupts import stop_when_asked
from refundcli.services.dispatch.outcome_errors import PARTLY_REFUNDED
from refundcli.services.ports.bad_rows import BadRow, Problem
from refundcli.services.ports.books import Reading

_KIND = RunKind.REFUND
_PAGE = 1000
_SHOWN = 50


def refund_file(app: App, options: BulkOptions) -> None:
    """Exit 8 when an outcome is not known, else 9 when some rows were refused, which are in FILE.rejected.csv, or are
    unfinished.
    """
    options.check()
    if options.resume:
        _go_on(app, options)
        return
    wishes = RefundWishes(app.settings.operator.name)

    def connect(report: BulkReport) -> bool:
        asked = dict.fromkeys(Provider(provider) for _, provider in report.sums if provider)
        with before_sending():
            return request.tell_connected(app, [app.services.providers.of(provider) for provider in asked])

    with checked_file(app, options, wishes, connect=connect) as checked:
        if checked is None:
            return
        if not checked.report.wanted and not checked.rules.run_id:
            path = checked.rejected.publish()
            show_checked(app, checked.source.name, _KIND, checked.report, rejected_file=path, dry_run=False)
            return
        new = replace(checked.run, rows=checked.report.rows)
        run = begin_staged(new, checked.shelf, checked_as=checked.rules.run_id, books=app.services.books)
        report = _do(app, options, run, checked.report.wanted)
        _show(app, checked.source.name, run, report, checked.report, checked.rejected)


def _go_on(app: App, options: BulkOptions) -> None:
    """What is left of a run, whose rows are in the store.

    Where money is real, the number of its rows is confirmed anew. It stays the same however many of them are done, so
    that several workers can be given it.
    """
    run = app.services.books.read(lambda tx: unfinished_run_named(tx, options.resume, _KIND))
    now = app.services.clock.now()
    standing = app.services.books.read(lambda tx: unfinished_run(tx, run, now=now))
    if options.dry_run:
        _show_dry_run(app, standing)
        return
    if request.tell_accounts(app, app.services.books.read(lambda tx: tx.accounts())):
        confirm(app, run.rows, options, live=True, begun=run.id)
    left = sum(n for state, n in standing.counts.items() if state not in (ItemState.DONE, ItemState.REFUSED))
    columns = tuple(json.loads(run.options)["columns"])
    with RejectedFile(Path(f"{run.id}.rejected.csv"), columns, keyed=True) as rejected:
        report = _do(app, options, run, left)
        _show(app, run.id, run, report, None, rejected)


def _show_dry_run(app: App, standing: UnfinishedRun) -> None:
    """What would be resumed."""
    if app.for_people:
        show_unfinished_runs([standing], app.out)
    else:
        app.show_object(resumed_dry_run(standing))


@dataclass(frozen=True, slots=True)
class _HandedBack:
    """The rows that the run refused, by whichever worker: how many by code, the first of those that are new in the
    file, and where it is. Those that were partly refunded are all among `first`, and not in the file.

    `problem`: why they could not be handed back.
    """

    codes: Counter[str] = field(default_factory=Counter)
    first: list[BadRow] = field(default_factory=list)
    path: Path | None = None
    problem: RefundcliError | None = None


def _hand_back(app: App, run: BulkRun, rejected: RejectedFile, *, told: Container[int]) -> _HandedBack:
    """Lines that are `told` are in the file already. If it cannot be written, what was refunded is still shown."""
    done = _HandedBack()
    try:
        for item in _refused(app, run):
            done.codes[item.code] += 1
            if item.line not in told:
                row = _rejection(item)
                if item.code == PARTLY_REFUNDED:
                    # Fed back it would be refused: each is shown with what to do about it.
                    done.first.append(row)
                    continue
                rejected.add(row)
                done.first.extend([row] if len(done.first) < _SHOWN else [])
        return replace(done, path=rejected.publish())
    except RefundcliError as problem:
        return replace(done, problem=problem)


def _refused(app: App, run: BulkRun) -> Iterator[RunItem]:
    after = 0
    while found := app.services.books.read(partial(_refused_page, run.id, after)):
        after = found[-1].n
        yield from found


def _refused_page(run_id: str, after: int, reading: Reading) -> list[RunItem]:
    return reading.items(run_id, ItemState.REFUSED, after=after, limit=_PAGE)


def _do(app: App, options: BulkOptions, run: BulkRun, rows: int) -> RunReport:
    services = app.services
    limits = RunLimits(in_flight=services.settings.refunds.in_flight, max_errors=options.max_errors)
    with (
        progress(app.err, "Refunding", total=rows, enabled=app.wants_progress) as advance,
        stop_when_asked(app.tell_stopping) as stop,
    ):
        return run_refunds(
            run,
            books=services.books,
            providers=services.providers,
            clock=services.clock,
            policy=services.policy,
            limits=limits,
            tell=lambda item, refunds: advance(1, refused=int(_is_refused(item))),
            stop=stop,
            tell_waiting=partial(_tell_waiting, app),
        )


def _is_refused(item: RunItem) -> bool:
    return item.state is ItemState.REFUSED and item.code != PARTLY_REFUNDED


def _tell_waiting(app: App, holders: Sequence[RunHolder]) -> None:
    for holder in holders:
        app.note(f"{_leased(holder)}; waiting for them. Ctrl-C ends the wait.")


def _leased(holder: RunHolder) -> str:
    rows = "1 row is" if holder.rows == 1 else f"{holder.rows:,} rows are"
    until = f" until {holder.until:%H:%M:%S} UTC" if holder.until else ""
    return f"{rows} leased by {holder.shown}{until}"


def _rejection(item: RunItem) -> BadRow:
    problem = Problem(item.line, "invoice", item.invoice, item.code, item.message, item.hint)
    return BadRow(item.line, (problem,), tuple(json.loads(item.cells)), item.request_key)


def _show(
    app: App, name: str, run: BulkRun, report: RunReport, checked: BulkReport | None, rejected: RejectedFile
) -> None:
    """What became of each row, and how it ends. `checked` is what the check of the run's file found, if it was read."""
    back = _hand_back(app, run, rejected, told=checked.refused_by_run if checked else ())
    counts = row_counts(run.rows, report, checked)
    codes = (checked.codes_outside if checked else Counter[str]()) + (back.codes if report.standing else report.codes)
    path = str(back.path) if back.path else None
    first = [*(checked.refused if checked else ()), *back.first]
    if app.for_people:
        show_refunded(report, counts, codes, run.id, app.out, first=first)
    else:
        app.show_object(run_report(name, run, report, counts, codes=codes, first=first, path=path))
    if counts.refunded or counts.accepted:
        note_afterwards(app, run, record=False)
    _tell_next(app, run, report)
    tell_rejected(app, _KIND, codes.total() - codes[PARTLY_REFUNDED], counts.rows, path)
    _end(app, report, counts, back.problem)


def _tell_next(app: App, run: BulkRun, report: RunReport) -> None:
    """Beside JSON, which has all of this, stderr is for errors only."""
    if app.wants_json:
        return
    if report.stopped:
        app.err.say(("! ", "yellow"), f"Stopped: {report.stopped}.")
    for holder in report.holders:
        app.err.say(("! ", "yellow"), f"{_leased(holder)}.")
    if report.state is not RunState.FINISHED:
        app.err.say(f"Next: {resume_command(run)}     (no row is done twice)", indent=3)


def _end(app: App, report: RunReport, counts: RowCounts, not_handed_back: RefundcliError | None) -> None:
    """Show what went wrong, and exit with the worst of it."""
    for lost in report.not_written:
        _show_problem(app, lost)
    if report.bug:
        raise report.bug
    code = _exit_code(report, counts)
    problem = report.trouble or not_handed_back
    if problem and not (report.not_written and problem is report.trouble):
        _show_problem(app, problem)
    if code:
        raise typer.Exit(code)


def _show_problem(app: App, problem: RefundcliError) -> None:
    if app.wants_json:
        json_output.dump(error(problem), sys.stderr)
    else:
        show_error(problem, app.err)


def _exit_code(report: RunReport, counts: RowCounts) -> int:
    """The worst decides: an outcome that is not known, then who or what stopped it, then rows that were refused or are
    unfinished (I11).
    """
    if report.not_written or report.unknown or counts.unknown:
        return ExitCode.OUTCOME_UNKNOWN
    if report.stopped is Stopped.ASKED:
        return ExitCode.INTERRUPTED
    if report.trouble:
        return OF_FAMILY[report.trouble.family]
    return (
        ExitCode.PARTLY if counts.refused or counts.partly or report.state is not RunState.FINISHED else ExitCode.DONE
    )
