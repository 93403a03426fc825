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
from refundcli.services.ports import Account, InvoiceFilter, Reading
from refundcli.services.provider_limits import CAN_LOOK_UP, key_is_known
from refundcli.services.provider_news import EventState

_SHOWN = 50


class Next(StrEnum):
    """What to do about what is unfinished."""

    WAIT = "wait"  # a living process is at it, or the provider will tell
    RESUME = "resume"
    RESOLVE = "resolve"  # past the key window: look-ups go on, but nothing is sent again
    ACKNOWLEDGE = "acknowledge"  # it failed after its success, or came back: a person must know
    RECONCILE = "reconcile"  # pending for longer than it should be
    ADOPT = "reconcile --adopt"  # made elsewhere: it wants a reason and a credit note


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

    `closings` are the unfinished ones. Each list is cut at fifty. `events` counts those that need a person,
    `compared` tells by provider when.
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

    @property
    def needs_someone(self) -> bool:
        refunds = (*self.unfinished, *self.came_back, *self.pending)
        next_steps = [*(each.next for each in refunds), *(each.next for each in self.closings)]
        return any(step is not Next.WAIT for step in next_steps) or bool(self.events.get(EventState.CONTRADICTS))


def look(reading: Reading, *, now: datetime, pending_days: int) -> Status:
    """`pending_days`: a refund that was accepted longer ago than this should have been told as final."""
    unfinished = reading.refunds_in(RefundState.READY, RefundState.SUBMITTED)
    closings = reading.closings_in(ClosingState.READY, ClosingState.SUBMITTED)
    pending = reading.refunds_in(RefundState.PENDING)
    overdue = now - timedelta(days=pending_days)
    return Status(
        unfinished=[OpenRefund(each, now - each.created_at, _next(each.sending, now)) for each in unfinished],
        closings=[OpenClosing(each, now - each.created_at, _next(each.sending, now)) for each in closings],
        came_back=_all(reading.refunds_to_acknowledge(), now, Next.ACKNOWLEDGE),
        pending=[
            OpenRefund(each, now - each.created_at, Next.RECONCILE if each.created_at < overdue else Next.WAIT)
            for each in pending[:_SHOWN]
        ],
        elsewhere=_all(reading.refunds_made_elsewhere(adopted=False), now, Next.ADOPT),
        disputed=reading.invoices(InvoiceFilter(disputed=True, limit=_SHOWN)),
        processing=reading.invoices(InvoiceFilter(processing=True, limit=_SHOWN)),
        accounts=reading.accounts(),
        livemode=reading.livemode(),
        events=reading.event_counts(),
        refused_deliveries=reading.refused_deliveries(),
        compared={p: known[1] for p in Provider if (known := reading.sync_state(compared_name(p)))},
    )


def compared_name(provider: Provider) -> str:
    """Under which name it is kept when the books were last compared with a provider."""
    return f"reconcile:{provider.value}"


def _all(refunds: Sequence[Refund], now: datetime, what: Next) -> list[OpenRefund]:
    return [OpenRefund(refund, now - refund.created_at, what) for refund in refunds[:_SHOWN]]


def _next(sending: Sending | None, now: datetime) -> Next:
    if sending is None or leases.is_live(sending, now):
        return Next.WAIT
    can_settle = key_is_known(sending, now) or sending.request.provider in CAN_LOOK_UP
    return Next.RESUME if can_settle else Next.RESOLVE
