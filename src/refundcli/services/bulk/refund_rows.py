"""Rows that request refunds through a provider: their requests, and how they are stored for the workers."""

import json
from dataclasses import dataclass

from refundcli.domain.bulk_run import BulkRun, RunItem, RunKind
from refundcli.domain.eligibility import refund_blockers
from refundcli.domain.invoice import Invoice
from refundcli.domain.money import parse_amount
from refundcli.domain.statuses import RefundKind
from refundcli.services.bulk.rows import BulkRow, CheckedRow, RowSpool
from refundcli.services.bulk.runs import begin_in
from refundcli.services.invoices.allocation import Share, shares_of
from refundcli.services.ports.books import Writing
from refundcli.services.refunds.issue import RefundRequest


@dataclass(frozen=True, slots=True)
class RefundRowRequests:
    """Rows that request refunds."""

    operator: str
    kind: RunKind = RunKind.REFUND

    def content(self, row: BulkRow, request_key: str, invoice: Invoice) -> str:
        return request_of(row, request_key, invoice, self.operator).content

    def shares(self, row: BulkRow, request_key: str, invoice: Invoice, *, allow_duplicate: bool) -> list[Share]:
        request = request_of(row, request_key, invoice, self.operator)
        return shares_of(
            invoice,
            request.amount,
            kind=RefundKind.PROVIDER,
            blockers=refund_blockers,
            intent=request.intent,
            reference=request.payment,
        )


def request_of(row: BulkRow | RunItem, request_key: str, invoice: Invoice, operator: str) -> RefundRequest:
    """Raises InvalidAmount: only the invoice knows the currency of what was typed."""
    return RefundRequest(
        number=row.invoice,
        amount=parse_amount(row.amount_text, invoice.currency) if row.amount_text else None,
        amount_text=row.amount_text,
        reason=row.reason,
        request_key=request_key,
        operator=operator,
        memo=row.memo,
        payment=row.payment,
        # The rows of a file have their own rule, and each of them was confirmed.
        allow_duplicate=True,
    )


def stage(run: BulkRun, spool: RowSpool, tx: Writing, *, checked_run_id: str) -> BulkRun:
    """Store a run and all of its rows, where any worker finds them, in one transaction.

    Rows that an unfinished run does not have yet are added to it: they were refused when it started.
    `checked_run_id`: the run as which the rows were checked, or "".
    """
    staged_run, existed = begin_in(tx, run, checked_run_id=checked_run_id)
    row_count = sum(tx.runs.item_counts(staged_run.id).values())
    for chunk in spool.chunks():
        lines = [checked_row.row.line for checked_row in chunk]
        staged_by_line = tx.runs.items_on_lines(staged_run.id, lines) if existed else {}
        new_rows = [checked_row for checked_row in chunk if checked_row.row.line not in staged_by_line]
        tx.runs.stage_items(
            [_item(staged_run.id, row_number, new_row) for row_number, new_row in enumerate(new_rows, row_count + 1)]
        )
        row_count += len(new_rows)
    return staged_run


def _item(run_id: str, row_number: int, checked_row: CheckedRow) -> RunItem:
    """The row as stored; `row_number`: its number in the run."""
    row = checked_row.row
    return RunItem(
        run_id=run_id,
        n=row_number,
        line=row.line,
        invoice=row.invoice,
        amount_text=row.amount_text,
        reason=row.reason,
        request_key=checked_row.key,
        expected=checked_row.takes,
        memo=row.memo,
        payment=row.payment,
        cells=json.dumps(row.cells, ensure_ascii=False),
    )
