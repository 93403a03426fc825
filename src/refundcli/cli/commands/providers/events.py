"""events: listen, ingest, apply, list, show, acknowledge."""

from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Annotated

import typer

from refundcli.cli.options import Memo
from refundcli.domain.statuses import Provider

if TYPE_CHECKING:
    from refundcli.cli.context import App

group = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Receive and inspect provider webhooks.",
)

EventId = Annotated[int, typer.Argument(metavar="ID", help="The event's number, as shown by events list.")]
OfProvider = Annotated[Provider | None, typer.Option("--provider", help="Only this provider's.")]


@group.command(epilog="Examples:  refundcli events listen   ·   refundcli events listen --port 8443 --host 10.0.0.5")
def listen(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 picks a free port.")] = 4280,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on; by default only this machine can connect."
        ),
    ] = "127.0.0.1",
) -> None:
    """Receive webhooks at /stripe and /adyen until Ctrl-C. The address is the first line on stdout.

    Each delivery is verified by its signature, stored, and only then acknowledged. Put a proxy with TLS in front of it.
    """
    from refundcli.cli.commands.providers.events_listen import listen_for_events

    listen_for_events(ctx.obj, host, port)


@group.command(
    epilog="Examples:  refundcli events ingest deliveries.jsonl   ·   cat delivery.json | refundcli events ingest -"
)
def ingest(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help='Deliveries as JSON, one per line: {"headers": {…}, "body": "…"}; - reads standard input.',
        ),
    ],
    provider: Annotated[
        Provider | None, typer.Option("--provider", help="The provider; by default each delivery's headers name it.")
    ] = None,
) -> None:
    """Import saved deliveries. Each is verified as if it had just arrived, except that its signature may be old.

    The exit code is 3 when some were rejected. Those are listed by line number and are not stored. The exit code is
    8 (which takes precedence over 3) when an event needs manual review.
    """
    from refundcli.cli.commands.providers.events_apply import ingest_and_show

    ingest_and_show(ctx.obj, file, provider)


@group.command(epilog="Example:  refundcli events apply")
def apply(ctx: typer.Context) -> None:
    """Apply stored events that are waiting, and those whose payment was not in the books when they arrived.

    The exit code is 8 when one needs manual review.
    """
    from refundcli.cli.commands.providers.events_apply import apply_and_show

    apply_and_show(ctx.obj)


@group.command(
    "list", epilog="Examples:  refundcli events list --state unreviewed   ·   refundcli events list --about re_1Q…"
)
def list_(
    ctx: typer.Context,
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="waiting, applied, unmatched, unreviewed or noted.")
    ] = "",
    provider: OfProvider = None,
    about: Annotated[
        str,
        typer.Option(
            "--about",
            metavar="ID",
            help="Only events about this refund, payment or dispute: rf_… or the provider's ID.",
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number to show.")] = 50,
) -> None:
    """List events, newest first."""
    from refundcli.output.serializers.events import listed_event
    from refundcli.output.views.events import EVENT_COLUMNS, event_row, show_events
    from refundcli.services.ports.reads import EventFilter
    from refundcli.services.ports.rejection_reasons import count_by_reason, counts_text
    from refundcli.services.webhooks.event_lookup import event_state, events_with_refunds

    app: App = ctx.obj
    filters = EventFilter(state=event_state(state) if state else None, provider=provider, about=about, limit=limit)
    events, delivery_counts = app.services.reader.read(
        lambda tx: (events_with_refunds(tx, filters), tx.deliveries.counts())
    )
    if app.wants_json:
        app.show_list(starmap(listed_event, events))
    elif not app.for_people:
        app.show_rows(EVENT_COLUMNS, starmap(event_row, events), text_columns=EVENT_COLUMNS[1:])
    elif events:
        show_events(events, app.out, zone=app.settings.operator.zone)
    else:
        no_events_note = "No events. To receive some: refundcli events listen   or   refundcli events ingest FILE"
        app.note("No event matches." if state or provider or about else no_events_note)
    for title, is_stored in (("Stored, not applied", True), ("Rejected deliveries", False)):
        if by_reason := count_by_reason(delivery_counts, stored=is_stored):
            app.note(f"{title}: {counts_text(by_reason)}.")


@group.command(epilog="Example:  refundcli events show 17")
def show(ctx: typer.Context, id_: EventId) -> None:
    """Show one event: what was reported, when, and whether it was applied."""
    import json

    from refundcli.output.serializers.events import event_details
    from refundcli.output.views.events import show_event
    from refundcli.services.webhooks.event_lookup import event_numbered, with_refunds

    app: App = ctx.obj
    ((stored_event, refund),) = app.services.reader.read(lambda tx: with_refunds(tx, [event_numbered(tx, id_)]))
    shape = event_details(stored_event, refund, json.loads(stored_event.event.payload))
    app.show(shape, partial(show_event, stored_event, zone=app.settings.operator.zone, refund=refund))


@group.command(
    epilog="Examples:  refundcli events acknowledge 17 --memo 'split in two by Adyen, case 4711'\n\n"
    "refundcli events acknowledge 18 --as lost   ·   refundcli events acknowledge --code FOO --as none"
)
def acknowledge(
    ctx: typer.Context,
    id_: Annotated[
        int | None,
        typer.Argument(metavar="ID", show_default=False, help="The event's number, as shown by events list."),
    ] = None,
    code: Annotated[
        str,
        typer.Option(
            "--code", metavar="WORD", help="All unreviewed events with this code or status, and all later ones."
        ),
    ] = "",
    decision: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="DECISION",
            help=(
                "With ID, the state of the dispute: open, won or lost. With --code, its effect: none (does not "
                "concern refunds) or note (shown in the list, blocks nothing)."
            ),
        ),
    ] = "",
    memo: Memo = "",
) -> None:
    """Acknowledge an unreviewed provider update, so that it no longer blocks refunds of its payment.

    An update about a dispute needs --as open, won or lost. For a code that does not affect refunds, decide once for
    the whole store: --code CODE --as none (does not concern refunds) or --as note (listed for information, blocks
    nothing).
    """
    from refundcli.cli.commands.providers.events_acknowledge import acknowledge_and_show

    acknowledge_and_show(ctx.obj, id_, code=code, decision=decision, memo=memo)
