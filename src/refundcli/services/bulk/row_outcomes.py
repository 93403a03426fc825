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
    failed_refund = failed_in_run(row, refunds)
    if failed_refund:
        return refused(row, failure_of(failed_refund))
    standing_refunds = [refund for refund in last_attempts(refunds) if refund.state is not RefundState.FAILED]
    open_refunds = [
        refund
        for refund in standing_refunds
        if refund.state.unfinished or refund.state is RefundState.AWAITING_APPROVAL
    ]
    return ended(row, last_attempts(refunds)) if standing_refunds and not open_refunds else None


def failed_in_run(row: RunItem, refunds: Sequence[Refund]) -> Refund | None:
    """The row's last refund attempted by this run, if all refunds under its key have failed."""
    attempts = [refund for refund in refunds if refund.run_id == row.run_id and _was_sent(refund)]
    if not attempts or any(refund.state is not RefundState.FAILED for refund in refunds):
        return None
    return max(attempts, key=lambda refund: refund.attempt)


def refused(row: RunItem, error: RefundcliError) -> RunItem:
    return replace(row, state=ItemState.REFUSED, code=error.code, message=error.message, hint=error.hint)


def waiting_again(row: RunItem) -> RunItem:
    return replace(row, state=ItemState.WAITING)


def ended(row: RunItem, refunds: Sequence[Refund]) -> RunItem:
    """The row's outcome: the worst of its refunds'.

    A row refunded in part has its own code, so that it is counted apart from refused rows.
    """
    for refund in refunds:
        if refund.state.unfinished or refund.state is RefundState.AWAITING_APPROVAL:
            awaits_approval = refund.state is RefundState.AWAITING_APPROVAL
            error = AwaitingApproval(refund) if awaits_approval else NotConfirmedByProvider(refund)
            return replace(row, state=ItemState.UNKNOWN, code=error.code, message=error.message, hint=error.hint)
    failed_refunds = [refund for refund in refunds if refund.state in (RefundState.FAILED, RefundState.REVERSED)]
    if failed_refunds and any(refund.state.is_accepted for refund in refunds):
        return refused(row, PartlyRefunded(refunds))
    return refused(row, failure_of(failed_refunds[0])) if failed_refunds else replace(row, state=ItemState.DONE)


def _was_sent(refund: Refund) -> bool:
    """Was it an attempt? A refund that was dropped before it was sent was not."""
    return not was_never_sent(refund) and refund.sending is not None and refund.sending.first_sent_at is not None
