"""`refund` with a file: send back what was checked, through the providers, many at once."""

import json
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import typer

from refundcli.cli import refunding
from refundcli.cli.bulk import BulkOptions, checked_file, show_checked, tell_rejected
from refundcli.cli.context import App
from refundcli.cli.exit_codes import OF_FAMILY, ExitCode
from refundcli.documents.rejected import RejectedFile
from refundcli.domain.bulk_run import BulkRun, ItemState, RunItem, RunKind, RunState
from refundcli.domain.errors import RefundcliError, UsageProblem
from refundcli.domain.statuses import Provider
from refundcli.output.bulk_screen import run_shape, show_refunded
from refundcli.output.errors import show_error
from refundcli.output.progress import progress
from refundcli.services.bad_rows import BadRow, Problem
from refundcli.services.bulk_check import BulkReport
from refundcli.services.bulk_marks import how_to_go_on
from refundcli.services.bulk_refunds import RefundWishes, begin_staged
from refundcli.services.bulk_runs import unfinished_run_named
from refundcli.services.interrupts import stop_when_asked
from refundcli.services.ports import Reading
from refundcli.services.run_refunds import run_refunds
from refundcli.services.run_report import RunLimits, RunReport, Stopped

_KIND = RunKind.REFUND
_PAGE = 1000
_SHOWN = 50


class NotWithResume(UsageProblem):
    code = "not-with-resume"

    def __init__(self) -> None:
        super().__init__(
            "--dry-run cannot stand beside --resume: the rows of a run were checked and confirmed when it began.",
            hint="refundcli status   shows how far each unfinished run is",
        )


def refund_file(app: App, options: BulkOptions) -> None:
    """Exit 8 when an outcome is not known, else 9 when some rows were refused; those are in FILE.rejected.csv."""
    options.check()
    if options.resume and options.dry_run:
        raise NotWithResume
    if options.resume:
        _go_on(app, options)
        return
    wishes = RefundWishes(app.settings.operator.name)

    def connect(report: BulkReport) -> bool:
        asked = dict.fromkeys(Provider(provider) for _, provider in report.sums if provider)
        return refunding.tell_connected(app, [app.services.providers.of(provider) for provider in asked])

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
    """What is left of a run: it was confirmed when it began, and its rows are in the store."""
    run = app.services.books.read(lambda tx: unfinished_run_named(tx, options.resume, _KIND))
    counts = app.services.books.read(lambda tx: tx.item_counts(run.id))
    left = sum(n for state, n in counts.items() if state not in (ItemState.DONE, ItemState.REFUSED))
    columns = tuple(json.loads(run.options)["columns"])
    with RejectedFile(Path(f"{run.id}.rejected.csv"), columns, keyed=True) as rejected:
        report = _do(app, options, run, left)
        _show(app, run.id, run, report, None, rejected)


@dataclass(frozen=True, slots=True)
class _HandedBack:
    """The rows that the run refused, by whichever worker: how many by code, the first of them, and their file.

    `problem`: why they could not be handed back.
    """

    codes: Counter[str] = field(default_factory=Counter)
    first: list[BadRow] = field(default_factory=list)
    path: Path | None = None
    problem: RefundcliError | None = None


def _hand_back(app: App, run: BulkRun, rejected: RejectedFile, *, told: Container[int]) -> _HandedBack:
    """Lines that are `told` already are in the file. Where this goes wrong, what was refunded is shown all the same."""
    done = _HandedBack()
    try:
        for item in _refused(app, run):
            if item.line not in told:
                row = _rejection(item)
                rejected.add(row)
                done.codes[item.code] += 1
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
        progress(app.err, "Refunding", total=rows, wanted=app.wants_progress) as advance,
        stop_when_asked(app.tell_stopping) as stop,
    ):
        return run_refunds(
            run,
            books=services.books,
            providers=services.providers,
            clock=services.clock,
            policy=services.policy,
            limits=limits,
            tell=lambda item, refunds: advance(1, refused=int(item.state is ItemState.REFUSED)),
            stop=stop,
        )


def _rejection(item: RunItem) -> BadRow:
    problem = Problem(item.line, "invoice", item.invoice, item.code, item.message, item.hint)
    return BadRow(item.line, (problem,), tuple(json.loads(item.cells)), item.request_key)


def _show(
    app: App, name: str, run: BulkRun, report: RunReport, checked: BulkReport | None, rejected: RejectedFile
) -> None:
    """`checked` is what the check of the run's file found, where there was one."""
    back = _hand_back(app, run, rejected, told=checked.refused_by_run if checked else ())
    path = str(back.path) if back.path else None
    if app.for_people:
        show_refunded(report, back.codes, run.id, app.out)
    else:
        app.show_object(run_shape(name, checked, report, run.id, codes=back.codes, first=back.first, path=path))
    for lost in report.not_written:
        show_error(lost, app.err)
    refused = back.codes.total() + (checked.refused_count if checked else 0)
    tell_rejected(app, _KIND, refused, checked.rows if checked else run.rows, path)
    if report.stopped:
        app.err.say(("! ", "yellow"), f"Stopped: {report.stopped}.")
    if report.state is not RunState.FINISHED:
        _tell_next(app, run, report)
    if back.problem and not report.trouble:
        show_error(back.problem, app.err)
    code = _exit_code(report, refused)
    if report.trouble and code != ExitCode.OUTCOME_UNKNOWN:
        raise report.trouble
    if code:
        raise typer.Exit(code)


def _tell_next(app: App, run: BulkRun, report: RunReport) -> None:
    if report.held_by_others and not report.stopped and not report.unknown:
        app.note(f"{report.held_by_others:,} rows are with other workers of this run.")
    else:
        app.err.say(f"Next: {how_to_go_on(run)}", indent=3)


def _exit_code(report: RunReport, refused: int) -> int:
    """The worst decides: an outcome that is not known, then who stopped it, then rows that were refused (I11)."""
    if report.not_written or report.unknown:
        return ExitCode.OUTCOME_UNKNOWN
    if report.stopped is Stopped.ASKED:
        return ExitCode.INTERRUPTED
    if report.trouble:
        return OF_FAMILY[report.trouble.family]
    return ExitCode.PARTLY if refused else ExitCode.DONE
