"""What `invoice pull` and `invoice show --refresh` do: ask the provider, write, show the outcome."""

from datetime import date

from refundcli.cli.context import App
from refundcli.domain.statuses import Provider
from refundcli.output.progress import progress
from refundcli.output.serializers.imports import pulled
from refundcli.output.views.imports import show_conflicts, show_import
from refundcli.services.imports.from_provider import pull, pull_one
from refundcli.services.invoices.lookup import invoice_behind
from refundcli.services.reconciliation.against_provider import Comparison


def pull_invoices(app: App, provider: Provider, *, since: date | None, number: str | None) -> None:
    """Raises SettingsProblem where the provider cannot be asked, NotAtProvider."""
    services = app.services
    books, clock, credit_note_format = services.books, services.clock, services.policy.credit_note_format
    # The first pull creates the store.
    books.write(lambda tx: None)
    records = services.providers.records(provider)
    if number is not None:
        summary = pull_one(records, number, books=books, clock=clock, credit_note_format=credit_note_format)
    else:
        with progress(app.err, f"Pulling from {provider.label}", enabled=app.wants_progress) as advance:
            try:
                summary = pull(
                    records,
                    since=since,
                    books=books,
                    clock=clock,
                    credit_note_format=credit_note_format,
                    advance=advance,
                )
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
    services.apply_known_events(provider)
    app.note_unmatched_events()
    app.note_new_store()


def refresh_invoice(app: App, number_or_id: str) -> None:
    """Re-read one invoice at the provider, payment by payment, and as a whole where the provider keeps it."""
    services = app.services
    books, clock, credit_note_format = services.books, services.clock, services.policy.credit_note_format
    invoice = books.read(lambda tx: invoice_behind(tx, number_or_id))
    if Provider.STRIPE not in {payment.provider for payment in invoice.payments} and not invoice.managed_by:
        app.note(f"{invoice.number} cannot be checked with a provider: showing what is stored.")
        return
    records = services.providers.records(Provider.STRIPE)
    if invoice.managed_by and records.invoice(invoice.invoice_reference):
        pull_one(records, invoice.invoice_reference, books=books, clock=clock, credit_note_format=credit_note_format)
        return
    comparison = Comparison(books, records, clock, credit_note_format, on_difference=lambda difference, repaired: None)
    comparison.of_invoice(invoice.number)
