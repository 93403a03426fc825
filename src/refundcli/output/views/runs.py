"""Bulk runs in a list, and what became of one, on a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from refundcli.domain.bulk_run import ItemState, RunKind
from refundcli.domain.money import Money
from refundcli.output.terminal import QUIET, STRONG, Screen, local_time
from refundcli.output.views.bulk import progress_words

if TYPE_CHECKING:
    from refundcli.services.bulk.run_lists import ListedRun, RunDetails
    from refundcli.services.ports.reads import RunSums

COLUMNS = (
    "id", "kind", "state", "created_at", "file", "operator", "planned_by", "rows", "done", "refused", "waiting",
    "final", "accepted", "unfinished", "failed",
)  # fmt: skip
TEXT_COLUMNS = tuple(column for column in COLUMNS if column not in ("created_at", "rows", "done", "refused", "waiting"))


def list_row(listed: "ListedRun") -> tuple[object, ...]:
    run = listed.standing.run
    return (
        run.id,
        run.kind,
        run.state,
        run.created_at,
        run.source,
        run.operator,
        run.planned_by,
        listed.standing.rows,
        listed.done,
        listed.count(ItemState.REFUSED),
        listed.count(ItemState.WAITING),
        _amounts([total.final for total in listed.sums]),
        _amounts([total.accepted for total in listed.sums]),
        _amounts([total.unfinished for total in listed.sums]),
        _amounts([total.failed for total in listed.sums]),
    )


def show_list(runs: Sequence["ListedRun"], screen: Screen, *, zone: ZoneInfo) -> None:
    """With the amounts returned, accepted or recorded; ids are never folded."""
    screen.entries(
        [
            (
                (
                    (local_time(listed.standing.run.created_at, zone), QUIET),
                    (listed.standing.run.id, STRONG),
                    (listed.standing.run.state, ""),
                    (_amounts([total.final + total.accepted for total in listed.sums]), ""),
                ),
                _detail(listed),
            )
            for listed in runs
        ]
    )


def _detail(listed: "ListedRun") -> str:
    """`refund, 3 rows: 2 done, 1 refused   Ada Lovelace   refunds.csv`."""
    run, rows = listed.standing.run, listed.standing.rows
    row_words = f"{run.kind}, {rows:,} row{'s'[: rows != 1]}"
    return "   ".join((": ".join(filter(None, (row_words, _progress(listed)))), run.operator, Path(run.source).name))


def _progress(listed: "ListedRun") -> str:
    is_refund = listed.standing.run.kind is RunKind.REFUND
    return progress_words(listed.standing) if is_refund else f"{listed.done:,} recorded"


def show_totals(sums: Sequence["RunSums"], screen: Screen) -> None:
    screen.blank()
    for total in sums:
        screen.say("Total ", *_sum_words(total))


def show_run(details: "RunDetails", screen: Screen, *, zone: ZoneInfo) -> None:
    """What it is, how far it is, what its refunds amount to, who is working on it, and the next step."""
    standing = details.listed.standing
    run = standing.run
    screen.say((run.id, STRONG), f"   {run.kind}   {run.state}   {standing.rows:,} row{'s'[: standing.rows != 1]}")
    screen.blank()
    for label, words in _facts(details, zone):
        if words:
            screen.say(f"{label:<18}{words}", indent=3)
    if details.listed.sums:
        screen.blank()
        screen.say(("Sums", STRONG))
        for total in details.listed.sums:
            screen.say(*_sum_words(total), indent=3)
    if details.command:
        screen.blank()
        screen.command(f"Next: {details.command}")


def _facts(details: "RunDetails", zone: ZoneInfo) -> list[tuple[str, str]]:
    listed, standing = details.listed, details.listed.standing
    run = standing.run
    return [
        ("File", run.source),
        ("Operator", run.operator),
        ("Planned by", run.planned_by),
        ("Started", local_time(run.created_at, zone)),
        ("Last record", local_time(standing.last_record_at, zone) if standing.last_record_at else ""),
        ("Progress", _progress(listed)),
        ("Refused", ", ".join(f"{count:,} {code}" for code, count in details.refused_codes.items())),
        ("Rejected rows", details.rejected_file),
        *(
            ("Working" if holder.is_live else "Worker ended", f"{holder.label}, {holder.rows:,} rows leased")
            for holder in standing.holders
        ),
        ("Working", "a process recorded a moment ago" if standing.is_recording else ""),
    ]


def _sum_words(total: "RunSums") -> list[tuple[str, str] | str]:
    other_words = [
        f"{amount} {words}"
        for amount, words in (
            (total.accepted, "accepted, not final"),
            (total.unfinished, "without an outcome"),
            (total.failed, "failed, reversed or undone"),
        )
        if amount.minor
    ]
    count_words = f"   {total.refunds:,} refund{'s'[: total.refunds != 1]}"
    return [(str(total.final), STRONG), " final", *(f", {words}" for words in other_words), count_words]


def _amounts(amounts: Sequence[Money]) -> str:
    return ", ".join(str(amount) for amount in amounts if amount.minor)
