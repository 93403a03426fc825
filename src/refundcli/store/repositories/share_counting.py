"""Compute what counts against each share of a provider payment that pays several invoices."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from refundcli.domain.dispute import DisputeRecord, DisputeState
from refundcli.domain.refund import Refund
from refundcli.domain.shared_payments import ExternalFacts, ShareFacts, ShareSums, count_shares
from refundcli.store.schema import PaymentRow


def share_rows(session: Session, first_share: int) -> list[PaymentRow]:
    """All shares of a payment, the first one first."""
    query = select(PaymentRow).where(PaymentRow.share_of == first_share).order_by(col(PaymentRow.id))
    rows = session.exec(query.execution_options(populate_existing=True)).all()
    return sorted(rows, key=lambda row: row.id != first_share)


def sums_of(
    shares: Sequence[PaymentRow], refunds: Sequence[Refund], disputes: Sequence[DisputeRecord]
) -> list[ShareSums]:
    """`reserved`, `returned_elsewhere` and `lost` of each share, from the refunds and disputes of all shares."""
    lost = taken_by_disputes(shares, disputes)
    by_id = {row.id or 0: row for row in shares}
    facts = [_facts(row, [refund for refund in refunds if refund.payment_id == row.id]) for row in shares]
    externals = [
        _external(refund, by_id[refund.payment_id])
        for refund in refunds
        if refund.is_external and (refund.holding or refund.state.is_accepted)
    ]
    return count_shares(facts, externals, taken_by_disputes=lost)


def taken_by_disputes(shares: Sequence[PaymentRow], disputes: Sequence[DisputeRecord]) -> int:
    """What lost disputes took of the payment, in minor units; all of it if no amount was reported (R11)."""
    in_all = sum(row.allocated for row in shares)
    lost_ones = [dispute for dispute in disputes if dispute.state is DisputeState.LOST]
    return sum(in_all if dispute.amount is None else dispute.amount.minor for dispute in lost_ones)


def _facts(row: PaymentRow, refunds: Sequence[Refund]) -> ShareFacts:
    ours = [refund for refund in refunds if not refund.is_external and refund.holds_reservation]
    return ShareFacts(
        payment_id=row.id or 0,
        allocated=row.allocated,
        promised=sum(refund.counted.minor for refund in ours),
        refunded=row.refunded,
        opening=row.opening_returned,
        recorded=row.dispute_recorded,
    )


def _external(refund: Refund, row: PaymentRow) -> ExternalFacts:
    return ExternalFacts(
        payment_id=refund.payment_id,
        amount=refund.counted.minor,
        is_assigned=refund.reason is not None,
        is_in_opening=bool(row.opening_at and refund.created_at < row.opening_at),
        is_held=refund.undecided or not refund.state.is_accepted,
    )
