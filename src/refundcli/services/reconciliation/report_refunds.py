"""Which report rows about a refund change the books."""

from collections.abc import Container, Sequence

from refundcli.domain.currencies import Currency
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import RefundState, may_become
from refundcli.services.ports.records import PaymentLine, RefundLine
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart

RANK = (RefundState.PENDING, RefundState.SUCCEEDED, RefundState.FAILED, RefundState.REVERSED)
MADE = (RefundState.SUCCEEDED,)
NOT_MADE = (RefundState.FAILED, RefundState.REVERSED)


def by_reference(rows: Sequence[ReportRow]) -> dict[str, list[ReportRow]]:
    rows_by_reference: dict[str, list[ReportRow]] = {}
    for row in rows:
        rows_by_reference.setdefault(row.modification_reference, []).append(row)
    return rows_by_reference


def sum_of(rows: Sequence[ReportRow], currency: Currency) -> Money:
    return sum((row.amount for row in rows if row.amount), zero(currency))


def other_amount(refund_rows: Sequence[ReportRow]) -> ReportRow | None:
    """The first row whose amount differs from that of the refund's first row; None without one."""
    full_rows = [
        row for row in refund_rows if row.refund.is_accepted and row.part in (RowPart.SENT, RowPart.DONE) and row.amount
    ]
    return next((row for row in full_rows if row.amount != full_rows[0].amount), None)


def refund_amount(last_row: ReportRow, rows: Sequence[ReportRow]) -> Money | None:
    """The amount of the refund. In instalments it has one row for the whole, or one for each part."""
    if last_row.part is not RowPart.INSTALMENT or last_row.amount is None:
        return last_row.amount
    same_currency_rows = [row for row in rows if row.amount and row.amount.currency == last_row.amount.currency]
    whole_amount = next((row.amount for row in same_currency_rows if row.part is RowPart.WHOLE), None)
    return whole_amount or sum_of(
        [row for row in same_currency_rows if row.part is RowPart.INSTALMENT], last_row.amount.currency
    )


def refund_in_books(payment_line: PaymentLine, reference: str, merchant_reference: str) -> RefundLine | None:
    by_reference = next((r for r in payment_line.refunds if r.provider_reference == reference), None)
    by_our_id = (r for r in payment_line.refunds if r.id == merchant_reference and not r.provider_reference)
    return by_reference or next(by_our_id, None)


def sent_again(refund_rows: Sequence[ReportRow], refund: RefundLine | None) -> ReportRow | None:
    """The newest success after a failure: Adyen may retry by itself, so the customer has the money in spite of it.

    None if the money was returned afterwards.
    """
    failure_times = [row.booked_at for row in refund_rows if row.refund is RefundState.FAILED]
    failed_in_books_at = refund.needs_acknowledgement_since if refund and refund.state is RefundState.FAILED else None
    failed_at = max(failure_times, default=failed_in_books_at)
    if failed_at is None or any(row.refund is RefundState.REVERSED for row in refund_rows):
        return None
    later_successes = [row for row in refund_rows if row.refund is RefundState.SUCCEEDED and row.booked_at > failed_at]
    return max(later_successes, key=lambda row: row.booked_at, default=None)


def is_new(refund: RefundLine, state: RefundState) -> bool:
    """Is the state a later one, or a success of a refund that failed in the books without having succeeded?"""
    if refund.state is RefundState.FAILED and state.is_accepted:
        return refund.needs_acknowledgement_since is None
    return may_become(refund.state, state)


def newest(refund_rows: Sequence[ReportRow], states: Container[RefundState]) -> ReportRow | None:
    return max((row for row in refund_rows if row.refund in states), key=lambda row: row.booked_at, default=None)


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
