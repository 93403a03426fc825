"""The outcome of a row of a provider run, from the outcomes of its refunds."""

from collections.abc import Sequence
from dataclasses import replace

from refundcli.domain.bulk_run import ItemState, RunItem
from refundcli.domain.errors import RefundcliError
from refundcli.domain.refund import Refund
from refundcli.domain.statuses import RefundState
from refundcli.services.dispatch.idempotency_keys import last_attempts
from refundcli.services.dispatch.outcome_errors import (
    AwaitingApproval,
    NotConfirmedByProvider,
    PartlyRefunded,
    failure_of,
    was_never_sent,
)


def settled(row: RunItem, refunds: Sequence[Refund]) -> RunItem | None:
    """The row's outcome by its refunds, even if no worker stored it; None if there is work left.

    `refunds`: all refunds under its request key.
    """
    if row.state in (ItemState.DONE, ItemState.REFUSED):
        return row
    failed = failed_in_run(row, refunds)
    if failed:
        return refused(row, failure_of(failed))
    stand = [refund for refund in last_attempts(refunds) if refund.state is not RefundState.FAILED]
    open_ones = [r for r in stand if r.state.unfinished or r.state is RefundState.AWAITING_APPROVAL]
    return ended(row, last_attempts(refunds)) if stand and not open_ones else None


def failed_in_run(row: RunItem, refunds: Sequence[Refund]) -> Refund | None:
    """The row's last refund attempted by this run, if all refunds under its key have failed."""
    attempts = [r for r in refunds if r.run_id == row.run_id and _was_sent(r)]
    if not attempts or any(refund.state is not RefundState.FAILED for refund in refunds):
        return None
    return max(attempts, key=lambda refund: refund.attempt)


def refused(row: RunItem, why: RefundcliError) -> RunItem:
    return replace(row, state=ItemState.REFUSED, code=why.code, message=why.message, hint=why.hint)


def waiting_again(row: RunItem) -> RunItem:
    return replace(row, state=ItemState.WAITING)


def ended(row: RunItem, refunds: Sequence[Refund]) -> RunItem:
    """The row's outcome: the worst of its refunds'.

    A row refunded in part has its own code, so that it is counted apart from refused rows.
    """
    for refund in refunds:
        if refund.state.unfinished or refund.state is RefundState.AWAITING_APPROVAL:
            waits = refund.state is RefundState.AWAITING_APPROVAL
            why = AwaitingApproval(refund) if waits else NotConfirmedByProvider(refund)
            return replace(row, state=ItemState.UNKNOWN, code=why.code, message=why.message, hint=why.hint)
    failed = [refund for refund in refunds if refund.state in (RefundState.FAILED, RefundState.REVERSED)]
    if failed and any(refund.state.is_accepted for refund in refunds):
        return refused(row, PartlyRefunded(refunds))
    return refused(row, failure_of(failed[0])) if failed else replace(row, state=ItemState.DONE)


def _was_sent(refund: Refund) -> bool:
    """Was it an attempt? A refund that was dropped before it was sent was not."""
    return not was_never_sent(refund) and refund.sending is not None and refund.sending.first_sent_at is not None
