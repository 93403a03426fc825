"""The steps of a bulk file of either kind: open, check the whole file, show a summary, confirm once, begin."""

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
from refundcli.cli.prompts import ConfirmationRequired, ask_to_type, check_confirm, require_a_way_to_ask
from refundcli.domain.bulk_run import BulkRun, RunKind
from refundcli.domain.errors import UsageProblem
from refundcli.domain.reasons import RefundReason
from refundcli.files.bulk.file import BulkFile
from refundcli.files.bulk.plan import PlanFile, check_no_older_plan, write_plan
from refundcli.files.bulk.rejected_rows import RejectedFile, path_for_rejected
from refundcli.files.source import Source, open_source
from refundcli.files.spool import DiskSpool
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import checked_file as checked_file_shape
from refundcli.output.views.bulk import show_summary
from refundcli.services.bulk.check_report import BulkReport
from refundcli.services.bulk.record_run import TooManyErrors
from refundcli.services.bulk.row_rules import RowRequests, RowRules
from refundcli.services.bulk.runs import fingerprint, new_run
from refundcli.services.bulk.validation import BulkCheck

Opened: TypeAlias = BulkFile | PlanFile


class OneFile(UsageProblem):
    code = "one-file"

    def __init__(self) -> None:
        super().__init__(
            "Give exactly one of --from FILE, --apply PLAN and --resume RUN.",
            hint="refundcli refund --from FILE --plan PLAN.json   and then   refundcli refund --apply PLAN.json",
        )


class NotWithPlan(UsageProblem):
    code = "not-with-plan"

    def __init__(self, option: str) -> None:
        super().__init__(
            f"{option} cannot be combined with --apply: the plan already contains it.",
            hint="Make a new plan, with --from FILE --plan PLAN.json.",
        )


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """The options of a bulk command."""

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
class CheckedFile:
    """A checked and confirmed file: its run, the valid rows, and the file of rejected ones."""

    source: Source
    run: BulkRun
    report: BulkReport
    rules: RowRules
    shelf: DiskSpool
    rejected: RejectedFile


@contextmanager
def checked_file(
    app: App,
    options: BulkOptions,
    requested_rows: RowRequests,
    *,
    connect: Callable[[BulkReport], bool] = lambda report: False,
) -> Iterator[CheckedFile | None]:
    """Everything before the first row is processed; None for a dry run, and when only a plan is written.

    `connect` connects the providers before any question. It returns true when real money will move, which --yes does
    not confirm (R5, I12).
    """
    is_answered = bool(options.yes or options.confirm or options.dry_run or options.plan)
    services = app.services
    with open_source(options.from_ or options.apply, sys.stdin.buffer) as source, DiskSpool() as spool:
        opened_file = _opened(app, options, source)
        how_to_answer = "Add --confirm with the number of rows, or --yes in test mode."
        # A file without rows needs no confirmation.
        require_a_way_to_ask(app, is_answered=is_answered or not _has_rows(opened_file), how_to_answer=how_to_answer)
        run = _run_of(app, options, source, opened_file)
        earlier_run = services.books.read(lambda tx: tx.runs.unfinished_of(run.fingerprint))
        # A plan keeps the --allow-duplicate that it was made with.
        allow_duplicate = opened_file.allow_duplicate if isinstance(opened_file, PlanFile) else options.allow_duplicate
        rules = RowRules(requested_rows, services.clock, earlier_run.id if earlier_run else "", allow_duplicate)
        with RejectedFile(
            path_for_rejected(source, opened_file.columns), opened_file.columns, keyed=True
        ) as rejection_file:
            is_staged = options.kind is RunKind.REFUND and not options.plan
            staged_run_id, staged_fingerprint = (rules.run_id, run.fingerprint) if is_staged else ("", "")
            check = BulkCheck(services.books, rules, spool, staged_run_id, staged_fingerprint)
            with progress(app.err, "Checking", enabled=app.wants_progress) as advance:
                report = check.check(opened_file.rows, on_rows_done=advance, on_row_rejected=rejection_file.add)
            if not app.wants_json:
                show_summary(source.name, options.kind, report, app.err)
            if options.dry_run:
                show_checked(app, source.name, options.kind, report, rejected_file=None)
                yield None
                return
            _check_max_errors(options, report, source)
            if options.plan:
                _plan(app, options, opened_file, report, spool, source)
                rejected_path = rejection_file.publish()
                show_checked(app, source.name, options.kind, report, rejected_file=rejected_path, is_for_plan=True)
                yield None
                return
            is_live = bool(report.requested) and connect(report)
            confirm(app, report.requested, options, is_live=is_live, resumed_run_id=rules.run_id)
            # Before the first row, so that no rejected row is lost.
            rejection_file.publish()
            yield CheckedFile(source, run, report, rules, spool, rejection_file)


def show_checked(
    app: App,
    file_name: str,
    kind: RunKind,
    report: BulkReport,
    *,
    rejected_file: Path | None,
    dry_run: bool = True,
    is_for_plan: bool = False,
) -> None:
    """The outcome of a check that no run follows. `rejected_file`: where its refused rows were written, if anywhere.

    `is_for_plan`: what became of the plan was already said.
    """
    rejected_path = str(rejected_file) if rejected_file else None
    if not app.for_people:
        app.show_object(
            checked_file_shape(file_name, kind, report, dry_run=dry_run, run_id=None, rejected_file=rejected_path)
        )
    elif not is_for_plan:
        app.out.say(_outcome_of_check(file_name, report, dry_run=dry_run))
    note_rejected_rows(app, kind, report.refused_count, report.rows, rejected_path)
    if report.refused_count or report.partly_count:
        raise typer.Exit(ExitCode.PARTLY)


def _outcome_of_check(file_name: str, report: BulkReport, *, dry_run: bool) -> str:
    if dry_run:
        return "Dry run: every rule was checked; nothing was changed."
    if not report.rows:
        return f"{file_name} has no rows: nothing to do."
    return f"Nothing to do. Rows already done: {report.done_before:,} of {report.rows:,}."


def note_rejected_rows(
    app: App,
    kind: RunKind,
    refused_count: int,
    row_count: int,
    rejected_path: str | None,
    *,
    are_correct: bool = False,
) -> None:
    """`are_correct`: the rows only did not reach the provider, so there is nothing to correct in them."""
    if rejected_path and refused_count and not app.wants_json:
        app.err.say(("! ", "yellow"), f"Rows left out: {refused_count:,} of {row_count:,}, saved to {rejected_path}")
        step_words = "Correct them in that file, then"
        if are_correct:
            step_words = "No refund was made for them, and there is nothing to correct. Run that file again"
        app.err.say(f"{step_words}: refundcli {kind} --from {shlex.quote(rejected_path)}", indent=3)


def note_afterwards(app: App, run: BulkRun, *, is_record: bool) -> None:
    """What is left to the operator (R8), and where to find refund ids and credit notes."""
    since = run.created_at.astimezone(app.services.books.zone).date()
    if not is_record:
        app.note(
            "  · The money takes 5–10 business days to appear on the customer's statement; the provider may keep "
            "its fee."
        )
    app.note(
        "  · Products and subscriptions are not changed: refundcli invoice show NUMBER   lists those of an invoice"
    )
    app.note(f"  · Credit notes and refund ids: refundcli credit-notes list --since {since} -o csv")


def _has_rows(opened_file: Opened) -> bool:
    with closing(opened_file.rows()) as rows:
        return next(rows, None) is not None


def _opened(app: App, options: BulkOptions, source: Source) -> Opened:
    if options.apply:
        return PlanFile(source, options.kind, app.services.books.read(lambda tx: tx.store.secret()))
    return BulkFile(source, options.kind, default_reason=options.reason, today=app.services.clock.today())


def _run_of(app: App, options: BulkOptions, source: Source, opened_file: Opened) -> BulkRun:
    """A new run for this file or plan."""
    plan_file = opened_file if isinstance(opened_file, PlanFile) else None
    row_options = options.meaning | {"plan": bool(plan_file), "columns": opened_file.columns}
    return new_run(
        options.kind,
        source=str(source.path.resolve()) if source.is_file else source.name,
        fingerprint=fingerprint(options.kind, source.sha256, row_options),
        rows=0,
        operator=app.settings.operator.name,
        clock=app.services.clock,
        options=row_options,
        planned_by=str(plan_file.header["planned_by"]) if plan_file else "",
        plan_hash=plan_file.seal if plan_file else "",
    )


def _plan(
    app: App, options: BulkOptions, opened_file: Opened, report: BulkReport, spool: DiskSpool, source: Source
) -> None:
    if not report.requested:
        check_no_older_plan(Path(options.plan))
        app.note(f"No valid rows: {options.plan} was not written.")
        return
    services = app.services
    header = {
        "kind": options.kind,
        "file": source.label,
        "planned_by": app.settings.operator.name,
        "planned_at": services.clock.now().isoformat(),
        "columns": opened_file.columns,
        "rows_planned": report.requested,
        **options.meaning,
    }
    secret = services.books.read(lambda tx: tx.store.secret())
    write_plan(Path(options.plan), header, spool.chunks(), secret)
    app.note(
        ("✓ ", "green"), f"Plan saved (rows: {report.requested:,}) to {options.plan}. Nothing was sent or recorded."
    )
    app.note(f"  Next: refundcli {options.kind} --apply {shlex.quote(options.plan)}")


def confirm(app: App, row_count: int, options: BulkOptions, *, is_live: bool, resumed_run_id: str) -> None:
    """The number of rows must be typed, or given with --confirm (R5). Without rows there is nothing to confirm.

    `resumed_run_id`: the run that is resumed, some of whose rows may be done.
    """
    if not row_count:
        return
    if options.confirm:
        check_confirm(options.confirm, str(row_count))
    elif options.yes and not is_live:
        return
    elif not app.may_ask:
        raise ConfirmationRequired(f"Live refunds need --confirm {row_count}.")
    else:
        undone_action = "recorded" if options.kind is RunKind.MARK_REFUNDED else "sent"
        if undone_action == "sent":
            app.err.say(f"Rows to refund: {row_count:,} ({'LIVE' if is_live else 'test mode'}). This cannot be undone.")
        ask_to_type(app, str(row_count), undone_action="" if resumed_run_id else undone_action)


def _check_max_errors(options: BulkOptions, report: BulkReport, source: Source) -> None:
    new_refused_count = report.refused_count - len(report.refused_by_run)
    if options.max_errors is not None and new_refused_count >= options.max_errors:
        hint = (
            f"Nothing was done. To see the refused rows: refundcli {options.kind} --from "
            f"{shlex.quote(source.name)} --dry-run"
        )
        raise TooManyErrors(new_refused_count, options.max_errors, how_to_resume=hint)
