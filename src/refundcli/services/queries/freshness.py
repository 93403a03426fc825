"""How current the books are, what `status --max-age` allows, and whether the store's disk and clock are in order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from refundcli.domain.statuses import Provider
from refundcli.services.clock import is_plausible
from refundcli.services.ports.books import Reading
from refundcli.services.reconciliation.last_comparison import LastComparison, last_comparison, last_complete_comparison
from refundcli.services.webhooks.heartbeat import last_heartbeat

# A provider without a payment for so long is not watched: most refunds and disputes come within this time.
_WATCHED_FOR = timedelta(days=180)
_MOST_SKEW = timedelta(seconds=60)
_LEAST_FREE_BYTES = 50 * 1024 * 1024
# The rollback journal of a large write, or of a page of an import, needs a part of the store's size.
_FREE_PART_OF_STORE = 10


class Limit(StrEnum):
    """What `--max-age` limits."""

    RECONCILE = "reconcile"  # since the last complete comparison with a provider
    EVENTS = "events"  # since a listener ran, or a delivery arrived
    PENDING = "pending"  # since a refund was accepted that is still not final


MaxAge = Mapping[Limit, timedelta]


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of a provider, the last comparison, the last complete one, the last delivery and heartbeat; None for never."""

    last_reconcile: LastComparison | None = None
    last_delivery: datetime | None = None
    last_complete: datetime | None = None
    listener_seen: datetime | None = None

    @property
    def last_events(self) -> datetime | None:
        return max(filter(None, (self.last_delivery, self.listener_seen)), default=None)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Longer ago than allowed; `last` is None for never."""

    limit: Limit
    provider: Provider
    last: datetime | None
    allowed: timedelta


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The disk of a SQLite store, in bytes."""

    folder: str
    free: int
    store_size: int

    @property
    def needed(self) -> int:
        return max(_LEAST_FREE_BYTES, self.store_size // _FREE_PART_OF_STORE)


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """`disk`: if its space is too low. `skew`: how far this machine's clock is ahead of the database's, if too far.

    `newest_entry`: the time of the books' newest entry, if the clock cannot be right. `not_in_store`: the number of the
    audit entry that was anchored last, if the store does not have it.
    """

    disk: DiskSpace | None = None
    newest_entry: datetime | None = None
    skew: timedelta | None = None
    not_in_store: int | None = None

    @property
    def problem_count(self) -> int:
        return sum(problem is not None for problem in (self.disk, self.newest_entry, self.skew, self.not_in_store))


def freshness_of(reading: Reading, provider: Provider) -> Freshness:
    return Freshness(
        last_comparison(reading, provider),
        reading.deliveries.newest(provider),
        last_complete_comparison(reading, provider),
        last_heartbeat(reading, provider),
    )


def exceeded_limits(
    reading: Reading, freshness: Mapping[Provider, Freshness], max_age: MaxAge, now: datetime
) -> list[Exceeded]:
    """Only of providers with a payment in the last half year."""
    return [
        Exceeded(limit, provider, last, max_age[limit])
        for provider, limit, last in _last_times(freshness)
        if limit in max_age
        and (last is None or now - last > max_age[limit])
        and reading.payments.any_since(provider, (now - _WATCHED_FOR).date())
    ]


def _last_times(freshness: Mapping[Provider, Freshness]) -> Iterable[tuple[Provider, Limit, datetime | None]]:
    for provider, current in freshness.items():
        yield provider, Limit.RECONCILE, current.last_complete
        yield provider, Limit.EVENTS, current.last_events


def health_of(
    reading: Reading,
    now: datetime,
    *,
    disk: DiskSpace | None = None,
    skew: timedelta | None = None,
    not_in_store: int | None = None,
) -> StoreHealth:
    """`now`: by the store's clock; `skew`: how far this machine's is ahead of it."""
    newest_at = reading.audit.newest_at()
    return StoreHealth(
        disk if disk and disk.free < disk.needed else None,
        newest_at if newest_at and not is_plausible(now, newest_at) else None,
        skew if skew and abs(skew) > _MOST_SKEW else None,
        not_in_store,
    )
