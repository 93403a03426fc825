"""What needs attention now: the operator's first look of the day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from refundcli.domain.invoice import Invoice
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services import leases
from refundcli.services.ports import Account, InvoiceFilter, Reading
from refundcli.services.provider_limits import CAN_LOOK_UP, key_is_known

_SHOWN = 50


class Next(StrEnum):
    """What to do about an unfinished refund."""

    WAIT = "wait"  # a living process is at it, or the provider will tell
    RESUME = "resume"
    RESOLVE = "resolve"  # past the key window: look-ups go on, but nothing is sent again


@dataclass(frozen=True, slots=True)
class OpenRefund:
    refund: Refund
    age: timedelta
    next: Next


@dataclass(frozen=True, slots=True)
class Status:
    """The unfinished, the pending, and the invoices that must wait; each list is cut at fifty."""

    unfinished: Sequence[OpenRefund]
    pending: Sequence[OpenRefund]
    disputed: Sequence[Invoice]
    processing: Sequence[Invoice]
    accounts: Sequence[Account]
    livemode: bool | None

    @property
    def needs_someone(self) -> bool:
        return any(each.next is not Next.WAIT for each in self.unfinished)


def look(reading: Reading, *, now: datetime) -> Status:
    unfinished = reading.refunds_in(RefundState.READY, RefundState.SUBMITTED)
    pending = reading.refunds_in(RefundState.PENDING)
    return Status(
        unfinished=[_open(refund, now) for refund in unfinished],
        pending=[OpenRefund(refund, now - refund.created_at, Next.WAIT) for refund in pending[:_SHOWN]],
        disputed=reading.invoices(InvoiceFilter(disputed=True, limit=_SHOWN)),
        processing=reading.invoices(InvoiceFilter(processing=True, limit=_SHOWN)),
        accounts=reading.accounts(),
        livemode=reading.livemode(),
    )


def _open(refund: Refund, now: datetime) -> OpenRefund:
    return OpenRefund(refund, now - refund.created_at, _next(refund, now))


def _next(refund: Refund, now: datetime) -> Next:
    sending = refund.sending
    if sending is None or leases.is_live(sending, now):
        return Next.WAIT
    can_settle = key_is_known(sending, now) or sending.request.provider in CAN_LOOK_UP
    return Next.RESUME if can_settle else Next.RESOLVE
