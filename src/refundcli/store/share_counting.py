"""Compute what counts against each share of a provider payment that pays several invoices."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from refundcli.domain.dispute import DisputeRecord, DisputeState
from refundcli.domain.refund import Refund
from refundcli.domain.shared_payments import ExternalFacts, ShareFacts, ShareSums, count_shares
from refundcli.store.tables import PAYMENT


def share_rows(connection: Connection, first_share_id: int) -> list[Row[Any]]:
    """All shares of a payment, the first one first."""
    query = select(PAYMENT).where(PAYMENT.c.share_of == first_share_id).order_by(PAYMENT.c.id)
    rows = connection.execute(query).all()
    return sorted(rows, key=lambda row: row.id != first_share_id)


def sums_of(
    shares: Sequence[Row[Any]], refunds: Sequence[Refund], disputes: Sequence[DisputeRecord]
) -> list[ShareSums]:
    """`reserved`, `returned_elsewhere` and `lost_minor` of each share, from the refunds and disputes of all shares."""
    lost_minor = taken_by_disputes(shares, disputes)
    share_by_id = {share.id or 0: share for share in shares}
    share_facts = [_facts(share, [refund for refund in refunds if refund.payment_id == share.id]) for share in shares]
    externals = [
        _external(refund, share_by_id[refund.payment_id])
        for refund in refunds
        if refund.is_external and (refund.holding or refund.state.is_accepted)
    ]
    return count_shares(share_facts, externals, taken_by_disputes=lost_minor)


def taken_by_disputes(shares: Sequence[Row[Any]], disputes: Sequence[DisputeRecord]) -> int:
    """What lost disputes took of the payment, in minor units; all of it if no amount was reported (R11)."""
    allocated_minor = sum(share.allocated for share in shares)
    lost_disputes = [dispute for dispute in disputes if dispute.state is DisputeState.LOST]
    return sum(allocated_minor if dispute.amount is None else dispute.amount.minor for dispute in lost_disputes)


def _facts(share: Row[Any], refunds: Sequence[Refund]) -> ShareFacts:
    our_refunds = [refund for refund in refunds if not refund.is_external and refund.holds_reservation]
    return ShareFacts(
        payment_id=share.id or 0,
        allocated=share.allocated,
        promised=sum(refund.counted.minor for refund in our_refunds),
        refunded=share.refunded,
        opening=share.opening_returned,
        recorded=share.dispute_recorded,
    )


def _external(refund: Refund, share: Row[Any]) -> ExternalFacts:
    return ExternalFacts(
        payment_id=refund.payment_id,
        amount=refund.counted.minor,
        is_assigned=refund.reason is not None,
        is_in_opening=bool(share.opening_at and refund.created_at < share.opening_at),
        is_held=refund.undecided or not refund.state.is_accepted,
    )
