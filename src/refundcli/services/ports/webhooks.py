"""Webhook deliveries as the use cases see them: verified, and read as provider updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from refundcli.domain.money import Money
from refundcli.services.ports.provider_updates import (
    NewEvent,
    ProviderUpdate,
)
from refundcli.services.ports.rejections import Rejection


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """The verified events of one delivery, and why other items of it were rejected."""

    events: Sequence[NewEvent]
    rejected: Sequence[Rejection] = ()


class DeliveryReader(Protocol):
    """Verifies the deliveries of one provider."""

    livemode: bool

    def read(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        """Judge each item of one delivery by itself. Raises DeliveryRejected if none of it is verified."""
        ...


class EventReader(Protocol):
    """What the events of one provider mean."""

    def updates_in(self, event: NewEvent) -> Sequence[ProviderUpdate] | None:
        """What the event tells, asked for anew where the provider can be asked; None when it says nothing to us.

        Raises ProviderUnreachable: then the event waits.
        """
        ...

    def amount_in(self, event: NewEvent) -> Money | None:
        """The amount that the event is about; None if it has none or it cannot be read."""
        ...
