"""Webhook deliveries as the use cases see them: verified, and read as provider updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from refundcli.domain.money import Money
from refundcli.services.ports.provider_updates import (
    NewEvent,
    ProviderUpdate,
)
from refundcli.services.ports.rejection_reasons import Rejection


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """The verified events of one delivery, and why other items of it were rejected."""

    events: Sequence[NewEvent]
    rejected: Sequence[Rejection] = ()


class DeliveryReader(Protocol):
    """Verifies the deliveries of one provider."""

    livemode: bool

    def read(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        """Verify each item of one delivery by itself. Raises DeliveryRejected if none is verified."""
        ...


class EventReader(Protocol):
    """Reads the events of one provider."""

    def updates_in(self, event: NewEvent) -> Sequence[ProviderUpdate] | None:
        """The event's updates, looked up at the provider where it can be; None if it does not concern refunds.

        Raises ProviderUnreachable: then the event waits.
        """
        ...

    def amount_in(self, event: NewEvent) -> Money | None:
        """The event's amount; None if it has none or it cannot be read."""
        ...
