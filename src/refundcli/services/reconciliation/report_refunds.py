"""Which report rows about a refund change the books."""

from collections.abc import Container, Sequence

from refundcli.domain.statuses import RefundState, may_become
from refundcli.services.ports.provider_updates import (
    RefundUpdate,
)
from refundcli.services.ports.records import PaymentLine, RefundLine
from refundcli.services.preflight.difference import Difference, DifferenceKind, apart
from refundcli.services.reconciliation.report_rows import ReportRow
from refundcli.services.reconciliation.report_sums import refund_state

RANK = (RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.REVERSED)
MADE = (RefundState.SUCCEEDED,)
NOT_MADE = (RefundState.FAILED, RefundState.REVERSED)


def refund_in_books(payment_line: PaymentLine, reference: str, merchant_reference: str) -> RefundLine | None:
    by_reference = next((r for r in payment_line.refunds if r.provider_reference == reference), None)
    by_our_id = (r for r in payment_line.refunds if r.id == merchant_reference and not r.provider_reference)
    return by_reference or next(by_our_id, None)


def sent_again(refund_rows: Sequence[ReportRow], refund: RefundLine | None) -> ReportRow | None:
    """The newest success after a failure: Adyen may retry by itself, so the customer has the money in spite of it.

    None if the money was returned afterwards.
    """
    failure_times = [row.booked_at for row in refund_rows if refund_state(row) is RefundState.FAILED]
    failed_in_books_at = refund.needs_acknowledgement_since if refund and refund.state is RefundState.FAILED else None
    failed_at = max(failure_times, default=failed_in_books_at)
    if failed_at is None or any(refund_state(row) is RefundState.REVERSED for row in refund_rows):
        return None
    later_successes = [
        row for row in refund_rows if refund_state(row) is RefundState.SUCCEEDED and row.booked_at > failed_at
    ]
    return max(later_successes, key=lambda row: row.booked_at, default=None)


def is_new(refund: RefundLine, state: RefundState) -> bool:
    """Is the state a later one, or a success of a refund that failed in the books without having succeeded?"""
    if refund.state is RefundState.FAILED and state.is_accepted:
        return refund.needs_acknowledgement_since is None
    return may_become(refund.state, state)


def newest(refund_rows: Sequence[ReportRow], states: Container[RefundState]) -> ReportRow | None:
    return max((row for row in refund_rows if refund_state(row) in states), key=lambda row: row.booked_at, default=None)


def is_new_for_record(record: RefundLine, row: ReportRow, success_row: ReportRow | None) -> bool:
    """Is it a success later than all known outcomes, or a failure without a later success (I7)?

    For an undone record, only a success after the failure: then the money was returned after all.
    """
    if row is success_row:
        outcome_times = filter(None, (record.succeeded_at, record.failed_at))
        is_undone = record.state is not RefundState.RECORDED
        return all(row.booked_at > known_time for known_time in outcome_times) and not (
            is_undone and record.failed_at is None
        )
    if record.state is not RefundState.RECORDED:
        return False
    success_times = filter(None, (record.succeeded_at, success_row.booked_at if success_row else None))
    return all(row.booked_at >= known_time for known_time in success_times)


def is_expected(refund: RefundLine | None, state: RefundState) -> bool:
    """Is the state no difference: the success of an accepted refund, or the failure of an unknown one?"""
    if refund is None:
        return not state.is_accepted
    return refund.state.holds_reservation and state.is_accepted


def refund_difference(payment_line: PaymentLine, refund: RefundLine | None, update: RefundUpdate) -> Difference:
    kind, in_books, at_provider, amount = DifferenceKind.MISSING_HERE, "", str(update.amount), update.amount
    if refund is not None and refund.amount.currency != update.amount.currency:
        kind, in_books = DifferenceKind.CURRENCY, str(refund.amount)
    elif refund is not None and refund.amount != update.amount:
        kind, in_books, amount = DifferenceKind.AMOUNT, str(refund.amount), apart(refund.amount, update.amount)
    elif refund is not None:
        kind, in_books, at_provider = DifferenceKind.STATUS, refund.state, update.state
    refund_id = refund.id if refund else ""
    return Difference(
        kind,
        update.provider,
        payment_line.invoice,
        update.reference,
        "refund",
        in_books,
        at_provider,
        amount,
        refund_id,
    )
