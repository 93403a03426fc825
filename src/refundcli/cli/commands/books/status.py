"""status: what needs attention now."""

from typing import TYPE_CHECKING

import typer

from refundcli.cli.options import Output

if TYPE_CHECKING:
    from refundcli.cli.context import App

group = typer.Typer(rich_markup_mode=None, add_completion=False)


@group.command(epilog="Examples:  refundcli status   ·   refundcli status -o json || notify-finance")
def status(ctx: typer.Context, output_format: Output = None) -> None:
    """Show what needs attention and the next step for each, what is pending, and how current the providers' data
    is.

    Covers unfinished refunds and runs (and who is working on them), provider updates, losses, failed captures,
    disputes and webhook deliveries. The exit code is 0 when nothing needs attention, 8 when something does.
    """
    from refundcli.cli.exit_codes import ExitCode
    from refundcli.output.serializers.status import status as shape_of
    from refundcli.output.views.status import STATUS_COLUMNS, headline, show_status, status_rows
    from refundcli.services.queries.status import current_status

    app: App = ctx.obj
    services, pending_days = app.services, app.settings.refunds.pending_days
    unread_providers = services.unread_events()
    overview = services.reader.read(
        lambda tx: current_status(
            tx, now=services.clock.now(), pending_days=pending_days, unread_providers=unread_providers
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
    if overview.needs_attention:
        raise typer.Exit(ExitCode.OUTCOME_UNKNOWN)
