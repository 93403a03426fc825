"""What `events apply` and `events ingest` do."""

import sys
from functools import partial

import typer

from refundcli.cli.context import App
from refundcli.cli.exit_codes import ExitCode
from refundcli.domain.statuses import Provider
from refundcli.files.saved_deliveries import DeliveryFile
from refundcli.files.source import open_source
from refundcli.output.serializers.events import applied, ingested
from refundcli.output.terminal import DOUBT
from refundcli.output.views.events import show_applied, show_ingested, show_rejected
from refundcli.services.ports.provider_updates import EventState
from refundcli.services.webhooks.apply_events import EventOutcomes


def apply_and_show(app: App) -> None:
    """Exit 8 while an event in the store needs review; 1 when a bug stopped one of them (the others were applied)."""
    services = app.services
    services.books.write(lambda tx: None)
    services.updates.reread_events.all()
    summary = services.updates.apply_events.everything()
    app.show(applied(summary), partial(show_applied, summary))
    unreviewed = services.books.read(lambda tx: tx.events.counts().get(EventState.UNREVIEWED, 0))
    _end(app, summary, unreviewed=unreviewed)


def ingest_and_show(app: App, file: str, provider: Provider | None) -> None:
    """Raises FileProblem. Exit 8 when an event needs a person, else 3 when a delivery was rejected.

    `provider`: whose deliveries they are; None where the headers of each name it.
    """
    services = app.services
    # Create the store, or fail, before anything is read.
    services.books.write(lambda tx: None)
    with open_source(file, sys.stdin.buffer) as source:
        deliveries = DeliveryFile(source, provider).deliveries()
        services.updates.reread_events.all()
        summary = services.updates.ingest_deliveries.ingest(deliveries)
    app.show(ingested(summary), partial(show_ingested, summary))
    if not app.wants_json:
        show_rejected(summary, app.err)
    _end(app, summary.applied, ExitCode.REFUSED if summary.rejected else ExitCode.DONE)


def _end(app: App, summary: EventOutcomes, code: ExitCode = ExitCode.DONE, *, unreviewed: int = 0) -> None:
    """`code`: the exit code when no event needs review; `unreviewed`: events in the store that do, new or old."""
    if summary.failed:
        raise typer.Exit(ExitCode.BUG)
    if count := max(len(summary.contradictions), unreviewed):
        event_words = "1 event needs manual review" if count == 1 else f"{count:,} events need manual review"
        app.note(("! ", DOUBT), f"{event_words}: refundcli events list --state unreviewed")
        code = ExitCode.OUTCOME_UNKNOWN
    if code:
        raise typer.Exit(code)
