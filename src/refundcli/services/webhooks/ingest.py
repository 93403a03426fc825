"""Ingest saved deliveries: each is verified like one from the network, stored, and then applied."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from refundcli.domain.statuses import Provider
from refundcli.services.ports.books import Books
from refundcli.services.ports.provider_updates import EventState, NewEvent
from refundcli.services.ports.reads import EventFilter
from refundcli.services.ports.rejection_reasons import DeliveryRejected, Rejection, RejectionReason
from refundcli.services.ports.webhooks import VerifiedDelivery
from refundcli.services.webhooks.apply_events import ApplyEvents, EventOutcomes
from refundcli.services.webhooks.deliveries import DeliveryReaders, store_events, verify

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class SavedDelivery:
    """One delivery of a file. `why_not`: why the line is not a delivery."""

    line: int
    provider: Provider | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A rejected delivery, or a rejected item of one; `item` counts from 1."""

    line: int
    item: int
    reason: RejectionReason
    why: str


@dataclass(slots=True)
class IngestSummary:
    """How many events were new or duplicates, which deliveries were rejected, and the outcomes of the new events.

    `not_applied` counts verified events that were stored without being applied, by reason.
    """

    new: int = 0
    duplicates: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    not_applied: Counter[str] = field(default_factory=Counter)
    applied: EventOutcomes = field(default_factory=EventOutcomes)

    @property
    def rejected_by_reason(self) -> dict[str, int]:
        return dict(sorted(Counter(line.reason.value for line in self.rejected).items()))


@dataclass(frozen=True, slots=True)
class IngestDeliveries:
    """Stores and applies the verified events of saved deliveries. `readers` gives the reader of a provider's."""

    books: Books
    readers: DeliveryReaders
    apply_events: ApplyEvents

    def ingest(self, deliveries: Iterable[SavedDelivery]) -> IngestSummary:
        """Raises SettingsProblem if the settings do not allow to verify any."""
        summary, rejection_counts = IngestSummary(), Counter[tuple[Provider | None, RejectionReason]]()
        newest_events = self.books.read(lambda tx: tx.events.matching(EventFilter(limit=1)))
        events = list[NewEvent]()
        for delivery in deliveries:
            provider = _provider_of(delivery)
            verified_delivery = self._verified(delivery, provider)
            events += verified_delivery.events
            rejection_counts.update((provider, rejection.reason) for rejection in verified_delivery.rejected)
            summary.rejected += [
                RejectedLine(delivery.line, rejection.item, rejection.reason, rejection.why)
                for rejection in verified_delivery.rejected
            ]
            summary.not_applied.update(
                event.not_applied.value for event in verified_delivery.events if event.not_applied
            )
            if len(events) >= _AT_ONCE:
                self._store(events, summary)
                events = []
        self._store(events, summary)
        if rejection_counts:
            self.books.write(lambda tx: tx.deliveries.count_rejected(rejection_counts))
        # Also apply waiting events from before: an earlier run may have been killed after it stored them.
        last_number_before = newest_events[0].id if newest_events else 0
        summary.applied = self.apply_events.waiting(
            selects=lambda stored: stored.id > last_number_before or stored.state is EventState.WAITING
        )
        return summary

    def _verified(self, delivery: SavedDelivery, provider: Provider) -> VerifiedDelivery:
        if delivery.why_not:
            return VerifiedDelivery((), (Rejection(1, RejectionReason.UNREADABLE, delivery.why_not),))
        try:
            return verify(provider, self.readers(provider), delivery.body, delivery.headers)
        except DeliveryRejected as rejection:
            return VerifiedDelivery((), rejection.items)

    def _store(self, events: list[NewEvent], summary: IngestSummary) -> None:
        new_count = store_events(events, books=self.books) if events else 0
        summary.new += new_count
        summary.duplicates += len(events) - new_count


def _provider_of(delivery: SavedDelivery) -> Provider:
    # Only Stripe has this header; Adyen's items carry their signatures.
    has_stripe_signature = any(header_name.lower() == "stripe-signature" for header_name in delivery.headers)
    return delivery.provider or (Provider.STRIPE if has_stripe_signature else Provider.ADYEN)
