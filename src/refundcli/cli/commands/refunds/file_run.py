"""What a bulk file goes through, of either kind: open, check whole, show, ask once, and only then begin."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.prompts import ConfirmationRequired, check_confirm, require_a_way_to_ask, typed
from refundcli.domain.bulk_run import BulkRun, RunKind
from refundcli.domain.errors import UsageProblem
from refundcli.domain.reasons import RefundReason
from refundcli.files.bulk.file import BulkFile
from refundcli.files.bulk.plan import PlanFile, write_plan
from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
from refundcli.files.source import Source, open_source
from refundcli.files.spool import DiskShelf
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import checked_file as checked_file_shape
from refundcli.output.views.bulk import show_summary
from refundcli.services.bulk.record_run import TooManyErrors
from refundcli.services.bulk.runs import fingerprint, new_run
from refundcli.services.bulk.validation import BulkCheck, BulkReport, RowRules, Wishes

Opened: TypeAlias = BulkFile | PlanFile


class OneFile(UsageProblem):
    code = "one-file"

    def __init__(self) -> None:
        super().__init__(
            "Say which: --from a file, --apply a plan, or --resume a run; one of them.",
            hint="refundcli refund --from FILE --plan PLAN.json   and then   refundcli refund --apply PLAN.json",
        )


class NotWithPlan(UsageProblem):
    code = "not-with-plan"

    def __init__(self, option: str) -> None:
        super().__init__(
            f"{option} cannot stand beside --apply: a plan says already what is to be done.",
            hint="Make a new plan, with --from FILE --plan PLAN.json.",
        )


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """What was typed beside a bulk command."""

    kind: RunKind
    from_: str = ""
    apply: str = ""
    resume: str = ""
    plan: str = ""
    reason: RefundReason | None = None
    allow_duplicate: bool = False
    atomic: bool = False
    max_errors: int | None = None
    dry_run: bool = False
    yes: bool = False
    confirm: str = ""

    @property
    def meaning(self) -> dict[str, Any]:
        """The options that change what the rows of a file mean."""
        return {"reason": self.reason, "allow_duplicate": self.allow_duplicate}

    def check(self) -> None:
        """Raises OneFile, NotWithPlan."""
        if sum(map(bool, (self.from_, self.apply, self.resume))) != 1 or (self.plan and not self.from_):
            raise OneFile
        if self.apply and (self.reason or self.allow_duplicate):
            raise NotWithPlan("--reason" if self.reason else "--allow-duplicate")


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was checked and confirmed: its run, the rows that may be done, and where refused ones go."""

    source: Source
    run: BulkRun
    report: BulkReport
    rules: RowRules
    shelf: DiskShelf
    rejected: RejectedFile


@contextmanager
def checked_file(
    app: App, options: BulkOptions, wishes: Wishes, *, connect: Callable[[BulkReport], bool] = lambda report: False
) -> Iterator[Checked | None]:
    """Everything up to the first row; None where a dry run or a plan was all that was asked for.

    `connect` makes ready who will be asked, before any question; true when real money will move: to that --yes is no
    answer (R5, I12).
    """
    answered = bool(options.yes or options.confirm or options.dry_run or options.plan)
    services = app.services
    with open_source(options.from_ or options.apply, sys.stdin.buffer) as source, DiskShelf() as shelf:
        opened = _opened(app, options, source)
        how = "Add --confirm with the number of rows, or --yes in test mode."
        # A file without rows needs no answer.
        require_a_way_to_ask(app, answered=answered or not _has_rows(opened), how=how)
        run = _run_of(app, options, source, opened)
        known = services.books.read(lambda tx: tx.unfinished_run(run.fingerprint))
        # A plan was made with or without --allow-duplicate, and is applied as it was made.
        allow_duplicate = opened.allow_duplicate if isinstance(opened, PlanFile) else options.allow_duplicate
        rules = RowRules(wishes, services.clock, known.id if known else "", allow_duplicate)
        with RejectedFile(path_for_rejected(source, opened.columns), opened.columns, keyed=True) as rejected:
            is_staged = options.kind is RunKind.REFUND and not options.plan
            staged, fingerprint = (rules.run_id, run.fingerprint) if is_staged else ("", "")
            check = BulkCheck(services.books, rules, shelf, staged, fingerprint)
            with progress(app.err, "Checking", enabled=app.wants_progress) as advance:
                report = check.check(opened.rows, advance=advance, reject=rejected.add)
            if not app.wants_json:
                show_summary(source.name, options.kind, report, app.err)
            if options.dry_run:
                show_checked(app, source.name, options.kind, report, rejected_file=None)
                yield None
                return
            _stop_at_max_errors(options, report, source)
            if options.plan:
                _plan(app, options, opened, report, shelf, source)
                path = rejected.publish()
                show_checked(app, source.name, options.kind, report, rejected_file=path)
                yield None
                return
            live = bool(report.wanted) and connect(report)
            confirm(app, report.wanted, options, live=live, begun=rules.run_id)
            # Before anything is done: what is left out is never lost.
            rejected.publish()
            yield Checked(source, run, report, rules, shelf, rejected)


def show_checked(
    app: App, name: str, kind: RunKind, report: BulkReport, *, rejected_file: Path | None, dry_run: bool = True
) -> None:
    """What the check found, where nothing was to be done after it."""
    path = str(rejected_file) if rejected_file else None
    if not app.for_people:
        app.show_object(checked_file_shape(name, kind, report, dry_run=dry_run, run=None, rejected_file=path))
    elif dry_run:
        app.out.say("Dry run: every rule was checked, nothing was sent or written.")
    elif not report.rows:
        app.out.say(f"{name} has no rows: nothing to do.")
    else:
        app.out.say(f"Nothing to do: {report.done_before:,} of {report.rows:,} rows were done before.")
    tell_rejected(app, kind, report.refused_count, report.rows, path)
    if report.refused_count:
        raise typer.Exit(ExitCode.PARTLY)


def tell_rejected(app: App, kind: RunKind, refused: int, rows: int, path: str | None) -> None:
    if path and refused and not app.wants_json:
        app.err.say(("! ", "yellow"), f"{refused:,} of {rows:,} rows were left out: {path}")
        app.err.say(f"Correct them, then: refundcli {kind} --from {shlex.quote(path)}", indent=3)


def note_afterwards(app: App, run: BulkRun, *, record: bool) -> None:
    """What refunds and records do not do by themselves (R8), and where their ids and credit notes are."""
    since = run.created_at.astimezone(app.services.books.zone).date()
    if not record:
        app.note("  · The money takes 5–10 business days to reach the statement; the provider may keep its fee.")
    app.note("  · Products and subscriptions stay as they are: refundcli invoice show NUMBER   lists an invoice's")
    app.note(f"  · Credit notes and refund ids: refundcli credit-notes list --since {since} -o csv")


def _has_rows(opened: Opened) -> bool:
    with closing(opened.rows()) as rows:
        return next(rows, None) is not None


def _opened(app: App, options: BulkOptions, source: Source) -> Opened:
    if options.apply:
        return PlanFile(source, options.kind, app.services.books.read(lambda tx: tx.secret()))
    return BulkFile(source, options.kind, default_reason=options.reason, today=app.services.clock.today())


def _run_of(app: App, options: BulkOptions, source: Source, opened: Opened) -> BulkRun:
    """The run that this file or plan would be."""
    planned = opened if isinstance(opened, PlanFile) else None
    meaning = options.meaning | {"plan": bool(planned), "columns": opened.columns}
    return new_run(
        options.kind,
        source=str(source.path.resolve()) if source.is_file else source.name,
        fingerprint=fingerprint(options.kind, source.sha256, meaning),
        rows=0,
        operator=app.settings.operator.name,
        clock=app.services.clock,
        options=meaning,
        planned_by=str(planned.header["planned_by"]) if planned else "",
        plan_hash=planned.seal if planned else "",
    )


def _plan(app: App, options: BulkOptions, opened: Opened, report: BulkReport, shelf: DiskShelf, source: Source) -> None:
    if not report.wanted:
        app.note(f"No row can be done: {options.plan} was not written.")
        return
    services = app.services
    header = {
        "kind": options.kind,
        "file": source.label,
        "planned_by": app.settings.operator.name,
        "planned_at": services.clock.now().isoformat(),
        "columns": opened.columns,
        "rows_planned": report.wanted,
        **options.meaning,
    }
    secret = services.books.read(lambda tx: tx.secret())
    write_plan(Path(options.plan), header, shelf.chunks(), secret)
    app.note(("✓ ", "green"), f"Planned {report.wanted:,} rows: {options.plan}. Nothing was done.")
    app.note(f"  To do it: refundcli {options.kind} --apply {shlex.quote(options.plan)}")


def confirm(app: App, rows: int, options: BulkOptions, *, live: bool, begun: str) -> None:
    """The number of rows, typed or given; where nothing would be done there is nothing to confirm (R5).

    `begun`: the run that is resumed, some of whose rows may be done.
    """
    if not rows:
        return
    if options.confirm:
        check_confirm(options.confirm, str(rows))
    elif options.yes and not live:
        return
    elif not app.may_ask:
        raise ConfirmationRequired(f"Live money needs --confirm {rows}.")
    else:
        done = "recorded" if options.kind is RunKind.MARK_REFUNDED else "sent"
        if done == "sent":
            app.err.say(f"Refund {rows:,} rows ({'LIVE' if live else 'test mode'}). This cannot be undone.")
        typed(app, str(rows), nothing="" if begun else done)


def _stop_at_max_errors(options: BulkOptions, report: BulkReport, source: Source) -> None:
    new = report.refused_count - len(report.refused_by_run)
    if options.max_errors is not None and new >= options.max_errors:
        hint = f"Nothing was done. Look at them: refundcli {options.kind} --from {shlex.quote(source.name)} --dry-run"
        raise TooManyErrors(new, options.max_errors, how_to_go_on=hint)
