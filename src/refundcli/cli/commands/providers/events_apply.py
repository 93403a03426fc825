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
from refundcli.providers.registry import vocabulary_of
from refundcli.services.webhooks.events import Applied, Apply, ProviderPause, Readers, apply_set_aside, apply_stored
from refundcli.services.webhooks.ingest import ingest
from refundcli.services.webhooks.reread import reread_events


def apply_with(app: App, readers: Readers, pause: ProviderPause | None = None) -> Apply:
    """What applies stored events; those that this version reads in another way wait for it."""
    services = app.services
    for provider in Provider:
        reread_events(vocabulary_of(provider), books=services.books)
    number_format = services.policy.number_format
    return partial(apply_stored, readers=readers, clock=services.clock, number_format=number_format, pause=pause)


def apply_and_show(app: App) -> None:
    """Ends with 8 where one needs a person; with 1 where one could not be applied: that is a bug, the others were."""
    services = app.services
    services.books.write(lambda tx: None)
    readers, number_format = services.event_readers(), services.policy.number_format
    done = apply_with(app, readers)(books=services.books)
    apply_set_aside(done, books=services.books, readers=readers, clock=services.clock, number_format=number_format)
    if app.for_people:
        show_applied(done, app.out)
    else:
        app.show_object(applied(done))
    _end(app, done)


def ingest_and_show(app: App, file: str, provider: Provider | None) -> None:
    """Raises FileProblem; ends with 8 where an event needs a person, else with 3 where a delivery was rejected."""
    services = app.services
    # The store is made, or found to be unusable, before anything is read.
    services.books.write(lambda tx: None)
    readers = services.delivery_readers(any_age=True)
    with open_source(file, sys.stdin.buffer) as source:
        deliveries = DeliveryFile(source, provider).deliveries()
        done = ingest(
            deliveries, books=services.books, readers=readers, apply=apply_with(app, services.event_readers())
        )
    if app.for_people:
        show_ingested(done, app.out)
    else:
        app.show_object(ingested(done))
    if not app.wants_json:
        show_rejected(done, app.err)
    _end(app, done.applied, ExitCode.REFUSED if done.rejected else ExitCode.DONE)


def _end(app: App, done: Applied, code: ExitCode = ExitCode.DONE) -> None:
    """`code`: how it ends where nothing needs a person."""
    if done.failed:
        raise typer.Exit(ExitCode.BUG)
    if done.contradictions:
        count = len(done.contradictions)
        what = "1 event needs a person" if count == 1 else f"{count:,} events need a person"
        app.note(("! ", DOUBT), f"{what}: refundcli events list --state unreviewed")
        code = ExitCode.OUTCOME_UNKNOWN
    if code:
        raise typer.Exit(code)
