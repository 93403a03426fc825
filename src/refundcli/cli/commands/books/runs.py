"""runs: list bulk runs, and show what became of one."""

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import day_option
from refundcli.domain.bulk_run import RunKind, RunState

if TYPE_CHECKING:
    from refundcli.cli.context import App

group = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List bulk runs, and show what became of one.",
)


@group.command(
    "list",
    epilog="Examples:  refundcli runs list --state stopped   ·   refundcli runs list --since 2026-10-01 -o csv",
)
def list_(
    ctx: typer.Context,
    state: Annotated[RunState | None, typer.Option("--state", help="Only in this state.")] = None,
    kind: Annotated[RunKind | None, typer.Option("--kind", help="Only refunds, or only records.")] = None,
    operator: Annotated[str, typer.Option("--operator", metavar="NAME", help="Only this operator's.")] = "",
    since: Annotated[date | None, day_option("--since", help="Started on this day or later.")] = None,
    until: Annotated[date | None, day_option("--until", help="Started on this day or before.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number to show.")] = 50,
    after: Annotated[str, typer.Option("--after", metavar="RUN", help="Start after this run.")] = "",
) -> None:
    """List runs of files and plans, newest first, with totals for each currency."""
    from dataclasses import replace

    from refundcli.cli.list_notes import ListNotes
    from refundcli.output.serializers.runs import run
    from refundcli.output.views.runs import COLUMNS, TEXT_COLUMNS, list_row, show_list, show_totals
    from refundcli.services.bulk.run_lists import listed_runs
    from refundcli.services.bulk.runs import run_named
    from refundcli.services.ports.reads import RunFilter, period

    app: App = ctx.obj
    reader = app.services.reader
    after_id = reader.read(lambda tx: run_named(tx, after)).id if after else ""
    filters = RunFilter(state, kind, operator, *period(since, until, reader.zone), after_id, limit)
    runs = reader.read(lambda tx: listed_runs(tx, filters))
    if app.wants_json:
        app.show_long_list(map(run, runs))
        return
    if not app.for_people:
        app.show_rows(COLUMNS, map(list_row, runs), text_columns=TEXT_COLUMNS)
        return
    options = {"state": state, "kind": kind, "operator": operator, "since": since, "until": until}
    notes = ListNotes(app, "runs list", options)
    if not runs:
        notes.nothing("run")
        return
    last_id = runs[-1].standing.run.id
    show_list(runs, app.out, zone=app.settings.operator.zone)
    sums, older = reader.read(
        lambda tx: (tx.run_search.sums(filters), tx.run_search.older_count(replace(filters, after=last_id)))
    )
    show_totals(sums, app.out)
    notes.older(older, last_id)


@group.command(epilog="Examples:  refundcli runs show run_01K   ·   refundcli runs show run_01K -o json")
def show(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="RUN", help="The run's ID, from the list of runs.")]
) -> None:
    """Show one run: its progress, why rows were refused, its sums, and the next step."""
    from refundcli.output.serializers import runs as serializers
    from refundcli.output.views.runs import show_run
    from refundcli.services.bulk.run_lists import run_details

    app: App = ctx.obj
    now = app.services.clock.now()
    details = app.services.reader.read(lambda tx: run_details(tx, name, now=now))
    app.show(
        serializers.run_details(details),
        lambda screen: show_run(details, screen, zone=app.settings.operator.zone),
    )
