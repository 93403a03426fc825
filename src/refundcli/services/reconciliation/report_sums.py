"""Amounts and states of report rows about one payment."""

from collections.abc import Sequence

from refundcli.domain.currencies import Currency
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart


def captured_again(capture_rows: Sequence[ReportRow], failed_rows: Sequence[ReportRow]) -> list[ReportRow]:
    """Captures under the reference of an earlier failed capture."""
    failed_at_by_reference = {
        row.modification_reference: row.booked_at for row in failed_rows if row.modification_reference
    }
    repeated_captures = (
        row
        for row in capture_rows
        if capture_change(row) is CaptureChange.ADDED and row.modification_reference in failed_at_by_reference
    )
    return [row for row in repeated_captures if row.booked_at > failed_at_by_reference[row.modification_reference]]


def other_amount(refund_rows: Sequence[ReportRow]) -> ReportRow | None:
    """The first row whose amount differs from that of the refund's first row; None without one."""
    full_rows = [
        row
        for row in refund_rows
        if refund_state(row).is_accepted and row.part in (RowPart.SENT, RowPart.DONE) and row.amount
    ]
    return next((row for row in full_rows if row.amount != full_rows[0].amount), None)


def row_key(row: ReportRow) -> str:
    """Distinguishes rows of one type about one object; the same in every report."""
    return f"{row.booked_at.isoformat()}:{row.amount or row.problem}"


def capture_change(row: ReportRow) -> CaptureChange | None:
    return row.meaning.capture if row.meaning else None


def refund_state(row: ReportRow) -> RefundState:
    assert row.meaning
    assert row.meaning.refund
    return row.meaning.refund


def by_reference(rows: Sequence[ReportRow]) -> dict[str, list[ReportRow]]:
    rows_by_reference: dict[str, list[ReportRow]] = {}
    for row in rows:
        rows_by_reference.setdefault(row.modification_reference, []).append(row)
    return rows_by_reference


def sum_of(rows: Sequence[ReportRow], currency: Currency) -> Money:
    return sum((row.amount for row in rows if row.amount), zero(currency))


def captured_total(capture_rows: Sequence[ReportRow], currency: Currency) -> Money:
    """The sum of the captures. A capture reported as sent and as settled counts once."""
    rows_by_capture = by_reference(capture_rows)
    # If only some rows name their capture, the rows cannot be grouped.
    row_groups = [capture_rows] if "" in rows_by_capture else list(rows_by_capture.values())
    return sum((_of_one(rows_of_capture, currency) for rows_of_capture in row_groups), zero(currency))


def _of_one(rows: Sequence[ReportRow], currency: Currency) -> Money:
    sum_by_part = {part: sum_of([row for row in rows if row.part is part], currency) for part in RowPart}
    return max(
        sum_by_part[RowPart.SENT],
        sum_by_part[RowPart.DONE] + max(sum_by_part[RowPart.WHOLE], sum_by_part[RowPart.INSTALMENT]),
    )


def refund_amount(last_row: ReportRow, rows: Sequence[ReportRow]) -> Money | None:
    """The amount of the refund. In instalments it has one row for the whole, or one for each part."""
    if last_row.part is not RowPart.INSTALMENT or last_row.amount is None:
        return last_row.amount
    same_currency_rows = [row for row in rows if row.amount and row.amount.currency == last_row.amount.currency]
    whole_amount = next((row.amount for row in same_currency_rows if row.part is RowPart.WHOLE), None)
    return whole_amount or sum_of(
        [row for row in same_currency_rows if row.part is RowPart.INSTALMENT], last_row.amount.currency
    )
