"""A bulk file: what it would do, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refundcli.domain.bulk_run import PARTLY_REFUNDED, ItemState, RunKind
from refundcli.domain.currencies import currency
from refundcli.domain.money import Money, add_to
from refundcli.domain.statuses import Provider
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Entry, Screen
from refundcli.output.views.imports import show_problems
from refundcli.services.bulk.rows import FIRST_SHOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from refundcli.services.bulk.check_report import BulkReport, RecordedFile
    from refundcli.services.bulk.report import RefundedFile, RowCounts, RunReport
    from refundcli.services.bulk.rows import CheckedRow
    from refundcli.services.bulk.undo_records import Undone
    from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun

_LINES_SHOWN = 10
_WHAT = {RunKind.REFUND: "refund through the provider", RunKind.MARK_REFUNDED: "mark as refunded (no money moves)"}
_VERBS = {RunKind.REFUND: ("refund", "refunded"), RunKind.MARK_REFUNDED: ("record", "recorded")}


def show_summary(file_name: str, kind: RunKind, report: BulkReport, screen: Screen) -> None:
    """Rows and sums by currency and provider, rows done before, and refusals by code with their lines."""
    if not report.rows:
        screen.say((file_name, STRONG), "   has no rows: nothing to do.")
        return
    screen.say((file_name, STRONG), f"   {_rows(report.rows)}   {_WHAT[kind]}")
    screen.entries(_summary_lines(kind, report, screen), right=(1, 2))
    show_problems([problem for row in report.partly for problem in row.problems], screen)
    if report.refused_count:
        refusal_words = " · ".join(f"{count} {refusal_code}" for refusal_code, count in report.codes.most_common())
        screen.say(f"{refusal_words}   (lines {_lines(report)})", indent=3)
        show_problems([problem for row in report.refused for problem in row.problems], screen)


def show_first_and_last(rows: Sequence[tuple[CheckedRow, str]], row_count: int, screen: Screen) -> None:
    """Each with its line, invoice, customer and amount, and how many rows between them are not shown."""
    lines = [
        f"line {checked.row.line:,}   {checked.row.invoice}   {customer}   "
        f"{Money(checked.takes, currency(checked.currency))}"
        for checked, customer in rows
    ]
    show_ends(lines, row_count, screen)


def show_ends(lines: list[str], row_count: int, screen: Screen) -> None:
    """The lines of the first and the last rows, and how many of `row_count` are between them."""
    if (hidden_count := row_count - len(lines)) > 0:
        lines.insert(FIRST_SHOWN, f"… {_rows(hidden_count)} more …")
    for line in lines:
        screen.say(line, indent=3)


def _summary_lines(kind: RunKind, report: BulkReport, screen: Screen) -> list[Entry]:
    """What is to be done, how many rows, the amount, and the provider."""
    will_words = f"Will {_VERBS[kind][0]}"
    amounts = [
        (
            _rows(report.rows_of[currency_code, provider]),
            f"{total!s:>16}",
            Provider(provider).label if provider and kind is RunKind.REFUND else "",
        )
        for (currency_code, provider), total in sorted(report.sums.items())
    ]
    lines: list[Entry] = []
    for row_words, amount_words, provider_label in amounts if report.requested else [*amounts, ("0 rows", "", "")]:
        action_words = "" if lines and not screen.accessible else will_words
        lines.append((((action_words, ""), (row_words, ""), (amount_words, STRONG), (provider_label, "")), ""))
    others = (
        ("Already done", QUIET, report.done_before),
        ("Refunded in part", DOUBT, report.partly_count),
        ("Refused", BAD, report.refused_count),
    )
    lines += [(((words, style), (_rows(count), ""), ("", ""), ("", "")), "") for words, style, count in others if count]
    return lines


def show_recorded(recorded: RecordedFile, screen: Screen) -> None:
    report = recorded.report
    if not report.requested:
        before_words = f": {_rows(report.done_before)} already recorded" if report.done_before else ""
        screen.say(f"Nothing was recorded{before_words}.")
        return
    sums = _sums(_by_currency(report))
    also_before_words = f"; {report.done_before:,} already recorded" if report.done_before else ""
    run_words = f"   {recorded.run.id}" if recorded.run else ""
    screen.say(("✓ ", GOOD), f"Recorded {_rows(report.requested)}{sums}{also_before_words}.{run_words}")


def show_refunded(outcome: RefundedFile, screen: Screen) -> None:
    """The outcome of each row of the file; the numbers add up to its rows."""
    report, counts = outcome.report, outcome.counts
    _show_money_moved(report, counts, outcome.run.id, screen)
    if counts.done_before:
        screen.say(f"{_rows(counts.done_before)} already done.", indent=3)
    if counts.left_out:
        screen.say(
            f"{_rows(counts.left_out)} in the file not included in the run: refused, or done before it started.",
            indent=3,
        )
    partly_count = report.partly if counts.partly is None else counts.partly
    if partly_count:
        screen.say(("! ", DOUBT), f"{_rows(partly_count)} refunded in part. Needs attention:")
        show_problems(
            [problem for row in outcome.bad_rows for problem in row.problems if problem.code == PARTLY_REFUNDED], screen
        )
    refused_by_code = outcome.refused_by_code
    if refused_by_code:
        code_words = " · ".join(f"{count} {code}" for code, count in refused_by_code.most_common())
        screen.say(("✗ ", BAD), f"{_rows(refused_by_code.total())} refused: {code_words}")
    unknown_count = report.unknown if counts.unknown is None else counts.unknown
    if unknown_count:
        screen.say(("! ", DOUBT), f"{_rows(unknown_count)} sent, but the outcome is not known: the amounts")
        screen.say("stay reserved, so none can be paid twice. Do not refund them by hand.", indent=3)
    if counts.held_by_others:
        screen.say(("! ", DOUBT), f"{_rows(counts.held_by_others)} being processed by other refundcli processes.")
    if counts.waiting:
        screen.say(("! ", DOUBT), f"{_rows(counts.waiting)} not started.")
    if counts.waiting is None:
        screen.say(("! ", DOUBT), "The state of the other rows is unknown: the store cannot be read.")


def _show_money_moved(report: RunReport, counts: RowCounts, run_id: str, screen: Screen) -> None:
    """Rows refunded and rows accepted, with a check mark only where money moved; the first line names the run."""
    is_any_accepted = bool(counts.accepted or report.accepted_totals)
    run_words = f"   {run_id}"
    if counts.refunded:
        screen.say(("✓ ", GOOD), f"Refunded {_rows(counts.refunded)}{_sums(report.totals)}.{run_words}")
        run_words = ""
    elif report.totals:
        screen.say(("! ", DOUBT), f"Refunded no rows in full, parts of rows{_sums(report.totals)}.{run_words}")
        run_words = ""
    elif not is_any_accepted:
        is_all_done = counts.done_before is not None and counts.done_before + counts.left_out == counts.rows
        screen.say(("· ", QUIET) if is_all_done else ("! ", DOUBT), f"Refunded no rows.{run_words}")
    if is_any_accepted:
        row_words = f"{_rows(counts.accepted)} accepted by the provider, not final yet"
        screen.say(("✓ ", GOOD), f"{row_words}{_sums(report.accepted_totals)}.{run_words}")


def _sums(totals: Mapping[str, Money]) -> str:
    return ": " + ", ".join(str(total) for _, total in sorted(totals.items())) if totals else ""


def show_unfinished_runs(open_runs: Sequence[UnfinishedRun], screen: Screen) -> None:
    """Each with its progress, its workers and the command that resumes it."""
    for open_run in open_runs:
        screen.say(
            ("! ", DOUBT), f"{open_run.run.id} of {open_run.run.source} is unfinished: {_progress_of(open_run)}."
        )
        for holder in open_run.holders:
            until_words = f" until {holder.until:%H:%M:%S} UTC" if holder.until else ""
            holder_words = f"{holder.label}{until_words}" if holder.is_live else f"{holder.label}, which has stopped"
            screen.say(f"{_rows(holder.rows)} being processed by {holder_words}", indent=3)
        if not open_run.has_live_worker:
            screen.command(f"Next: {open_run.command}")


def lease_words(holder: RunHolder) -> str:
    row_words = "1 row is" if holder.rows == 1 else f"{holder.rows:,} rows are"
    until_words = f" until {holder.until:%H:%M:%S} UTC" if holder.until else ""
    return f"{row_words} being processed by {holder.label}{until_words}"


def _progress_of(open_run: UnfinishedRun) -> str:
    """Its rows by state; of a run of records, whose rows are in its file, how many those are."""
    state_words = progress_words(open_run)
    return f"{state_words} of {_rows(open_run.rows)}" if state_words else _rows(open_run.rows)


def progress_words(open_run: UnfinishedRun) -> str:
    """`20 done, 34 being processed, 6 waiting`; empty if no state has a row."""
    word_by_state = {
        ItemState.DONE: "done",
        ItemState.REFUSED: "refused",
        ItemState.UNKNOWN: "not confirmed",
        ItemState.LEASED: "being processed",
        ItemState.WAITING: "waiting",
    }
    count_by_state = {**open_run.counts, ItemState.REFUSED: open_run.refused}
    state_words = [
        f"{count_by_state[state]:,} {word}" for state, word in word_by_state.items() if count_by_state.get(state)
    ]
    return ", ".join([*state_words, f"{open_run.partly:,} partly refunded"] if open_run.partly else state_words)


def show_undo(run_or_record_id: str, undone: Undone, screen: Screen, *, is_done: bool, dry_run: bool = False) -> None:
    sum_words = ", ".join(str(total) for _, total in sorted(undone.sums.items()))
    # One record is named by its own id.
    record_words = f"{undone.records:,} {'record' if undone.records == 1 else 'records'} of {run_or_record_id}"
    record_words = (
        record_words if run_or_record_id.startswith("run_") else f"the record {run_or_record_id} of {undone.invoice}"
    )
    note_words = "Its credit note" if undone.records == 1 else "Their credit notes"
    if is_done:
        screen.say(
            ("✓ ", GOOD),
            f"Undid {record_words}: {sum_words}. {note_words} {'is' if undone.records == 1 else 'are'} void.",
        )
    else:
        become = "becomes" if undone.records == 1 else "become"
        undo_words, outcome_words = "Undo", f"{become} void; no money moves"
        if dry_run:
            undo_words, outcome_words = "Would undo", "would become void; no money would move"
        screen.say(f"{undo_words} {record_words}: {sum_words}. {note_words} {outcome_words}.")
    if undone.unchanged:
        screen.say(
            ("! ", DOUBT), f"Not undone, because the provider made the refund: {undone.unchanged:,} of the records."
        )


def _by_currency(report: BulkReport) -> dict[str, Money]:
    sum_by_currency: dict[str, Money] = {}
    for (currency_code, _), total in report.sums.items():
        add_to(sum_by_currency, currency_code, total)
    return sum_by_currency


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _lines(report: BulkReport) -> str:
    line_numbers: Sequence[str] = [str(row.line) for row in report.refused[:_LINES_SHOWN]]
    return ", ".join(line_numbers) + (" …" if report.refused_count > len(line_numbers) else "")
