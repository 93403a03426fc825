"""Deliveries of events: why one, or an item of one, is rejected, or stored and not applied; counted by reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundcli.domain.errors import Refused
from refundcli.domain.statuses import Provider

# The kind of an event that names none, and the most payments that such a one bears on.
UNREADABLE_KIND = "unreadable"
MOST_NAMED = 50


class RejectionReason(StrEnum):
    """Why a delivery, or an item of one, is not applied.

    What is verified is stored all the same, where it is for another account or mode or cannot be read.
    """

    UNREADABLE = "unreadable"  # no JSON, or not of a shape that the provider sends
    UNSIGNED = "unsigned"
    FORGED = "forged"  # the signature does not fit the content
    UNAUTHORIZED = "unauthorized"  # basic auth is asked for, and another or none was given
    OUT_OF_TIME = "out-of-time"  # signed too long ago, or in the future
    OTHER_MODE = "other-mode"  # live for a test store, or the reverse (I12)
    OTHER_ACCOUNT = "other-account"
    TOO_LARGE = "too-large"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one item of a delivery was rejected; `item` counts from 1."""

    item: int
    reason: RejectionReason
    why: str


class DeliveryRejected(Refused):
    """Nothing of this delivery is verified: it changes nothing and is not stored. `items`: each one's own reason."""

    code = "delivery-rejected"

    def __init__(self, provider: Provider, reason: RejectionReason, why: str, items: Sequence[Rejection] = ()) -> None:
        super().__init__(
            f"This delivery is not verified as {provider.label}'s ({reason}): {why}.",
            hint=f"Check the webhook's secret at {provider.label} and in the settings.",
            context={"provider": provider.value, "reason": reason.value},
        )
        self.provider, self.reason, self.why = provider, reason, why
        self.items = items or (Rejection(1, reason, why),)


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """How many deliveries, or items of one, were not applied for one reason, and when the first and last came.

    `is_stored`: they were verified, and are among the events; the others were rejected. The provider is None for what
    was not even a request to one, and for what a program before schema 0007 counted, without times.
    """

    provider: Provider | None
    reason: RejectionReason
    count: int
    is_stored: bool
    first_at: datetime | None = None
    last_at: datetime | None = None


def count_by_reason(counts: Iterable[DeliveryCount], *, stored: bool) -> dict[str, int]:
    """Of all providers together: those that were stored and not applied, or those that were rejected."""
    by_reason: dict[str, int] = {}
    for count in counts:
        if count.is_stored is stored:
            by_reason[count.reason.value] = by_reason.get(count.reason.value, 0) + count.count
    return dict(sorted(by_reason.items()))


def counts_text(counts: Mapping[str, int]) -> str:
    """`2 forged, 1 unsigned`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
