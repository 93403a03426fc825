"""status: what needs attention now."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from refundcli.cli.context import App

group = typer.Typer(rich_markup_mode=None, add_completion=False)

MaxAge = Annotated[
    str,
    typer.Option(
        "--max-age",
        metavar="LIMITS",
        help=(
            "What may be how old, such as reconcile=26h,events=2h,pending=5d. Also counts open disputes, and "
            "refunds that failed and webhooks that were rejected in the last days."
        ),
    ),
]
Metrics = Annotated[
    Path | None, typer.Option("--metrics", metavar="FILE", help="Also write the figures as OpenMetrics text.")
]
Alert = Annotated[
    bool, typer.Option("--alert", help="Run the command under [alert] in the settings, once for each new finding.")
]


@group.command(
    epilog="Examples:  refundcli status   ·   refundcli status -o json || notify-finance   ·   "
    "refundcli -q status --max-age reconcile=26h,events=2h,pending=5d --alert   ·   "
    "refundcli status --metrics refundcli.prom"
)
def status(ctx: typer.Context, max_age: MaxAge = "", metrics: Metrics = None, alert: Alert = False) -> None:
    """Show what needs attention and the next step for each, what is pending, and how current the providers' data
    is.

    Covers unfinished refunds and runs (and who is working on them), provider updates, losses, failed captures,
    disputes, webhook deliveries, and the store's disk and clock. The exit code is 0 when nothing needs attention, 8
    when something does.
    """
    from refundcli.cli.commands.books.max_age import max_age_of
    from refundcli.cli.exit_codes import ExitCode
    from refundcli.output.serializers.status import status as shape_of
    from refundcli.output.views.status import STATUS_COLUMNS, headline, show_status, status_rows
    from refundcli.services.queries.status import current_status

    if alert:
        from refundcli.cli.commands.books.alerts import alerts_of

    app: App = ctx.obj
    limits = max_age_of(max_age) if max_age else None
    alerts = alerts_of(app) if alert else None
    services, pending_days = app.services, app.settings.refunds.pending_days
    unread_providers, now = services.unread_events(), services.clock.now()
    not_in_store = services.anchoring.entry_not_in_store() if app.settings.audit.anchor else None
    overview = services.reader.read(
        lambda tx: current_status(
            tx,
            now=now,
            pending_days=pending_days,
            unread_providers=unread_providers,
            max_age=limits,
            disk=services.disk_space(),
            not_in_store=not_in_store,
            skew=services.database_time.skew() if services.database_time else None,
        )
    )
    store = services.describe_store()
    if app.for_people:
        show_status(overview, store, app.out, zone=app.settings.operator.zone)
    elif app.wants_json:
        app.show_object(shape_of(overview, store))
    else:
        app.show_rows(STATUS_COLUMNS, status_rows(overview), text_columns=STATUS_COLUMNS)
        app.note(headline(overview))
    if alerts:
        alerts.send(overview, store)
    if metrics:
        from refundcli.output.metrics import write_metrics

        write_metrics(metrics, overview, now)
    if overview.needs_attention:
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)
