"""A bulk file: what it would do, and what it did."""

from collections import Counter
from collections.abc import Mapping, Sequence

from refundcli.domain.bulk_run import ItemState, RunKind
from refundcli.domain.money import Money
from refundcli.domain.statuses import Provider
from refundcli.output.terminal import BAD, DOUBT, GOOD, QUIET, STRONG, Screen, cell, grid
from refundcli.output.views.imports import show_problems
from refundcli.services.bulk.check_report import BulkReport
from refundcli.services.bulk.report import RowCounts, RunReport
from refundcli.services.bulk.undo_records import Undone
from refundcli.services.bulk.unfinished_runs import UnfinishedRun
from refundcli.services.dispatch.outcome_errors import PARTLY_REFUNDED
from refundcli.services.ports.bad_rows import BadRow

_LINES_SHOWN = 10
_WHAT = {RunKind.REFUND: "refund through the provider", RunKind.MARK_REFUNDED: "mark as refunded (no money moves)"}
_VERBS = {RunKind.REFUND: ("refund", "refunded"), RunKind.MARK_REFUNDED: ("record", "recorded")}


def show_summary(name: str, kind: RunKind, report: BulkReport, screen: Screen) -> None:
    """Rows and sums by currency and provider, rows done before, and refusals by code with their lines."""
    if not report.rows:
        screen.say((name, STRONG), "   has no rows: nothing to do.")
        return
    verb = _VERBS[kind][0]
    screen.say((name, STRONG), f"   {_rows(report.rows)}   {_WHAT[kind]}")
    table = grid()
    table.add_column()
    for _ in range(2):
        table.add_column(justify="right")
    words = f"  Will {verb}"
    for (code, provider), total in sorted(report.sums.items()):
        rows = _rows(report.rows_of[code, provider])
        label = Provider(provider).label if provider and kind is RunKind.REFUND else ""
        table.add_row(cell(words), cell(rows), cell(f"{total.number:>12}", STRONG), cell(f"{code}  {label}".rstrip()))
        words = ""
    if not report.requested:
        table.add_row(cell(words), cell("0 rows"), cell(""), cell(""))
    if report.done_before:
        table.add_row(cell("  Done before", QUIET), cell(_rows(report.done_before)), cell(""), cell(""))
    if report.partly_count:
        table.add_row(cell("  Refunded in part", DOUBT), cell(_rows(report.partly_count)), cell(""), cell(""))
    if report.refused_count:
        table.add_row(cell("  Refused", BAD), cell(_rows(report.refused_count)), cell(""), cell(""))
    screen.console.print(table)
    show_problems([problem for row in report.partly for problem in row.problems], screen)
    if report.refused_count:
        codes = " · ".join(f"{count} {code}" for code, count in report.codes.most_common())
        screen.say(f"{codes}   (lines {_lines(report)})", indent=3)
        show_problems([problem for row in report.refused for problem in row.problems], screen)


def show_recorded(report: BulkReport, run: str, screen: Screen) -> None:
    if not report.requested:
        before = f": {_rows(report.done_before)} recorded before" if report.done_before else ""
        screen.say(f"Nothing was recorded{before}.")
        return
    sums = ", ".join(str(total) for _, total in sorted(_by_currency(report).items()))
    again = f"; {report.done_before:,} were recorded before" if report.done_before else ""
    by = f"   {run}" if run else ""
    screen.say(("✓ ", GOOD), f"Recorded {_rows(report.requested)}", f": {sums}" if sums else "", again, f".{by}")


def show_refunded(
    report: RunReport,
    counts: RowCounts,
    codes: Counter[str],
    run: str,
    screen: Screen,
    *,
    first: Sequence[BadRow] = (),
) -> None:
    """The outcome of each row of the file; the numbers add up to its rows. `first`: refused or partly refunded ones."""
    screen.say(("✓ ", GOOD), f"Refunded {_rows(counts.refunded)}{_sums(report.totals)}.   {run}")
    if counts.accepted or report.accepted_totals:
        screen.say(
            ("✓ ", GOOD),
            f"{_rows(counts.accepted)} accepted by the provider, not final yet{_sums(report.accepted_totals)}.",
        )
    if counts.done_before:
        screen.say(f"{_rows(counts.done_before)} done before.", indent=3)
    if counts.left_out:
        screen.say(f"{_rows(counts.left_out)} of the file not in the run: refused or done before it began.", indent=3)
    partly = report.partly if counts.partly is None else counts.partly
    if partly:
        screen.say(("! ", DOUBT), f"{_rows(partly)} refunded in part. Needs attention:")
        show_problems([problem for row in first for problem in row.problems if problem.code == PARTLY_REFUNDED], screen)
    refused = codes - Counter({PARTLY_REFUNDED: codes[PARTLY_REFUNDED]})
    if refused:
        by_code = " · ".join(f"{count} {code}" for code, count in refused.most_common())
        screen.say(("✗ ", BAD), f"{_rows(refused.total())} refused: {by_code}")
    unknown = report.unknown if counts.unknown is None else counts.unknown
    if unknown:
        screen.say(("! ", DOUBT), f"{_rows(unknown)} sent, and the outcome is not known: their amounts")
        screen.say("stay reserved, so none can be paid twice. Do not refund them by hand.", indent=3)
    if counts.held_by_others:
        screen.say(("! ", DOUBT), f"{_rows(counts.held_by_others)} leased by other workers.")
    if counts.waiting:
        screen.say(("! ", DOUBT), f"{_rows(counts.waiting)} not begun.")
    if counts.waiting is None:
        screen.say(("! ", DOUBT), "The state of the other rows is unknown: the store cannot be read.")


def _sums(totals: Mapping[str, Money]) -> str:
    return ": " + ", ".join(str(total) for _, total in sorted(totals.items())) if totals else ""


def show_unfinished_runs(runs: Sequence[UnfinishedRun], screen: Screen) -> None:
    """Each with its progress, its workers and the command that resumes it."""
    for run in runs:
        screen.say(("! ", DOUBT), f"{run.run.id} of {run.run.source} is unfinished: {_progress_of(run)}.")
        for holder in run.holders:
            until = f" until {holder.until:%H:%M:%S} UTC" if holder.until else ""
            where = f"{holder.label}{until}" if holder.is_live else f"{holder.label}, whose lease has ended"
            screen.say(f"{_rows(holder.rows)} leased by {where}", indent=3)
        if not run.has_live_worker:
            screen.command(f"Next: {run.command}")


def _progress_of(run: UnfinishedRun) -> str:
    """Its rows by state; of a run of records, whose rows are in its file, how many those are."""
    counts = {**run.counts, ItemState.REFUSED: run.refused}
    parts = [f"{count:,} {state}" for state, count in sorted(counts.items()) if count]
    if run.partly:
        parts.append(f"{run.partly:,} partly refunded")
    return f"{', '.join(parts)} of {_rows(run.rows)}" if parts else _rows(run.rows)


def show_undo(what: str, undone: Undone, screen: Screen, *, is_done: bool) -> None:
    sums = ", ".join(str(total) for _, total in sorted(undone.sums.items()))
    # One record is named by its own id.
    records = f"{undone.records:,} {'record' if undone.records == 1 else 'records'} of {what}"
    records = records if what.startswith("run_") else f"the record {what} of {undone.invoice}"
    notes = "Its credit note" if undone.records == 1 else "Their credit notes"
    if is_done:
        screen.say(("✓ ", GOOD), f"Undid {records}: {sums}. {notes} {'is' if undone.records == 1 else 'are'} void.")
    else:
        become = "becomes" if undone.records == 1 else "become"
        screen.say(f"Undo {records}: {sums}. {notes} {become} void; no money moves.")
    if undone.unchanged:
        screen.say(("! ", DOUBT), f"{undone.unchanged:,} more are refunds that the provider made; they stay.")


def _by_currency(report: BulkReport) -> dict[str, Money]:
    sums: dict[str, Money] = {}
    for (code, _), total in report.sums.items():
        sums[code] = sums[code] + total if code in sums else total
    return sums


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _lines(report: BulkReport) -> str:
    lines: Sequence[str] = [str(row.line) for row in report.refused[:_LINES_SHOWN]]
    return ", ".join(lines) + (" …" if report.refused_count > len(lines) else "")
