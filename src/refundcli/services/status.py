"""What needs attention now: the operator's first look of the day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from refundcli.domain.closing import Closing
from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund, Sending
from refundcli.domain.statuses import ClosingState, Provider, RefundState
from refundcli.services import leases
from refundcli.services.deliveries import count_by_reason
from refundcli.services.ports import Account, InvoiceFilter, Reading
from refundcli.services.provider_limits import CAN_LOOK_UP, key_is_known
from refundcli.services.provider_news import StoredEvent

_SHOWN = 50
# Stripe waits until the merchant's own balance is high enough.
_NO_FUNDS = "insufficient_funds"


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
class OpenRefund:
    refund: Refund
    age: timedelta
    next: Next


@dataclass(frozen=True, slots=True)
class OpenClosing:
    closing: Closing
    age: timedelta
    next: Next


@dataclass(frozen=True, slots=True)
class Status:
    """The unfinished, what came back, the pending, what was made elsewhere, and the invoices that must wait.

    `closings` are the unfinished ones. Each list is cut at fifty. `events` counts those in each state, `unreviewed`
    lists those that need a person, `losses` the invoices with an unacknowledged loss. `compared` has the time of each
    provider's last comparison.
    """

    unfinished: Sequence[OpenRefund]
    closings: Sequence[OpenClosing]
    came_back: Sequence[OpenRefund]
    pending: Sequence[OpenRefund]
    elsewhere: Sequence[OpenRefund]
    disputed: Sequence[Invoice]
    processing: Sequence[Invoice]
    accounts: Sequence[Account]
    livemode: bool | None
    events: Mapping[str, int]
    refused_deliveries: Mapping[str, int]
    compared: Mapping[Provider, datetime]
    unreviewed: Sequence[StoredEvent] = ()
    losses: Sequence[Invoice] = ()

    @property
    def needs_someone(self) -> bool:
        refunds = (*self.unfinished, *self.came_back, *self.pending, *self.elsewhere)
        next_steps = [*(each.next for each in refunds), *(each.next for each in self.closings)]
        return any(step is not Next.WAIT for step in next_steps) or bool(self.unreviewed or self.losses)


def look(reading: Reading, *, now: datetime, pending_days: int) -> Status:
    """`pending_days`: a refund that was accepted longer ago than this should have been told as final."""
    unfinished = reading.refunds_in(RefundState.READY, RefundState.SUBMITTED, RefundState.AWAITING_APPROVAL)
    closings = reading.closings_in(ClosingState.READY, ClosingState.SUBMITTED)
    pending = reading.refunds_in(RefundState.PENDING)
    overdue = now - timedelta(days=pending_days)
    return Status(
        unfinished=[OpenRefund(each, now - each.created_at, _next_of(each, now)) for each in unfinished],
        closings=[OpenClosing(each, now - each.created_at, _next(each.sending, now)) for each in closings],
        came_back=_all(reading.refunds_to_acknowledge(), now, Next.ACKNOWLEDGE),
        pending=[OpenRefund(each, now - each.created_at, _next_of_pending(each, overdue)) for each in pending[:_SHOWN]],
        elsewhere=[
            OpenRefund(each, now - each.created_at, Next.MATCH if each.undecided else Next.ADOPT)
            for each in reading.refunds_made_elsewhere(adopted=False)[:_SHOWN]
            if each.state.is_given
        ],
        disputed=reading.invoices(InvoiceFilter(disputed=True, limit=_SHOWN)),
        processing=reading.invoices(InvoiceFilter(processing=True, limit=_SHOWN)),
        accounts=reading.accounts(),
        livemode=reading.livemode(),
        events=reading.event_counts(),
        refused_deliveries=count_by_reason(reading.delivery_counts(), stored=False),
        unreviewed=reading.unreviewed_events(limit=_SHOWN),
        losses=reading.losses(),
        compared={p: known[1] for p in Provider if (known := reading.sync_state(compared_name(p)))},
    )


def compared_name(provider: Provider) -> str:
    """Under which name it is kept when the books were last compared with a provider."""
    return f"reconcile:{provider.value}"


def _all(refunds: Sequence[Refund], now: datetime, what: Next) -> list[OpenRefund]:
    return [OpenRefund(refund, now - refund.created_at, what) for refund in refunds[:_SHOWN]]


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
