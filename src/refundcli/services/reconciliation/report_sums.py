"""Amounts and states of report rows about one payment."""

from collections.abc import Sequence

from refundcli.domain.currencies import Currency
from refundcli.domain.money import Money, zero
from refundcli.domain.statuses import RefundState
from refundcli.services.ports.vocabulary import CaptureChange
from refundcli.services.reconciliation.report_rows import ReportRow, RowPart


def captured_again(rows: Sequence[ReportRow], failed: Sequence[ReportRow]) -> list[ReportRow]:
    """Captures under the reference of an earlier failed capture."""
    failed_at = {row.modification_reference: row.booked_at for row in failed if row.modification_reference}
    added = (
        row for row in rows if capture_change(row) is CaptureChange.ADDED and row.modification_reference in failed_at
    )
    return [row for row in added if row.booked_at > failed_at[row.modification_reference]]


def other_amount(reported: Sequence[ReportRow]) -> ReportRow | None:
    """The first row whose amount differs from that of the refund's first row; None without one."""
    rows = [
        row
        for row in reported
        if refund_state(row).is_accepted and row.part in (RowPart.SENT, RowPart.DONE) and row.amount
    ]
    return next((row for row in rows if row.amount != rows[0].amount), None)


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
    groups: dict[str, list[ReportRow]] = {}
    for row in rows:
        groups.setdefault(row.modification_reference, []).append(row)
    return groups


def sum_of(rows: Sequence[ReportRow], of: Currency) -> Money:
    return sum((row.amount for row in rows if row.amount), zero(of))


def captured_total(rows: Sequence[ReportRow], of: Currency) -> Money:
    """The sum of the captures. A capture reported as sent and as settled counts once."""
    captures = by_reference(rows)
    # If only some rows name their capture, the rows cannot be grouped.
    groups = [rows] if "" in captures else list(captures.values())
    return sum((_of_one(group, of) for group in groups), zero(of))


def _of_one(rows: Sequence[ReportRow], of: Currency) -> Money:
    part = {row_part: sum_of([row for row in rows if row.part is row_part], of) for row_part in RowPart}
    return max(part[RowPart.SENT], part[RowPart.DONE] + max(part[RowPart.WHOLE], part[RowPart.INSTALMENT]))


def refund_amount(last: ReportRow, rows: Sequence[ReportRow]) -> Money | None:
    """The amount of the refund. In instalments it has one row for the whole, or one for each part."""
    if last.part is not RowPart.INSTALMENT or last.amount is None:
        return last.amount
    alike = [row for row in rows if row.amount and row.amount.currency == last.amount.currency]
    whole = next((row.amount for row in alike if row.part is RowPart.WHOLE), None)
    return whole or sum_of([row for row in alike if row.part is RowPart.INSTALMENT], last.amount.currency)
