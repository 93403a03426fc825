"""What needs attention now, what is pending, and how fresh the books are: the operator's first look of the day.

Every list has its count, also where only its first entries are shown. Whatever asks for an action is counted as needing
attention, so nothing asks for one while all is clear.
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
from refundcli.services.ports.rejections import count_by_reason
from refundcli.services.reconciliation.last_comparison import LastComparison, last_comparison

_SHOWN = 50
# Stripe waits until the merchant's own balance is high enough.
_NO_FUNDS = "insufficient_funds"
# The listener applies what it stored at once, and asks again for some minutes where the provider does not answer.
_APPLIED_WITHIN = timedelta(minutes=15)
_T = TypeVar("_T")


class Next(StrEnum):
    """What to do about what is unfinished."""

    WAIT = "wait"  # a living process is at it, or the provider will tell
    RESUME = "resume"
    RESOLVE = "resolve"  # past the key window: look-ups go on, but nothing is sent again
    ACKNOWLEDGE = "acknowledge"  # it failed after its success, or came back: a person must know
    RECONCILE = "reconcile"  # pending for longer than it should be
    ADOPT = "reconcile --adopt"  # an external refund: it needs a reason and a credit note
    MATCH = "reconcile --match"  # an external refund that may be one that was recorded by hand
    APPROVE = "approve"  # at the provider, by a second person
    TOP_UP = "top up"  # the balance at the provider is too low for it


@dataclass(frozen=True, slots=True)
class Listed(Generic[_T]):
    """The first fifty of `count`, those that need attention first; `attention`: how many of all do."""

    shown: Sequence[_T] = ()
    count: int = 0
    attention: int = 0


@dataclass(frozen=True, slots=True)
class OpenRefund:
    """`holder`: the process that has the right to send it; `is_held`: its amount is reserved although it failed."""

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
    """Stored events that are not applied: how many `wait`, since when, and how many `block` a payment in the books.

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
    """How many deliveries were rejected, and how many were verified and are not meant for this store, by reason."""

    rejected: Mapping[str, int] = field(default_factory=dict)
    not_applied: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Freshness:
    """When the books last heard of a provider; None for never."""

    last_reconcile: LastComparison | None = None
    last_delivery: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """`events` counts those in each state; `losses` are the invoices with a loss that nobody acknowledged."""

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
        """Every list by its name, in the order in which they are shown."""
        found = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: each for name, each in found if isinstance(each, Listed)}

    @property
    def attention(self) -> int:
        """How many things need someone."""
        return sum(each.attention for each in self.lists.values()) + self.unapplied.attention

    @property
    def needs_someone(self) -> bool:
        return bool(self.attention)


def look(reading: Reading, *, now: datetime, pending_days: int, unread: Sequence[Provider] = ()) -> Status:
    """`pending_days`: a refund that was accepted longer ago than this should have been told as final.

    `unread`: providers whose stored events must be read again.
    """
    events = reading.event_counts()
    return Status(
        unfinished=_unfinished(reading, now),
        runs=_runs(reading, now),
        closings=_closings(reading, now),
        came_back=_listed([_came_back(each, now) for each in reading.refunds_to_acknowledge()]),
        pending=_pending(reading, now, now - timedelta(days=pending_days)),
        elsewhere=_elsewhere(reading, now),
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


def _came_back(refund: Refund, now: datetime) -> OpenRefund:
    return OpenRefund(refund, now - refund.created_at, Next.ACKNOWLEDGE, is_held=refund.is_held_at(now))


def _pending(reading: Reading, now: datetime, overdue: datetime) -> Listed[OpenRefund]:
    found = reading.pending_refunds(overdue=overdue, stuck=_NO_FUNDS, limit=_SHOWN)
    shown = [OpenRefund(each, now - each.created_at, _next_of_pending(each, overdue)) for each in found.first]
    return Listed(shown, found.count, found.attention)


def _elsewhere(reading: Reading, now: datetime) -> Listed[OpenRefund]:
    refunds = [each for each in reading.refunds_made_elsewhere(adopted=False) if each.state.is_accepted]
    return _listed(
        [OpenRefund(each, now - each.created_at, Next.MATCH if each.undecided else Next.ADOPT) for each in refunds]
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
    shown = leases.holder_of(sending.lease_owner).shown
    return RunHolder(shown, 1, sending.lease_until, leases.is_live(sending, now))


# --- the providers ----------------------------------------------------------------------------------------------


def _unapplied(reading: Reading, now: datetime, events: Mapping[str, int], unread: Sequence[Provider]) -> Unapplied:
    """A waiting event is applied soon by itself, unless nobody listens or it cannot be (R13)."""
    waiting, oldest = events.get(EventState.WAITING, 0), reading.oldest_event(EventState.WAITING)
    known = reading.event_counts_of_known_payments()
    # What was set aside when it came is noted; its payment was imported since.
    blocking = known.get(EventState.UNMATCHED, 0) + known.get(EventState.NOTED, 0)
    unmatched = events.get(EventState.UNMATCHED, 0) - known.get(EventState.UNMATCHED, 0)
    is_late = oldest is not None and now - oldest > _APPLIED_WITHIN
    attention = blocking + (waiting if is_late else 0) + len(unread)
    return Unapplied(waiting, oldest, unmatched, blocking, attention, unread)


# Verified, and meant for another account or mode.
def _deliveries(reading: Reading) -> Deliveries:
    counts = reading.delivery_counts()
    return Deliveries(count_by_reason(counts, stored=False), count_by_reason(counts, stored=True))


def _invoices(reading: Reading, wanted: InvoiceFilter) -> Listed[Invoice]:
    return Listed(reading.invoices(wanted), reading.count_invoices(wanted))


# --- lists ------------------------------------------------------------------------------------------------------

_Open = TypeVar("_Open", OpenRefund, OpenClosing, OpenRun)


def _listed(found: Sequence[_Open]) -> Listed[_Open]:
    attention = sum(each.next is not Next.WAIT for each in found)
    return Listed(sorted(found, key=lambda each: each.next is Next.WAIT)[:_SHOWN], len(found), attention)


def _all_need_attention(found: Sequence[_T], count: int) -> Listed[_T]:
    return Listed(found[:_SHOWN], count, count)


def _first(found: Sequence[_T], count: int) -> Listed[_T]:
    return Listed(found[:_SHOWN], count)
