"""What needs attention, what is pending, and how fresh the books are.

Every list has its full count, even if only its first entries are shown. Everything with an action counts as needing
attention.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services.bulk.unfinished_runs import RunHolder, UnfinishedRun, unfinished_runs
from refundcli.services.dispatch import leases
from refundcli.services.ports.books import Reading
from refundcli.services.ports.key_windows import CAN_LOOK_UP, key_is_known
from refundcli.services.ports.provider_updates import EventState, StoredEvent
from refundcli.services.ports.records import Account, FailedCapture, InvoiceFilter
from refundcli.services.ports.rejection_reasons import count_by_reason
from refundcli.services.reconciliation.last_comparison import LastComparison, last_comparison

_SHOWN = 50
# Stripe waits until the merchant's balance is high enough.
_NO_FUNDS = "insufficient_funds"
# The listener applies stored events at once, and retries for some minutes if the provider does not answer.
_APPLIED_WITHIN = timedelta(minutes=15)
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
    """By reason, how many deliveries were rejected, and how many were verified but not applied."""

    rejected: Mapping[str, int] = field(default_factory=dict)
    not_applied: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Freshness:
    """The last comparison and delivery of a provider; None for never."""

    last_reconcile: LastComparison | None = None
    last_delivery: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """`events`: counts by state; `losses`: invoices with an unacknowledged loss (I13)."""

    unfinished: Listed[OpenRefund]
    runs: Listed[OpenRun]
    closings: Listed[OpenClosing]
    came_back: Listed[OpenRefund]
    pending: Listed[OpenRefund]
    elsewhere: Listed[OpenRefund]
    unreviewed: Listed[StoredEvent]
    losses: Listed[Invoice]
    failed_captures: Listed[FailedCapture]
    disputed: Listed[Invoice]
    processing: Listed[Invoice]
    unapplied: Unapplied
    accounts: Sequence[Account]
    livemode: bool | None
    events: Mapping[str, int]
    deliveries: Deliveries
    freshness: Mapping[Provider, Freshness]

    @property
    def lists(self) -> Mapping[str, "Listed[object]"]:
        """Every list by its name, in display order."""
        attributes = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: rows for name, rows in attributes if isinstance(rows, Listed)}

    @property
    def differing(self) -> Mapping[Provider, Sequence[LastComparison]]:
        """Comparisons that still have differences, by provider, until one that covers them agrees (R15)."""
        compared = {provider: freshness.last_reconcile for provider, freshness in self.freshness.items()}
        return {provider: last.differing for provider, last in compared.items() if last and last.differing}

    @property
    def attention(self) -> int:
        """How many entries need attention, each comparison with differences being one."""
        differing = sum(map(len, self.differing.values()))
        return sum(rows.attention for rows in self.lists.values()) + self.unapplied.attention + differing

    @property
    def needs_attention(self) -> bool:
        return bool(self.attention)


def current_status(reading: Reading, *, now: datetime, pending_days: int, unread: Sequence[Provider] = ()) -> Status:
    """`pending_days`: a refund accepted longer ago than this should have a final state.

    `unread`: providers whose stored events must be read again.
    """
    events = reading.event_counts()
    return Status(
        unfinished=_unfinished(reading, now),
        runs=_runs(reading, now),
        closings=_closings(reading, now),
        came_back=_listed([_failed_late(refund, now) for refund in reading.refunds_to_acknowledge()]),
        pending=_pending(reading, now, now - timedelta(days=pending_days)),
        elsewhere=_external(reading, now),
        unreviewed=_all_need_attention(reading.unreviewed_events(limit=_SHOWN), events.get(EventState.UNREVIEWED, 0)),
        losses=_all_need_attention(losses := reading.losses(), len(losses)),
        failed_captures=_first(captures := reading.failed_captures(), len(captures)),
        disputed=_invoices(reading, InvoiceFilter(disputed=True, limit=_SHOWN)),
        processing=_invoices(reading, InvoiceFilter(processing=True, limit=_SHOWN)),
        unapplied=_unapplied(reading, now, events, unread),
        accounts=reading.accounts(),
        livemode=reading.livemode(),
        events={state.value: events.get(state, 0) for state in EventState},
        deliveries=_deliveries(reading),
        freshness={p: Freshness(last_comparison(reading, p), reading.last_delivery(p)) for p in Provider},
    )


# --- refunds, runs and closings ---------------------------------------------------------------------------------


def _unfinished(reading: Reading, now: datetime) -> Listed[OpenRefund]:
    refunds = reading.refunds_in(RefundState.READY, RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
    return _listed(
        [
            OpenRefund(refund, now - refund.created_at, _next_of(refund, now), _holder(refund.sending, now))
            for refund in refunds
        ]
    )


def _closings(reading: Reading, now: datetime) -> Listed[OpenClosing]:
    closings = reading.closings_in(ClosingState.READY, ClosingState.SUBMITTED)
    return _listed(
        [
            OpenClosing(closing, now - closing.created_at, _next(closing.sending, now), _holder(closing.sending, now))
            for closing in closings
        ]
    )


def _runs(reading: Reading, now: datetime) -> Listed[OpenRun]:
    return _listed([_open_run(unfinished_run, now) for unfinished_run in unfinished_runs(reading, now=now)])


def _open_run(run: UnfinishedRun, now: datetime) -> OpenRun:
    return OpenRun(run, now - run.run.created_at, Next.WAIT if run.has_live_worker else Next.RESUME)


def _failed_late(refund: Refund, now: datetime) -> OpenRefund:
    return OpenRefund(refund, now - refund.created_at, Next.ACKNOWLEDGE, is_held=refund.is_held_at(now))


def _pending(reading: Reading, now: datetime, overdue: datetime) -> Listed[OpenRefund]:
    pending = reading.pending_refunds(overdue=overdue, stuck=_NO_FUNDS, limit=_SHOWN)
    first = [OpenRefund(refund, now - refund.created_at, _next_of_pending(refund, overdue)) for refund in pending.first]
    return Listed(first, pending.count, pending.attention)


def _external(reading: Reading, now: datetime) -> Listed[OpenRefund]:
    refunds = [refund for refund in reading.external_refunds(adopted=False) if refund.state.is_accepted]
    return _listed(
        [
            OpenRefund(refund, now - refund.created_at, Next.MATCH if refund.undecided else Next.ADOPT)
            for refund in refunds
        ]
    )


def _next_of(refund: Refund, now: datetime) -> Next:
    return Next.APPROVE if refund.state is RefundState.AWAITING_APPROVAL else _next(refund.sending, now)


def _next_of_pending(refund: Refund, overdue: datetime) -> Next:
    if refund.pending_reason == _NO_FUNDS:
        return Next.TOP_UP
    return Next.RECONCILE if refund.created_at < overdue else Next.WAIT


def _next(sending: Sending | None, now: datetime) -> Next:
    if sending is None or leases.is_live(sending, now):
        return Next.WAIT
    can_settle = key_is_known(sending, now) or sending.request.provider in CAN_LOOK_UP
    return Next.RESUME if can_settle else Next.RESOLVE


def _holder(sending: Sending | None, now: datetime) -> RunHolder | None:
    if sending is None or not sending.lease_owner:
        return None
    name = leases.holder_of(sending.lease_owner).shown
    return RunHolder(name, 1, sending.lease_until, leases.is_live(sending, now))


# --- the providers ----------------------------------------------------------------------------------------------


def _unapplied(reading: Reading, now: datetime, events: Mapping[str, int], unread: Sequence[Provider]) -> Unapplied:
    """Waiting events need attention once the listener should have applied them (R13)."""
    waiting, oldest = events.get(EventState.WAITING, 0), reading.oldest_event(EventState.WAITING)
    of_known = reading.event_counts_of_known_payments()
    # A noted event may have been stored without being applied; its payment was imported since.
    blocking = of_known.get(EventState.UNMATCHED, 0) + of_known.get(EventState.NOTED, 0)
    unmatched = events.get(EventState.UNMATCHED, 0) - of_known.get(EventState.UNMATCHED, 0)
    is_late = oldest is not None and now - oldest > _APPLIED_WITHIN
    attention = blocking + (waiting if is_late else 0) + len(unread)
    return Unapplied(waiting, oldest, unmatched, blocking, attention, unread)


def _deliveries(reading: Reading) -> Deliveries:
    counts = reading.delivery_counts()
    return Deliveries(count_by_reason(counts, stored=False), count_by_reason(counts, stored=True))


def _invoices(reading: Reading, criteria: InvoiceFilter) -> Listed[Invoice]:
    return Listed(reading.invoices(criteria), reading.count_invoices(criteria))


# --- lists ------------------------------------------------------------------------------------------------------

_Open = TypeVar("_Open", OpenRefund, OpenClosing, OpenRun)


def _listed(rows: Sequence[_Open]) -> Listed[_Open]:
    attention = sum(row.next is not Next.WAIT for row in rows)
    return Listed(sorted(rows, key=lambda row: row.next is Next.WAIT)[:_SHOWN], len(rows), attention)


def _all_need_attention(rows: Sequence[_T], count: int) -> Listed[_T]:
    return Listed(rows[:_SHOWN], count, count)


def _first(rows: Sequence[_T], count: int) -> Listed[_T]:
    return Listed(rows[:_SHOWN], count)
