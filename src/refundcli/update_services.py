"""Wire the services for provider updates, comparisons (`reconcile`) and pulls, each created on first use.

What is imported at the top is needed by a refund too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from refundcli.domain.statuses import Provider
from refundcli.providers.registry import event_reader, is_listed, vocabulary_of
from refundcli.providers.vocabulary_version import vocabulary_version
from refundcli.services.ports.webhooks import EventReader
from refundcli.services.provider_updates.apply_update import ApplyUpdates
from refundcli.services.provider_updates.sync_payment import SyncPayments
from refundcli.services.webhooks.apply_events import ApplyEvents
from refundcli.services.webhooks.reread import RereadEvents

if TYPE_CHECKING:
    from refundcli.bootstrap import Services
    from refundcli.services.imports.from_provider import PullInvoices
    from refundcli.services.reconciliation.against_provider import ReconcileProvider
    from refundcli.services.reconciliation.external_refunds import ExternalRefunds
    from refundcli.services.webhooks.ingest import IngestDeliveries
    from refundcli.services.webhooks.review_events import ReviewEvents


@dataclass
class UpdateServices:
    """The services that apply, compare or import what a provider has."""

    services: "Services"

    @cached_property
    def event_readers(self) -> Callable[[Provider], EventReader]:
        """The reader of each provider's events. Stripe's need its API; Adyen's need no key."""
        records_of = self.services.providers.records
        return cache(lambda provider: event_reader(provider, records=lambda: records_of(provider)))

    @cached_property
    def sync_payments(self) -> SyncPayments:
        return SyncPayments(ApplyUpdates(self.services.clock, self.services.settings.credit_notes.number_format))

    @cached_property
    def apply_events(self) -> ApplyEvents:
        return ApplyEvents(self.services.books, self.event_readers, self.sync_payments)

    @cached_property
    def reread_events(self) -> RereadEvents:
        return RereadEvents(self.services.books, vocabulary_of, vocabulary_version, self.services.dry_run)

    @cached_property
    def review_events(self) -> "ReviewEvents":
        from refundcli.services.webhooks.review_events import ReviewEvents

        return ReviewEvents(self.services.books, self.event_readers, is_listed)

    @cached_property
    def ingest_deliveries(self) -> "IngestDeliveries":
        from refundcli.services.webhooks.ingest import IngestDeliveries

        return IngestDeliveries(self.services.books, self.services.delivery_readers(any_age=True), self.apply_events)

    @cached_property
    def pull_invoices(self) -> "PullInvoices":
        from refundcli.services.imports.from_provider import PullInvoices

        return PullInvoices(self.services.books, self.services.providers, self.sync_payments, self.services.clock)

    @cached_property
    def reconcile_provider(self) -> "ReconcileProvider":
        from refundcli.services.reconciliation.against_provider import ReconcileProvider

        services, pending_days = self.services, self.services.settings.refunds.pending_days
        return ReconcileProvider(services.books, services.providers, self.sync_payments, services.clock, pending_days)

    @cached_property
    def external_refunds(self) -> "ExternalRefunds":
        from refundcli.services.reconciliation.external_refunds import ExternalRefunds

        services, number_format = self.services, self.services.settings.credit_notes.number_format
        return ExternalRefunds(services.books, services.clock, number_format)
