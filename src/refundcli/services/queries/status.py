"""What needs attention, what is pending, and how fresh the books are.

Every list has its full count, even if only its first entries are shown. Everything with an action counts as needing
attention. With `max_age` (`status --max-age`) so does what is too old, and what only a person can judge: open disputes,
recently failed refunds and recently rejected webhooks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import WITHOUT_OUTCOME, ClosingState, Provider, RefundState
from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun, unfinished_runs
from refundcli.services.dispatch import leases
from refundcli.services.ports.books import Reading
from refundcli.services.ports.key_windows import CAN_LOOK_UP, key_is_known
from refundcli.services.ports.provider_updates import EventState, StoredEvent
from refundcli.services.ports.reads import Account, FailedCapture, InvoiceFilter
from refundcli.services.ports.rejection_reasons import DeliveryCount, count_by_reason
from refundcli.services.queries.freshness import (
    DiskSpace,
    Exceeded,
    Freshness,
    Limit,
    MaxAge,
    StoreHealth,
    exceeded_limits,
    freshness_of,
    health_of,
)
from refundcli.services.reconciliation.last_comparison import LastComparison
from refundcli.system import processes

_SHOWN = 50
# Stripe waits until the merchant's balance is high enough.
_NO_FUNDS = "insufficient_funds"
# The listener applies stored events at once, and retries for some minutes if the provider does not answer.
_APPLIED_WITHIN = timedelta(minutes=15)
# How long a refund that failed, and a rejected webhook, are reported.
_FAILED_WITHIN = timedelta(days=7)
_REJECTED_WITHIN = timedelta(days=2)
_DAY = timedelta(days=1)
_T = TypeVar("_T")


class Next(StrEnum):
    """The next step for an unfinished entry."""

    WAIT = "wait"  # a running process handles it, or the provider will report it
    RESUME = "resume"
    RESOLVE = "resolve"  # past the key window: still looked up, but never sent again
    ACKNOWLEDGE = "acknowledge"  # it failed or was reversed after it succeeded
    RECONCILE = "reconcile"  # pending for longer than it should be
    ADOPT = "reconcile --adopt"  # an external refund: it needs a reason and a credit note
    MATCH = "reconcile --match"  # an external refund that may be one that was recorded by hand
    APPROVE = "approve"  # at the provider, by a second person
    TOP_UP = "top up"  # the balance at the provider is too low for it
    REFUND = "refund"  # it failed, so the customer has not got the money


@dataclass(frozen=True, slots=True)
class Listed(Generic[_T]):
    """The first fifty of `count` entries, those that need attention first; `attention`: how many of all do."""

    first: Sequence[_T] = ()
    count: int = 0
    attention: int = 0


@dataclass(frozen=True, slots=True)
class OpenRefund:
    """`holder`: the process with the lease; `is_held`: its amount is reserved although it failed."""

    refund: Refund
    age: timedelta
    next: Next
    holder: RunHolder | None = None
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class OpenClosing:
    closing: Closing
    age: timedelta
    next: Next
    holder: RunHolder | None = None


@dataclass(frozen=True, slots=True)
class OpenRun:
    run: UnfinishedRun
    age: timedelta
    next: Next


@dataclass(frozen=True, slots=True)
class Unapplied:
    """Stored events that are not applied: how many are `waiting`, since when, and how many block a payment.

    `unmatched`: those about payments that are not in the books. `unread`: providers whose events must be read again.
    """

    waiting: int = 0
    oldest: datetime | None = None
    unmatched: int = 0
    blocking: int = 0
    attention: int = 0
    unread: Sequence[Provider] = ()


@dataclass(frozen=True, slots=True)
class Deliveries:
    """By reason, how many deliveries were rejected, and how many were verified but not applied.

    `recent`: those rejected in the last two days, if they need attention.
    """

    rejected: Mapping[str, int] = field(default_factory=dict)
    not_applied: Mapping[str, int] = field(default_factory=dict)
    recent: Sequence[DeliveryCount] = ()


@dataclass(frozen=True, slots=True)
class PendingAges:
    """How many refunds are accepted and not final: for less than a day, up to `limit`, and for longer."""

    limit: timedelta
    recent: int = 0
    older: int = 0
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """`events`: counts by state; `losses`: invoices with an unacknowledged loss (I13); `failed`: refunds not made."""

    unreviewed: Listed[StoredEvent]
    losses: Listed[Invoice]
    unfinished: Listed[OpenRefund]
    runs: Listed[OpenRun]
    closings: Listed[OpenClosing]
    came_back: Listed[OpenRefund]
    elsewhere: Listed[OpenRefund]
    pending: Listed[OpenRefund]
    failed: Listed[OpenRefund]
    failed_captures: Listed[FailedCapture]
    disputed: Listed[Invoice]
    processing: Listed[Invoice]
    unapplied: Unapplied
    accounts: Sequence[Account]
    livemode: bool | None
    events: Mapping[str, int]
    deliveries: Deliveries
    freshness: Mapping[Provider, Freshness]
    pending_ages: PendingAges
    exceeded: Sequence[Exceeded]
    health: StoreHealth

    @property
    def lists(self) -> Mapping[str, "Listed[object]"]:
        """Every list by its name, in display order."""
        attributes = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: listed for name, listed in attributes if isinstance(listed, Listed)}

    @property
    def differing(self) -> Mapping[Provider, Sequence[LastComparison]]:
        """Comparisons that still have differences, by provider, until one that covers them agrees (R15)."""
        comparisons = {provider: freshness.last_reconcile for provider, freshness in self.freshness.items()}
        return {
            provider: comparison.differing
            for provider, comparison in comparisons.items()
            if comparison and comparison.differing
        }

    @property
    def attention(self) -> int:
        """How many entries need attention, each comparison with differences being one."""
        differing_count = sum(map(len, self.differing.values()))
        listed_count = sum(listed.attention for listed in self.lists.values())
        problem_count = len(self.exceeded) + len(self.deliveries.recent) + self.health.problem_count
        return listed_count + self.unapplied.attention + differing_count + problem_count

    @property
    def needs_attention(self) -> bool:
        return bool(self.attention)


def current_status(
    reading: Reading,
    *,
    now: datetime,
    pending_days: int,
    unread_providers: Sequence[Provider] = (),
    max_age: MaxAge | None = None,
    disk: DiskSpace | None = None,
    skew: timedelta | None = None,
    not_in_store: int | None = None,
) -> Status:
    """`pending_days`: a refund accepted longer ago than this should have a final state.

    `unread_providers`: providers whose stored events must be read again. `max_age`: also report what is too old, and
    what only a person can judge. `skew`: how far this machine's clock is ahead of the database's.
    `not_in_store`: the audit entry that was anchored last, if the store does not have it.
    """
    event_counts, watches = reading.events.counts(), max_age is not None
    pending_limit = (max_age or {}).get(Limit.PENDING, timedelta(days=pending_days))
    pending, pending_ages = _pending(reading, now, pending_limit)
    freshness = {provider: freshness_of(reading, provider) for provider in Provider}
    return Status(
        unreviewed=_all_need_attention(
            reading.events.unreviewed(limit=_SHOWN), event_counts.get(EventState.UNREVIEWED, 0)
        ),
        losses=_all_need_attention(losses := reading.invoices.losses(), len(losses)),
        unfinished=_unfinished(reading, now),
        runs=_runs(reading, now),
        closings=_closings(reading, now),
        came_back=_listed([_failed_late(refund, now) for refund in reading.refunds.to_acknowledge()]),
        elsewhere=_external(reading, now),
        pending=pending,
        failed=_failed(reading, now, watches=watches),
        failed_captures=_first(captures := reading.payments.failed_captures(), len(captures)),
        disputed=_invoices(reading, InvoiceFilter(disputed=True, limit=_SHOWN), need_attention=watches),
        processing=_invoices(reading, InvoiceFilter(processing=True, limit=_SHOWN)),
        unapplied=_unapplied(reading, now, event_counts, unread_providers),
        accounts=reading.accounts.known(),
        livemode=reading.store.livemode(),
        events={state.value: event_counts.get(state, 0) for state in EventState},
        deliveries=_deliveries(reading, now, watches=watches),
        freshness=freshness,
        pending_ages=pending_ages,
        exceeded=exceeded_limits(reading, freshness, max_age or {}, now),
        health=health_of(reading, now, disk=disk, skew=skew if watches else None, not_in_store=not_in_store),
    )


# --- refunds, runs and closings ---------------------------------------------------------------------------------


def _unfinished(reading: Reading, now: datetime) -> Listed[OpenRefund]:
    refunds = reading.refunds.in_states(*WITHOUT_OUTCOME)
    return _listed(
        [
            OpenRefund(refund, now - refund.created_at, _next_of(refund, now), _holder(refund.sending, now))
            for refund in refunds
        ]
    )


def _closings(reading: Reading, now: datetime) -> Listed[OpenClosing]:
    closings = reading.closings.in_states(ClosingState.READY, ClosingState.SUBMITTED)
    return _listed(
        [
            OpenClosing(closing, now - closing.created_at, _next(closing.sending, now), _holder(closing.sending, now))
            for closing in closings
        ]
    )


def _runs(reading: Reading, now: datetime) -> Listed[OpenRun]:
    return _listed([_open_run(unfinished_run, now) for unfinished_run in unfinished_runs(reading, now=now)])


def _open_run(unfinished_run: UnfinishedRun, now: datetime) -> OpenRun:
    return OpenRun(
        unfinished_run,
        now - unfinished_run.run.created_at,
        Next.WAIT if unfinished_run.has_live_worker else Next.RESUME,
    )


def _failed_late(refund: Refund, now: datetime) -> OpenRefund:
    return OpenRefund(refund, now - refund.created_at, Next.ACKNOWLEDGE, is_held=refund.is_held_at(now))


def _failed(reading: Reading, now: datetime, *, watches: bool) -> Listed[OpenRefund]:
    refunds, count = reading.refunds.failed_since(now - _FAILED_WITHIN, limit=_SHOWN)
    next_step = Next.REFUND if watches else Next.WAIT
    entries = [OpenRefund(refund, now - refund.created_at, next_step) for refund in refunds]
    return Listed(entries, count, count if watches else 0)


def _pending(reading: Reading, now: datetime, limit: timedelta) -> tuple[Listed[OpenRefund], PendingAges]:
    overdue_before = now - limit
    pending_refunds = reading.refunds.pending(
        recent=max(now - _DAY, overdue_before), overdue=overdue_before, stuck=_NO_FUNDS, limit=_SHOWN
    )
    open_refunds = [
        OpenRefund(refund, now - refund.created_at, _next_of_pending(refund, overdue_before))
        for refund in pending_refunds.first
    ]
    older_count = pending_refunds.count - pending_refunds.recent - pending_refunds.overdue
    ages = PendingAges(limit, pending_refunds.recent, older_count, pending_refunds.overdue)
    return Listed(open_refunds, pending_refunds.count, pending_refunds.attention), ages


def _external(reading: Reading, now: datetime) -> Listed[OpenRefund]:
    refunds = [refund for refund in reading.external_refunds.listed(adopted=False) if refund.state.is_accepted]
    return _listed(
        [
            OpenRefund(refund, now - refund.created_at, Next.MATCH if refund.undecided else Next.ADOPT)
            for refund in refunds
        ]
    )


def _next_of(refund: Refund, now: datetime) -> Next:
    return Next.APPROVE if refund.state is RefundState.AWAITING_APPROVAL else _next(refund.sending, now)


def _next_of_pending(refund: Refund, overdue_before: datetime) -> Next:
    if refund.pending_reason == _NO_FUNDS:
        return Next.TOP_UP
    return Next.RECONCILE if refund.created_at < overdue_before else Next.WAIT


def _next(sending: Sending | None, now: datetime) -> Next:
    if sending is None or leases.is_live(sending, now):
        return Next.WAIT
    can_settle = key_is_known(sending, now) or sending.request.provider in CAN_LOOK_UP
    return Next.RESUME if can_settle else Next.RESOLVE


def _holder(sending: Sending | None, now: datetime) -> RunHolder | None:
    if sending is None or not sending.lease_owner:
        return None
    holder_name = processes.process_named(sending.lease_owner).shown
    return RunHolder(holder_name, 1, sending.lease_until, leases.is_live(sending, now))


# --- the providers ----------------------------------------------------------------------------------------------


def _unapplied(
    reading: Reading, now: datetime, event_counts: Mapping[str, int], unread_providers: Sequence[Provider]
) -> Unapplied:
    """Waiting events need attention once the listener should have applied them (R13)."""
    waiting_count, oldest_received_at = (
        event_counts.get(EventState.WAITING, 0),
        reading.events.oldest(EventState.WAITING),
    )
    known_payment_counts = reading.events.counts_of_known_payments()
    # A noted event may have been stored without being applied; its payment was imported since.
    blocking_count = known_payment_counts.get(EventState.UNMATCHED, 0) + known_payment_counts.get(EventState.NOTED, 0)
    unmatched_count = event_counts.get(EventState.UNMATCHED, 0) - known_payment_counts.get(EventState.UNMATCHED, 0)
    waits_too_long = oldest_received_at is not None and now - oldest_received_at > _APPLIED_WITHIN
    attention_count = blocking_count + (waiting_count if waits_too_long else 0) + len(unread_providers)
    return Unapplied(
        waiting_count, oldest_received_at, unmatched_count, blocking_count, attention_count, unread_providers
    )


def _deliveries(reading: Reading, now: datetime, *, watches: bool) -> Deliveries:
    counts = reading.deliveries.counts()
    recent_counts = [
        count
        for count in counts
        if watches and not count.is_stored and count.last_at and now - count.last_at < _REJECTED_WITHIN
    ]
    return Deliveries(count_by_reason(counts, stored=False), count_by_reason(counts, stored=True), recent_counts)


def _invoices(reading: Reading, criteria: InvoiceFilter, *, need_attention: bool = False) -> Listed[Invoice]:
    count = reading.invoices.count(criteria)
    return Listed(reading.invoices.matching(criteria), count, count if need_attention else 0)


# --- lists ------------------------------------------------------------------------------------------------------

_Open = TypeVar("_Open", OpenRefund, OpenClosing, OpenRun)


def _listed(entries: Sequence[_Open]) -> Listed[_Open]:
    attention_count = sum(entry.next is not Next.WAIT for entry in entries)
    return Listed(sorted(entries, key=lambda entry: entry.next is Next.WAIT)[:_SHOWN], len(entries), attention_count)


def _all_need_attention(rows: Sequence[_T], count: int) -> Listed[_T]:
    return Listed(rows[:_SHOWN], count, count)


def _first(rows: Sequence[_T], count: int) -> Listed[_T]:
    return Listed(rows[:_SHOWN], count)
