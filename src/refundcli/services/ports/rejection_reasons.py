"""Why deliveries, or items of them, are rejected or stored without being applied; counted by reason."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundcli.domain.errors import Refused
from refundcli.domain.statuses import Provider

# The kind of an event that names none, and the most payments that such an event may concern.
UNREADABLE_KIND = "unreadable"
MOST_NAMED = 50


class RejectionReason(StrEnum):
    """Why a delivery, or an item of one, is not applied.

    A verified one for another account or mode, or an unreadable one, is stored all the same.
    """

    UNREADABLE = "unreadable"  # not JSON, or not in a format of the provider
    UNSIGNED = "unsigned"
    FORGED = "forged"  # the signature does not match the content
    UNAUTHORIZED = "unauthorized"  # the basic auth credentials are missing or wrong
    OUT_OF_TIME = "out-of-time"  # the signature is too old, or dated in the future
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
    """Nothing in this delivery is verified, so it is not stored. `items`: the reason for each item."""

    code = "delivery-rejected"

    def __init__(self, provider: Provider, reason: RejectionReason, why: str, items: Sequence[Rejection] = ()) -> None:
        super().__init__(
            f"This delivery could not be verified as coming from {provider.label} ({reason}): {why}.",
            hint=f"Check the webhook's secret at {provider.label} and in the settings.",
            context={"provider": provider.value, "reason": reason.value},
        )
        self.provider, self.reason, self.why = provider, reason, why
        self.items = items or (Rejection(1, reason, why),)


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """How many deliveries, or items, were not applied for one reason; when the first and the last arrived.

    `is_stored`: verified and stored as events; the others were rejected. The provider is None for a request to none,
    and for counts from before schema 0007, which have no times.
    """

    provider: Provider | None
    reason: RejectionReason
    count: int
    is_stored: bool
    first_at: datetime | None = None
    last_at: datetime | None = None


def count_by_reason(counts: Iterable[DeliveryCount], *, stored: bool) -> dict[str, int]:
    """Sums over all providers: of stored deliveries that were not applied, or of rejected ones."""
    total_by_reason: dict[str, int] = {}
    for count in counts:
        if count.is_stored is stored:
            total_by_reason[count.reason.value] = total_by_reason.get(count.reason.value, 0) + count.count
    return dict(sorted(total_by_reason.items()))


def counts_text(counts: Mapping[str, int]) -> str:
    """`2 forged, 1 unsigned`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
