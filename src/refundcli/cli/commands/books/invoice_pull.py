"""What `invoice pull` and `invoice show --refresh` do: ask the provider, write, show the outcome."""

from contextlib import suppress
from datetime import date

from refundcli.cli.context import App
from refundcli.domain.statuses import Provider
from refundcli.output.progress import progress
from refundcli.output.serializers.imports import pulled
from refundcli.output.views.imports import show_conflicts, show_import
from refundcli.services.imports.from_provider import NotAtProvider
from refundcli.services.invoices.lookup import invoice_behind
from refundcli.services.reconciliation.against_provider import ComparisonSummary


def pull_invoices(app: App, provider: Provider, *, since: date | None, number: str | None) -> None:
    """Raises SettingsProblem where the provider cannot be asked, NotAtProvider."""
    services = app.services
    # The first pull creates the store.
    services.books.write(lambda tx: None)
    if number is not None:
        summary = services.updates.pull_invoices.one(provider, number)
    else:
        with progress(app.err, f"Pulling from {provider.label}", enabled=app.wants_progress) as advance:
            try:
                summary = services.updates.pull_invoices.all(provider, since=since, advance=advance)
            except KeyboardInterrupt:
                app.err.say("Stopped. Invoices imported so far are kept; run the same command again to resume.")
                raise
    if summary.resumed_after:
        app.note(f"Resumed after {summary.resumed_after}, where the last pull stopped.")
    if app.for_people:
        show_import(provider.label, summary.imported, app.out)
        show_conflicts(summary.imported, app.err)
    else:
        app.show_object(pulled(provider, summary))
    services.updates.apply_events.known(provider)
    app.note_unmatched_events()
    app.note_new_store()


def refresh_invoice(app: App, number_or_id: str) -> None:
    """Re-read one invoice at the provider, payment by payment, and as a whole where the provider keeps it."""
    services, provider = app.services, Provider.STRIPE
    invoice = services.books.read(lambda tx: invoice_behind(tx, number_or_id))
    if provider not in {payment.provider for payment in invoice.payments} and not invoice.managed_by:
        app.note(f"{invoice.number} cannot be checked with a provider: showing what is stored.")
        return
    if invoice.managed_by:
        with suppress(NotAtProvider):
            services.updates.pull_invoices.one(provider, invoice.invoice_reference)
            return
    services.updates.reconcile_provider.invoice(provider, invoice.number, ComparisonSummary())
