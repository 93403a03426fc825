"""Deliveries of events: what is wrong with one that is not taken, told and counted by cause."""

from collections.abc import Mapping
from enum import StrEnum

from refundcli.domain.errors import Refused
from refundcli.domain.statuses import Provider


class Flaw(StrEnum):
    """Why a delivery is not believed."""

    UNREADABLE = "unreadable"  # no JSON, or not of the shape that the provider sends
    UNSIGNED = "unsigned"
    FORGED = "forged"  # the signature does not fit the content
    UNAUTHORIZED = "unauthorized"  # basic auth is asked for, and another or none was given
    OUT_OF_TIME = "out-of-time"  # signed too long ago, or in the future
    OTHER_MODE = "other-mode"  # live for a test store, or the reverse (I12)
    OTHER_ACCOUNT = "other-account"
    TOO_LARGE = "too-large"


class DeliveryRefused(Refused):
    """A delivery that changes nothing: its sender is not proven, or it is not meant for this store."""

    code = "delivery-refused"

    def __init__(self, provider: Provider, flaw: Flaw, why: str, *, hint: str = "") -> None:
        super().__init__(
            f"This delivery is not taken as {provider.label}'s word ({flaw}): {why}.",
            hint=hint or f"Check the webhook's secret at {provider.label} and in the settings.",
            context={"provider": provider.value, "flaw": flaw.value},
        )
        self.flaw, self.why = flaw, why


def by_flaw(counts: Mapping[str, int]) -> str:
    """`2 forged, 1 unsigned`."""
    return ", ".join(f"{count} {flaw}" for flaw, count in sorted(counts.items()))
