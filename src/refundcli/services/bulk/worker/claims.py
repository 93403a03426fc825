"""T2 for a refund of a run: by the rules as of the transaction that claims it."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto

from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.bulk.worker.leased_rows import InFlightRefund, Stage
from refundcli.services.dispatch.first_send import fail_unsent_in, lookup_at_provider, store_unlisted, why_not_sent
from refundcli.services.dispatch.leases import Lease
from refundcli.services.dispatch.policy import SendingPolicy
from refundcli.services.dispatch.send_refund import forgotten_note
from refundcli.services.ports.books import RefundReading, Writing
from refundcli.services.ports.clock import Clock
from refundcli.services.ports.key_windows import key_is_known
from refundcli.services.preflight.payment import PaymentLookup
from refundcli.services.preflight.revalidate import why_not_any_more


class Result(Enum):
    """What came of a claim."""

    CLAIMED = auto()
    # It was refused, or stays as it is, with an unknown outcome.
    SETTLED = auto()
    # Another process has it, or had it.
    ELSEWHERE = auto()
    # Its lease ended while it waited, so another worker may claim it.
    LAPSED = auto()
    # Its payment must be looked up first.
    UNCHECKED = auto()


@dataclass(frozen=True, slots=True)
class Claim:
    """`refund`: as it is stored now; `lookup`: how the provider finds the payment of an unchecked one."""

    result: Result
    refund: Refund
    lookup: PaymentLookup | None = None


def claim_in(
    tx: Writing, reading: RefundReading, flight: InFlightRefund, lease: Lease, *, clock: Clock, policy: SendingPolicy
) -> Claim:
    """Claim it for sending, unless a rule or a process is against it. Its payment is looked up before a first send."""
    refund, now = flight.refund, clock.now()
    assert refund.sending
    if flight.stage is Stage.OURS and not flight.is_leased(now):
        return Claim(Result.LAPSED, refund)
    if flight.stage is Stage.NOT_FOUND:
        if not key_is_known(refund.sending, now):
            return _stays(tx, refund, forgotten_note(refund))
        # It may have arrived after all, so sending it again could pay the customer twice.
        if refusal := why_not_any_more(reading, refund):
            return _stays(tx, refund, f"not sent again: {refusal.message}")
    elif not flight.first_send and (refusal := why_not_any_more(reading, refund)):
        tx.refunds.release_lease(refund)
        return _stays(tx, refund, f"not sent again: {refusal.message}")
    if flight.needs_snapshot(now):
        # Where it was only rate limited, its snapshot is out of date by now.
        return Claim(Result.UNCHECKED, refund, lookup_at_provider(reading, refund))
    if flight.first_send:
        # An update that was just stored may block, so read again.
        is_changed = store_unlisted(tx, refund, flight.snapshot)
        first_send_refusal = why_not_sent(tx if is_changed else reading, refund, flight.snapshot)
        if first_send_refusal:
            failed = fail_unsent_in(tx, refund, first_send_refusal.message, clock=clock, policy=policy)
            # If another process claimed it, nothing was settled here.
            return Claim(Result.SETTLED, failed) if failed else Claim(Result.ELSEWHERE, _stored(tx, refund))
    claimed_refund = tx.refunds.claim(refund, owner=lease.owner, until=lease.until, at=now)
    if claimed_refund is None:
        return Claim(Result.ELSEWHERE, _stored(tx, refund))
    return Claim(Result.CLAIMED, claimed_refund)


def claim_listed(tx: Writing, flight: InFlightRefund, now: datetime) -> Refund:
    """Claim a `ready` refund that the provider already has, because a restored backup lost it; so it can be settled."""
    refund = flight.refund
    if refund.state is not RefundState.READY:
        return refund
    sent_at = flight.snapshot.sent_at(refund, now) if flight.snapshot else now
    # It will not be sent, so it is recorded whatever the clock says.
    return tx.refunds.claim(refund, owner="", until=now, at=sent_at) or refund


def _stays(tx: Writing, refund: Refund, reason: str) -> Claim:
    """Leave it as it is: its outcome is unknown, and it is not sent again now."""
    stored_refund = _stored(tx, refund)
    if stored_refund.state.unfinished:
        stored_refund = replace(stored_refund, failure=reason)
    return Claim(Result.SETTLED, stored_refund)


def _stored(tx: Writing, refund: Refund) -> Refund:
    return tx.refunds.get(refund.id) or refund
