"""What the commands with a file of either kind show and ask, and how a check without a run ends."""

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import typer

from refundcli.cli.commands.refunds import request as refunding
from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.cli.prompts import ConfirmationRequired, ask_to_type, check_confirm, require_a_way_to_ask
from refundcli.domain.bulk_run import BulkRun, RunKind
from refundcli.output.progress import progress
from refundcli.output.serializers.bulk import checked_file, recorded_file
from refundcli.output.views.bulk import lease_words, show_first_and_last, show_recorded, show_summary
from refundcli.services.bulk.check_report import BulkReport, FileChecked, RecordedFile
from refundcli.services.bulk.ports import Advance, BulkRequest
from refundcli.services.bulk.record_run import how_to_resume
from refundcli.services.bulk.rows import CheckedRow
from refundcli.services.bulk.unfinished_runs import RunHolder
from refundcli.services.ports.providers import PaymentProvider
from refundcli.services.ports.reads import Account


@dataclass(frozen=True, slots=True)
class TerminalPresenter:
    """Fits `services.bulk.ports.Presenter`: shows on stderr, and asks on the terminal or takes the options' answers.

    `is_answered`: nothing will be asked, for instance in a dry run.
    """

    app: App
    yes: bool
    confirm_text: str
    is_answered: bool

    def progress(self, verb: str, *, total: int | None = None) -> AbstractContextManager[Advance]:
        return progress(self.app.err, verb, total=total, enabled=self.app.wants_progress)

    def require_an_answer(self) -> None:
        how_to_answer = "Add --confirm with the number of rows, or --yes in test mode."
        is_answered = self.is_answered or self.yes or bool(self.confirm_text)
        require_a_way_to_ask(self.app, is_answered=is_answered, how_to_answer=how_to_answer)

    def show_check(self, file_name: str, kind: RunKind, report: BulkReport) -> None:
        if not self.app.wants_json:
            show_summary(file_name, kind, report, self.app.err)

    def show_rows(self, rows: Sequence[tuple[CheckedRow, str]], row_count: int) -> None:
        if rows and not self.app.wants_json:
            show_first_and_last(rows, row_count, self.app.err)

    def note_plan(self, request: BulkRequest, row_count: int) -> None:
        if not row_count:
            self.app.note(f"No valid rows: {request.plan} was not written.")
            return
        self.app.note(
            ("✓ ", "green"), f"Plan saved (rows: {row_count:,}) to {request.plan}. Nothing was sent or recorded."
        )
        self.app.note(f"  Next: refundcli {request.kind} --apply {shlex.quote(request.plan)}")

    def announce(self, providers: Sequence[PaymentProvider]) -> bool:
        return refunding.announce_live(self.app, providers)

    def announce_stored(self, accounts: Sequence[Account]) -> bool:
        return refunding.announce_live_accounts(self.app, accounts)

    def confirm(self, row_count: int, kind: RunKind, *, is_live: bool, is_resumed: bool) -> None:
        """The number of rows must be typed, or given with --confirm (R5).

        `is_resumed`: a run is resumed, some of whose rows may be done.
        """
        if not row_count:
            return
        if self.confirm_text:
            check_confirm(self.confirm_text, str(row_count))
        elif self.yes and not is_live:
            return
        elif not self.app.may_ask:
            raise ConfirmationRequired(f"Live refunds need --confirm {row_count}.")
        else:
            undone_action = "recorded" if kind is RunKind.MARK_REFUNDED else "sent"
            if undone_action == "sent":
                mode = "LIVE" if is_live else "test mode"
                self.app.err.say(f"Rows to refund: {row_count:,} ({mode}). This cannot be undone.")
            ask_to_type(self.app, str(row_count), undone_action="" if is_resumed else undone_action)

    def note_stopping(self) -> None:
        self.app.note_stopping()

    def note_waiting(self, holders: Sequence[RunHolder]) -> None:
        for holder in holders:
            self.app.note(f"{lease_words(holder)}; waiting for them to finish. Press Ctrl-C to stop waiting.")

    def show_stopped(self, stopped: RecordedFile) -> None:
        app, run = self.app, stopped.run
        if app.for_people:
            show_recorded(stopped, app.out)
        else:
            app.show_object(recorded_file(stopped))
        if not app.wants_json and run and stopped.rows_left != 0:
            rows_left_words = (
                "The number of rows still to record is not known"
                if stopped.rows_left is None
                else f"Rows still to record: {stopped.rows_left:,} of {stopped.report.rows:,}"
            )
            app.err.say(f"Stopped. Recorded rows stay recorded. {rows_left_words}. Next: {how_to_resume(run)}")


def show_checked(app: App, checked: FileChecked) -> None:
    """The outcome of a check that no run follows. Exit 9 where rows were refused."""
    report = checked.report
    if not app.for_people:
        app.show_object(
            checked_file(
                checked.file_name,
                checked.kind,
                report,
                dry_run=checked.dry_run,
                run_id=None,
                rejected_path=checked.rejected_path,
            )
        )
    elif checked.dry_run and not checked.plan:
        app.out.say("Dry run: every rule was checked; nothing was changed.")
    elif not checked.plan and not report.rows:
        app.out.say(f"{checked.file_name} has no rows: nothing to do.")
    elif not checked.plan:
        app.out.say(f"Nothing to do. Rows already done: {report.done_before:,} of {report.rows:,}.")
    note_rejected_rows(app, checked.kind, report.refused_count, report.rows, checked.rejected_path)
    if report.refused_count or report.partly_count:
        raise typer.Exit(ExitCode.PARTLY)


def note_rejected_rows(
    app: App,
    kind: RunKind,
    refused_count: int,
    row_count: int,
    rejected_path: Path | None,
    *,
    are_correct: bool = False,
) -> None:
    """`are_correct`: the rows only did not reach the provider, so there is nothing to correct in them."""
    if rejected_path and refused_count and not app.wants_json:
        app.err.say(("! ", "yellow"), f"Rows left out: {refused_count:,} of {row_count:,}, saved to {rejected_path}")
        step_words = "Correct them in that file, then"
        if are_correct:
            step_words = "No refund was made for them, and there is nothing to correct. Run that file again"
        app.err.say(f"{step_words}: refundcli {kind} --from {shlex.quote(str(rejected_path))}", indent=3)


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
